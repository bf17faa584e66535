"""How far each live log is promised, and since when it holds bytes that are not.

A scan tells of every live file that it has not met as it is now. What the journal knows is asked
once in a life, and costs the same however many segments a log came in.

No byte is older than it is said to be here: it was written after the scan before the one that met
it, and not in the future, whoever sets the clock. Of a log that nobody has looked at in this life,
the last segment's promise tells, else the file's birth, else the scan that met it.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType

from shipper.core.duplicates import directory_of
from shipper.core.identity import is_file_of
from shipper.core.live_segments import LEAST_PAUSE_SECONDS, is_due, seconds_until_due
from shipper.core.roles import role_of
from shipper.core.rotated_names import stem_and_extension
from shipper.core.types import (
    Entry,
    FileKind,
    FileStat,
    RelativePath,
    Role,
    Shipment,
    Watch,
    WatchName,
)
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files, PortError
from shipper.services.finding.segments import OpenFile

COPIED_SECONDS = 3600.0
"""A copy that comes later is not dated by the log that it may be a copy of."""
LogKey = tuple[WatchName, str, int]
"""Of the watch, the place and the inode, as in the journal."""
FileKey = tuple[WatchName, int, int]
"""Of the watch, the device and the inode."""
_Stem = tuple[WatchName, bytes, bytes]


@dataclass(slots=True)
class LiveLog:
    """``last`` is the segment that ends at ``end``, where it was promised or read in this life.

    The bytes behind ``grew_from`` came after ``grew_at``, with the growth that was seen last.
    """

    watch: Watch
    entry: Entry
    end: int
    since_at: float | None
    """No byte behind ``end`` is older; None where there is none."""
    last: Shipment | None = None
    grew_from: int = 0
    grew_at: float | None = None
    not_before: float = float("-inf")
    """Monotonic; until then it gets no other segment."""

    @property
    def left_bytes(self) -> int:
        return self.entry.stat.size_bytes - self.end

    def saw(self, watch: Watch, entry: Entry, before: float) -> None:
        """A scan has met it; whatever is new came after ``before``."""
        size, self.watch, self.entry = self.entry.stat.size_bytes, watch, entry
        if self.left_bytes < 0:  # it was emptied
            size = self.end = 0
        if entry.stat.size_bytes > size:
            self.grew_from, self.grew_at = size, before
        self._date()

    def has(self, last: Shipment) -> None:
        """All of it up to this segment's end is promised."""
        self.end, self.last = last.raw_end, last
        self._date()

    def _date(self) -> None:
        if self.left_bytes <= 0:
            self.since_at = None
        elif self.end >= self.grew_from:
            self.since_at = self.grew_at if self.grew_at is not None else self.since_at


