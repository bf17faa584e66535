"""When to refresh, when to try again."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.backoff import (
    Backoff,
    CredentialsState,
    expired_wait,
    failed_since,
    refresh_retry_wait,
    refresh_wait,
    scan_interval,
    shipment_retry_wait,
    skew_from,
    state_of,
)

JITTER = st.floats(0, 1, exclude_max=True)


@given(st.floats(4, 1e6), JITTER)
def test_a_refresh_comes_before_the_expiry_and_within_the_hour(life: float, jitter: float) -> None:
    wait = refresh_wait(life, jitter)
    assert 1 <= wait <= 3600
    assert wait < life


@pytest.mark.parametrize(("life", "wait"), [(6 * 3600, 3600), (2000, 1100), (60, 30)])
def test_a_refresh_is_due_in_time_whatever_the_life(life: float, wait: float) -> None:
    assert refresh_wait(life, 0.0) == wait
    assert refresh_wait(life, 0.99) < wait


@given(st.integers(0, 10**6), JITTER)
def test_waits_are_bounded_and_never_nothing(attempts: int, jitter: float) -> None:
    assert 1 <= refresh_retry_wait(attempts, jitter) <= 60
    assert 2.5 <= shipment_retry_wait(attempts, jitter) <= 300
    assert 300 <= expired_wait(jitter) <= 900


def test_a_retry_waits_longer_each_time_until_five_minutes() -> None:
    waits = [shipment_retry_wait(attempts, 0.0) for attempts in range(9)]
    assert waits == sorted(waits)
    assert waits[0] == 2.5
    assert waits[-1] == 150


@given(attempts=st.integers(0, 100), jitter=st.floats(0, 1))
def test_no_shipment_failed_earlier_than_is_told_of_it(attempts: int, jitter: float) -> None:
    due_at = 1000.0 + shipment_retry_wait(attempts, jitter)
    assert failed_since(due_at, attempts + 1) <= 1000.0


@pytest.mark.parametrize(
    ("life", "is_late", "code", "state"),
    [
        (None, False, "", CredentialsState.NONE_YET),
        (None, False, "Unreachable", CredentialsState.NONE_YET),
        (None, False, "NoRole", CredentialsState.MISCONFIGURED),
        (90.0, False, "", CredentialsState.FRESH),
        (40.0, True, "", CredentialsState.STALE),
        (90.0, False, "NoRole", CredentialsState.STALE),
        (0.0, False, "", CredentialsState.EXTENDED),
        (-5.0, True, "Unreachable", CredentialsState.EXTENDED),
        (0.0, False, "RoleUnusable", CredentialsState.MISCONFIGURED),
    ],
)
def test_every_state_an_operator_can_see(
    life: float | None, is_late: bool, code: str, state: CredentialsState
) -> None:
    assert state_of(life, is_late=is_late, code=code) is state


@pytest.mark.parametrize(
    ("date", "skew"),
    [
        ("Tue, 24 Nov 2026 10:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 10:00:04 GMT", 0.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 3600.0),
        ("Mon, 23 Nov 2026 10:00:00 GMT", -86_400.0),
        ("", 0.0),
        ("yesterday", 0.0),
        ("Tue, 24 Nov 99999 10:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_the_skew_is_what_an_answers_date_is_ahead_of_us(date: str, skew: float) -> None:
    now = datetime(2026, 11, 24, 10, tzinfo=UTC).timestamp()
    assert skew_from(date, now) == skew


@given(st.text())
def test_no_date_is_too_strange_for_a_skew(date: str) -> None:
    assert isinstance(skew_from(date, 0.0), float)


@pytest.mark.parametrize(
    ("configured", "seconds"),
    [(30.0, 10.0), (60.0, 20.0), (12.0, 5.0), (5.0, 5.0), (0.1, 0.1)],
)
def test_scans_come_three_times_as_often_where_events_do_not_but_not_below_5_s(
    configured: float, seconds: float
) -> None:
    assert scan_interval(configured, has_unwatched=False) == configured
    assert scan_interval(configured, has_unwatched=True) == seconds


@pytest.mark.parametrize(
    ("failures", "asked", "lowest", "highest"),
    [
        (1, 0.0, 0.1, 0.5),
        (2, 0.0, 0.1, 1.0),
        (3, 0.0, 0.1, 1.5),
        (1, 1.2, 1.2, 1.2),
        (1, 1.5, 1.5, 1.5),
    ],
)
@given(jitter=st.floats(0, 1, exclude_max=True))
def test_a_call_is_repeated_after_a_jittered_wait_or_the_one_asked_for(
    failures: int, asked: float, lowest: float, highest: float, jitter: float
) -> None:
    backoff = Backoff(shortest_wait_seconds=0.1, longest_wait_seconds=1.5)
    wait = backoff.wait_seconds(failures, jitter, asked_seconds=asked)
    assert wait is not None
    assert lowest <= wait <= highest


def test_there_is_no_attempt_after_the_last_nor_after_a_wait_that_is_too_long() -> None:
    backoff = Backoff(attempts=4, longest_wait_seconds=10.0)
    assert backoff.wait_seconds(3, 0.5) is not None
    assert backoff.wait_seconds(4, 0.5) is None
    assert backoff.wait_seconds(1, 0.5, asked_seconds=10.1) is None
