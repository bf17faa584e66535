"""One way to show a shipment, a candidate and a failure."""

import pytest

from shipper.core.types import RelativePath, State
from shipper.ports import PortError
from shipper.reports.rows import (
    candidate_row,
    failure,
    failure_lines,
    instant,
    shipment_row,
)
from shipper.services.finding.candidate import Candidate, Decision
from tests.fakes.examples import promise, shipment
from tests.machines.world import WATCH

PATH = RelativePath(b"caf\xe9.log.1")


def test_instants_are_utc_to_the_second() -> None:
    assert instant(0.9) == "1970-01-01T00:00:00Z"
    assert instant(None) is None


def test_a_shipment_is_shown_with_the_hint_of_its_code() -> None:
    row = shipment_row(shipment(path=PATH, state=State.PARKED, due_at=None, code="WatchRemoved"))
    assert (row["path"], row["state"], row["due_at"]) == ("caf%E9.log.1", "PARKED", None)
    assert "bring the watch back" in row["hint"]


@pytest.mark.parametrize(
    ("code", "detail", "hint", "line"),
    [
        ("SlowDown", "", "", "SlowDown"),
        ("", "please\nwait", "", "please wait"),
        ("NoRole", "none", "attach one", "NoRole: none (hint: attach one)"),
    ],
)
def test_a_failure_is_one_line(code: str, detail: str, hint: str, line: str) -> None:
    assert failure(code, detail, hint) == line


def test_a_failure_and_its_hint_are_a_line_each_where_there_are_any() -> None:
    assert failure_lines({"code": "", "detail": "", "hint": ""}) == []
    told = {"code": "NoRole", "detail": "none", "hint": "attach one"}
    assert failure_lines(told) == ["NoRole: none", "hint: attach one"]


def test_a_candidate_is_shown_with_its_key_or_with_what_is_wrong() -> None:
    new = candidate_row(Candidate(WATCH, PATH, Decision.NEW, promise=promise(1)))
    assert (new["key"], new["problem"]) == ("logs/1.zst", "")
    known = shipment(state=State.PARKED, code="WatchRemoved", detail="web")
    parked = candidate_row(Candidate(WATCH, PATH, Decision.PARKED, known=known))
    assert parked["problem"] == "WatchRemoved: web"
    assert parked["hint"]
    copy = shipment(state=State.DUPLICATE, detail="logs/original.zst")
    duplicate = candidate_row(Candidate(WATCH, PATH, Decision.DUPLICATE, known=copy))
    assert duplicate["key"] == "logs/original.zst"
    refusal = PortError("NotRegular", "a link", "remove it")
    refused = Candidate(WATCH, PATH, Decision.REFUSED, problem=refusal)
    assert (candidate_row(refused)["problem"], candidate_row(refused)["hint"]) == (
        "NotRegular: a link",
        "remove it",
    )
