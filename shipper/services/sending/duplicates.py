"""Finds the object that a file is a copy of: compressed by the rotator, or made by copytruncate.

``core.duplicates`` says what is likely. Here it is proven by the SHA-256 of every byte against
every segment of the log, and nothing less counts.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from shipper.core.duplicates import (
    Standing,
    bytes_after,
    directory_of,
    is_decodable,
    may_be_compressed,
    may_be_compressed_beside,
    may_be_copied,
    may_go_on,
    mtime_in_gzip,
    standing_of,
    uncompressed,
)
from shipper.core.identity import beginning, begins_as, chain_of, latest_segments, tail_range
from shipper.core.lifecycle import UNCHECKED, DuplicateFound, RestFound
from shipper.core.object_keys import MAX_KEY_BYTES, printable
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.types import HEAD_BYTES, ObjectKey, Shipment, ShipmentId, State, Watch, as_sent
from shipper.journal.journal import Journal
from shipper.ports import Clock, Encoder, PortError, Source
from shipper.services.sending.proofs import FileProofs, Proofs, put_off
from shipper.services.sources.canonical_line import named
from shipper.services.sources.lookup import SourceLookup
from shipper.services.sources.reading import SegmentReader, sha256_of

UNREADABLE_ATTEMPTS = 5
"""So often (some minutes) a copy waits for what it may be a copy of, and cannot be read."""
PROOFS = 8
"""So many likely originals of one file are tried; what was none of them is shipped."""
REMEMBERED = 10_000
"""So many files are not compared again with what they are no copies of; then all are forgotten."""

STANDING_SECONDS = 600.0
"""So long a compressed file waits while the log that it may be a copy of stands elsewhere: what of
that is not promised yet is about to be."""
MOST_RATIO = 32
"""More than logs are compressed by: the proof of a small file may still be a long one."""
_UNLIMITED = 1 << 62
_ANY_ORIGINAL = ShipmentId(0)

Found = DuplicateFound | RestFound


@dataclass(frozen=True, slots=True)
class _Copy:
    """A file that may be a copy, and what it costs to prove of what."""

    shipment: Shipment
    source: Source
    watch: Watch
    proofs: FileProofs


@dataclass(frozen=True, slots=True)
class _Likely:
    """What it may be a copy of; or of the beginning of it, where that ``goes_on``."""

    original: Shipment
    goes_on: bool = False


@dataclass(kw_only=True)
class Duplicates:
    """Finds originals; safe to share between threads. ``_lock`` guards what it remembers.

    ``key_of`` gives the key of a segment, as discovery does.
    """

    journal: Journal
    encoder: Encoder
    lookup: SourceLookup
    clock: Clock
    log: Any
    proofs: Proofs
    key_of: Callable[[Shipment], ObjectKey]
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _refuted: dict[ShipmentId, set[ShipmentId]] = field(default_factory=dict, init=False)
    """What a file is no copy of."""
    _claimed: set[str] = field(default_factory=set, init=False)
    """The objects of which some file is being proven a copy, until the journal has it."""

    @contextmanager
    def found(
        self, shipment: Shipment, source: Source, watch: Watch, *, is_brief: bool
    ) -> Iterator[Found | None]:
        """Whether an object has the content of a READY shipment's source: record it in the block.

        ``RestFound`` where it is only the beginning of the source's content.

        Of files that are alike only one is the log's copy. So no other is compared with it until
        the block ends, and nobody waits within a block: no two files wait for each other. What is
        not proven in time is no copy. ``is_brief`` puts off what takes long.

        Raises:
            PortError: ``DuplicateUndecided``; a likely original is on its way, or another file
                is compared with it, or the proof waits.
        """
        copy = _Copy(shipment, source, watch, self.proofs.of_a_file(is_brief=is_brief))
        # What has to be waited for comes last.
        for likely in sorted(self._likely(copy), key=lambda it: it.original.state in UNCHECKED):
            if not self._is_refuted(shipment, likely.original):
                with self._claim(_stored_key(likely.original)):
                    if (found := self._proven(likely, copy)) is not None:
                        yield found
                        return
        yield None

    @contextmanager
    def _claim(self, key: str) -> Iterator[None]:
        with self._lock:
            if key in self._claimed:
                raise PortError("DuplicateUndecided", f"waits: another may be the copy of {key}")
            self._claimed.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._claimed.remove(key)

    def _likely(self, copy: _Copy) -> Iterator[_Likely]:
        if copy.shipment.raw_start:
            return
        if is_decodable(copy.shipment.path):
            yield from (_Likely(row, goes_on=True) for row in self._gone_on(copy))
            yield from map(_Likely, self._likely_compressed(copy))
        elif not is_compressed(copy.shipment.path):
            directory = directory_of(copy.shipment.path)
            rows = self._uncopied(copy.shipment)
            for row in sorted(rows, key=lambda row: directory_of(row.path) != directory):
                is_it = may_be_copied(row, copy.shipment, copy.source.stat().born_ns)
                if is_it and self.lookup.has_live_name(copy.watch, row, directory):
                    yield _Likely(row)
            yield from (_Likely(row, goes_on=True) for row in self._begun_as(copy))

    def _begun_as(self, copy: _Copy) -> Iterator[Shipment]:
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
        yield from (row for row in rows if row.raw_end == end)

    def _gone_on(self, copy: _Copy) -> Iterator[Shipment]:
        """The live logs that the compressed file may begin as, and that stand nowhere else."""
        shipment, rows = copy.shipment, self._uncopied(copy.shipment)
        mtime_ns, born_ns = max(_mtimes(copy)), copy.source.stat().born_ns
        rows = [row for row in rows if may_go_on(row, shipment, mtime_ns, born_ns)]
        head = self._head(copy) if rows else b""
        for row in rows:
            if begins_as(row, head) and not self._goes_on_elsewhere(row, copy):
                yield row

    def _head(self, copy: _Copy) -> bytes:
        """The first ``HEAD_BYTES`` of the content, or fewer where it is damaged."""
        head = b""
        try:
            with copy.proofs.of(HEAD_BYTES) as tick:
                pieces = self._decoded(copy, _UNLIMITED, tick)
                while len(head) < HEAD_BYTES and (piece := next(pieces, b"")):
                    head += piece
        except PortError as error:
            if error.code != "Undecodable":
                raise
        return head[:HEAD_BYTES]

    def _goes_on_elsewhere(self, log: Shipment, copy: _Copy) -> bool:
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

    def _likely_compressed(self, copy: _Copy) -> Iterator[Shipment]:
        shipment = copy.shipment
        log_path = uncompressed(shipment.path)
        for mtime_ns in _mtimes(copy):
            for row in self.journal.alike(replace(shipment, mtime_ns=mtime_ns)):
                is_it = may_be_compressed(row, shipment, mtime_ns)
                if is_it and not self._stands_elsewhere(row, copy):
                    yield row
        born_ns = copy.source.stat().born_ns
        for row in latest_segments(self.journal.at_path(shipment.watch, log_path)):
            is_it = may_be_compressed_beside(row, shipment, born_ns)
            if is_it and not self.lookup.stands(copy.watch, row):
                yield row

    def _stands_elsewhere(self, log: Shipment, copy: _Copy) -> bool:
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
        return self.journal.open_logs(shipment.watch, stem)

    def _has_copy(self, likely: _Likely, copy: Shipment) -> bool:
        """Whether the log has its copy: then this file is another log's, however alike."""
        original = likely.original
        if likely.goes_on or not is_compressed(copy.path):
            return all(row.id != original.id for row in self._uncopied(copy))
        key = _stored_key(original)
        return any(
            row.state is State.DUPLICATE and row.detail == key and is_compressed(row.path)
            for row in self.journal.alike(original)
        )

    def _proven(self, likely: _Likely, copy: _Copy) -> Found | None:
        shipment, original = copy.shipment, likely.original
        chain = () if self._has_copy(likely, shipment) else self._stored_chain(original)
        if not chain:
            return None
        length = chain[-1].raw_end
        most = max(length, MOST_RATIO * shipment.raw_end) if likely.goes_on else length
        try:
            with copy.proofs.of(most) as tick:
                found = self._compared(chain, copy, tick, goes_on=likely.goes_on)
        except PortError as error:
            if error.code in ("Undecodable", "ProofTooLong"):
                self._refute(shipment, _ANY_ORIGINAL)
                _tell(self.log, shipment, error)
            elif error.code != "ContentTooLong":
                raise
            found = None
        if found is None:
            self._refute(shipment, original.id)
        return found

    def _compared(
        self,
        chain: Sequence[Shipment],
        copy: _Copy,
        tick: Callable[[], None],
        *,
        goes_on: bool,
    ) -> Found | None:
        key, end = _stored_key(chain[-1]), chain[-1].raw_end
        if is_compressed(copy.shipment.path):
            more = bytes_after(chain, self._decoded(copy, _UNLIMITED if goes_on else end, tick))
            if more:
                return self._rest(copy, key, end, end + more, tick)
            return DuplicateFound(key, self.clock.now()) if more == 0 else None
        reader = SegmentReader(copy.source, 0, self.encoder, tick)
        if bytes_after(chain, reader.digested(end)) is None:
            return None
        if goes_on:
            return self._rest(copy, key, end, copy.shipment.raw_end, tick)
        return DuplicateFound(key, self.clock.now(), reader.sha256.hexdigest())

    def _decoded(self, copy: _Copy, limit: int, tick: Callable[[], None]) -> Iterator[bytes]:
        extension = stem_and_extension(copy.shipment.path).extension.decode()
        return self.encoder.decoded(copy.source, extension, limit_bytes=limit, tick=tick)

    def _rest(
        self, copy: _Copy, key: str, start: int, end: int, tick: Callable[[], None]
    ) -> RestFound | None:
        """What is to be sent of a file that goes on; None where that could have no key."""
        row, compression = copy.shipment, copy.watch.compression
        is_packed = is_compressed(row.path)
        row = replace(row, decoded_start=start, decoded_end=end, compression=compression)
        path = uncompressed(row.path) if is_packed else row.path
        own = self.key_of(replace(as_sent(row), path=path))
        if len(own.encode()) > MAX_KEY_BYTES:
            return None
        sha256 = sha256_of(copy.source, 0, copy.shipment.raw_end, tick)
        return RestFound(key, start, end, sha256, own, compression)

    def _stored_chain(self, last: Shipment) -> Sequence[Shipment]:
        """The whole log that ends with ``last``; empty where S3 lacks some, and may for ever.

        Raises:
            PortError: ``DuplicateUndecided``; it is on its way.
        """
        chain = chain_of(last, self.journal.segments(last)) if last.raw_start else [last]
        standing = Standing.ABSENT if chain[0].raw_start else standing_of(chain)
        if standing is Standing.STORED:
            return chain
        is_unreadable = last.code == "Unreadable" and last.attempts >= UNREADABLE_ATTEMPTS
        if standing is Standing.ABSENT or is_unreadable:
            return ()
        raise PortError("DuplicateUndecided", f"waits for {last.key}")

    def _is_refuted(self, shipment: Shipment, original: Shipment) -> bool:
        with self._lock:
            refuted = self._refuted.get(shipment.id, ())
        return original.id in refuted or _ANY_ORIGINAL in refuted or len(refuted) >= PROOFS

    def _refute(self, shipment: Shipment, original: ShipmentId) -> None:
        with self._lock:
            if len(self._refuted) >= REMEMBERED:
                self._refuted.clear()
            self._refuted.setdefault(shipment.id, set()).add(original)


def _stored_key(original: Shipment) -> str:
    """Of a copy, the key of what it is a copy of: its own was never written."""
    return original.detail if original.state is State.DUPLICATE else original.key


def _mtimes(copy: _Copy) -> list[int]:
    """When it was written, and when its content was, where its header tells that."""
    mtimes = [copy.shipment.mtime_ns]
    is_gzip = copy.shipment.path.endswith(b".gz")
    if is_gzip and (told := mtime_in_gzip(copy.source.read(0, 8))):
        mtimes.append(told)
    return mtimes


def _tell(log: Any, shipment: Shipment, error: PortError) -> None:
    facts = {**named(shipment), **error.words, "path": printable(shipment.path)}
    if error.code == "ProofTooLong":
        log.warning("duplicate.unproven", **{**facts, "hint": "it is shipped as it is"})
    else:
        log.warning("archive.undecodable", **facts)
