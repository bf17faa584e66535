"""Keeps, deletes or archives a source once S3 has confirmed every segment of it.

Nothing local is removed unless the directory entry, at that instant, names the very file that was
shipped, at its shipped length, with no writer.
"""

from collections.abc import Callable, Sequence

from shipper.core.disk_space import Excess
from shipper.core.failures import REMOVAL_WAITS_CODES
from shipper.core.identity import chain_of, is_certain, latest_segments
from shipper.core.lifecycle import (
    SETTLED,
    WANTED_CODE,
    AttemptFailed,
    SourceChanged,
    SourceDisposed,
    SourceVanished,
)
from shipper.core.roles import may_be_rotated
from shipper.core.types import (
    AfterUpload,
    RelativePath,
    Shipment,
    Watch,
    WatchName,
)
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files, PortError, Source
from shipper.services.sources.lookup import SourceLookup
from shipper.services.sources.matching import matches
from shipper.services.sources.reading import sha256_of
from shipper.services.sources.watch_roots import other_root

POSTPONED_SECONDS = 60.0
UNPROVEN_SECONDS = 3600.0
"""Whether a file has a writer is asked again after this, where it cannot be told: the question may
read every process's descriptors, and the answer changes only with the configuration."""

IsSame = Callable[[Source], bool]
HasBytes = Callable[[Source, Sequence[Shipment]], bool]
"""Whether the open file has the bytes of all segments."""
_BEST_FIRST = (SourceDisposed, SourceChanged, AttemptFailed)
Disposed = SourceDisposed | SourceVanished | SourceChanged | AttemptFailed


