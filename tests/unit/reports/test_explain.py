"""What is said about one path, from facts alone."""

from dataclasses import replace
from typing import Any

import pytest

from shipper.cli.explain import table
from shipper.core.types import (
    AfterUpload,
    FileKind,
    RelativePath,
    Role,
    State,
    WriterTest,
)
from shipper.edges.files.open_writers import Writer, Writers
from shipper.ports import PortError
from shipper.reports.explain import afterwards_of, answer_for, document_from
from shipper.reports.path_facts import Facts, Location, Relation, Row
from shipper.services.finding.candidate import Candidate, Decision
from tests.fakes.examples import shipment, stat
from tests.machines.world import WATCH

PATH = RelativePath(b"app.log.1")
LOCATION = Location(WATCH, PATH, Role.ROTATED, "a name that rotators give")
RUNNING: dict[str, Any] = {
    "gate": {"open": True},
    "scan": {"trouble": ""},
    "instance": {"instance_id": "i-1"},
}


def facts(decision: Decision = Decision.WAITING, **changes: Any) -> Facts:
    """A file that waits, on a machine where all is well."""
    candidate = Candidate(WATCH, PATH, decision, **changes.pop("candidate", {}))
    all_well = Facts(
        path=b"/logs/app.log.1",
        now=1000.0,
        status=RUNNING,
        location=LOCATION,
        stat=stat(),
        writers=Writers((), is_complete=True),
        candidate=candidate,
    )
    return replace(all_well, **changes)


def said(some: Facts) -> str:
    return "\n".join(table(document_from(some)))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({}, ""),
        (
            {"gate": {"open": False, "code": "AccessDenied", "detail": "d", "hint": "h"}},
            "AccessDenied",
        ),
        ({"scan": {"trouble": "JournalUnwritable: disk full"}}, "NotPromised"),
        ({"instance": None}, "InstanceUnknown"),
    ],
)
def test_what_holds_the_daemon_up_is_what_is_wrong_with_a_file_that_is_not_in_s3(
    status: dict[str, Any], code: str
) -> None:
    answer = answer_for(facts(status=RUNNING | status))
    assert (answer.code, answer.is_well) == (code, not code)


@pytest.mark.parametrize("state", [State.UPLOADED, State.VERIFIED, State.DONE])
def test_what_s3_has_is_well_though_nothing_runs(state: State) -> None:
    known = {"known": shipment(state=state)}
    decision = Decision.SHIPPED
    assert answer_for(facts(decision, candidate=known, status=None)).is_well


def test_a_shipper_that_cannot_be_asked_is_not_called_absent() -> None:
    assert answer_for(facts(status=None, is_locked=True)).is_well
    assert answer_for(facts(status=None)).code == "NotRunning"


@pytest.mark.parametrize(
    ("writers", "words"),
    [
        (Writers((Writer(7, "nginx"), Writer(8, "cat")), False), "pid 7 (nginx), pid 8 (cat)"),
        (Writers((), is_complete=False), "someone, but not all of /proc may be read"),
        (Writers((), is_complete=True), "someone, but /proc shows it not"),
    ],
)
def test_who_writes_is_named_as_far_as_it_may_be_known(writers: Writers, words: str) -> None:
    is_open = {"because": WriterTest.OPEN.value, "wait_seconds": 5.0}
    text = said(facts(candidate=is_open, writers=writers))
    assert f"writers     {words}\n" in text
    assert "no: open for writing; waits until it is closed" in text


def test_that_nobody_writes_is_said_of_what_waits_and_no_more_than_is_known() -> None:
    assert "writers     none\n" in said(facts(candidate={"wait_seconds": 3.0}))
    hidden = facts(candidate={"wait_seconds": 3.0}, writers=Writers((), is_complete=False))
    assert "writers     none seen, but not all of /proc may be read" in said(hidden)
    shipped = facts(Decision.SHIPPED, candidate={"known": shipment(state=State.DONE)})
    assert "writers" not in said(shipped)


