"""When to refresh, when to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.schedule import (
    CredentialsState,
    backoff_wait,
    expired_wait,
    refresh_wait,
    retry_wait,
    state_of,
)
from shipper.core.types import RoleCredentials

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
    assert 1 <= backoff_wait(attempts, jitter) <= 60
    assert 2.5 <= retry_wait(attempts, jitter) <= 300
    assert 300 <= expired_wait(jitter) <= 900


def test_a_retry_waits_longer_each_time_until_five_minutes() -> None:
    waits = [retry_wait(attempts, 0.0) for attempts in range(9)]
    assert waits == sorted(waits)
    assert waits[0] == 2.5
    assert waits[-1] == 150


LIVING = RoleCredentials("AK", "s", "t", expires_at=100.0)


@pytest.mark.parametrize(
    ("credentials", "now", "refresh_at", "code", "state"),
    [
        (None, 0.0, 0.0, "", CredentialsState.NONE_YET),
        (None, 0.0, 0.0, "Unreachable", CredentialsState.NONE_YET),
        (None, 0.0, 0.0, "NoRole", CredentialsState.MISCONFIGURED),
        (LIVING, 10.0, 50.0, "", CredentialsState.FRESH),
        (LIVING, 60.0, 50.0, "", CredentialsState.STALE),
        (LIVING, 10.0, 50.0, "NoRole", CredentialsState.STALE),
        (LIVING, 100.0, 50.0, "", CredentialsState.EXPIRED),
        (LIVING, 100.0, 50.0, "RoleUnusable", CredentialsState.MISCONFIGURED),
    ],
)
def test_every_state_an_operator_can_see(
    credentials: RoleCredentials | None,
    now: float,
    refresh_at: float,
    code: str,
    state: CredentialsState,
) -> None:
    assert state_of(credentials, now=now, refresh_at=refresh_at, code=code) is state


def test_only_living_credentials_are_usable() -> None:
    usable = {state for state in CredentialsState if state.is_usable}
    assert usable == {CredentialsState.FRESH, CredentialsState.STALE}
