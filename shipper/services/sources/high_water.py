"""Keeps file systems from filling up with logs that S3 has: they go before their ``delete_after``.

A look measures each file system that a watch's files are on. Above the high water, the oldest
files that wait for their removal are made due, as many as it takes to get below the low water. The
carriers remove them as they remove any other: S3 lists the object once more, and the directory
entry must be the file that was shipped. Each look chooses anew and from the oldest on, so files
that are due and still there are counted, and not followed by others.

What is left of the excess goes by other ways: copies and empty files by ``finding.cleanup``
(``Disposal.excess``). Where a whole scan has left some of it nevertheless, and where that is asked
for, kept files are wanted (``KeptFiles``), for as long as the disk is above the low water.
"""

import heapq
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from shipper.core import hints
from shipper.core.disk_space import (
    IDLE_SECONDS,
    DiskSpace,
    Excess,
    Marks,
    excess_over,
    is_to_shrink,
    oldest_within,
    seconds_to_next_look,
)
from shipper.core.lifecycle import UNSHIPPED
from shipper.core.object_keys import printable
from shipper.core.types import AfterUpload, ShipmentId, Total, Watch
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files, PortError
from shipper.services.bugs import Bugs
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.kept_files import KeptFiles
from shipper.services.sources.watch_roots import mount_point

MOST_ROWS = 1000
"""So many files of a place are made due in one look."""
FEW_ROWS = 20
"""As many instead where the journal could not be written, which may have no more room."""
REST_FACTOR = 20
"""A look is followed by a rest of so many times what it took: looks take 5 % of a core at most."""
STUCK_SECONDS = 5.0
"""A file that is to go is gone sooner, unless nothing can be removed."""
SCANS_TO_BE_SURE = 2
"""So many end until a whole one has offered copies and empty files."""


class Reserve(Protocol):
    """Space on the journal's disk, kept for its writes: a full disk is that of the logs as well,
    and removals are journalled before they make room. Raises nothing."""

    def keep(self) -> None:
        """Have it, if there is room."""

    def give_up(self) -> bool:
        """Leave it to whoever writes next; False: there is none."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, and where the watches have files on it."""

    directory: str
    """The first of them."""
    space: DiskSpace
    places: tuple[tuple[Watch, str], ...]
    unshipped_files: int = 0
    unshipped_bytes: int = 0
    """Of all files that its watches have promised."""
    is_shrinking: bool = False
    is_filled: bool = False
    """It is above the high water, and nothing can be removed: S3 has none of it, or is away."""
    problem: PortError | None = None
    """Why the last look could not have anything removed."""

    @property
    def facts(self) -> dict[str, object]:
        """As a log line has them."""
        return {
            "directory": self.directory,
            "used_percent": round(100 * self.space.used_ratio, 1),
            "unshipped_bytes": self.unshipped_bytes,
            "unshipped_files": self.unshipped_files,
        }

    @property
    def detail(self) -> str:
        """How full it is of what, for people."""
        percent = f"{100 * self.space.used_ratio:.1f} % full"
        waiting = f"{self.unshipped_bytes} bytes in {self.unshipped_files} files wait for S3"
        why = self.problem or "nothing that S3 has confirmed can be removed"
        return f"{percent}; {waiting}; {why}"

    @property
    def hint(self) -> str:
        return self.problem.hint if self.problem else hints.DISK_FILLED


@dataclass(slots=True)
class _Episode:
    """From passing the high water until it is below the low water."""

    kept: KeptFiles
    oldest: ShipmentId | None = None
    """The first of those that are to go, if there are any."""
    since: float | None = None
    """Since when; monotonic. None while more may be found."""
    scans: int = 0
    """How many there had been then."""
    rows: int = MOST_ROWS
    """So many are to go in the next look."""
    left_at: int | None = None
    """How many there had been when something was left for copies and empty files."""
    is_told: bool = False


