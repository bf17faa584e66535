"""What is missing in a series of names, and which series say nothing."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core import series
from shipper.core.series import Hole, Member, Names, date_holes, member_of, number_holes
from shipper.core.types import RelativePath

DAY = timedelta(days=1)
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)


def at(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]  # a date's numbers


def every(step: timedelta, count: int, begin: datetime = MONDAY) -> list[int]:
    return [int((begin + number * step).timestamp()) for number in range(count)]


def missing(points: list[int]) -> list[str]:
    return [one for hole in date_holes(points) for one in hole.missing]


@pytest.mark.parametrize(
    ("name", "member"),
    [
        (b"app.log-20261126", Member(b"app.log", True, at(2026, 11, 26))),
        (b"app.log-20261126.gz", Member(b"app.log", True, at(2026, 11, 26))),
        (b"a/b/app-2026-11-26.log", Member(b"a/b/app.log", True, at(2026, 11, 26))),
        (b"app.log-2026112614", Member(b"app.log", True, at(2026, 11, 26, 14))),
        (b"app.2026-11-26-14-05-09.log", Member(b"app.log", True, at(2026, 11, 26, 14, 5, 9))),
        (b"app.28-Nov-2026.log", Member(b"app.log", True, at(2026, 11, 28))),
        (b"u_ex261126.log", Member(b"u_ex.log", True, at(2026, 11, 26))),
        (b"app.17.log", Member(b"app.log", False, 17)),
        (b"app.log.17", Member(b"app.log", False, 17)),
        (b"app.log-202611", None),
        (b"app.log-28112026", None),
        (b"app.log-20112026", None),
        (b"app.log", None),
        (b"app-Mon.log", None),
        (b"app.log.old", None),
        (b"u_ex201126.log", None),
    ],
)
def test_a_name_is_of_a_series_if_it_can_be_read_in_one_way(
    name: bytes, member: Member | None
) -> None:
    assert member_of(RelativePath(name)) == member


def test_a_half_day_is_a_time_of_day() -> None:
    morning, evening = (
        member_of(RelativePath(b"app-2026-11-26-%b.log" % half)) for half in (b"AM", b"PM")
    )
    assert morning is not None
    assert evening is not None
    assert evening.at - morning.at == 12 * 3600


def test_a_day_that_is_missing_is_named_with_its_neighbours() -> None:
    points = every(DAY, 26)
    del points[24]
    assert date_holes(points) == [Hole(("2026-11-26",), 1, "2026-11-25", "2026-11-27")]


def test_five_days_are_enough_and_four_are_not() -> None:
    five = [at(2026, 11, day) for day in (23, 24, 25, 26, 28)]
    assert missing(five) == ["2026-11-27"]
    assert missing(five[1:]) == []


def test_what_a_week_never_has_is_no_hole() -> None:
    working = [one for one in every(DAY, 60) if datetime.fromtimestamp(one, UTC).weekday() < 5]
    assert missing(working) == []
    wednesday = at(2026, 11, 25)
    assert missing([one for one in working if one != wednesday]) == ["2026-11-25"]
    assert missing(working[:6]) == []


def test_one_saturday_of_work_makes_no_hole_of_the_next_one() -> None:
    working = [one for one in every(DAY, 60) if datetime.fromtimestamp(one, UTC).weekday() < 5]
    assert missing([*working, at(2026, 11, 21)]) == []


def test_nights_without_logs_are_no_holes_and_an_hour_of_the_day_is_one() -> None:
    hours = [
        one
        for one in every(timedelta(hours=1), 24 * 21)
        if 8 <= datetime.fromtimestamp(one, UTC).hour < 22
    ]
    assert missing(hours) == []
    gone = at(2026, 11, 11, 15)
    assert missing([one for one in hours if one != gone]) == ["2026-11-11T15:00"]
    young = hours[: 14 * 3]
    assert missing(young) == []
    assert missing([one for one in young if one != at(2026, 11, 3, 15)]) == ["2026-11-03T15:00"]


def test_the_hour_that_a_clock_leaves_out_is_no_hole() -> None:
    hours = every(timedelta(hours=1), 24 * 21, datetime(2026, 3, 16, tzinfo=UTC))
    assert missing([one for one in hours if one != at(2026, 3, 29, 2)]) == []


def test_a_weekly_series_has_its_own_period() -> None:
    weeks = every(7 * DAY, 10)
    assert missing(weeks) == []
    del weeks[4]
    assert missing(weeks) == ["2026-11-30"]


def test_times_that_wander_by_seconds_are_still_a_period() -> None:
    rng = Random(1)
    points = [one + rng.randrange(60) for one in every(DAY, 30)]
    assert missing(points) == []
    del points[17]
    assert len(date_holes(points)) == 1


def test_what_is_rotated_by_size_says_nothing() -> None:
    rng = Random(2)
    assert missing(sorted(MONDAY_AT + rng.randrange(10**7) for _ in range(200))) == []
    assert (
        missing(every(timedelta(minutes=5), 5) + every(timedelta(minutes=5), 5, MONDAY + DAY))
        == []
    )


MONDAY_AT = int(MONDAY.timestamp())


@given(st.integers(5, 200), st.sampled_from([1, 2, 6, 24, 168]), st.randoms())
def test_a_whole_series_has_no_hole_in_whatever_order_it_is_seen(
    count: int, hours: int, rng: Random
) -> None:
    points = every(timedelta(hours=hours), count)
    rng.shuffle(points)
    assert date_holes(points + points[:3]) == []


@given(st.integers(15, 120), st.data())
def test_whatever_is_taken_out_of_a_long_daily_series_is_named_and_nothing_else(
    count: int, data: st.DataObject
) -> None:
    points = every(DAY, count)
    out = data.draw(st.integers(1, count - 2))
    [hole] = date_holes(points[:out] + points[out + 1 :])
    assert hole.missing == (f"{datetime.fromtimestamp(points[out], UTC):%Y-%m-%d}",)


@given(st.sets(st.integers(0, 2_000_000_000), max_size=60))
def test_no_dates_are_too_odd(points: set[int]) -> None:
    for hole in date_holes(points):
        assert hole.count >= len(hole.missing) > 0


@given(st.integers(8, 100), st.data())
def test_a_number_that_is_taken_out_of_an_upward_series_is_named(
    count: int, data: st.DataObject
) -> None:
    mtimes = {number: 1000 * number for number in range(3, 3 + count)}
    assert number_holes(mtimes) == []
    out = data.draw(st.integers(4, count + 1))
    del mtimes[out]
    if len(mtimes) >= 8:
        assert number_holes(mtimes) == [Hole((str(out),), 1, str(out - 1), str(out + 1))]
    else:
        assert number_holes(mtimes) == []


def test_numbers_that_shift_or_repeat_or_jump_are_no_series() -> None:
    shifted = {number: 1000 - number for number in range(1, 12) if number != 5}
    assert number_holes(shifted) == []
    jumping = {number**2: number for number in range(1, 12)}
    assert number_holes(jumping) == []
    names = Names()
    for number in range(1, 12):
        names.add("app", Member(b"app.log", False, number), number)
    names.add("app", Member(b"app.log", False, 4), 77)
    assert list(names.holes()) == []


def test_names_are_told_apart_by_watch_and_series() -> None:
    names = Names()
    for point in every(DAY, 20):
        if point != at(2026, 11, 12):
            names.add("app", Member(b"a.log", True, point), 0)
        names.add("app", Member(b"b.log", True, point), 0)
        names.add("other", Member(b"a.log", True, point), 0)
    for number in (1, 2, 3, 4, 5, 6, 7, 9, 10):
        names.add("app", Member(b"c.log", False, number), number)
    names.add("app", Member(b"c.log", False, 10), 10)
    assert {label: hole.missing for label, hole in names.holes()} == {
        ("app", b"a.log"): ("2026-11-12",),
        ("app", b"c.log"): ("8",),
    }


def test_more_names_than_can_be_kept_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "MOST_POINTS", 10)
    names = Names()
    for point in every(DAY, 20):
        if point != at(2026, 11, 6):
            names.add("app", Member(b"a.log", True, point), 0)
    assert names.is_full
    assert names.points == 10
    assert list(names.holes()) == []
