"""The times that people type."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.instants import instant_from

NOW = datetime(2025, 11, 29, 20, 15, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2025-11-28", "2025-11-28T00:00:00+00:00"),
        ("2025-11-28T08:30", "2025-11-28T08:30:00+00:00"),
        ("2025-11-28 08:30", "2025-11-28T08:30:00+00:00"),
        ("2025-11-28T08:30:15Z", "2025-11-28T08:30:15+00:00"),
        ("2025-11-28T08:30+01:00", "2025-11-28T07:30:00+00:00"),
        ("90s", "2025-11-29T20:13:30+00:00"),
        ("5m", "2025-11-29T20:10:00+00:00"),
        ("2h", "2025-11-29T18:15:00+00:00"),
        ("3 d", "2025-11-26T20:15:00+00:00"),
        ("1w", "2025-11-22T20:15:00+00:00"),
        ("now", "2025-11-29T20:15:00+00:00"),
        ("Today", "2025-11-29T00:00:00+00:00"),
        (" yesterday ", "2025-11-28T00:00:00+00:00"),
    ],
)
def test_a_time_without_a_zone_is_utc(text: str, at: str) -> None:
    assert instant_from(text, NOW) == datetime.fromisoformat(at).timestamp()


def test_as_an_end_a_day_is_its_end_and_a_time_is_itself() -> None:
    for text, day in (("2025-11-28", 29), ("20251128", 29), ("yesterday", 29), ("today", 30)):
        at = datetime(2025, 11, day, tzinfo=UTC).timestamp()
        assert instant_from(text, NOW, is_end=True) == at
    assert instant_from("2h", NOW, is_end=True) == NOW - 7200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2025-13-01",
        "2025-02-30",
        "2h30",
        "-2h",
        "2y",
        "9999-12-31",
        "999999w",
        "0001-01-01T00:00+14:00",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert instant_from(text, NOW, is_end=True) is None


@given(st.text(max_size=20))
def test_nothing_that_is_typed_breaks_it(text: str) -> None:
    instant_from(text, NOW)
