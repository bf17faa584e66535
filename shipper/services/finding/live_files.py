"""Live files: what a machine that is about to end has written and not rotated.

A live file is never sealed. Its segment goes from where the last one ended to the last whole line;
in the last pass (``whole``), to the last byte. If the end does not come, the file continues behind
the segment like any other that grew.

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
from shipper.core.identity import is_certain, untouched
from shipper.core.left_alone import is_older
from shipper.core.object_keys import InstanceFacts, printable
from shipper.core.roles import role_of
from shipper.core.rotated_names import is_compressed
from shipper.core.siblings import Siblings
from shipper.core.types import (
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
from shipper.services.finding.obstacles import NO_FILES, is_known, refusal_of
from shipper.services.finding.segments import OpenFile, about_promise, promise_of, unpromised

BECAUSE = "live: the machine is about to end"
LONGEST_LINE_BYTES = 1024 * 1024
"""Where no line ends within so much, the segment is cut anywhere."""
_PIECE_BYTES = 64 * 1024


class LiveFiles:
    """Promises live files. Belongs to the thread of discovery, but for ``wanted``.

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
        self._bugs = bugs
        self._log = log
        self.wanted: bool | None = None
        """Set to ask for a pass, True for the last one. The pass takes it back once it is made."""
        self.promised = 0
        """Segments that the last pass promised."""
        self.refused: set[tuple[WatchName, bytes]] = set()
        """Files that it could not take, or directories."""
        self._proofs = GrowthProofs(clock, is_live=True)
        self._left: set[tuple[int, int]] = set()
        """The files that are left of the pass, because they are being compared."""

    @property
    def is_comparing(self) -> bool:
        """Whether the next step goes on with a pass."""
        return bool(self._left)

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
        write = partial(self._journal.promise, now=self._clock.now())
        rows = self._bugs.batch(write, found, about_promise)
        self.promised = len(rows) + (self.promised if before else 0)
        if rows:
            raw_bytes = sum(row.raw_bytes for row in rows)
            self._log.info("live.promised", files=len(rows), raw_bytes=raw_bytes, whole=whole)
            self._promised()
        return not self._left

    def _entries(self, *, whole: bool) -> Iterable[tuple[Watch, Entry]]:
        """Every file once: of two watches, for the one that ships its rotations."""
        owned: dict[tuple[int, int], tuple[Watch, Entry]] = {}
        for watch in self._watches:
            rotated = set[RelativePath]()
            scan = partial(self._files.scan, watch, self._selector(watch, rotated, whole=whole))
            for entry in self._bugs.each(scan, watch=watch.name):
                if isinstance(entry, Entry) and _is_nothing(entry.stat):
                    continue
                if (
                    isinstance(entry, Entry)
                    and entry.path in rotated
                    and self._is_ignored(watch, entry)
                ):
                    continue
                if isinstance(entry, PortError) or refusal_of(watch, entry.stat):
                    self._leave(watch, entry)
                elif _file(entry) not in owned or _will_be_found(watch, entry.path):
                    owned[_file(entry)] = watch, entry
        return owned.values()

    def _is_ignored(self, watch: Watch, entry: Entry) -> bool:
        """Whether ``ignore_older`` leaves the rotated file alone."""
        is_old = is_older(watch, entry.stat, self._clock.now())
        return is_old and not self._journal.known(watch.name, entry.stat.inode)

    def _leave(self, watch: Watch, entry: Entry | PortError) -> None:
        """Count what cannot be taken and is not in S3; discovery says why."""
        if isinstance(entry, PortError):
            self.refused.add((watch.name, b""))
        elif not is_known(self._journal, watch, entry.stat):
            self.refused.add((watch.name, entry.path))

    def _selector(self, watch: Watch, rotated: set[RelativePath], *, whole: bool) -> Selects:
        roles, now = (Role.LIVE, Role.ROTATED) if whole else (Role.LIVE,), self._clock.now()
        clock = earlier_clock(now)

        def selects(path: RelativePath, siblings: Siblings) -> bool:
            role = None if is_compressed(path) else role_of(watch, path, siblings, clock)
            if role is Role.ROTATED:
                rotated.add(path)
            return role in roles

        return selects

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
                return self._promises(file, rows, facts, whole=whole)
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
        self, file: OpenFile, rows: Sequence[Shipment], facts: InstanceFacts, *, whole: bool
    ) -> list[Promise]:
        found = unpromised(self._journal, self._files, file, rows, self._proofs)
        self._journal.disown(*found.disproved)
        promises: list[Promise] = []
        for segment in found.segments:
            start, end = segment.raw_start, segment.raw_end
            if not whole and end == file.stat.size_bytes:  # a hole ends where its neighbour begins
                end = line_end(file.source, start, end)
            if end > start:
                lines, destination = (
                    replace(segment, raw_end=end),
                    self._destination_of(file.watch),
                )
                promises.append(
                    promise_of(lines, file, BECAUSE, destination=destination, facts=facts)
                )
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


def _will_be_found(watch: Watch, path: RelativePath) -> bool:
    """Whether the watch will ship what is rotated of the file, as far as names can tell."""
    names = (path + b".1", path + b"-20261124", path)
    return any(role_of(watch, RelativePath(name)) is Role.ROTATED for name in names)


def _file(entry: Entry) -> tuple[int, int]:
    return entry.stat.device, entry.stat.inode


def _is_nothing(stat: FileStat) -> bool:
    """Whether there are no bytes that would be lost."""
    is_empty = stat.kind is FileKind.REGULAR and not stat.size_bytes
    return is_empty or stat.kind in NO_FILES
