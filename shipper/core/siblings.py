"""The names that stand beside a file in its directory, as one scan lists them.

They are listed only when a name asks for them, and are forgotten with the directory's scan: some
hundred bytes for each name of one directory. What a name asks costs the same however many there
are, for a directory may hold a log of each run of a job.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from shipper.core.dates_in_names import EARLIEST, periods
from shipper.core.rotated_names import Kind, RotatedName, rotated_name, stem_and_extension
from shipper.core.types import RelativePath

Rank = tuple[datetime, bytes, int]
"""When a dated name's period begins, the time of day in digits, and the number."""


class Listed(NamedTuple):
    name: bytes
    is_link: bool


@dataclass(slots=True)
class Series:
    """What the names of one log and one kind have among them."""

    ranks: list[Rank] = field(default_factory=list)
    """Of dated names, in their order."""
    counted: set[bytes] = field(default_factory=set)
    """The dates that some name has with a number of one digit."""
    highest: int = 0
    """The highest number."""
    latest_year: bytes = b""
    """The highest of the numbers that may be years."""
    has_compressed: bool = False

    def add(self, name: RotatedName) -> None:
        if name.kind is Kind.DATE:
            self.ranks.append(rank(name))
        self.counted |= {name.date} if len(name.count) == 1 else set()
        self.highest = max(self.highest, int(name.count or 0))
        self.latest_year = max(self.latest_year, name.count if name.is_bold else b"")
        self.has_compressed = self.has_compressed or bool(name.extension)

    def latest(self, until: datetime) -> Rank | None:
        """The last name whose period does not begin after ``until``."""
        index = bisect_right(self.ranks, until, key=lambda one: one[0])
        return self.ranks[index - 1] if index else None


class Siblings:
    """Belongs to the thread that scans. Where the listing fails there are none."""

    def __init__(
        self,
        listing: Callable[[], Iterable[Listed]] = tuple,
        is_shifting: Callable[[bytes], bool] = lambda series: False,
        mtime_ns: Callable[[bytes], int | None] = lambda name: None,
    ) -> None:
        self._listing = listing
        self.is_shifting = is_shifting
        """Whether a series of ``core.shifting`` was seen to shift."""
        self.mtime_ns = mtime_ns
        """When the file of this name was last written to, where that can be told."""

    @cached_property
    def names(self) -> dict[bytes, bool]:
        """Every name, and whether it is a symbolic link."""
        return dict(self._listing())

    def series(self, of: RotatedName) -> Series:
        """All names of this log and kind, this one included."""
        return self._series.get((of.stem, of.kind), _NONE)

    def rotations(self, stem: bytes) -> Sequence[bytes]:
        """The names that keys put under this stem."""
        return self._by_stem.get(stem, ())

    @cached_property
    def _series(self) -> dict[tuple[bytes, Kind], Series]:
        found: defaultdict[tuple[bytes, Kind], Series] = defaultdict(Series)
        for name in self.names:
            if one := rotated_name(RelativePath(name)):
                found[one.stem, one.kind].add(one)
        for series in found.values():
            series.ranks.sort()
        return dict(found)

    @cached_property
    def _by_stem(self) -> dict[bytes, list[bytes]]:
        found: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for name in self.names:
            found[stem_and_extension(RelativePath(name)).stem].append(name)
        return dict(found)


def rank(name: RotatedName) -> Rank:
    when = periods(name.date)
    start = when[0].start if when else EARLIEST
    return start, re.sub(rb"\D", b"", name.clock), int(name.count or 0)


_NONE = Series()
NO_SIBLINGS = Siblings()
