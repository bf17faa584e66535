"""Is a log lost whose file is not what was promised any more? Asked before it is called so.

The bytes may stand in another file by now: the copy that copytruncate made, or the rotator's
compressed one. Such a file has their beginning and their end where they were, and their mtime to
the second; copytruncate's copy has no mtime to compare, and neither may a file that an operator
brought back. It is shipped as a log of its own, so this one is superseded by it. Bytes that are
in no file are lost.
"""

import sys
from collections.abc import Callable
from contextlib import closing

from shipper.core.duplicates import is_decodable, trailer_from
from shipper.core.identity import digest, tail_range
from shipper.core.lifecycle import LOSS_CODES, SourceChanged, SourceVanished
from shipper.core.object_keys import printable
from shipper.core.roles import role_of
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.siblings import Siblings
from shipper.core.types import Entry, FileKind, RelativePath, Shipment, Watch
from shipper.journal.journal import Journal
from shipper.ports import Clock, Encoder, Files, PortError, Source

MOVED_ATTEMPTS = 5
"""So often a file that was found too late is looked for again."""
DECODED_SECONDS = 20.0
"""A compressed file that takes longer is told by its beginning, and by gzip's trailer."""


class Losses:
    """Tells lost logs from logs that another file has; safe to share between threads."""

    def __init__(
        self,
        *,
        files: Files,
        journal: Journal,
        encoder: Encoder,
        clock: Clock,
        tick: Callable[[], None],
    ) -> None:
        self._files = files
        self._journal = journal
        self._encoder = encoder
        self._clock = clock
        self._tick = tick

    def event(
        self, shipment: Shipment, watch: Watch | None, error: PortError
    ) -> SourceVanished | SourceChanged:
        """What became of a promised file that ``error`` says is not there, or is another.

        Raises:
            PortError: ``Unreadable``; it cannot be told.
        """
        now, holder = (
            self._clock.now(),
            (self._holder_of(shipment, watch, error) if watch else None),
        )
        if holder is None:
            return SourceVanished(now, error.code, error.detail)
        is_itself = holder == shipment.path and error.code == "SourceChanged"
        return SourceChanged(now, "" if is_itself else printable(holder))

    def _holder_of(
        self, shipment: Shipment, watch: Watch, error: PortError
    ) -> RelativePath | None:
        stem = stem_and_extension(shipment.path).stem

        def selects(path: RelativePath, siblings: Siblings) -> bool:
            is_of_log = stem_and_extension(path).stem == stem
            return is_of_log and role_of(watch, path, siblings) is not None

        failure: PortError | None = None
        for entry in self._files.scan(watch, selects):
            try:
                if isinstance(entry, PortError):
                    raise entry
                if self._is_held_by(entry, shipment, watch):
                    _require_another(entry, shipment, error)
                    return entry.path
            except PortError as unread:
                failure = unread if unread.code not in ("NotFound", "NotRegular") else failure
        again = self._promised_again(shipment) if shipment.is_live else None
        if again is None and failure is not None:
            raise PortError("Unreadable", failure.detail, failure.hint) from failure
        return again

    def _promised_again(self, shipment: Shipment) -> RelativePath | None:
        """Another file that had the same bytes later: it was shipped, and may be removed since."""
        rows = self._journal.alike(shipment, content_size=shipment.raw_end)
        return next(
            (
                row.path
                for row in rows
                if row.id > shipment.id
                and row.raw_end == shipment.raw_end
                and row.tail_digest == shipment.tail_digest
                and row.file_id.head_digest == shipment.file_id.head_digest
            ),
            None,
        )

    def _is_held_by(self, entry: Entry, shipment: Shipment, watch: Watch) -> bool:
        if entry.stat.kind is not FileKind.REGULAR or not self._may_be_of(shipment, entry):
            return False
        is_encoded = is_decodable(entry.path) and not is_compressed(shipment.path)
        if not is_encoded and entry.stat.size_bytes < shipment.raw_end:
            return False
        with closing(self._files.open(watch, entry.path)) as source:
            return (
                self._is_encoded_in(source, entry.path, shipment)
                if is_encoded
                else _begins_and_ends_in(source, shipment)
            )

    def _may_be_of(self, shipment: Shipment, entry: Entry) -> bool:
        """Whether the file may have this log's bytes, and not only bytes that are equal."""
        stat = entry.stat
        was_older = any(
            row.id < shipment.id
            and (row.raw_end, row.mtime_ns) == (stat.size_bytes, stat.mtime_ns)
            for row in self._journal.known(shipment.watch, stat.inode)
        )
        is_alike = (
            shipment.is_live
            or shipment.code in LOSS_CODES
            or stat.inode == shipment.file_id.inode
            or stat.mtime_ns // 10**9 == shipment.mtime_ns // 10**9
        )
        return is_alike and not was_older

    def _is_encoded_in(self, source: Source, path: RelativePath, shipment: Shipment) -> bool:
        size_bytes = source.stat().size_bytes
        if path.endswith(b".gz") and size_bytes >= 18 and not shipment.is_live:
            trailer = trailer_from(source.read(size_bytes - 8, 8))
            if trailer is None or trailer.size != shipment.raw_end % 2**32:
                return False
        content, limit_bytes = _Content(shipment), shipment.raw_end
        if shipment.is_live:  # what was written after it was promised is in the copy, too
            limit_bytes = sys.maxsize
        until = self._clock.monotonic() + DECODED_SECONDS
        extension = stem_and_extension(path).extension.decode()
        pieces = self._encoder.decoded(source, extension, limit_bytes=limit_bytes, tick=self._tick)
        try:
            for piece in pieces:
                content.add(piece)
                if self._clock.monotonic() >= until:
                    return content.has_head()
        except PortError as error:
            if error.code in ("Undecodable", "ContentTooLong"):
                return False
            raise
        return content.is_whole()


def _require_another(entry: Entry, shipment: Shipment, error: PortError) -> None:
    """A file that is found again under its inode was renamed while it was looked for."""
    is_it = entry.stat.inode == shipment.file_id.inode and error.code == "SourceVanished"
    if is_it and shipment.attempts < MOVED_ATTEMPTS:
        raise PortError("Unreadable", "it moved while it was looked for")


class _Content:
    """The length, beginning and end of what comes in pieces."""

    def __init__(self, shipment: Shipment) -> None:
        self._shipment = shipment
        self._length = 0
        self._head = self._tail = b""

    def add(self, piece: bytes) -> None:
        head_length = self._shipment.file_id.head_length
        _, tail_length = tail_range(self._shipment.raw_end)
        left = max(0, self._shipment.raw_end - self._length)
        self._length += len(piece)
        self._head = (self._head + piece[:head_length])[:head_length]
        self._tail = (self._tail + piece[:left])[-tail_length:]

    def has_head(self) -> bool:
        return digest(self._head) == self._shipment.file_id.head_digest

    def is_whole(self) -> bool:
        more_bytes = self._length - self._shipment.raw_end
        is_as_long = more_bytes >= 0 if self._shipment.is_live else more_bytes == 0
        return is_as_long and self.has_head() and digest(self._tail) == self._shipment.tail_digest


def _begins_and_ends_in(source: Source, shipment: Shipment) -> bool:
    head = source.read(0, shipment.file_id.head_length)
    tail = source.read(*tail_range(shipment.raw_end))
    return (digest(head), digest(tail)) == (shipment.file_id.head_digest, shipment.tail_digest)
