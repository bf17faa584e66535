"""How full a file system is, and what goes before its time so that it does not fill up. Pure.

A file system is as full as ``df`` says: of what programs without privileges may take, used up.
One without a free inode is full as well.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from shipper.core.types import ShipmentId

ACTIVE_SECONDS = 1.0
"""Between two looks while something is to go."""
NEAR_SECONDS = 2.0
IDLE_SECONDS = 10.0
NEAR_RATIO = 0.1
"""A file system is near its high water when it is this much below it."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Removal begins at ``high`` and ends below ``low``, which are ratios."""

    high: float
    low: float


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """One file system. Free is what programs without privileges may take."""

    device: int
    used_bytes: int
    free_bytes: int
    used_inodes: int = 0
    free_inodes: int = 0
    """Both are 0 where there is no fixed number of them."""
    block_bytes: int = 4096

    @property
    def used_ratio(self) -> float:
        return max(
            _ratio(self.used_bytes, self.free_bytes), _ratio(self.used_inodes, self.free_inodes)
        )


@dataclass(frozen=True, slots=True)
class Excess:
    """What has to go; nothing more once neither number is positive."""

    size_bytes: int = 0
    files: int = 0
    block_bytes: int = 4096

    def __bool__(self) -> bool:
        return self.size_bytes > 0 or self.files > 0

    def asks_for(self, size_bytes: int) -> bool:
        """Whether it helps when a file of this length goes."""
        return self.files > 0 or (self.size_bytes > 0 and size_bytes > 0)

    def without(self, size_bytes: int) -> "Excess":
        """What is left of it when a file of this length is gone: it took whole blocks."""
        taken = -(-size_bytes // self.block_bytes) * self.block_bytes
        return Excess(self.size_bytes - taken, self.files - 1, self.block_bytes)


@dataclass(frozen=True, slots=True, order=True)
class Removable:
    """A file that S3 has, and that waits for its removal; the oldest is the least."""

    mtime_ns: int
    id: ShipmentId
    raw_end: int
    due_at: float


def is_to_shrink(space: DiskSpace, marks: Marks, *, is_shrinking: bool) -> bool:
    """Whether files go before their time; ``is_shrinking`` says that they did until now."""
    return space.used_ratio >= (marks.low if is_shrinking else marks.high)


def excess_over(space: DiskSpace, low: float) -> Excess:
    """What has to go until the file system is below ``low``."""
    return Excess(
        _above(space.used_bytes, space.free_bytes, low),
        _above(space.used_inodes, space.free_inodes, low),
        space.block_bytes,
    )


def oldest_within(waiting: Iterable[Removable], excess: Excess) -> tuple[list[Removable], Excess]:
    """So many of the files, oldest first, as the excess asks for; and what they leave of it."""
    chosen = []
    for one in waiting:
        if not excess:
            break
        chosen.append(one)
        excess = excess.without(one.raw_end)
    return chosen, excess


def seconds_to_next_look(used_ratio: float, marks: Marks, *, is_shrinking: bool) -> float:
    if is_shrinking:
        return ACTIVE_SECONDS
    return NEAR_SECONDS if used_ratio >= marks.high - NEAR_RATIO else IDLE_SECONDS


def _ratio(used: int, free: int) -> float:
    return used / (used + free) if used + free else 0.0


def _above(used: int, free: int, low: float) -> int:
    """So many that what is left is below ``low``, if any are to go."""
    return max(0, used - math.ceil((used + free) * low) + 1) if used + free else 0
