"""The mean of the last minute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.runtime.counters import RATE_SECONDS, Rate

BEGUN_AT = 12_345.0


def test_nothing_has_no_rate() -> None:
    assert Rate().per_second(BEGUN_AT) == 0.0


@pytest.mark.parametrize(
    ("after_seconds", "per_second"),
    [(0.0, 60.0), (6.0, 10.0), (30.0, 2.0), (54.0, 60 / 54), (70.0, 0.0), (1e6, 0.0)],
)
def test_what_came_at_once_is_spread_over_the_time_since_and_forgotten_after_a_minute(
    after_seconds: float, per_second: float
) -> None:
    rate = Rate()
    rate.add(60, BEGUN_AT)
    assert rate.per_second(BEGUN_AT + after_seconds) == pytest.approx(per_second)


@given(st.integers(1, 1000), st.floats(0.0, 1e6))
def test_what_comes_evenly_has_its_rate(each_second: int, begun_at: float) -> None:
    rate = Rate()
    for second in range(3 * RATE_SECONDS):
        rate.add(each_second, begun_at + second)
    found = rate.per_second(begun_at + 3 * RATE_SECONDS - 1)
    assert 0.9 * each_second <= found <= each_second
