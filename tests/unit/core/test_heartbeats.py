"""Heartbeats: bounded, read strictly, and told apart by their size."""

import json
import string
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.core.heartbeats import (
    MOST_BYTES,
    MOST_ROWS,
    DestinationWord,
    DiskWord,
    Heartbeat,
    HeartbeatName,
    NoHeartbeat,
    Reason,
    State,
    WatchCounts,
    decoded,
    encoded,
    hourly_key,
    last_word,
    name_from_key,
    overwritten_key,
    reason_from,
    state_from_size,
    state_of,
)
from tests.machines.schemas import broken

_TEXTS = st.text(max_size=300) | st.text('\U0001f600\0"\\', max_size=300)
_NUMBERS = st.integers(0, 2**62)
_SECONDS = st.floats(0, 1e12)


def _rows(kind: type[Any], most: int = 60) -> st.SearchStrategy[Any]:
    of = {str: _TEXTS, int: _NUMBERS, float: _SECONDS}
    row = st.builds(kind, **{one.name: of[one.type] for one in fields(kind)})  # type: ignore[index]
    return st.lists(row, max_size=most).map(tuple)


HEARTBEATS = st.builds(
    Heartbeat,
    schema=st.just(1),
    instance=_TEXTS,
    at=_TEXTS,
    state=st.sampled_from([*State]),
    version=_TEXTS,
    configuration=_TEXTS,
    interval_seconds=_SECONDS,
    next_due_at=_TEXTS,
    reasons=_rows(Reason),
    watches=_rows(WatchCounts),
    overdue=_NUMBERS,
    oldest_unshipped_seconds=_SECONDS,
    destinations=_rows(DestinationWord),
    disks=_rows(DiskWord),
)
PLAIN = Heartbeat(
    schema=1,
    instance="i-1",
    at="2026-11-29T20:00:00.000Z",
    state="ill",
    version="1",
    configuration="ab" * 32,
    interval_seconds=3600.0,
    next_due_at="2026-11-29T21:00:00.000Z",
    reasons=(Reason("AccessDenied", "nothing is sent: AccessDenied"),),
    watches=(WatchCounts("app", live=1, overdue_seconds=60.0),),
    destinations=(DestinationWord("default", "open", "fresh", "", 7, "ab" * 32),),
    disks=(DiskWord("/var/log", 10, 0.5),),
)


@settings(max_examples=150, deadline=None)
@given(HEARTBEATS)
def test_whatever_it_says_it_is_bounded_its_size_tells_its_state_and_it_is_read_back(
    heartbeat: Heartbeat,
) -> None:
    body = encoded(heartbeat)
    assert len(body) <= MOST_BYTES
    assert state_from_size(len(body)) is State(heartbeat.state)
    found = decoded(body)
    assert broken("heartbeat", json.loads(body)) == []
    assert found.state == heartbeat.state
    assert len(found.watches) + found.watches_left_out == len(heartbeat.watches)
    assert len(found.reasons) + found.reasons_left_out == len(heartbeat.reasons)
    assert encoded(found) == body


def test_what_is_short_is_read_back_as_it_was_written() -> None:
    assert decoded(encoded(PLAIN)) == PLAIN


def test_the_numbers_of_the_states_are_those_of_the_contract() -> None:
    words = ["well", "imperfect", "ill", "draining", "stopped", "ended", "starting"]
    for number, word in enumerate(words):
        body = encoded(replace(PLAIN, state=word))
        assert len(body) % 16 == number
        assert body.rstrip(b" ").endswith(b"}")


def test_of_many_watches_the_worst_are_told_and_the_rest_is_counted() -> None:
    watches = tuple(WatchCounts(f"w{number}") for number in range(500))
    ill = WatchCounts("ill", parked=3)
    late = WatchCounts("late", overdue_seconds=5.0)
    found = decoded(encoded(replace(PLAIN, watches=(*watches, ill, late))))
    assert [one.name for one in found.watches[:2]] == ["late", "ill"]
    assert len(found.watches) <= MOST_ROWS
    assert found.watches_left_out == 502 - len(found.watches)


def test_what_is_long_in_every_letter_has_fewer_rows_and_not_more_bytes() -> None:
    smile = "\U0001f600" * 200
    reasons = tuple(Reason(smile, smile) for _ in range(60))
    body = encoded(replace(PLAIN, reasons=reasons, disks=(DiskWord(smile, 1, 0.5),) * 60))
    assert len(body) <= MOST_BYTES
    found = decoded(body)
    assert 0 < len(found.reasons) < 50
    assert len(found.reasons) + found.reasons_left_out == 60
    assert found.watches == PLAIN.watches


@pytest.mark.parametrize("size", [0, -1, 16 + 7, 16 + 15, MOST_BYTES + 16, 2**60])
def test_other_sizes_tell_no_state(size: int) -> None:
    assert state_from_size(size) is None


@given(st.integers(-(2**70), 2**70))
def test_any_size_has_a_state_or_none(size: int) -> None:
    assert state_from_size(size) in (None, *State)


@given(st.binary(max_size=200) | st.text(string.printable).map(str.encode))
def test_bytes_that_are_no_heartbeat_are_refused(body: bytes) -> None:
    with pytest.raises(NoHeartbeat):
        decoded(body)


