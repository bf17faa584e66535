"""AWS's time stays right whatever happens to the machine's clock."""

from email.utils import formatdate

import pytest

from shipper.edges.server_time import ServerTime
from tests.fakes.clock import FakeClock


@pytest.mark.parametrize("hours", [-30, -5, 1, 24 * 365])
def test_a_wrong_clock_is_corrected_by_the_first_answer(hours: int) -> None:
    clock = FakeClock()
    time, true = ServerTime(clock), clock.now()
    clock.set_wall(true + 3600 * hours)
    assert time.now() == clock.now()
    time.heard(formatdate(true, usegmt=True))
    assert time.now() == true
    assert time.skew_seconds() == -3600 * hours


def test_a_clock_that_is_set_back_meanwhile_changes_nothing() -> None:
    clock = FakeClock()
    time, true = ServerTime(clock), clock.now()
    time.heard(formatdate(true, usegmt=True))
    assert time.skew_seconds() == 0
    clock.set_wall(true - 7200)
    clock.advance(seconds=10)
    clock.suspend(100)
    assert time.now() == true + 110
    clock.set_wall(true + 110)
    assert time.skew_seconds() == 0


def test_what_is_no_date_is_not_heard_and_what_else_is_known_stands_in() -> None:
    clock = FakeClock()
    time = ServerTime(clock)
    for text in ("", "noon", "Mon, 99 Foo 2026 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"):
        time.heard(text)
    assert time.now(otherwise=3600.0) == clock.now() + 3600
