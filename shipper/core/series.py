"""Series of dated or numbered logs, and what is missing in them: ``app.log-20261126``, ``-1128``.

Restraint comes first: most logs are not written at fixed times, and a machine may be off. A series
tells its own period, if it has enough names and nearly all are one period apart. What a week never
has (Sundays, nights) is no hole in it. Dates that can be read in several ways say nothing.

Numbers count upward (``app.17.log``) only where a higher one is of a later file. Those of a
rotator that renames do not.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

from shipper.core.dates_in_names import periods
from shipper.core.rotated_names import Kind, rotated_name
from shipper.core.types import RelativePath

ENOUGH_DATES = 5
ENOUGH_NUMBERS = 8
REGULAR_SHARE = 0.75
"""So many of the gaps must be one period, or the series is irregular."""
SHORTEST_PERIOD_SECONDS = 3000
MOST_POINTS = 200_000
"""Some 30 MB. A host with more names than that is not judged."""
MOST_SHOWN = 5
_HOUR, _DAY, _WEEK = 3600, 86_400, 7 * 86_400
_YEARS = range(1970, 2100)
_LEAPING = range(4)
"""The hours that a clock which is put forward may leave out."""


Label = tuple[str, bytes]
"""A watch and a series."""


class Member(NamedTuple):
    """Which series a name is of, and which of it: when its period begins (UTC), or its number."""

    series: bytes
    is_dated: bool
    at: int


@dataclass(frozen=True, slots=True)
class Hole:
    """What is missing between two names of a series: its first few, and how many."""

    missing: tuple[str, ...]
    count: int
    before: str
    after: str
    since_at: float = field(default=0.0, compare=False)
    """When the name before begins, or was its file last written; ``until_at``: the one after."""
    until_at: float = field(default=0.0, compare=False)


def member_of(path: RelativePath) -> Member | None:
    """None of a name that is of no series."""
    name = rotated_name(path)
    if name is None:
        return None
    series = path[: len(path) - len(path.rpartition(b"/")[2])] + name.stem
    if name.kind is Kind.DATE:
        at = _begin(name.date, name.clock)
        return None if at is None else Member(series, True, at)
    if name.kind in (Kind.NUMBER, Kind.NUMBER_BEHIND) and name.count:
        return Member(series, False, int(name.count))
    return None


def _begin(date: bytes, clock: bytes) -> int | None:
    """None of what can be read in several ways: six digits may be a month or a week as well, and
    eight a day of either order."""
    digits = re.sub(rb"\D", b"", date)
    has_year_first = digits[:2] in (b"19", b"20")
    is_plain = not re.search(rb"[A-Za-z]{3}", date) and len(digits) != 7
    days = [one.start for one in periods(date) if one.start.year in _YEARS]
    if not days or (is_plain and has_year_first != (len(digits) == 8)):
        return None
    day = days[0]
    if is_plain and has_year_first and day.year != int(digits[:4]):
        return None
    hour, minute, second = _time_of_day(clock)
    return int(day.timestamp()) + _HOUR * hour + 60 * minute + second


def _time_of_day(clock: bytes) -> tuple[int, int, int]:
    digits = re.sub(rb"\D", b"", clock)[:6]
    if not digits:
        return 12 * (clock[-2:].upper() == b"PM"), 0, 0
    hour, minute, second = (int(digits[at : at + 2] or 0) for at in (0, 2, 4))
    return hour, minute, second


@dataclass(slots=True)
class Names:
    """The names that were seen, by watch and series."""

    dated: dict[Label, set[int]] = field(default_factory=dict)
    numbered: dict[Label, dict[int, int]] = field(default_factory=dict)
    """By number, the mtime; two files with one number are no series, and -1."""
    points: int = 0

    @property
    def is_full(self) -> bool:
        return self.points >= MOST_POINTS

    def series_of(self, watch: str) -> set[bytes]:
        return {series for one, series in (*self.dated, *self.numbered) if one == watch}

    def add(self, watch: str, member: Member, mtime_ns: int) -> None:
        if self.is_full:
            return
        label = watch, member.series
        if member.is_dated:
            dates = self.dated.setdefault(label, set())
            self.points += member.at not in dates
            dates.add(member.at)
            return
        numbers = self.numbered.setdefault(label, {})
        self.points += member.at not in numbers
        is_other = numbers.setdefault(member.at, mtime_ns) != mtime_ns
        numbers[member.at] = -1 if is_other else mtime_ns

    def holes(self) -> Iterator[tuple[Label, Hole]]:
        """None where there were more names than could be kept: any of them may fill one."""
        if self.is_full:
            return
        for label, dates in self.dated.items():
            yield from ((label, hole) for hole in date_holes(dates))
        for label, mtimes in self.numbered.items():
            yield from ((label, hole) for hole in number_holes(mtimes))


def date_holes(dates: Iterable[int]) -> list[Hole]:
    """Between the first and the last of these dates."""
    points = sorted(set(dates))
    gaps = [later - earlier for earlier, later in pairwise(points)]
    if len(points) < ENOUGH_DATES:
        return []
    period = median_low(gaps)
    slack = period // 8
    is_regular = sum(abs(gap - period) <= slack for gap in gaps) >= REGULAR_SHARE * len(gaps)
    if not is_regular or period < SHORTEST_PERIOD_SECONDS:
        return []
    rhythm, found = _Rhythm(points, period, slack), list[Hole]()
    for before, after in pairwise(points):
        missing = rhythm.missing(before, after)
        if missing:
            shown = tuple(_written(at, period) for at in missing[:MOST_SHOWN])
            ends = _written(before, period), _written(after, period)
            found.append(Hole(shown, len(missing), *ends, before, after))
    return found


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """What a series has at the same time of other weeks."""

    points: list[int]
    period: int
    slack: int

    def missing(self, before: int, after: int) -> list[int]:
        """What should stand between two neighbours."""
        steps = round((after - before) / self.period)
        if steps < 2 or abs(after - before - steps * self.period) > self.slack:
            return []
        absent = [before + step * self.period for step in range(1, steps)]
        is_leap = self.period < _DAY and len(absent) == 1
        if is_leap and absent[0] % _DAY // _HOUR in _LEAPING:
            return []
        return [at for at in absent if self._is_usual(at)]

    def _is_usual(self, at: int) -> bool:
        if self.period > _DAY + self.slack:
            return True
        weeks = [at + count * _WEEK for count in (-2, -1, 1, 2)]
        weeks = [one for one in weeks if self.points[0] <= one <= self.points[-1]]
        if weeks:
            return 2 * sum(map(self._is_there, weeks)) > len(weeks)
        if datetime.fromtimestamp(at, UTC).weekday() > 4:
            return False
        days = [one for one in (at - _DAY, at + _DAY) if self.period < _DAY - self.slack]
        return not days or any(map(self._is_there, days))

    def _is_there(self, at: int) -> bool:
        index = bisect_left(self.points, at - self.slack)
        return index < len(self.points) and self.points[index] <= at + self.slack


def _written(at: int, period: int) -> str:
    when = datetime.fromtimestamp(at, UTC)
    return f"{when:%Y-%m-%d}" if period >= _DAY else f"{when:%Y-%m-%dT%H:%M}"


def number_holes(mtimes: Mapping[int, int]) -> list[Hole]:
    """Between the lowest and the highest of these numbers, if they count upward."""
    numbers = sorted(mtimes)
    if len(numbers) < ENOUGH_NUMBERS or -1 in mtimes.values():
        return []
    is_upward = all(mtimes[one] <= mtimes[next_] for one, next_ in pairwise(numbers))
    gaps = [next_ - one for one, next_ in pairwise(numbers)]
    if not is_upward or gaps.count(1) < REGULAR_SHARE * len(gaps):
        return []
    return [
        Hole(
            tuple(str(number) for number in range(one + 1, next_)[:MOST_SHOWN]),
            next_ - one - 1,
            str(one),
            str(next_),
            mtimes[one] / 1e9,
            mtimes[next_] / 1e9,
        )
        for one, next_ in pairwise(numbers)
        if next_ > one + 1
    ]
