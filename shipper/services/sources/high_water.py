"""Keeps file systems from filling up with logs that S3 has: they go before their ``delete_after``.

A look measures each file system that a watch's files are on. Above the high water, the oldest
files that wait for their removal are made due, as many as it takes to get below the low water. The
carriers remove them as they remove any other: S3 lists the object once more, and the directory
entry must be the file that was shipped. Each look chooses anew and from the oldest on, so files
that are due and still there are counted, and not followed by others.

What is left of the excess goes by other ways: copies and empty files by ``finding.cleanup``
(``Disposal.excess``), and, where that is asked for, kept files.
"""

import heapq
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

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
from shipper.core.lifecycle import UNSHIPPED, WANTED_CODE, RemovalWanted
from shipper.core.object_keys import printable
from shipper.core.types import (
    AfterUpload,
    Entry,
    FileStat,
    RelativePath,
    Shipment,
    ShipmentId,
    State,
    Total,
    Watch,
)
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files, PortError
from shipper.services.bugs import Bugs
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.watch_roots import mount_point

MOST_ROWS = 1000
"""So many files of a place are made due in one look."""
REST_FACTOR = 20
"""A look is followed by a rest of so many times what it took: looks take 5 % of a core at most."""
STUCK_SECONDS = 5.0
"""A file that is to go is gone sooner, unless nothing can be removed."""
SCANS_TO_BE_SURE = 2
"""So many end until a whole one has offered copies and empty files."""


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
        return f"{percent}; {waiting}; nothing that S3 has confirmed can be removed"


