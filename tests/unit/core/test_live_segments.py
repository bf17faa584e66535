"""When a live log gets its next segment."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.live_segments import (
    NEVER,
    is_due,
    is_shipped_live,
    requests_a_month,
    seconds_until_due,
)
from shipper.core.types import AfterUpload, Watch

WATCH = Watch("/logs")
EVERY = replace(WATCH, live_interval_seconds=300.0)
BYTES = replace(WATCH, live_bytes=100)
BOTH = replace(EVERY, live_bytes=100)


@pytest.mark.parametrize(
    ("watch", "left", "since", "seconds"),
    [
        (WATCH, 1000, 0.0, NEVER),
        (EVERY, 0, 0.0, NEVER),
        (EVERY, 1000, None, NEVER),
        (EVERY, 1, 900.0, 200.0),
        (EVERY, 1, 700.0, 0.0),
        (EVERY, 1, 5000.0, 300.0),  # the clock was set back
        (BYTES, 99, 0.0, NEVER),
        (BYTES, 100, 1000.0, 0.0),
        (BOTH, 99, 900.0, 200.0),
        (BOTH, 100, 900.0, 0.0),
    ],
)
def test_a_segment_is_due_by_age_or_by_size(
    watch: Watch, left: int, since: float | None, seconds: float
) -> None:
    assert seconds_until_due(watch, left, since, 1000.0) == seconds
    assert is_due(watch, left, since, 1000.0) is (seconds == 0)


@given(
    interval=st.sampled_from([0.0, 30.0, 300.0]),
    size=st.sampled_from([0, 65536]),
    left=st.integers(-10, 100_000),
    since=st.none() | st.floats(0, 10_000),
    now=st.floats(0, 10_000),
)
def test_no_wait_is_longer_than_the_interval(
    interval: float, size: int, left: int, since: float | None, now: float
) -> None:
    watch = replace(WATCH, live_interval_seconds=interval, live_bytes=size)
    seconds = seconds_until_due(watch, left, since, now)
    assert seconds == NEVER or 0 <= seconds <= interval
    assert seconds == NEVER or is_shipped_live(watch)


def test_a_month_of_segments_is_as_many_requests_and_three_times_as_many_where_files_go() -> None:
    assert requests_a_month(EVERY) == 8640
    assert requests_a_month(replace(EVERY, after_upload=AfterUpload.DELETE)) == 25_920
    assert requests_a_month(BYTES) == 0