def _changed(**members: Any) -> bytes:
    document = json.loads(encoded(PLAIN)) | members
    body = json.dumps({name: value for name, value in document.items() if value != "absent"})
    return (body + " " * ((2 - len(body)) % 16)).encode()


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"schema": 2}, "its schema is 2"),
        ({"schema": True}, "schema is True"),
        ({"instance": 7}, "instance is 7"),
        ({"instance": "absent"}, "instance is None"),
        ({"state": "well"}, "its size is not one of the state 'well'"),
        ({"state": "fine"}, "its size is not one of the state 'fine'"),
        ({"interval_seconds": float("nan")}, "interval_seconds is nan"),
        ({"interval_seconds": float("inf")}, "interval_seconds is inf"),
        ({"interval_seconds": -1}, "interval_seconds is -1"),
        ({"interval_seconds": 10**400}, "interval_seconds is 1000"),
        ({"overdue": 2**63}, "overdue is 9223372036854775808"),
        ({"overdue": 1.0}, "overdue is 1.0"),
        ({"watches": {}}, "watches is {}"),
        ({"watches": [1]}, "1 is no JSON object"),
        ({"watches": [{"name": 1}]}, "name is 1"),
        ({"reasons": None}, "reasons is None"),
    ],
)
def test_a_member_of_another_type_is_named(members: dict[str, Any], why: str) -> None:
    with pytest.raises(NoHeartbeat, match=why.replace("(", r"\(")):
        decoded(_changed(**members))


def test_unknown_members_are_left_out() -> None:
    assert decoded(_changed(colour="blue")) == PLAIN


def test_what_is_too_long_too_deep_or_no_object_is_refused() -> None:
    for body, why in (
        (b"[" * 10_000, "not JSON"),
        (b"[1]", "no JSON object"),
        (b" " * (MOST_BYTES + 1), "bytes"),
        (b"9" * 5_000, "not JSON"),
    ):
        with pytest.raises(NoHeartbeat, match=why):
            decoded(body)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("nothing is sent: AccessDenied: no", "AccessDenied"),
        ("NotFound: gone", "NotFound"),
        ("watch app: no log for 26.1 hours", ""),
        ("watch app: 3 files: HardLinked", "HardLinked"),
        ("watch app: a (hint; run evil).log.1: HardLinked: two names", "HardLinked"),
    ],
)
def test_a_reason_has_the_code_of_the_ailment(line: str, code: str) -> None:
    assert reason_from(line) == Reason(code, line)


def test_a_reason_is_short() -> None:
    assert len(reason_from("x" * 1000).text) == 200


def test_the_word_is_the_worst_that_holds() -> None:
    def word(known: int, draining: int, ill: int, imperfect: int) -> State:
        return state_of(
            is_known=bool(known),
            is_draining=bool(draining),
            ailments=bool(ill),
            imperfections=bool(imperfect),
        )

    assert word(1, 0, 0, 0) is State.WELL
    assert word(1, 0, 0, 1) is State.IMPERFECT
    assert word(1, 0, 1, 1) is State.ILL
    assert word(0, 0, 1, 1) is State.ILL
    assert word(0, 0, 0, 1) is State.STARTING
    assert word(1, 1, 1, 1) is State.DRAINING


@given(st.text(), st.text(min_size=1), st.integers(0, 59))
def test_keys_are_read_back_whatever_the_instance_is_called(
    prefix: str, instance: str, minute: int
) -> None:
    at = f"2026-11-29T20:{minute:02}:07.000Z"
    first = hourly_key(prefix, instance, at, is_another=False)
    more = hourly_key(prefix, instance, at, is_another=True)
    whose = name_from_key(prefix, overwritten_key(prefix, instance))
    assert whose is not None
    assert whose.hour == ""
    hourly = HeartbeatName(whose.instance, "2026-11-29T20")  # type: ignore[arg-type]
    assert name_from_key(prefix, first) == name_from_key(prefix, more) == hourly
    assert first.endswith("/heartbeat.json")
    assert more.endswith(f"/heartbeat-{minute:02}07.json")


@pytest.mark.parametrize(
    "key",
    [
        "logs/_fleet/",
        "logs/_fleet/instance=i-1/",
        "logs/_fleet/instance=i-1/heartbeat.json.bak",
        "logs/_fleet/instance=i-1/heartbeat-0712.json",
        "logs/_fleet/instance=/heartbeat.json",
        "logs/_fleet/hour=2026-11-29/instance=i-1/heartbeat.json",
        "logs/_fleet/a/instance=i-1/heartbeat.json",
        "other/_fleet/instance=i-1/heartbeat.json",
        "logs/app/instance=i-1/heartbeat.json",
    ],
)
def test_other_keys_name_no_heartbeat(key: str) -> None:
    assert name_from_key("logs/", key) is None


@pytest.mark.parametrize("state", [*State])
@pytest.mark.parametrize("has_drained", [True, False])
@pytest.mark.parametrize("is_final", [True, False])
def test_only_a_machine_that_is_known_to_end_and_looks_shipped_has_ended(
    state: State, has_drained: bool, is_final: bool
) -> None:
    look = Heartbeat(1, "i-1", "", state.value, "1", "", 0.0, "", (Reason("Skewed", "a clock"),))
    last = last_word(look, has_drained=has_drained, is_final=is_final)
    is_shipped = has_drained and state in (State.WELL, State.IMPERFECT)
    assert last.state == ("ended" if is_shipped and is_final else "stopped")
    codes = [one.code for one in last.reasons]
    assert codes == ["ShutDown"] * (is_shipped and not is_final) + ["Skewed"]
