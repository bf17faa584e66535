"""The period that a date in a name stands for: an hour, half a day, a day, a week, a month.

A name says neither its time zone nor, sometimes, which number is the month. So a date may stand
for several periods, and each must have ended in local time and in UTC. So the clock that is behind
decides (``earlier_clock``). What it shows is treated as UTC, and so are the dates in names.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

_DAY = timedelta(days=1)
AHEAD = timedelta(days=2)
"""No clock is so far ahead: what begins later is not what a program writes now."""
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)
"""Every period is over by then."""
_MONTHS = b"jan feb mar apr may jun jul aug sep oct nov dec".split()
_WEEKDAYS = b"mon tue wed thu fri sat sun".split()


class Period(NamedTuple):
    start: datetime
    end: datetime


def earlier_clock(now: float) -> datetime:
    """What the clock shows that is behind, of local time and UTC."""
    utc = datetime.fromtimestamp(now, UTC)
    return min(utc, utc.astimezone().replace(tzinfo=UTC))


def end_of(periods: tuple[Period, ...], now: datetime) -> datetime | None:
    """When the last of the periods that are not over ends; None when all of them are."""
    return max((one.end for one in periods if one.start - AHEAD < now < one.end), default=None)


@lru_cache(maxsize=4096)
def periods(text: bytes, clock: bytes = b"") -> tuple[Period, ...]:
    """What a date, and the time of day behind it, may stand for; none where it is no date."""
    numbers, half = re.sub(rb"\D", b"", clock), clock[-2:].upper()
    if not numbers and half not in (b"AM", b"PM"):
        return tuple(_days(text))
    hour, hours = (min(int(numbers[:2]), 23), 1) if numbers else (12 * (half == b"PM"), 12)
    starts = (day.start + timedelta(hours=hour) for day in _days(text))
    return tuple(Period(start, start + timedelta(hours=hours)) for start in starts)


def weekday(name: bytes, now: datetime) -> tuple[Period, ...]:
    """The day of ``app-Mon.log``: today, tomorrow, or the last one that was called so.

    Tomorrow may have begun by the clock that is ahead.
    """
    with suppress(OverflowError):
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        ahead = (_WEEKDAYS.index(name.lower()) - now.weekday() + 5) % 7 - 5
        return (Period(today + ahead * _DAY, today + (ahead + 1) * _DAY),)
    return ()


def _days(text: bytes) -> Iterator[Period]:
    if name := re.search(rb"[A-VX-Za-vx-z][a-z]{2}", text):
        with suppress(ValueError):
            yield _named(name[0].lower(), text)
        return
    numbers = re.sub(rb"\D", b"", text)
    for reading in _READINGS.get(len(numbers), ()):
        with suppress(ValueError, OverflowError):  # 31 February, week 60
            yield reading(numbers)


def _named(month: bytes, text: bytes) -> Period:
    """``28-Nov-2026``, ``2026-Nov-28``."""
    one, other = (int(part) for part in re.findall(rb"\d+", text))
    year, day = (one, other) if one > 31 else (other, one)
    return _day(year, _MONTHS.index(month) + 1, day)


def _day(year: int, month: int, day: int) -> Period:
    start = datetime(year, month, day, tzinfo=UTC)
    return Period(start, start + _DAY)


def _month(year: int, month: int) -> Period:
    start = datetime(year, month, 1, tzinfo=UTC)
    return Period(start, (start + 31 * _DAY).replace(day=1))


def _week(year: int, week: int) -> Period:
    """Long enough for each way to count weeks: ``%V``, ``%U``, ``%W`` and Java's."""
    if week > 53:
        raise ValueError(week)
    first = datetime(year, 1, 1, tzinfo=UTC)
    start = first - first.isoweekday() % 7 * _DAY + (week - 1) * 7 * _DAY
    return Period(start, start + 15 * _DAY)


def _ordinal(year: int, number: int) -> Period:
    start = datetime(year, 1, 1, tzinfo=UTC) + (number - 1) * _DAY
    if start.year != year:
        raise ValueError(number)
    return Period(start, start + _DAY)


_READINGS: dict[int, tuple[Callable[[bytes], Period], ...]] = {
    6: (
        lambda n: _month(int(n[:4]), int(n[4:])),
        lambda n: _week(int(n[:4]), int(n[4:])),
        lambda n: _day(2000 + int(n[:2]), int(n[2:4]), int(n[4:])),
    ),
    7: (lambda n: _ordinal(int(n[:4]), int(n[4:])),),
    8: (
        lambda n: _day(int(n[:4]), int(n[4:6]), int(n[6:])),
        lambda n: _day(int(n[4:]), int(n[2:4]), int(n[:2])),
        lambda n: _day(int(n[4:]), int(n[:2]), int(n[2:4])),
    ),
}
"""By the number of digits. A reading that is no date raises ``ValueError``."""
