"""From what the metadata service says to what is to be done about it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core import termination
from shipper.core.termination import (
    Answers,
    Drain,
    DrainPolicy,
    Notice,
    Reason,
    awaited,
    drain_for,
    due_pass,
    extended,
    is_more_urgent,
    is_over,
    is_withdrawn,
    notice_from,
    passed,
)

WALL = 1_764_000_000.0
SPOT_TEXT = '{"action": "terminate", "time": "2025-11-24T16:02:00Z"}'
SPOT = Notice(Reason.SPOT, "spot", WALL + 120)
REBALANCE = Notice(Reason.REBALANCE, "rebalance")
TERMINATED = Notice(Reason.AUTOSCALING, "Terminated", is_final=True)
SHUTDOWN = Notice(Reason.SHUTDOWN, "shutdown", seconds=18.0)
HOOKED = DrainPolicy(has_hook=True)


def begun(notice: Notice, policy: DrainPolicy = DrainPolicy()) -> Drain:  # noqa: B008  (frozen)
    return drain_for(notice, policy, wall=WALL, now=0.0)


# Reading.


def test_a_spot_notice_says_when() -> None:
    found = notice_from(Reason.SPOT, SPOT_TEXT)
    assert found == Notice(Reason.SPOT, SPOT_TEXT, 1_764_000_120.0, is_final=True)


@pytest.mark.parametrize("action", ["stop", "hibernate"])
def test_a_spot_instance_that_is_stopped_comes_back(action: str) -> None:
    found = notice_from(Reason.SPOT, SPOT_TEXT.replace("terminate", action))
    assert found is not None
    assert not found.is_final


@pytest.mark.parametrize(
    ("text", "announces"), [("Terminated", True), ("Terminated\n", True), ("InService", False)]
)
def test_only_one_lifecycle_state_announces_an_end(text: str, announces: bool) -> None:
    assert (notice_from(Reason.AUTOSCALING, text) == TERMINATED) is announces


def test_a_rebalance_recommendation_is_a_notice() -> None:
    text = '{"noticeTime": "2025-11-24T16:02:00Z"}'
    assert notice_from(Reason.REBALANCE, text) == Notice(Reason.REBALANCE, text)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason.SPOT, "<html>"),
        (Reason.SPOT, 60_000 * "["),
        (Reason.SPOT, "[]"),
        (Reason.SPOT, "{}"),
        (Reason.SPOT, '{"time": 3}'),
        (Reason.SPOT, '{"time": "soon"}'),
        (Reason.REBALANCE, '{"time": "2025-11-24T16:02:00Z"}'),
        (Reason.SHUTDOWN, ""),
    ],
)
def test_what_makes_no_sense_is_no_answer(reason: Reason, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (JSON's own, or ours)
        notice_from(reason, text)


# Deciding.


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({}, None),
        ({Reason.SPOT: None}, None),
        ({Reason.SPOT: SPOT, Reason.AUTOSCALING: TERMINATED}, SPOT),
        ({Reason.REBALANCE: REBALANCE, Reason.AUTOSCALING: TERMINATED}, TERMINATED),
        ({Reason.SPOT: SPOT, Reason.SHUTDOWN: SHUTDOWN}, SHUTDOWN),
        ({Reason.SPOT: replace(SPOT, at=WALL - 299)}, replace(SPOT, at=WALL - 299)),
        ({Reason.SPOT: replace(SPOT, at=WALL - 301), Reason.REBALANCE: REBALANCE}, REBALANCE),
    ],
)
def test_the_most_urgent_notice_that_is_about_something_counts(
    answers: Answers, expected: Notice | None
) -> None:
    assert awaited(answers, frozenset(), now=WALL) == expected


def test_what_was_dealt_with_does_not_begin_again() -> None:
    answers = {Reason.SPOT: SPOT, Reason.REBALANCE: REBALANCE}
    assert awaited(answers, frozenset({"spot"}), now=WALL) == REBALANCE
    assert awaited(answers, frozenset({"spot", "rebalance"}), now=WALL) is None


def test_only_the_word_that_there_is_no_notice_withdraws_it() -> None:
    drain = begun(SPOT)
    assert is_withdrawn(drain, {Reason.SPOT: None})
    assert not is_withdrawn(drain, {})
    assert not is_withdrawn(drain, {Reason.SPOT: SPOT, Reason.REBALANCE: None})


def test_a_more_urgent_notice_or_another_of_its_kind_takes_its_place() -> None:
    assert is_more_urgent(SPOT, begun(REBALANCE))
    assert is_more_urgent(replace(SPOT, text="later"), begun(SPOT))
    assert not is_more_urgent(SPOT, begun(SPOT))
    assert not is_more_urgent(REBALANCE, begun(SPOT))


# How long.


@pytest.mark.parametrize(
    ("notice", "policy", "seconds"),
    [
        (SPOT, DrainPolicy(), 110.0),
        (replace(SPOT, at=WALL + 60), DrainPolicy(), 50.0),
        (replace(SPOT, at=WALL + 9999), DrainPolicy(), 110.0),
        (replace(SPOT, at=WALL - 20), DrainPolicy(), 10.0),
        (TERMINATED, DrainPolicy(), 290.0),
        (TERMINATED, DrainPolicy(5.0), 0.0),
        (REBALANCE, DrainPolicy(), termination.REBALANCE_SECONDS),
        (SHUTDOWN, DrainPolicy(), 18.0),
    ],
)
def test_a_drain_ends_before_the_machine_does(
    notice: Notice, policy: DrainPolicy, seconds: float
) -> None:
    assert begun(notice, policy).deadline == seconds


def test_a_heartbeat_moves_the_deadline_and_never_back() -> None:
    drain = begun(TERMINATED, HOOKED)
    assert extended(drain, HOOKED, now=100.0).deadline == 390.0
    assert extended(drain, DrainPolicy(30.0), now=100.0).deadline == 290.0


# The passes over the live files.


def passes_of(drain: Drain, *, left: int = 0, until: float = 1000.0) -> list[tuple[float, bool]]:
    """When a pass is made, and whether it cuts lines, if every pass finds something."""
    found = []
    for now in range(int(until)):
        whole = due_pass(drain, left=left, now=float(now))
        if whole is not None:
            found.append((float(now), whole))
            drain = passed(drain, whole=whole, promised=1, now=float(now))
        if is_over(drain, left=left, now=float(now)):
            break
    return found


def test_a_spot_notice_has_passes_to_the_end_and_only_the_last_cuts_lines() -> None:
    assert passes_of(begun(SPOT)) == [
        (0.0, False),
        (30.0, False),
        (60.0, False),
        (90.0, False),
        (100.0, True),
    ]


def test_where_no_time_is_left_the_first_pass_is_the_last() -> None:
    assert passes_of(begun(replace(SPOT, at=WALL + 12))) == [(0.0, True)]


def test_rebalancing_has_one_pass_that_cuts_no_line() -> None:
    assert passes_of(begun(REBALANCE)) == [(0.0, False)]


@pytest.mark.parametrize(("notice", "policy"), [(SHUTDOWN, DrainPolicy()), (TERMINATED, HOOKED)])
def test_where_somebody_waits_a_second_pass_takes_what_was_written_during_the_first(
    notice: Notice, policy: DrainPolicy
) -> None:
    assert passes_of(begun(notice, policy)) == [(0.0, True), (1.0, True)]
    assert passes_of(begun(notice, policy), left=3) == [(0.0, True)], "it is not all shipped yet"


def test_a_pass_that_found_nothing_is_the_last_where_somebody_waits() -> None:
    drain = passed(begun(SHUTDOWN), whole=True, promised=0, now=0.0)
    assert due_pass(drain, left=0, now=1.0) is None
    assert is_over(drain, left=0, now=1.0)
    assert not is_over(drain, left=1, now=1.0)


def test_a_spot_drain_is_not_over_before_its_time_for_live_files_grow() -> None:
    drain = passed(begun(SPOT), whole=True, promised=0, now=0.0)
    assert not is_over(drain, left=0, now=109.9)
    assert is_over(drain, left=7, now=110.0)


@given(
    st.sampled_from([SPOT, REBALANCE, TERMINATED, SHUTDOWN]),
    st.floats(-1e6, 1e6),
    st.floats(0, 1e5),
    st.booleans(),
)
def test_every_drain_comes_to_an_end(
    notice: Notice, off: float, seconds: float, has_hook: bool
) -> None:
    policy = DrainPolicy(seconds, has_hook)
    drain = drain_for(notice, policy, wall=WALL + off, now=0.0)
    longest = max(termination.REBALANCE_SECONDS, seconds)
    assert is_over(drain, left=1, now=longest)
    if notice is SPOT:
        assert 0 <= drain.deadline <= termination.SPOT_SECONDS