@dataclass(kw_only=True)
class HighWater:
    """For one thread; ``disks`` is for any."""

    watches: Sequence[Watch]
    marks: Marks
    files: Files
    journal: Journal
    disposal: Disposal
    clock: Clock
    bugs: Bugs
    reserve: Reserve
    hastened: Callable[[], None]
    """Called when something was made due."""
    look: Callable[[], None]
    """Has the watches scanned."""
    scans: Callable[[], int]
    """How many scans were done."""
    log: Any
    disks: tuple[Disk, ...] = field(default=(), init=False)
    """As the last look found them."""
    problem: PortError | None = field(default=None, init=False)
    """Why it found none."""
    _episodes: dict[int, _Episode] = field(default_factory=dict, init=False)

    def step(self) -> float:
        """Look once; the seconds to wait before the next look."""
        began = self.clock.monotonic()
        self.problem = self._problem_of(self._look)
        rest = REST_FACTOR * (self.clock.monotonic() - began)
        waits = (
            seconds_to_next_look(one.space.used_ratio, self.marks, is_shrinking=one.is_shrinking)
            for one in self.disks
        )
        return max(rest, min(waits, default=IDLE_SECONDS))

    def _problem_of(self, work: Callable[[], None], **about: str) -> PortError | None:
        try:
            return self.bugs.contained(work, lambda bug: bug, chore="high water", **about)
        except PortError as error:
            return error

    def _look(self) -> None:
        disks = [self._judged(disk) for disk in self._measured()]
        shrinking = [disk for disk in disks if disk.is_shrinking]
        self.disposal.shrinking = frozenset(
            (watch.name, place) for disk in shrinking for watch, place in disk.places
        )
        if not shrinking:
            self.reserve.keep()
        excess: dict[int, Excess] = {}
        self.disks = tuple(
            self._relieved(disk, excess) if disk.is_shrinking else disk for disk in disks
        )
        self.disposal.excess = excess  # as a whole, for discovery reads it meanwhile

    def _measured(self) -> list[Disk]:
        spaces: dict[int, DiskSpace] = {}
        places: dict[int, list[tuple[Watch, str]]] = {}
        for watch in self.watches:
            # Where the directory has globs, there may be no log on the file system of its base.
            base = () if watch.pattern else ("",)
            for place in (*base, *self.journal.places.of(watch.name)):
                with suppress(PortError):  # the scan says what is wrong with the directory
                    if place and not self.disposal.roots.stands(watch, place):
                        continue
                    space = self.files.space(watch, mount_point(place))
                    spaces[space.device] = space
                    places.setdefault(space.device, []).append((watch, place))
        totals = self.journal.figures.totals()
        return [_disk(space, places[device], totals) for device, space in spaces.items()]

    def _judged(self, disk: Disk) -> Disk:
        """The disk, and whether files are to go from it."""
        device, space = disk.space.device, disk.space
        is_shrinking = device in self._episodes
        if is_to_shrink(space, self.marks, is_shrinking=is_shrinking):
            if not is_shrinking:
                self.log.warning("disk.high_water_passed", **disk.facts)
                kept = KeptFiles(
                    files=self.files,
                    journal=self.journal,
                    clock=self.clock,
                    hastened=self.hastened,
                )
                self._episodes[device] = _Episode(kept)
            return replace(disk, is_shrinking=True)
        if is_shrinking:
            del self._episodes[device]
            self.log.info("disk.low_water_reached", **disk.facts)
        return disk

    def _relieved(self, disk: Disk, others: dict[int, Excess]) -> Disk:
        """Have as much removed as it takes; the disk, and whether that is too little.

        ``others`` gets what is left for other ways.
        """
        episode = self._episodes[disk.space.device]
        relieve = partial(self._relieve, disk, episode, others)
        problem = self._problem_of(relieve, directory=disk.directory)
        if problem is not None:
            self.reserve.give_up()
        episode.rows = MOST_ROWS if problem is None else FEW_ROWS
        is_stuck = self._is_stuck(episode, is_sure=problem is not None)
        is_filled = is_stuck and disk.space.used_ratio >= self.marks.high
        disk = replace(disk, problem=problem, is_filled=is_filled)
        if disk.is_filled and not episode.is_told:
            episode.is_told = True
            self.log.error("disk.filled", **disk.facts, detail=disk.detail, hint=disk.hint)
        return disk

    def _relieve(self, disk: Disk, episode: _Episode, others: dict[int, Excess]) -> None:
        going, excess = self._hasten(disk, excess_over(disk.space, self.marks.low), episode.rows)
        others[disk.space.device] = excess
        is_looking = False
        if self.disposal.removes_kept and self._is_left(disk, episode, excess):
            keeping = _of(disk, AfterUpload.KEEP)
            wanted, excess = episode.kept.want(keeping, excess, episode.rows)
            going, is_looking = going + wanted, episode.kept.is_looking
        oldest = going[0] if going else None
        if oldest is None and is_looking:
            episode.since = None
        elif episode.since is None or oldest != episode.oldest:
            now = self.clock.monotonic()
            episode.oldest, episode.since, episode.scans = oldest, now, self.scans()
            if oldest is None:
                self.look()

    def _is_left(self, disk: Disk, episode: _Episode, excess: Excess) -> bool:
        """Whether a whole scan has left some excess, as far as it removes anything there."""
        if not excess:
            episode.left_at = None
            return False
        if not _of(disk, AfterUpload.DELETE):
            return True
        if episode.left_at is None:
            episode.left_at = self.scans()
        is_scanned = self.scans() >= episode.left_at + SCANS_TO_BE_SURE
        if not is_scanned:
            self.look()
        return is_scanned

    def _hasten(self, disk: Disk, excess: Excess, most: int) -> tuple[list[ShipmentId], Excess]:
        """Make due the oldest of what waits for its removal; and what that leaves."""
        waiting = heapq.merge(
            *(
                self.journal.removals.oldest(watch.name, place, most)
                for watch, place in _of(disk, AfterUpload.DELETE)
            )
        )
        chosen, left = oldest_within(waiting, excess)
        now = self.clock.now()
        early = [one.id for one in chosen if one.due_at > now]
        if early:
            self.journal.removals.hasten(early, now)
            self.hastened()
        return [one.id for one in chosen], left

    def _is_stuck(self, episode: _Episode, *, is_sure: bool) -> bool:
        """Whether nothing goes: the oldest file that is to go has not gone for a while.

        Where there is none, a whole scan has found nothing else meanwhile.
        """
        now = self.clock.monotonic()
        if episode.since is None:
            episode.since = now if is_sure else None
            return False
        is_long = now >= episode.since + STUCK_SECONDS
        return is_long and (is_sure or self.scans() >= episode.scans + SCANS_TO_BE_SURE)


def _of(disk: Disk, after_upload: AfterUpload) -> list[tuple[Watch, str]]:
    return [(watch, place) for watch, place in disk.places if watch.after_upload is after_upload]


def _disk(space: DiskSpace, places: Sequence[tuple[Watch, str]], totals: Sequence[Total]) -> Disk:
    names = {watch.name for watch, _ in places}
    mine = [one for one in totals if one.watch in names and one.state in UNSHIPPED]
    watch, place = places[0]
    return Disk(
        directory=printable(f"{watch.directory}/".encode() + mount_point(place)).rstrip("/"),
        space=space,
        places=tuple(places),
        unshipped_files=sum(one.files for one in mine),
        unshipped_bytes=sum(one.raw_bytes for one in mine),
    )
