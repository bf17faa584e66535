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
    is_content_of,
    is_decodable,
    may_be_compressed,
    may_be_compressed_beside,
    may_be_copied,
    mtime_in_gzip,
    standing_of,
    uncompressed,
)
from shipper.core.identity import chain_of, latest_segments
from shipper.core.lifecycle import UNCHECKED, DuplicateFound
from shipper.core.object_keys import printable
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.types import Shipment, ShipmentId, State, Watch
from shipper.journal.journal import Journal
from shipper.ports import Clock, Encoder, PortError, Source
from shipper.services.sending.proofs import FileProofs, Proofs
from shipper.services.sources.canonical_line import named
from shipper.services.sources.lookup import SourceLookup
from shipper.services.sources.reading import SegmentReader

UNREADABLE_ATTEMPTS = 5
"""So often (some minutes) a copy waits for what it may be a copy of, and cannot be read."""
PROOFS = 8
"""So many likely originals of one file are tried; what was none of them is shipped."""
REMEMBERED = 10_000
"""So many files are not compared again with what they are no copies of; then all are forgotten."""

_ANY_ORIGINAL = ShipmentId(0)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A file that may be a copy, and what it costs to prove of what."""

    shipment: Shipment
    source: Source
    watch: Watch
    proofs: FileProofs


@dataclass(kw_only=True)
class Duplicates:
    """Finds originals; safe to share between threads. ``_lock`` guards what it remembers."""

    journal: Journal
    encoder: Encoder
    lookup: SourceLookup
    clock: Clock
    log: Any
    proofs: Proofs
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _refuted: dict[ShipmentId, set[ShipmentId]] = field(default_factory=dict, init=False)
    """What a file is no copy of."""
    _claimed: set[str] = field(default_factory=set, init=False)
    """The objects of which some file is being proven a copy, until the journal has it."""

    @contextmanager
    def found(
        self, shipment: Shipment, source: Source, watch: Watch, *, is_brief: bool
    ) -> Iterator[DuplicateFound | None]:
        """Whether an object has the content of a READY shipment's source: record it in the block.

        Of files that are alike only one is the log's copy. So no other is compared with it until
        the block ends, and nobody waits within a block: no two files wait for each other. What is
        not proven in time is no copy. ``is_brief`` puts off what takes long.

        Raises:
            PortError: ``DuplicateUndecided``; a likely original is on its way, or another file
                is compared with it, or the proof waits.
        """
        copy = _Copy(shipment, source, watch, self.proofs.of_a_file(is_brief=is_brief))
        # What has to be waited for comes last.
        for original in sorted(self._likely(copy), key=lambda row: row.state in UNCHECKED):
            if not self._is_refuted(shipment, original):
                with self._claim(_stored_key(original)):
                    if (found := self._proven(original, copy)) is not None:
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

    def _likely(self, copy: _Copy) -> Iterator[Shipment]:
        if copy.shipment.raw_start:
            return
        if is_decodable(copy.shipment.path):
            yield from self._likely_compressed(copy)
        elif not is_compressed(copy.shipment.path):
            for row in self._uncopied(copy.shipment):
                is_it = may_be_copied(row, copy.shipment, copy.source.stat().born_ns)
                if is_it and self.lookup.has_live_name(copy.watch, row):
                    yield row

    def _likely_compressed(self, copy: _Copy) -> Iterator[Shipment]:
        shipment = copy.shipment
        mtimes = [shipment.mtime_ns]
        if shipment.path.endswith(b".gz") and (told := mtime_in_gzip(copy.source.read(0, 8))):
            mtimes.append(told)
        log_path = uncompressed(shipment.path)
        for mtime_ns in mtimes:
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
        return self.journal.live_segments(shipment.watch, stem)

    def _has_copy(self, original: Shipment, copy: Shipment) -> bool:
        """Whether the log has its copy: then this file is another log's, however alike."""
        if not is_compressed(copy.path):
            return all(row.id != original.id for row in self._uncopied(copy))
        key = _stored_key(original)
        return any(
            row.state is State.DUPLICATE and row.detail == key and is_compressed(row.path)
            for row in self.journal.alike(original)
        )

    def _proven(self, original: Shipment, copy: _Copy) -> DuplicateFound | None:
        shipment = copy.shipment
        chain = () if self._has_copy(original, shipment) else self._stored_chain(original)
        if not chain:
            return None
        try:
            with copy.proofs.of(chain[-1].raw_end) as tick:
                found = self._compared(chain, copy, tick)
        except PortError as error:
            if error.code in ("Undecodable", "ProofTooLong"):
                self._refute(shipment, _ANY_ORIGINAL)
                self._tell(shipment, error)
            elif error.code != "ContentTooLong":
                raise
            found = None
        if found is None:
            self._refute(shipment, original.id)
        return found

    def _compared(
        self, chain: Sequence[Shipment], copy: _Copy, tick: Callable[[], None]
    ) -> DuplicateFound | None:
        key, end = _stored_key(chain[-1]), chain[-1].raw_end
        if is_compressed(copy.shipment.path):
            extension = stem_and_extension(copy.shipment.path).extension.decode()
            pieces = self.encoder.decoded(copy.source, extension, limit_bytes=end, tick=tick)
            return DuplicateFound(key, self.clock.now()) if is_content_of(chain, pieces) else None
        reader = SegmentReader(copy.source, 0, self.encoder, tick)
        if not is_content_of(chain, reader.digested(end)):
            return None
        return DuplicateFound(key, self.clock.now(), reader.sha256.hexdigest())

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

    def _tell(self, shipment: Shipment, error: PortError) -> None:
        facts = {**named(shipment), **error.words, "path": printable(shipment.path)}
        if error.code == "ProofTooLong":
            self.log.warning("duplicate.unproven", **{**facts, "hint": "it is shipped as it is"})
        else:
            self.log.warning("archive.undecodable", **facts)

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