@dataclass(slots=True)
class _Episode:
    """From passing the high water until it is below the low water."""

    oldest: ShipmentId | None = None
    """The first of those that are to go, if there are any."""
    since: float | None = None
    """Since when; monotonic."""
    scans: int = 0
    """How many there had been then."""
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
    hastened: Callable[[], None]
    """Called when something was made due."""
    look: Callable[[], None]
    """Has the watches scanned."""
    scans: Callable[[], int]
    """How many scans were done."""
    log: Any
    disks: tuple[Disk, ...] = field(default=(), init=False)
    """As the last look found them."""
    _episodes: dict[int, _Episode] = field(default_factory=dict, init=False)

    def step(self) -> float:
        """Look once; the seconds to wait before the next look."""
        began = self.clock.monotonic()
        with suppress(
            PortError
        ):  # of the journal; discovery says so, and the next look asks again
            self.bugs.contained(self._look, lambda problem: None, chore="high water")
        rest = REST_FACTOR * (self.clock.monotonic() - began)
        waits = (
            seconds_to_next_look(one.space.used_ratio, self.marks, is_shrinking=one.is_shrinking)
            for one in self.disks
        )
        return max(rest, min(waits, default=IDLE_SECONDS))

    def _look(self) -> None:
        excess: dict[int, Excess] = {}
        self.disks = tuple(self._kept_below(disk, excess) for disk in self._measured())
        self.disposal.excess = excess  # as a whole, for discovery reads it meanwhile

    def _measured(self) -> list[Disk]:
        spaces: dict[int, DiskSpace] = {}
        places: dict[int, list[tuple[Watch, str]]] = {}
        for watch in self.watches:
            for place in ("", *self.journal.places.of(watch.name)):
                with suppress(PortError):  # the scan says what is wrong with the directory
                    if place and not self.disposal.roots.stands(watch, place):
                        continue
                    space = self.files.space(watch, mount_point(place))
                    spaces[space.device] = space
                    places.setdefault(space.device, []).append((watch, place))
        totals = self.journal.figures.totals()
        return [_disk(space, places[device], totals) for device, space in spaces.items()]

    def _kept_below(self, disk: Disk, others: dict[int, Excess]) -> Disk:
        """Have as much removed as it takes; the disk, and whether that is too little.

        ``others`` gets what is left for other ways.
        """
        device, space = disk.space.device, disk.space
        if not is_to_shrink(space, self.marks, is_shrinking=device in self._episodes):
            if self._episodes.pop(device, None) is not None:
                self.log.info("disk.low_water_reached", **disk.facts)
            return disk
        if device not in self._episodes:
            self.log.warning("disk.high_water_passed", **disk.facts)
        episode = self._episodes.setdefault(device, _Episode())
        excess = excess_over(space, self.marks.low)
        going, excess = self._hasten(disk, excess)
        if excess and self.disposal.removes_kept:
            kept, excess = self._want_kept(disk, excess)
            going += kept
        others[device] = excess
        is_stuck = self._is_stuck(episode, going[0] if going else None)
        is_filled = is_stuck and space.used_ratio >= self.marks.high
        disk = replace(disk, is_shrinking=True, is_filled=is_filled)
        if is_filled and not episode.is_told:
            episode.is_told = True
            words = {"detail": disk.detail, "hint": hints.DISK_FILLED}
            self.log.error("disk.filled", **disk.facts, **words)
        return disk

    def _hasten(self, disk: Disk, excess: Excess) -> tuple[list[ShipmentId], Excess]:
        """Make due the oldest of what waits for its removal; and what that leaves."""
        waiting = heapq.merge(
            *(
                self.journal.removals.oldest(watch.name, place, MOST_ROWS)
                for watch, place in disk.places
                if watch.after_upload is AfterUpload.DELETE
            )
        )
        chosen, left = oldest_within(waiting, excess)
        now = self.clock.now()
        early = [one.id for one in chosen if one.due_at > now]
        if early:
            self.journal.removals.hasten(early, now)
            self.hastened()
        return [one.id for one in chosen], left

    def _want_kept(self, disk: Disk, excess: Excess) -> tuple[list[ShipmentId], Excess]:
        """Want the oldest kept files removed; and what that leaves."""
        going: list[ShipmentId] = []
        wanted: list[tuple[Shipment, RelativePath]] = []
        for entry, watch in self._standing(disk):
            row = self._kept_row(entry.stat, watch) if excess and len(going) < MOST_ROWS else None
            if row is not None:
                excess = excess.without(row.raw_end)
                going.append(row.id)
                wanted += [(row, entry.path)] if row.state is State.DONE else []
        if wanted:
            now = self.clock.now()
            self.journal.moved((row.id, path) for row, path in wanted)  # no scan does, of these
            self.journal.record_all((row, [RemovalWanted(now)]) for row, _ in wanted)
            self.hastened()
        return going, excess

    def _standing(self, disk: Disk) -> list[tuple[Entry, Watch]]:
        """The files on the disk of the watches that keep them, the oldest first."""
        watches = {one.name: one for one, _ in disk.places if one.after_upload is AfterUpload.KEEP}
        found = [
            (entry, watch)
            for watch in watches.values()
            for entry in self.files.scan(watch, lambda path, _: True)
            if isinstance(entry, Entry) and entry.stat.device == disk.space.device
        ]
        return sorted(found, key=lambda one: one[0].stat.mtime_ns)

    def _kept_row(self, stat: FileStat, watch: Watch) -> Shipment | None:
        """The shipment that ends with the file's last byte, if it was kept or is to go already."""
        known = self.journal.known(watch.name, stat.inode)
        row = known[-1] if known else None
        if row is None or (row.raw_end, row.mtime_ns) != (stat.size_bytes, stat.mtime_ns):
            return None
        is_kept = row.state is State.DONE and not row.code and not row.is_live
        return row if is_kept or row.code == WANTED_CODE else None

    def _is_stuck(self, episode: _Episode, oldest: ShipmentId | None) -> bool:
        """Whether nothing goes: the oldest file that is to go has not gone for a while.

        Where there is none, a whole scan has found nothing else meanwhile.
        """
        now, scans = self.clock.monotonic(), self.scans()
        if episode.since is None or oldest != episode.oldest:
            episode.oldest, episode.since, episode.scans = oldest, now, scans
            if oldest is None:
                self.look()
        is_long = now >= episode.since + STUCK_SECONDS
        return is_long and scans >= episode.scans + SCANS_TO_BE_SURE


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