@pytest.mark.parametrize(
    ("decision", "known", "text", "seconds"),
    [
        (Decision.NEW, None, "deleted 600 s after S3 has confirmed it", None),
        (Decision.REFUSED, None, "kept until that is mended", None),
        (Decision.EMPTY, None, "deleted once it has been seen for 600 s", None),
        (Decision.SHIPPED, {"state": State.VERIFIED, "due_at": 1060.0}, "deleted", 60.0),
        (
            Decision.SHIPPED,
            {"state": State.VERIFIED, "due_at": 1060.0, "code": "WriterUnproven"},
            "deleted once nobody can be writing to it",
            None,
        ),
        (
            Decision.SHIPPED,
            {"state": State.DONE, "due_at": None},
            "kept: its shipment is over",
            None,
        ),
        (Decision.DUPLICATE, {"state": State.DUPLICATE, "finished_at": 900.0}, "deleted", 500.0),
        (Decision.DUPLICATE, {"state": State.DUPLICATE, "finished_at": 0.0}, "deleted", 0.0),
    ],
)
def test_what_becomes_of_a_file_that_is_to_be_deleted(
    decision: Decision, known: dict[str, Any] | None, text: str, seconds: float | None
) -> None:
    watch = replace(WATCH, after_upload=AfterUpload.DELETE)
    row = None if known is None else shipment(**known)
    candidate = Candidate(watch, PATH, decision, known=row)
    assert afterwards_of(replace(facts(), candidate=candidate)) == (text, seconds)


def test_what_is_kept_or_no_candidate_says_so() -> None:
    assert afterwards_of(facts()) == ("kept", None)
    assert afterwards_of(replace(facts(), candidate=None)) == ("", None)


def test_a_file_that_could_not_be_looked_for_everywhere_is_not_called_gone() -> None:
    row = Row(shipment(state=State.READY), Relation.NAMESAKE)
    absent = replace(facts(), stat=None, candidate=None, writers=None, rows=(row,))
    problem = PortError("Unreadable", "a directory", "chmod it")
    answer = answer_for(replace(absent, problem=problem))
    assert (answer.words, answer.code, answer.is_well) == ("not here", "Unreadable", False)
    assert answer_for(absent).words == "gone"
    assert answer_for(replace(absent, moved_to=RelativePath(b"app.log.2"))).words == "renamed"
    assert "now called  app.log.2" in said(replace(absent, moved_to=RelativePath(b"app.log.2")))


def test_the_lines_of_a_shipment_say_what_it_waits_for() -> None:
    row = shipment(
        state=State.UPLOADING,
        due_at=1090.0,
        attempts=2,
        code="SlowDown",
        detail="please\nreduce your rate",
        sealed_because="quiet for 5.0 s",
    )
    waiting = facts(Decision.UNDERWAY, candidate={"known": row})
    text = said(replace(waiting, rows=(Row(row, Relation.SAME, parts_stored=3),), rows_left_out=4))
    assert "shipment    1: UPLOADING, bytes 0 to 100 of this file\n" in text
    assert "due in 1m30s, 2 attempts failed, 3 parts stored\n" in text
    assert "SlowDown: please reduce your rate\n" in text
    assert "and 4 older ones of this name" in text
    assert "sealed      yes: quiet for 5.0 s\n" in text
    assert answer_for(waiting).is_well


def test_a_file_that_cannot_be_read_is_matched_by_its_inode_and_that_is_said() -> None:
    row = Row(shipment(state=State.DONE, due_at=None, finished_at=0.0), Relation.UNREAD)
    text = said(replace(facts(), rows=(row,)))
    assert "of this inode; the bytes could not be compared\n" in text
    assert "finished 1970-01-01T00:00:00Z" in text


def test_what_no_scan_comes_to_is_well_only_where_the_configuration_asks_for_it() -> None:
    left = replace(facts(), candidate=None)
    meant = replace(LOCATION, role=None, because="in the archive directory", is_archive=True)
    assert answer_for(replace(left, location=meant)).is_well
    unmeant = replace(LOCATION, role=None, because="no rotator gives such a name", hint="name it")
    assert not answer_for(replace(left, location=unmeant)).is_well
    assert not answer_for(replace(left, location=None)).is_well
    assert not answer_for(replace(left, stat=stat(kind=FileKind.DIRECTORY))).is_well
