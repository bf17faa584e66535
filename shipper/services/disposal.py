"""What becomes of a source once S3 has confirmed every segment of it: keep, delete, archive.

Nothing local is removed unless the directory entry, at that instant, names the very file that was
shipped, at its shipped length, with no writer.
"""

from collections.abc import Callable

from shipper.core.lifecycle import (
    AttemptFailed,
    SourceChanged,
    SourceDisposed,
    SourceVanished,
)
from shipper.core.types import (
    AfterUpload,
    RelativePath,
    Shipment,
    State,
    Watch,
    WriterTest,
)
from shipper.journal import Journal
from shipper.ports import Clock, Files, PortError, Source
from shipper.services.sourcing import Sourcing, holds

SETTLED = frozenset({State.VERIFIED, State.DONE, State.DUPLICATE})
POSTPONED_SECONDS = 60.0

IsSame = Callable[[Source], bool]
Disposed = SourceDisposed | SourceVanished | SourceChanged | AttemptFailed


class Disposal:
    """Disposes of sources, and of files that need no shipment."""

    def __init__(
        self, *, files: Files, journal: Journal, sourcing: Sourcing, clock: Clock
    ) -> None:
        self._files = files
        self._journal = journal
        self._sourcing = sourcing
        self._clock = clock

    def dispose(self, shipment: Shipment, watch: Watch) -> Disposed:
        """Do what the watch asks with a VERIFIED shipment's source; the event to record."""
        if watch.after_upload is AfterUpload.KEEP:
            return SourceDisposed(self._clock.now())
        if not self._is_settled(shipment):
            return self._postponed("SegmentPending", "another segment is on its way")
        named = self._dispose_at(shipment, watch, shipment.path)
        if not isinstance(named, SourceVanished):
            return named
        moved_to = self._sourcing.path_of(shipment, watch)
        return named if moved_to is None else self._dispose_at(shipment, watch, moved_to)

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
                return SourceDisposed(now)
        except PortError as error:
            if error.code not in ("NotFound", "NotRegular"):
                raise
        return refusals[0] if refusals else SourceVanished(now)

    def remove(self, watch: Watch, path: RelativePath, is_same: IsSame) -> bool:
        """Delete or archive one entry if ``is_same`` holds for it; False when it does not."""
        if watch.after_upload is AfterUpload.ARCHIVE:
            return self._files.archive(watch, path, is_same)
        return self._files.remove(watch, path, is_same)

    def _is_settled(self, shipment: Shipment) -> bool:
        others = self._journal.known(shipment.watch, shipment.file_id.inode)
        return all(other.state in SETTLED for other in others)

    def _refusal(self, source: Source, shipment: Shipment) -> Disposed | None:
        """Why this entry must stay; ``SourceVanished`` when it is another file."""
        now, stat = self._clock.now(), source.stat()
        if stat.inode != shipment.file_id.inode:
            return SourceVanished(now)
        if stat.size_bytes != shipment.raw_end or not holds(source, shipment):
            return SourceChanged(now)
        if source.writer() is WriterTest.OPEN:
            return self._postponed("SourceInUse", WriterTest.OPEN.value)
        return None

    def _postponed(self, code: str, detail: str) -> AttemptFailed:
        due_at = self._clock.now() + POSTPONED_SECONDS
        return AttemptFailed(code, detail, due_at, counts=False)