class Disposal:
    """Disposes of sources, and of files that need no shipment."""

    def __init__(
        self,
        *,
        files: Files,
        journal: Journal,
        lookup: SourceLookup,
        clock: Clock,
        tick: Callable[[], None],
        removes_kept: bool = False,
    ) -> None:
        self._files = files
        self._journal = journal
        self._lookup = lookup
        self.roots = lookup.roots
        self._clock = clock
        self._tick = tick
        self.removes_kept = removes_kept
        self.excess: dict[int, Excess] = {}
        """By device: what is to go before its time, beyond what the journal has made due."""
        self.shrinking: frozenset[tuple[WatchName, str]] = frozenset()
        """The watches and places that are on a disk from which files are to go."""

    def removes(self, shipment: Shipment, watch: Watch) -> bool:
        """Whether the source is to go once S3 has confirmed the object."""
        if shipment.is_live or watch.after_upload is not AfterUpload.KEEP:
            return not shipment.is_live
        is_wanted = self.removes_kept and shipment.code == WANTED_CODE
        return is_wanted and (shipment.watch, shipment.place) in self.shrinking

    def dispose(self, shipment: Shipment, watch: Watch) -> Disposed:
        """Do what the watch asks with a VERIFIED shipment's source; the event to record."""
        if not self.removes(shipment, watch):
            return SourceDisposed(self._clock.now())
        is_same = self.roots.is_same(watch, shipment)  # before and after: it may change meanwhile
        disposed = self._dispose(shipment, watch)
        if isinstance(disposed, SourceVanished | SourceChanged):
            self.roots.require_same(watch, shipment)
            if not is_same:
                raise other_root(watch, shipment.place)
        return disposed

    def _dispose(self, shipment: Shipment, watch: Watch) -> Disposed:
        named = self._dispose_at(shipment, watch, shipment.path)
        if not isinstance(named, SourceVanished):
            return named
        moved_to = self._lookup.paths_of(shipment, watch)
        if watch.after_upload is AfterUpload.KEEP:
            moved_to = [path for path in moved_to if may_be_rotated(watch, path)]
            if not moved_to:
                return SourceDisposed(self._clock.now())  # it has a name that is none of ours
        if moved_to in ([], [shipment.path]):
            return named
        # An inode may be another file's, on another file system: whatever fits best, wins.
        answers = [
            *(self._dispose_at(shipment, watch, path) for path in moved_to),
            self._postponed("Unreadable", "it moved while it was looked for"),
        ]
        return next(
            answer for kind in _BEST_FIRST for answer in answers if isinstance(answer, kind)
        )

    def is_shipped(self, source: Source, shipment: Shipment, has_bytes_of: HasBytes) -> bool:
        """Whether the file that ends with this finished segment is in S3, to the last byte."""
        return (
            source.stat().size_bytes == shipment.raw_end
            and self._is_settled(shipment)
            and self._is_what_was_shipped(source, shipment, has_bytes_of)
        )

    def _dispose_at(self, shipment: Shipment, watch: Watch, path: RelativePath) -> Disposed:
        """Dispose of the entry; ``SourceVanished`` when it is not there or another file's."""
        refusals: list[Disposed] = []

        def is_same(source: Source) -> bool:
            refusal = self._refusal(source, shipment)
            refusals.extend([refusal] if refusal is not None else [])
            return refusal is None

        now = self._clock.now()
        try:
            if self.remove(watch, path, is_same):
                return SourceDisposed(now, is_removed=True)
        except PortError as error:
            if error.code in REMOVAL_WAITS_CODES:
                return self._postponed(error.code, error.detail)
            if error.code not in ("NotFound", "NotRegular"):
                raise
        return refusals[0] if refusals else SourceVanished(now)

    def remove(self, watch: Watch, path: RelativePath, is_same: IsSame) -> bool:
        """Delete or archive one entry if ``is_same`` holds for it; False when it does not."""
        if watch.after_upload is AfterUpload.ARCHIVE:
            return self._files.archive(watch, path, is_same)
        return self._files.remove(watch, path, is_same)

    def _is_settled(self, shipment: Shipment) -> bool:
        known = self._journal.known(shipment.watch, shipment.file_id.inode)
        files = (chain_of(last, known) for last in latest_segments(known))
        # One whose place another file took, by inode and length, is in no chain but its own.
        own = chain_of(shipment, known)
        mine = next((file for file in files if shipment.id in {one.id for one in file}), own)
        return mine[0].raw_start == 0 and all(segment.state in SETTLED for segment in mine)

    def _refusal(self, source: Source, shipment: Shipment) -> Disposed | None:
        """Why this entry must stay; ``SourceVanished`` when it is another file."""
        now, stat = self._clock.now(), source.stat()
        if stat.inode != shipment.file_id.inode:
            return SourceVanished(now)
        if stat.size_bytes != shipment.raw_end or not matches(source, shipment):
            return SourceChanged(now)
        if not self._is_settled(shipment):
            return self._postponed("SegmentPending", "another segment is on its way")
        if not self._is_what_was_shipped(source, shipment, self._has_bytes_of):
            # Other bytes under the same identity: to be found as a file of its own.
            self._journal.disown(shipment.id)
            return SourceChanged(now)
        return None

    def _is_what_was_shipped(
        self, source: Source, shipment: Shipment, has_bytes_of: HasBytes
    ) -> bool:
        """Proven by every byte, unless the file has not been touched since its only promise."""
        stat = source.stat()
        is_same = is_certain(shipment, stat) and stat.mtime_ns == shipment.mtime_ns
        if shipment.raw_start == 0 and is_same:
            return True
        known = self._journal.known(shipment.watch, shipment.file_id.inode)
        return has_bytes_of(source, chain_of(shipment, known))

    def _has_bytes_of(self, source: Source, segments: Sequence[Shipment]) -> bool:
        return all(
            sha256_of(source, one.raw_start, one.raw_end, self._tick) == one.source_sha256
            for one in segments
        )

    def _postponed(self, code: str, detail: str) -> AttemptFailed:
        due_at = self._clock.now() + removal_wait(code)
        return AttemptFailed(code, detail, due_at, counts=False)


def removal_wait(code: str) -> float:
    """Seconds until a removal that was refused is tried again."""
    if code == "ComparisonPending":
        return 0.0
    return UNPROVEN_SECONDS if code == "WriterUnproven" else POSTPONED_SECONDS
