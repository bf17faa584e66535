"""Is a log lost whose file is not what was promised any more? Asked before it is called so.

The bytes may stand in another file by now, which is shipped as a log of its own. Then this one is
superseded by it. Two things must be shown:

* that the other file comes of this one: it stands in the same directory, with the stem and the
  mtime of the log; or it is copytruncate's copy of a live log that still has its live name; or an
  operator says that he brought the log back, and it stands under its name;
* that it has the bytes: their SHA-256 where the journal knows it, else length, head and tail.

An equal log of another night, directory or inode proves nothing. What is not shown is lost.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import closing

from shipper.core.duplicates import directory_of, is_carried_over, is_decodable
from shipper.core.identity import digest, tail_range
from shipper.core.lifecycle import LOSS_CODES, SourceChanged, SourceVanished
from shipper.core.object_keys import printable
from shipper.core.roles import role_of
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.siblings import Siblings
from shipper.core.types import (
    Entry,
    FileKind,
    FileStat,
    RelativePath,
    Role,
    Shipment,
    Watch,
)
from shipper.journal.journal import Journal
from shipper.ports import Clock, Encoder, Files, PortError, Source
from shipper.services.sources.matching import has_live_name
from shipper.services.sources.reading import PIECE_BYTES

MOVED_ATTEMPTS = 5
"""So often a file that was found too late is looked for again."""
DECODED_SECONDS = 20.0
"""What takes longer to read is not shown."""


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
        holder = self._holder_of(shipment, watch, error) if watch else None
        if holder is None:
            return SourceVanished(self._clock.now(), error.code, error.detail)
        return SourceChanged(self._clock.now(), printable(holder))

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
                if self._is_held_by(entry, shipment, watch, error):
                    return entry.path
            except PortError as unread:
                failure = unread if unread.code not in ("NotFound", "NotRegular") else failure
        if failure is not None:
            raise PortError("Unreadable", failure.detail, failure.hint) from failure
        return None

    def _is_held_by(
        self, entry: Entry, shipment: Shipment, watch: Watch, error: PortError
    ) -> bool:
        may_be = entry.stat.inode == shipment.file_id.inode or self._comes_of(
            shipment, entry, watch
        )
        if entry.stat.kind is not FileKind.REGULAR or not may_be:
            return False
        with closing(self._files.open(watch, entry.path)) as source:
            stat = source.stat()
            if _is_its_file(shipment, stat):
                # What is not the promised bytes any more may begin and end like them.
                if error.code != "SourceVanished" or not self._has_bytes(source, entry, shipment):
                    return False
                if shipment.attempts < MOVED_ATTEMPTS:
                    raise PortError("Unreadable", "it moved while it was looked for")
                return True
            is_of_it = self._comes_of(shipment, Entry(entry.path, stat), watch)
            return is_of_it and self._has_bytes(source, entry, shipment)

    def _comes_of(self, shipment: Shipment, entry: Entry, watch: Watch) -> bool:
        """Whether the file, which is another one, was made of the log, or is it once more."""
        path, stat = entry.path, entry.stat
        was_older = any(
            row.id < shipment.id
            and (row.raw_end, row.mtime_ns) == (stat.size_bytes, stat.mtime_ns)
            for row in self._journal.known(shipment.watch, stat.inode)
        )
        if was_older or directory_of(path) != directory_of(shipment.path):
            return False
        if is_carried_over(shipment.mtime_ns, stat.mtime_ns):
            return True
        if not shipment.is_live:
            return shipment.code in LOSS_CODES and path == shipment.path
        is_copy = stat.mtime_ns >= shipment.mtime_ns and role_of(watch, path) is Role.ROTATED
        return is_copy and has_live_name(self._files, watch, shipment, directory_of(path))

    def _has_bytes(self, source: Source, entry: Entry, shipment: Shipment) -> bool:
        """Whether the file's content is the shipment's; a live log's copy may go on."""
        path, is_open_ended = entry.path, shipment.is_live
        if is_decodable(path) and not is_compressed(shipment.path):
            pieces = self._decoded(
                source, path, sys.maxsize if is_open_ended else shipment.raw_end
            )
        else:
            size_bytes = source.stat().size_bytes
            is_open_ended = is_open_ended or _is_its_file(shipment, source.stat())
            if size_bytes < shipment.raw_end or (
                size_bytes > shipment.raw_end and not is_open_ended
            ):
                return False
            if not shipment.source_sha256:
                return _begins_and_ends_in(source, shipment)
            pieces = self._read(source, shipment.raw_end)
        content, until = _Content(shipment), self._clock.monotonic() + DECODED_SECONDS
        try:
            for piece in pieces:
                content.add(piece)
                if self._clock.monotonic() >= until:
                    return False
        except PortError as error:
            if error.code in ("Undecodable", "ContentTooLong"):
                return False
            raise
        return content.is_whole()

    def _decoded(self, source: Source, path: RelativePath, limit_bytes: int) -> Iterator[bytes]:
        extension = stem_and_extension(path).extension.decode()
        return self._encoder.decoded(source, extension, limit_bytes=limit_bytes, tick=self._tick)

    def _read(self, source: Source, end: int) -> Iterator[bytes]:
        for at in range(0, end, PIECE_BYTES):
            self._tick()
            yield source.read(at, min(PIECE_BYTES, end - at))


def _is_its_file(shipment: Shipment, stat: FileStat) -> bool:
    """Whether the kernel says that it is the promised file, perhaps under another name."""
    file_id = shipment.file_id
    same = (file_id.inode, file_id.generation) == (stat.inode, stat.generation)
    return same and file_id.generation != ""


class _Content:
    """What comes in pieces, as a shipment remembers it."""

    def __init__(self, shipment: Shipment) -> None:
        self._shipment = shipment
        self._length = 0
        self._head = self._tail = b""
        self._sha256 = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        shipment, start = self._shipment, self._length
        head_length = shipment.file_id.head_length
        _, tail_length = tail_range(shipment.raw_end)
        promised = piece[: max(0, shipment.raw_end - start)]
        self._length += len(piece)
        self._head = (self._head + piece[:head_length])[:head_length]
        self._tail = (self._tail + promised)[-tail_length:]
        self._sha256.update(promised[max(0, shipment.raw_start - start) :])

    def is_whole(self) -> bool:
        shipment = self._shipment
        more_bytes = self._length - shipment.raw_end
        is_as_long = more_bytes >= 0 if shipment.is_live else more_bytes == 0
        is_alike = digest(self._head) == shipment.file_id.head_digest
        is_alike = is_alike and digest(self._tail) == shipment.tail_digest
        sha256 = shipment.source_sha256
        return is_as_long and is_alike and sha256 in ("", self._sha256.hexdigest())


def _begins_and_ends_in(source: Source, shipment: Shipment) -> bool:
    head = source.read(0, shipment.file_id.head_length)
    tail = source.read(*tail_range(shipment.raw_end))
    return (digest(head), digest(tail)) == (shipment.file_id.head_digest, shipment.tail_digest)