class LiveLogs:
    """Belongs to the thread of discovery, but for ``oldest_at`` and ``counts``."""

    def __init__(self, *, files: Files, journal: Journal, clock: Clock) -> None:
        self._files = files
        self._journal = journal
        self._clock = clock
        self._logs: dict[LogKey, LiveLog] = {}
        self._seen: dict[LogKey, tuple[WatchName, RelativePath]] = {}
        self._scans_at = (clock.now(), clock.now())
        """When the scan before this one began, and this one."""
        self._let_go_of: dict[_Stem, tuple[float, float]] = {}
        """By stem, since when the logs that went had bytes left, and until when that counts."""
        self.oldest_at: dict[WatchName, float] = {}
        """Since when the oldest byte waits that no segment has, for any thread."""
        self.counts: Mapping[WatchName, int] = MappingProxyType({})
        """How many live logs there are, for any thread."""
        self.waiting: Container[FileKey] = ()
        """What the last scan found and did not promise, whatever the reason."""
        self.unsealed: Mapping[FileKey, FileStat] = MappingProxyType({})
        """The rotated files that wait, as of the last scan, for any thread."""

    def begin(self) -> None:
        """A scan begins."""
        now = self._clock.now()
        self._scans_at, self._seen = (min(self._scans_at[1], now), now), {}
        gone = [*self._let_go_of.items()]
        self._let_go_of = {stem: one for stem, one in gone if self._clock.monotonic() < one[1]}
        for log in self._logs.values():  # the clock may have been set back
            log.since_at = None if log.since_at is None else min(log.since_at, now)

    def saw(self, watch: Watch, entry: Entry) -> None:
        """A scan has met a live file that is not as it was, or of which it remembers nothing."""
        if entry.stat.kind is not FileKind.REGULAR:
            return
        key = watch.name, entry.place, entry.stat.inode
        self._seen[key] = watch.name, entry.path
        log = self._logs.get(key)
        if log is None:
            self._logs[key] = self._first_seen(watch, entry)
            return
        if entry.stat.size_bytes < log.end:
            self._let_go(log)
        log.saw(watch, entry, self._scans_at[0])

    def _first_seen(self, watch: Watch, entry: Entry) -> LiveLog:
        stat = entry.stat
        last = self._journal.newest(watch.name, stat.inode, entry.place)
        is_over = last is not None and last.raw_end == stat.size_bytes
        if last is not None and is_over and (last.is_live or last.mtime_ns == stat.mtime_ns):
            return LiveLog(watch, entry, stat.size_bytes, None)
        if not stat.size_bytes:
            return LiveLog(watch, entry, 0, None)
        now = self._opened(watch, entry)
        if last is not None and now is not None and is_file_of(last, now):
            end = last.raw_end if last.raw_end < stat.size_bytes else 0
            return LiveLog(watch, entry, end, min(last.promised_at, self._clock.now()))
        born_at = now.born_ns / 1e9 if now is not None else 0.0
        since_at = min(born_at or self._clock.now(), self._clock.now())
        return LiveLog(watch, entry, 0, since_at)

    def _opened(self, watch: Watch, entry: Entry) -> FileStat | None:
        try:
            with closing(self._files.open(watch, entry.path)) as source:
                return source.stat()
        except PortError:
            return None  # discovery says why

    def end(
        self,
        is_there: Callable[[LiveLog], bool],
        waiting: Container[FileKey],
    ) -> None:
        """The scan is over: forget what it has not met, but for what is ``waiting``, rotated."""
        self.waiting, owners = waiting, dict[tuple[int, int], LogKey]()
        named = {(log.watch.name, log.entry.path): key for key, log in self._logs.items()}
        named |= {name: key for key, name in self._seen.items()}
        for key, log in [*self._logs.items()]:
            file = log.entry.stat.device, log.entry.stat.inode
            is_named = named[log.watch.name, log.entry.path] == key and is_there(log)
            is_waiting = (log.watch.name, *file) in waiting
            if not (key in self._seen or is_waiting or is_named):
                self._let_go(self._logs.pop(key))
            elif file not in owners:
                owners[file] = key
            else:  # of two watches, the one that ships its rotations has it
                is_ours = will_be_found(log.watch, log.entry.path)
                del self._logs[owners[file] if is_ours else key]
                owners[file] = key if is_ours else owners[file]
        self._tell()

    def _tell(self) -> None:
        oldest: dict[WatchName, float] = {}
        for (name, *_), log in self._logs.items():
            if log.since_at is not None:
                oldest[name] = min(log.since_at, oldest.get(name, log.since_at))
        self.oldest_at = oldest
        self.counts = Counter(name for name, *_ in self._logs)

    def since_at(self, file: OpenFile) -> float:
        """Since when the file may hold what is not promised; 0 where that is not known."""
        log = self._logs.get((file.watch.name, file.place, file.stat.inode))
        if log is not None:
            return log.since_at or 0.0
        return self._let_go_of.get(_stem_of(file.watch, file.path), (0.0, 0.0))[0]

    def _let_go(self, log: LiveLog) -> None:
        """It is no more, or empty: what was left of it comes in a copy, if at all."""
        if log.since_at is not None:
            until = self._clock.monotonic() + COPIED_SECONDS
            self._let_go_of[_stem_of(log.watch, log.entry.path)] = log.since_at, until

    def of(self, watch: Watch) -> list[LiveLog]:
        """The live logs of a watch."""
        return [log for (name, *_), log in self._logs.items() if name == watch.name]

    def due(self) -> Iterator[LiveLog]:
        """The logs of which a segment is to be promised now; each waits before it is due again."""
        now, wall = self._clock.monotonic(), self._clock.now()
        for log in [*self._logs.values()]:
            if now >= log.not_before and is_due(log.watch, log.left_bytes, log.since_at, wall):
                pause = max(LEAST_PAUSE_SECONDS, log.watch.live_interval_seconds / 4)
                log.not_before = now + pause
                yield log

    def wait_seconds(self) -> float:
        """Seconds until one of them will be due, as far as is known now."""
        now, wall = self._clock.monotonic(), self._clock.now()
        return min(
            (
                max(
                    log.not_before - now,
                    seconds_until_due(log.watch, log.left_bytes, log.since_at, wall),
                )
                for log in self._logs.values()
            ),
            default=float("inf"),
        )

    def promised(self, row: Shipment) -> None:
        """A segment was promised of one of them."""
        log = self._logs.get((row.watch, row.place, row.file_id.inode))
        if log is None or row.raw_end < log.end:
            return
        log.has(row)
        log.not_before = self._clock.monotonic() + LEAST_PAUSE_SECONDS
        self._tell()


def _stem_of(watch: Watch, path: RelativePath) -> _Stem:
    return watch.name, directory_of(path), stem_and_extension(path).stem


def will_be_found(watch: Watch, path: RelativePath) -> bool:
    """Whether the watch will ship what is rotated of the file, as far as names can tell."""
    names = (path + b".1", path + b"-20261124", path)
    return any(role_of(watch, RelativePath(name)) is Role.ROTATED for name in names)
