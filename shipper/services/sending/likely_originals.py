"""Which logs a file may be a copy of, the likeliest first; ``duplicates`` proves of which it is.

What would be the copy of a whole log comes before what only begins as one: two logs may begin
alike, and what is taken for a beginning is sent without it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from shipper.core.duplicates import (
    directory_of,
    is_decodable,
    may_be_compressed,
    may_be_compressed_beside,
    may_be_copied,
    may_go_on,
    mtime_in_gzip,
    uncompressed,
)
from shipper.core.identity import beginning, begins_as, latest_segments, tail_range
from shipper.core.lifecycle import UNCHECKED
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.types import HEAD_BYTES, Shipment, Watch
from shipper.journal.journal import Journal
from shipper.ports import Clock, Encoder, PortError, Source
from shipper.services.sending.proofs import FileProofs, put_off
from shipper.services.sources.lookup import SourceLookup

STANDING_SECONDS = 600.0
"""So long a compressed file waits while the log that it may be a copy of stands elsewhere: what of
that is not promised yet is about to be."""
UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True)
class Copy:
    """A file that may be a copy, and what it costs to prove of what."""

    shipment: Shipment
    source: Source
    watch: Watch
    proofs: FileProofs


@dataclass(frozen=True, slots=True)
class Likely:
    """What it may be a copy of; or of the beginning of it, where that ``goes_on``."""

    original: Shipment
    goes_on: bool = False


@dataclass(frozen=True, kw_only=True)
class LikelyOriginals:
    journal: Journal
    encoder: Encoder
    lookup: SourceLookup
    clock: Clock

    def of(self, copy: Copy) -> Iterator[Likely]:
        """What is not sent yet comes last of its kind.

        Raises:
            PortError: ``DuplicateUndecided``; what is likely will be known later.
        """
        if not copy.shipment.raw_start:
            for kind in self._kinds(copy):
                yield from sorted(kind(copy), key=lambda it: it.original.state in UNCHECKED)

    def _kinds(self, copy: Copy) -> tuple[Callable[[Copy], Iterator[Likely]], ...]:
        """How it may be a copy, the strongest likeness first."""
        if is_decodable(copy.shipment.path):
            return self._compressed, self._gone_on
        return () if is_compressed(copy.shipment.path) else (self._copied, self._begun_as)

    def _copied(self, copy: Copy) -> Iterator[Likely]:
        """The live logs that an uncompressed file may be copytruncate's copy of."""
        directory = directory_of(copy.shipment.path)
        rows = self._uncopied(copy.shipment)
        for row in sorted(rows, key=lambda row: directory_of(row.path) != directory):
            is_it = may_be_copied(row, copy.shipment, copy.source.stat().born_ns)
            if is_it and self.lookup.has_live_name(copy.watch, row, directory):
                yield Likely(row)

    def _begun_as(self, copy: Copy) -> Iterator[Likely]:
        """The live logs that an uncompressed file may begin as, and go on behind.

        What was promised of the log behind that was emptied before it was sent.
        """
        shipment, source = copy.shipment, copy.source
        rows = [row for row in self._uncopied(shipment) if row.raw_end < shipment.raw_end]
        end = beginning(
            rows,
            lambda row: self.lookup.has_live_name(copy.watch, row, directory_of(shipment.path)),
            source.stat(),
            head=source.read(0, HEAD_BYTES) if rows else b"",
            tail_of=lambda row: source.read(*tail_range(row.raw_end)),
        )
        yield from (Likely(row, goes_on=True) for row in rows if row.raw_end == end)

    def _gone_on(self, copy: Copy) -> Iterator[Likely]:
        """The live logs that the compressed file may begin as, and that stand nowhere else."""
        shipment, rows = copy.shipment, self._uncopied(copy.shipment)
        mtime_ns, born_ns = max(_mtimes(copy)), copy.source.stat().born_ns
        rows = [row for row in rows if may_go_on(row, shipment, mtime_ns, born_ns)]
        head = self._head(copy) if rows else b""
        for row in rows:
            if begins_as(row, head) and not self._goes_on_elsewhere(row, copy):
                yield Likely(row, goes_on=True)

    def _head(self, copy: Copy) -> bytes:
        """The first ``HEAD_BYTES`` of the content, or fewer where it is damaged."""
        head = b""
        try:
            with copy.proofs.of(HEAD_BYTES) as tick:
                pieces = decoded(self.encoder, copy, UNLIMITED, tick)
                while len(head) < HEAD_BYTES and (piece := next(pieces, b"")):
                    head += piece
        except PortError as error:
            if error.code != "Undecodable":
                raise
        return head[:HEAD_BYTES]

    def _goes_on_elsewhere(self, log: Shipment, copy: Copy) -> bool:
        """Whether the log stands somewhere as it was: then no rotator is done with it.

        Raises:
            PortError: ``DuplicateUndecided``; it was renamed, and is about to be sealed.
        """
        try:
            path = self.lookup.standing_at(log, copy.watch)
        except PortError:  # it may stand where nobody can look
            return True
        is_moved = path not in (None, log.path)
        is_new = self.clock.now() - copy.shipment.promised_at < STANDING_SECONDS
        if is_moved and is_new:
            raise put_off("the log that it begins as is not sealed")
        return path is not None

    def _compressed(self, copy: Copy) -> Iterator[Likely]:
        """The logs that it may be the archive of; first those whose mtime was not cut for it."""
        shipment = copy.shipment
        log_path = uncompressed(shipment.path)
        for mtime_ns in _mtimes(copy):
            rows = self.journal.alike(replace(shipment, mtime_ns=mtime_ns))
            for row in sorted(rows, key=lambda row: abs(row.mtime_ns - mtime_ns)):
                is_it = may_be_compressed(row, shipment, mtime_ns)
                if is_it and not self._stands_elsewhere(row, copy):
                    yield Likely(row)
        born_ns = copy.source.stat().born_ns
        for row in latest_segments(self.journal.at_path(shipment.watch, log_path)):
            is_it = may_be_compressed_beside(row, shipment, born_ns)
            if is_it and not self.lookup.stands(copy.watch, row):
                yield Likely(row)

    def _stands_elsewhere(self, log: Shipment, copy: Copy) -> bool:
        """Whether the log still stands, and not beside the file: no compressor took it.

        Both may have been renamed since a scan last told the file's name.
        """
        if not self.lookup.stands(copy.watch, log):
            return False
        if self.lookup.stands(copy.watch, copy.shipment):
            return log.path != uncompressed(copy.shipment.path)
        paths = self.lookup.paths_of(copy.shipment, copy.watch)
        return all(log.path != uncompressed(path) for path in paths)

    def _uncopied(self, shipment: Shipment) -> list[Shipment]:
        stem = stem_and_extension(shipment.path).stem
        return self.journal.open_logs.of(shipment.watch, stem)


def decoded(encoder: Encoder, copy: Copy, limit: int, tick: Callable[[], None]) -> Iterator[bytes]:
    extension = stem_and_extension(copy.shipment.path).extension.decode()
    return encoder.decoded(copy.source, extension, limit_bytes=limit, tick=tick)


def _mtimes(copy: Copy) -> list[int]:
    """When it was written, and when its content was, where its header tells that."""
    mtimes = [copy.shipment.mtime_ns]
    is_gzip = copy.shipment.path.endswith(b".gz")
    if is_gzip and (told := mtime_in_gzip(copy.source.read(0, 8))):
        mtimes.append(told)
    return mtimes
