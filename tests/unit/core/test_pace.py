"""When heartbeats go out, on a clock that the test moves."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from shipper.core.heartbeats import State
from shipper.core.pace import LEAST_SECONDS, arrived, begun, failed, first_pace

INTERVALS = st.sampled_from([60.0, 300.0, 3600.0, 86_400.0])
STEPS = st.lists(
    st.tuples(st.floats(0.1, 7200), st.sampled_from([*State]), st.booleans()),
    min_size=1,
    max_size=60,
)


@given(INTERVALS, st.floats(0, 1, exclude_max=True), STEPS)
def test_at_most_one_a_minute_goes_out_whatever_happens(
    interval: float, jitter: float, steps: list[tuple[float, State, bool]]
) -> None:
    now = 1000.0
    pace, sent = first_pace(interval, now, jitter), list[float]()
    for wait, state, is_good in steps:
        if now >= pace.due_at(state):
            sent.append(now)
            pace = begun(pace, now)
            pace = arrived(pace, state, now) if is_good else failed(pace, now, jitter)
        now += wait
    assert all(later - one >= LEAST_SECONDS - 1e-6 for one, later in itertools.pairwise(sent))


@given(INTERVALS, st.floats(0, 1, exclude_max=True), STEPS)
def test_the_bucket_is_never_an_interval_behind_nor_a_minute_behind_a_change(
    interval: float, jitter: float, steps: list[tuple[float, State, bool]]
) -> None:
    now = 1000.0
    pace = first_pace(interval, now, jitter)
    arrived_at, said = None, None
    for wait, state, _ in steps:
        until = now + wait
        while (due := max(now, pace.due_at(state))) <= until:
            now = due
            pace = arrived(begun(pace, now), state, now)
            assert pace.turn_at > now or interval == LEAST_SECONDS
            arrived_at, said = now, state
        if arrived_at is None:
            assert state is State.STARTING
            assert until < 1000.0 + LEAST_SECONDS
            now = until
            continue
        assert until - arrived_at <= max(interval, LEAST_SECONDS) + 1e-3
        assert said is state or until < arrived_at + LEAST_SECONDS
        now = until


def test_the_first_goes_out_at_once_and_the_turns_of_a_fleet_are_spread() -> None:
    turns = {int(first_pace(3600.0, 0.0, number / 100).turn_at // 36) for number in range(100)}
    assert len(turns) == 100
    assert first_pace(3600.0, 5.0, 0.5).due_at(State.WELL) <= 5.0


def test_the_first_waits_a_minute_for_the_first_scan() -> None:
    pace = first_pace(3600.0, 5.0, 0.5)
    assert pace.due_at(State.STARTING) == 65.0
    pace = arrived(begun(pace, 65.0), State.STARTING, 65.0)
    assert pace.due_at(State.WELL) == 125.0


def test_a_change_is_told_a_minute_after_the_last_one_and_keeps_the_turn() -> None:
    pace = arrived(begun(first_pace(3600.0, 0.0, 0.5), 0.0), State.WELL, 0.0)
    assert pace.due_at(State.WELL) == 1800.0
    assert pace.due_at(State.ILL) == 60.0
    pace = arrived(begun(pace, 100.0), State.ILL, 101.0)
    assert pace.due_at(State.ILL) == 1800.0
    assert arrived(begun(pace, 1800.0), State.ILL, 1800.0).due_at(State.ILL) == 5400.0


def test_turns_that_were_slept_through_are_one() -> None:
    pace = arrived(begun(first_pace(3600.0, 0.0, 0.5), 0.0), State.WELL, 0.0)
    pace = arrived(begun(pace, 100_000.0), State.WELL, 100_000.0)
    assert pace.due_at(State.WELL) == 1800.0 + 28 * 3600.0


def test_failures_are_repeated_at_growing_distances_and_no_later_than_ten_minutes() -> None:
    pace, now, waits = first_pace(3600.0, 0.0, 0.5), 0.0, list[float]()
    for _ in range(12):
        pace = failed(begun(pace, now), now, 0.99999)
        waits.append(round(pace.due_at(State.WELL) - now, 3))
        now = pace.due_at(State.WELL)
    assert waits[0] == 60.0
    assert waits == sorted(waits)
    assert 590.0 < waits[-1] <= 600.0
    assert pace.failures == 12
    assert arrived(begun(pace, now), State.WELL, now).failures == 0


def test_what_failed_is_due_again_though_its_state_was_said_before() -> None:
    pace = arrived(begun(first_pace(3600.0, 0.0, 0.5), 0.0), State.WELL, 0.0)
    pace = failed(begun(pace, 1800.0), 1800.0, 0.5)
    assert pace.due_at(State.WELL) == 1860.0
