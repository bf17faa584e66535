"""Finds the object that a file is a copy of: compressed by the rotator, or made by copytruncate.

``core.duplicates`` says what is likely. Here it is proven by the SHA-256 of every byte against
every segment of the log, and nothing less counts.
"""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
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
from shipper.core.lifecycle import DuplicateFound
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
"""Refuted pairs that are not tried again at the next attempt; then they are forgotten."""

_ANY_ORIGINAL = ShipmentId(0)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A compressed file, and what it costs to prove whose copy it is."""

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
    _refuted: set[tuple[ShipmentId, ShipmentId]] = field(default_factory=set, init=False)
    _archives: dict[ShipmentId, ShipmentId] = field(default_factory=dict, init=False)
    """Which file may be the one archive of a log, until the journal knows."""

    def find(
        self, shipment: Shipment, source: Source, watch: Watch, *, is_brief: bool
    ) -> DuplicateFound | None:
        """Whether an object has the content of a READY shipment's source.

        What is not proven in time is no copy. ``is_brief`` puts off what takes long.

        Raises:
            PortError: ``DuplicateUndecided``; a likely original is on its way, or its proof waits.
        """
        if shipment.raw_start:
            return None
        proofs = self.proofs.of_a_file(is_brief=is_brief)
        if is_decodable(shipment.path):
            return self._find_compressed(shipment, source, watch, proofs)
        if not is_compressed(shipment.path):
            return self._find_copied(shipment, source, watch, proofs)
        return None

    def _find_compressed(
        self, shipment: Shipment, source: Source, watch: Watch, proofs: FileProofs
    ) -> DuplicateFound | None:
        copy = _Copy(shipment, source, watch, proofs)
        chains = (self._likely_compressed(original, copy) for original in self._originals(copy))
        for chain in islice(filter(None, chains), PROOFS):
            if self._is_proven(chain, copy):
                return DuplicateFound(_stored_key(chain[-1]), self.clock.now())
            self._refute(shipment, chain[-1].id)
        return None

    def _originals(self, copy: _Copy) -> Iterator[Shipment]:
        shipment = copy.shipment
        mtimes = [shipment.mtime_ns]
        if shipment.path.endswith(b".gz") and (told := mtime_in_gzip(copy.source.read(0, 8))):
            mtimes.append(told)
        for mtime_ns in mtimes:
            for row in self.journal.alike(replace(shipment, mtime_ns=mtime_ns)):
                if may_be_compressed(row, shipment, mtime_ns):
                    yield row
        beside = latest_segments(self.journal.at_path(shipment.watch, uncompressed(shipment.path)))
        born_ns = copy.source.stat().born_ns
        for row in beside:
            is_it = may_be_compressed_beside(row, shipment, born_ns)
            if is_it and not self.lookup.stands(copy.watch, row):
                yield row

    def _likely_compressed(self, original: Shipment, copy: _Copy) -> Sequence[Shipment]:
        """The whole log that ends with ``original``, if it is likely and S3 has it."""
        shipment = copy.shipment
        is_it = (
            not self._is_refuted(shipment, original.id)
            and not self._is_refuted(shipment, _ANY_ORIGINAL)
            and not self._stands_elsewhere(original, copy)
            and not self._has_another_copy(original, shipment)
        )
        return self._decided(self._shipped_chain(original)) if is_it else ()

    def _stands_elsewhere(self, original: Shipment, copy: _Copy) -> bool:
        """Whether the log is still there, and not beside this file: no compressor took it."""
        is_beside = original.path == uncompressed(copy.shipment.path)
        return not is_beside and self.lookup.stands(copy.watch, original)

    def _has_another_copy(self, original: Shipment, copy: Shipment) -> bool:
        """Whether another archive is the log's copy, or may be: then this one is another log's."""
        with self._lock:
            if len(self._archives) >= REMEMBERED:
                self._archives.clear()
            if self._archives.setdefault(original.id, copy.id) != copy.id:
                return True
        key = _stored_key(original)
        return any(
            row.state is State.DUPLICATE and row.detail == key and is_compressed(row.path)
            for row in self.journal.alike(original)
        )

    def _is_proven(self, chain: Sequence[Shipment], copy: _Copy) -> bool:
        extension = stem_and_extension(copy.shipment.path).extension.decode()
        limit_bytes = chain[-1].raw_end
        try:
            with copy.proofs.of(limit_bytes) as tick:
                pieces = self.encoder.decoded(
                    copy.source, extension, limit_bytes=limit_bytes, tick=tick
                )
                return is_content_of(chain, pieces)
        except PortError as error:
            if error.code == "ContentTooLong":
                return False
            if error.code not in ("Undecodable", "ProofTooLong"):
                raise
            self._give_up(copy.shipment, error)
            return False

    def _find_copied(
        self, shipment: Shipment, source: Source, watch: Watch, proofs: FileProofs
    ) -> DuplicateFound | None:
        for original in self.journal.live_segments(
            shipment.watch, stem_and_extension(shipment.path).stem
        ):
            if may_be_copied(original, shipment) and self.lookup.has_live_name(watch, original):
                if self._is_refuted(shipment, _ANY_ORIGINAL):
                    return None
                chain = self._decided(self._shipped_chain(original))
                try:
                    found = self._copied(chain, source, proofs) if chain else None
                except PortError as error:
                    if error.code != "ProofTooLong":
                        raise
                    self._give_up(shipment, error)
                    return None
                if found is not None:
                    return found
        return None

    def _copied(
        self, chain: Sequence[Shipment], source: Source, proofs: FileProofs
    ) -> DuplicateFound | None:
        with proofs.of(chain[-1].raw_end) as tick:
            reader = SegmentReader(source, 0, self.encoder, tick)
            for segment in chain:
                of_segment = hashlib.sha256()
                for frame in reader.frames(segment.raw_end):
                    reader.digest(frame)
                    of_segment.update(frame)
                if of_segment.hexdigest() != segment.raw_sha256:
                    return None
        key, sha256 = _stored_key(chain[-1]), reader.sha256.hexdigest()
        return DuplicateFound(key, self.clock.now(), sha256)

    def _give_up(self, shipment: Shipment, error: PortError) -> None:
        """Compare the file with nothing any more, and say why."""
        self._refute(shipment, _ANY_ORIGINAL)
        facts = {**named(shipment), **error.words, "path": printable(shipment.path)}
        if error.code == "ProofTooLong":
            self.log.warning("duplicate.unproven", **{**facts, "hint": "it is shipped as it is"})
        else:
            self.log.warning("archive.undecodable", **facts)

    def _shipped_chain(self, last: Shipment) -> Sequence[Shipment]:
        """The whole log that ends with ``last``; empty where S3 does not have its beginning."""
        chain = chain_of(last, self.journal.known(last.watch, last.file_id.inode))
        is_lost = chain[0].raw_start > 0 or standing_of(chain) is Standing.ABSENT
        return () if is_lost else chain

    def _decided(self, chain: Sequence[Shipment]) -> Sequence[Shipment]:
        """The chain if S3 has it; empty if it will not be waited for.

        Raises:
            PortError: ``DuplicateUndecided``; it is on its way.
        """
        if not chain or standing_of(chain) is Standing.STORED:
            return chain
        last = chain[-1]
        if last.code == "Unreadable" and last.attempts >= UNREADABLE_ATTEMPTS:
            return ()
        raise PortError("DuplicateUndecided", f"waits for {last.key}")

    def _is_refuted(self, shipment: Shipment, original: ShipmentId) -> bool:
        with self._lock:
            return (shipment.id, original) in self._refuted

    def _refute(self, shipment: Shipment, original: ShipmentId) -> None:
        with self._lock:
            if len(self._refuted) >= REMEMBERED:
                self._refuted.clear()
            self._refuted.add((shipment.id, original))
            if self._archives.get(original) == shipment.id:
                del self._archives[original]


def _stored_key(original: Shipment) -> str:
    """Of a copy, the key of what it is a copy of: its own was never written."""
    return original.detail if original.state is State.DUPLICATE else original.key
