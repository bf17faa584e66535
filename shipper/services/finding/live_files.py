"""Live files: shipped when their bytes are due (``live_logs``), or when the machine ends.

A live file is never sealed. Its segment goes from where the last one ended to the last whole line;
in the last pass of a drain (``whole``), to the last byte. Then the file continues behind the
segment like any other that grew.

The last pass also takes rotated files that somebody still writes to, because they will not be
sealed in time. Earlier passes leave them alone: they may be copies that are just being made.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from shipper.core.dates_in_names import earlier_clock
from shipper.core.destinations import Destination
from shipper.core.identity import Segment, file_id, is_certain, is_same_file, untouched
from shipper.core.left_alone import is_older
from shipper.core.live_segments import NEVER
from shipper.core.object_keys import InstanceFacts, printable
from shipper.core.roles import role_of
from shipper.core.rotated_names import is_compressed
from shipper.core.siblings import Siblings
from shipper.core.types import (
    HEAD_BYTES,
    Entry,
    FileKind,
    FileStat,
    Promise,
    RelativePath,
    Role,
    Shipment,
    State,
    Watch,
    WatchName,
)
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files, PortError, Selects, Source
from shipper.services.bugs import Bugs
from shipper.services.finding.growth_proofs import PENDING, GrowthProofs
from shipper.services.finding.live_logs import LiveLog, LiveLogs, will_be_found
from shipper.services.finding.obstacles import NO_FILES, is_known, refusal_of
from shipper.services.finding.segments import (
    OpenFile,
    Unpromised,
    about_promise,
    promise_of,
    unpromised,
)
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.matching import opened_source

BECAUSE = "live: the machine is about to end"
BECAUSE_DUE = "live: its bytes were old enough, or enough"
LONGEST_LINE_BYTES = 1024 * 1024
"""Where no line ends within so much, the segment is cut anywhere."""
_PIECE_BYTES = 64 * 1024


class LiveFiles:
    """Promises live files. Belongs to the thread of discovery, but for ``wanted``, ``unsealed``.

    So no file is promised twice, once as sealed and once as live.
    """

    def __init__(
        self,
        *,
        watches: Sequence[Watch],
        destination_of: Callable[[Watch], Destination],
        files: Files,
        journal: Journal,
        facts: Callable[[], InstanceFacts | None],
        clock: Clock,
        promised: Callable[[], None],
        held: HeldFiles,
        bugs: Bugs,
        log: Any,
    ) -> None:
        self._watches = watches
        self._destination_of = destination_of
        self._files = files
        self._journal = journal
        self._facts = facts
        self._clock = clock
        self._promised = promised
        self._held = held
        self.logs = LiveLogs(files=files, journal=journal, clock=clock)
        self._bugs = bugs
        self._log = log
        self.wanted: bool | None = None
        """Set to ask for a pass, True for the last one. The pass takes it back once it is made."""
        self.promised = 0
        """Segments that the last pass promised."""
        self.refused: set[tuple[WatchName, bytes]] = set()
        """Files that it could not take, or directories."""
        self._proofs = GrowthProofs(clock, is_live=True)
        self._due_proofs = GrowthProofs(clock, is_live=True)
        self._left: set[tuple[int, int]] = set()
        """The files that are left of the pass, because they are being compared."""

    @property
    def is_comparing(self) -> bool:
        """Whether the next step goes on with a pass."""
        return bool(self._left) or self._due_proofs.is_pending

    def unsealed(self) -> tuple[int, int]:
        """Rotated files, and bytes of them, that wait and that no pass has promised meanwhile."""
        left = [
            stat.size_bytes
            for (name, _), stat in self.logs.unsealed.items()
            if not is_known(self._journal, name, stat)
        ]
        return len(left), sum(left)

    def step(self) -> None:
        """Make the pass that is wanted, if it can be made now."""
        facts, whole = self._facts(), self.wanted
        if whole is None or facts is None:
            return
        try:
            is_over = self.promise(facts, whole=whole)
        except PortError:
            return  # the journal cannot be written, which discovery says
        if is_over and self.wanted is whole:
            self.wanted = None

    def promise(self, facts: InstanceFacts, *, whole: bool) -> bool:
        """Go on with a pass over all watches; ``whole`` for the last one. Whether it is over.

        Raises:
            PortError: ``JournalUnwritable``.
        """
        found: list[Promise] = []
        before, self._left = self._left, set()
        if not before:
            self.refused = set()
        self._proofs.begin()
        for watch, entry in self._entries(whole=whole):
            if before and _file(entry) not in before:
                continue
            found += self._bugs.contained(
                partial(self._segment, watch, entry, facts, whole=whole),
                partial(self._refused, watch, entry),
                watch=watch.name,
                path=printable(entry.path),
            )
        rows = self._write(found, whole=whole)
        self.promised = rows + (self.promised if before else 0)
        return not self._left

    def _write(self, found: Sequence[Promise], *, whole: bool) -> int:
        """Promise the segments, and hold their files: they may be rotated and deleted before they
        are sent. How many were new."""
        write = partial(self._journal.promise, now=self._clock.now())
        rows = self._bugs.batch(write, found, about_promise)
        for row in rows:
            self.logs.promised(row)
            watch = next(watch for watch in self._watches if watch.name == row.watch)
            source = opened_source(self._files, watch, row.path, row)
            if source is not None:
                self._held.keep(row, source)
        if rows:
            raw_bytes = sum(row.raw_bytes for row in rows)
            self._log.info("live.promised", files=len(rows), raw_bytes=raw_bytes, whole=whole)
            self._promised()
        return len(rows)

    def ship_due(self) -> float:
        """Promise what is due of the live logs; the seconds until more may be.

        What ``logs`` knows is of the last scan.
        """
        facts, found = self._facts(), list[Promise]()
        if facts is None:
            return NEVER
        self._due_proofs.begin()
        for log in self.logs.due():
            found += self._bugs.contained(
                partial(self._next_segment, log, facts),
                partial(self._refused, log.watch, log.entry),
                watch=log.watch.name,
                path=printable(log.entry.path),
            )
        try:
            self._write(found, whole=False)
        except PortError:
            pass  # the journal cannot be written, which discovery says
        return self.logs.wait_seconds()

    def _next_segment(self, log: LiveLog, facts: InstanceFacts) -> list[Promise]:
        """The segment that follows the last one, which alone is proven; nothing while that waits
        to be sent: another would only be short."""
        watch, entry = log.watch, log.entry
        last = self._journal.newest(watch.name, entry.stat.inode)
        if last is not None and last.state is State.READY:
            return []
        try:
            with closing(self._files.open(watch, entry.path)) as source:
                stat = source.stat()
                if stat.inode != entry.stat.inode:
                    return []  # it was rotated since the scan
                file = OpenFile(watch, entry.path, entry.place, source, stat, is_live=True)
                found = self._following(log, file, last)
                return self._promises(file, found, facts, BECAUSE_DUE, whole=False)
        except PortError as error:
            if error.code == PENDING:
                log.not_before = float("-inf")
                return []
            return self._refused(watch, entry, error)

    def _following(self, log: LiveLog, file: OpenFile, last: Shipment | None) -> Unpromised:
        """As ``unpromised``; of what this life has promised only the last segment is read."""
        if last is None or log.last is None or log.last.id != last.id:
            rows = self._journal.known(file.watch.name, file.stat.inode)
            return unpromised(self._journal, self._files, file, rows, self._due_proofs)
        head, stat = file.source.read(0, HEAD_BYTES), file.stat
        is_it = is_same_file(last, stat, head=head, tail=file.tail_of(last))
        if is_it and self._due_proofs.has_bytes_of(file.source, [last]):
            identity = file_id(stat.inode, head, stat.generation)
            return Unpromised((Segment(identity, last.raw_end, stat.size_bytes),))
        self._journal.cut(file.watch.name, stat.inode)
        log.end, log.last = 0, None
        return unpromised(self._journal, self._files, file, [], self._due_proofs)

    def _entries(self, *, whole: bool) -> Iterable[tuple[Watch, Entry]]:
        """Every file once: of two watches, for the one that ships its rotations."""
        owned: dict[tuple[int, int], tuple[Watch, Entry]] = {}
        for watch in self._watches:
            rotated = set[RelativePath]()
            scan = partial(
                self._files.scan, watch, _selector(watch, rotated, self._clock.now(), whole=whole)
            )
            for entry in self._bugs.each(scan, watch=watch.name):
                if isinstance(entry, Entry) and (
                    _is_nothing(entry.stat)
                    or (entry.path in rotated and self._is_ignored(watch, entry))
                ):
                    continue
                if isinstance(entry, PortError) or refusal_of(watch, entry.stat):
                    self._leave(watch, entry)
                elif _file(entry) not in owned or will_be_found(watch, entry.path):
                    owned[_file(entry)] = watch, entry
        return owned.values()

    def _is_ignored(self, watch: Watch, entry: Entry) -> bool:
        """Whether ``ignore_older`` leaves the rotated file alone, which a scan knows best."""
        is_old = is_older(watch, entry.stat, self._clock.now())
        is_old = is_old and (watch.name, entry.stat.inode) not in self.logs.waiting
        return is_old and not self._journal.known(watch.name, entry.stat.inode)

    def _leave(self, watch: Watch, entry: Entry | PortError) -> None:
        """Count what cannot be taken and is not in S3; discovery says why."""
        if isinstance(entry, PortError):
            self.refused.add((watch.name, b""))
        elif not is_known(self._journal, watch.name, entry.stat):
            self.refused.add((watch.name, entry.path))

    def _segment(
        self, watch: Watch, entry: Entry, facts: InstanceFacts, *, whole: bool
    ) -> list[Promise]:
        rows = self._journal.known(watch.name, entry.stat.inode)
        # Where the last pass's segment has not even been begun, another would only be short.
        is_begun = whole or not any(row.is_live and row.state is State.READY for row in rows)
        known = untouched(rows, entry.stat)
        if not is_begun or (known is not None and is_certain(known, entry.stat)):
            return []
        try:
            with closing(self._files.open(watch, entry.path)) as source:
                file = OpenFile(
                    watch, entry.path, entry.place, source, source.stat(), is_live=True
                )
                found = unpromised(self._journal, self._files, file, rows, self._proofs)
                return self._promises(file, found, facts, BECAUSE, whole=whole)
        except PortError as error:
            if error.code == PENDING:
                self._left.add(_file(entry))
                return []
            return self._refused(watch, entry, error)

    def _refused(self, watch: Watch, entry: Entry, error: PortError) -> list[Promise]:
        path = printable(entry.path)
        self.refused.add((watch.name, entry.path))
        self._log.warning("live.refused", watch=watch.name, path=path, **error.words)
        return []

    def _promises(
        self,
        file: OpenFile,
        found: Unpromised,
        facts: InstanceFacts,
        because: str,
        *,
        whole: bool,
    ) -> list[Promise]:
        since_at = self.logs.since_at(file.watch, file.stat)
        self._journal.disown(*found.disproved)
        promises: list[Promise] = []
        for segment in found.segments:
            start, end = segment.raw_start, segment.raw_end
            if not whole and end == file.stat.size_bytes:  # a hole ends where its neighbour begins
                end = line_end(file.source, start, end)
            if end > start:
                lines, to = replace(segment, raw_end=end), self._destination_of(file.watch)
                promise = promise_of(lines, file, because, destination=to, facts=facts)
                promises.append(replace(promise, since_at=since_at))
        return promises


def line_end(source: Source, start: int, end: int) -> int:
    """Behind the last line that ends in ``[start, end)``; ``start`` where none does.

    ``end`` where the last line is too long to be one.
    """
    at = end
    while at > start and end - at < LONGEST_LINE_BYTES:
        piece_at = max(start, at - _PIECE_BYTES)
        found = source.read(piece_at, at - piece_at).rfind(b"\n")
        if found >= 0:
            return piece_at + found + 1
        at = piece_at
    return end if at > start else start


def _file(entry: Entry) -> tuple[int, int]:
    return entry.stat.device, entry.stat.inode


def _is_nothing(stat: FileStat) -> bool:
    """Whether there are no bytes that would be lost."""
    is_empty = stat.kind is FileKind.REGULAR and not stat.size_bytes
    return is_empty or stat.kind in NO_FILES


def _selector(watch: Watch, rotated: set[RelativePath], now: float, *, whole: bool) -> Selects:
    """What a pass takes; ``rotated`` gets what of it is."""
    roles, clock = (Role.LIVE, Role.ROTATED) if whole else (Role.LIVE,), earlier_clock(now)

    def selects(path: RelativePath, siblings: Siblings) -> bool:
        role = None if is_compressed(path) else role_of(watch, path, siblings, clock)
        if role is Role.ROTATED:
            rotated.add(path)
        return role in roles

    return selects
