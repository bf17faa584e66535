"""Is this file a copy of a log that S3 has already: compressed, unpacked again, or restored?

``core.duplicates`` says what is likely; here it is proven, and nothing less counts: by the SHA-256
of every byte against every segment of the log, or, where the log was shipped compressed, by every
byte of what the file that still stands decompresses to.

A proof of much content is not cheap, so it runs behind uploads: one at a time in the daemon, and
between two pieces its worker carries whatever else has fallen due.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, assert_never

from shipper.core.duplicates import (
    AT_ONCE_BYTES,
    Relation,
    Standing,
    Trailer,
    is_likely_compressed,
    is_likely_unpacked,
    is_same_second,
    relation,
    standing_of,
    trailer_from,
)
from shipper.core.identity import chain_of
from shipper.core.object_keys import printable
from shipper.core.rotated_names import is_compressed, role_of, stem_and_extension
from shipper.core.types import (
    ObjectKey,
    RelativePath,
    Role,
    Shipment,
    ShipmentId,
    State,
    Watch,
)
from shipper.journal.journal import Journal
from shipper.ports import Encoder, PortError, Readable, Source
from shipper.services.sending.proving import Ticking, Whole, is_whole, pieces_of
from shipper.services.sources.lookup import SourceLookup

UNREADABLE_ATTEMPTS = 5
"""So often (some minutes) a copy waits for what it may be a copy of, and cannot be read."""
PROOFS = 8
"""So many likely originals of one file are tried; what was none of them is shipped."""

TURN_SECONDS = 10.0
"""After which a file that needs a long proof asks again whether it is its turn."""

REMEMBERED = 10_000
"""Refuted pairs that are not tried again at the next attempt; then they are forgotten."""

_ANY_ORIGINAL = ShipmentId(0)

Between = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The object that has a file's content, and what the file itself adds up to.

    The digest of a compressed copy is not taken (and empty): it can never grow.
    """

    key: ObjectKey
    raw_sha256: str = ""
    raw_crc32: int = 0


class Duplicates:
    """Finds originals; safe to share between threads.

    ``tick`` is called for every read and every piece; whatever it raises ends the proof.
    ``_slot`` is held through a long proof; ``_lock`` guards ``_refuted``.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        encoder: Encoder,
        lookup: SourceLookup,
        log: Any,
        tick: Between = lambda: None,
        at_once_bytes: int = AT_ONCE_BYTES,
    ) -> None:
        self._journal = journal
        self._encoder = encoder
        self._lookup = lookup
        self._log = log
        self._tick = tick
        self._at_once_bytes = at_once_bytes
        self._slot = threading.Lock()
        self._lock = threading.Lock()
        self._refuted: set[tuple[ShipmentId, ShipmentId]] = set()

    def find(
        self, shipment: Shipment, source: Source, watch: Watch, *, between: Between | None
    ) -> Duplicate | None:
        """The object that has the content of a READY shipment's source, or None.

        ``between`` carries what else is due, and is called between two pieces of a long proof;
        None where there is no time for one now.

        Raises:
            PortError: ``TwinUndecided``; a likely original is on its way, or it is not yet the
                turn of a proof that takes long.
        """
        if shipment.raw_start:
            return None
        proof = _Proof(
            shipment,
            source,
            watch,
            between,
            self._beside(shipment, watch),
            _trailer(shipment, source),
        )
        tried = 0
        for original in self._originals(proof):
            chain = self._likely(original, proof)
            if chain and tried < PROOFS:
                tried += 1
                if duplicate := self._proven(chain, proof):
                    return duplicate
                self._refute(shipment, original.id)
        return None

    def _beside(self, shipment: Shipment, watch: Watch) -> Shipment | None:
        """What stands where the compressor of this file would have found its original."""
        extension = stem_and_extension(shipment.path).extension
        if not extension:
            return None
        try:
            path = RelativePath(shipment.path.removesuffix(extension))
            return self._lookup.known_at(watch, path)
        except PortError as error:
            if _is_no_answer(error, shipment):
                return None
            raise

    def _is_in_place(self, original: Shipment, copy: Shipment, watch: Watch) -> bool:
        """Whether it still stands where it was last seen; so it does if that cannot be told."""
        try:
            there = self._lookup.known_at(watch, original.path)
        except PortError as error:
            if _is_no_answer(error, copy):
                return True
            raise
        if there is None:
            return False
        # Its inode may have been written anew: it stands only where its own bytes do.
        standing = chain_of(there, self._journal.known(watch.name, there.file_id.inode))
        return original.id in {segment.id for segment in standing}

    def _originals(self, proof: "_Proof") -> Iterator[Shipment]:
        """The last segments of logs that it may be a copy of, newest first."""
        if proof.beside is not None:
            yield proof.beside
        size = proof.trailer.size if proof.trailer is not None else None
        shipment = proof.shipment
        if not is_compressed(shipment.path):
            stem = stem_and_extension(shipment.path).stem
            yield from self._journal.live_segments(shipment.watch, stem)
        yield from self._journal.alike(shipment, content_size=size)

    def _likely(self, original: Shipment, proof: "_Proof") -> Sequence[Shipment]:
        """The whole log that ends with ``original``, if it is likely and S3 has it."""
        copy, kind = proof.shipment, relation(original, proof.shipment)
        if kind is None or self._is_refuted(copy, original.id):
            return ()
        chain = chain_of(original, self._journal.known(original.watch, original.file_id.inode))
        standing = standing_of(chain)
        if chain[0].raw_start or standing is Standing.ABSENT:
            return ()
        is_it = self._fits(kind, chain, proof)
        if is_it and standing is Standing.UNDECIDED:
            if original.code == "Unreadable" and original.attempts >= UNREADABLE_ATTEMPTS:
                return ()
            raise PortError("TwinUndecided", f"waits for {original.key}")
        return chain if is_it else ()

    def _fits(self, kind: Relation, chain: Sequence[Shipment], proof: "_Proof") -> bool:
        """Whether what tells a copy of this kind from another log holds."""
        original, copy = chain[-1], proof.shipment
        match kind:
            case Relation.COMPRESSED:
                is_beside = proof.beside is not None and proof.beside.id == original.id
                is_it = not self._is_refuted(copy, _ANY_ORIGINAL) and is_likely_compressed(
                    chain, copy, proof.trailer, is_beside=is_beside
                )
                return is_it and (is_beside or not self._has_another_copy(original, copy))
            case Relation.RESTORED:
                return not self._is_in_place(original, copy, proof.watch)
            case Relation.COPIED:
                return _has_live_name(original, proof.watch, self._lookup)
            case Relation.UNPACKED:
                # One that is READY and in nobody's hands waits for this plain one instead.
                return is_likely_unpacked(original, copy) and (
                    original.state is not State.READY
                    or (original.id < copy.id and self._journal.queue.is_claimed(original.id))
                )
            case _:
                assert_never(kind)

    def _has_another_copy(self, original: Shipment, copy: Shipment) -> bool:
        """Whether a compressed file of its mtime is its copy: then one of another is another's."""
        if is_same_second(original, copy):
            return False
        return any(
            row.state is State.DUPLICATE and row.detail == original.key and is_compressed(row.path)
            for row in self._journal.alike(original, content_size=None)
        )

    def _proven(self, chain: Sequence[Shipment], proof: "_Proof") -> Duplicate | None:
        original = chain[-1]
        match relation(original, proof.shipment):
            case Relation.COMPRESSED:
                with self._long(original.raw_end, proof) as tick:
                    return self._proven_compressed(chain, proof, tick)
            case Relation.UNPACKED:
                with self._long(proof.shipment.raw_end, proof) as tick:
                    return self._proven_unpacked(original, proof, tick)
            case _:
                return self._proven_restored(chain, proof)

    def _proven_compressed(
        self, chain: Sequence[Shipment], proof: "_Proof", tick: Between
    ) -> Duplicate | None:
        original, packed = chain[-1], Ticking(proof.source, tick)
        try:
            pieces = self._content(packed, proof.shipment, original.raw_end, tick)
            return Duplicate(_stored_key(original)) if is_whole(chain, pieces) else None
        except PortError as error:
            if error.code == "Undecodable":
                self._tell_undecodable(proof.shipment, error)
            if error.code in ("Undecodable", "ContentTooLong"):
                return None
            raise

    def _proven_unpacked(
        self, original: Shipment, proof: "_Proof", tick: Between
    ) -> Duplicate | None:
        """Proven only while the compressed file stands, and is what was shipped."""
        try:
            with self._lookup.source(original, proof.watch) as found:
                packed, whole = Ticking(found, tick), Whole()
                pieces = self._content(packed, original, proof.shipment.raw_end, tick)
                for piece in pieces:
                    if proof.source.read(whole.length, len(piece)) != piece:
                        return None
                    whole.add(piece)
                is_it = whole.length == proof.shipment.raw_end
                is_it = is_it and is_whole([original], pieces_of(packed, original.raw_end))
                return (
                    Duplicate(_stored_key(original), whole.sha256, whole.crc32) if is_it else None
                )
        except PortError as error:
            if error.code in _UNPROVABLE:
                return None
            raise

    def _proven_restored(self, chain: Sequence[Shipment], proof: "_Proof") -> Duplicate | None:
        whole, source = Whole(), Ticking(proof.source, self._tick)
        if not is_whole(chain, whole.of(pieces_of(source, proof.shipment.raw_end))):
            return None
        return Duplicate(_stored_key(chain[-1]), whole.sha256, whole.crc32)

    def _content(
        self, packed: Readable, shipment: Shipment, limit_bytes: int, tick: Between
    ) -> Iterator[bytes]:
        extension = stem_and_extension(shipment.path).extension.decode()
        for piece in self._encoder.decoded(packed, extension, limit_bytes=limit_bytes):
            tick()
            yield piece

    @contextmanager
    def _long(self, content_bytes: int, proof: "_Proof") -> Iterator[Between]:
        """What to call meanwhile; a long proof has its turn for the time of a ``with``."""
        if content_bytes <= self._at_once_bytes:
            yield self._tick
            return
        between = proof.between
        if between is None or not self._slot.acquire(blocking=False):
            raise PortError(
                "TwinUndecided", "its proof waits for its turn", retry_after=TURN_SECONDS
            )

        def tick() -> None:
            self._tick()
            between()

        try:
            yield tick
        finally:
            self._slot.release()

    def _tell_undecodable(self, shipment: Shipment, error: PortError) -> None:
        self._refute(shipment, _ANY_ORIGINAL)
        self._log.warning(
            "archive.undecodable",
            shipment=shipment.id,
            watch=shipment.watch,
            path=printable(shipment.path),
            key=shipment.key,
            detail=error.detail,
        )

    def _is_refuted(self, shipment: Shipment, original: ShipmentId) -> bool:
        with self._lock:
            return (shipment.id, original) in self._refuted

    def _refute(self, shipment: Shipment, original: ShipmentId) -> None:
        with self._lock:
            if len(self._refuted) >= REMEMBERED:
                self._refuted.clear()
            self._refuted.add((shipment.id, original))


_UNPROVABLE = frozenset(
    {"SourceVanished", "SourceChanged", "SourceUnreadable", "Undecodable", "ContentTooLong"}
)
"""Why a compressed file that was shipped cannot tell any more what was in it."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """What is to be proven: that the source is a copy of something."""

    shipment: Shipment
    source: Source
    watch: Watch
    between: Between | None
    beside: Shipment | None
    trailer: Trailer | None


def _has_live_name(original: Shipment, watch: Watch, lookup: SourceLookup) -> bool:
    """Whether the log still is where it was live: copytruncate leaves it there, and empty.

    One that was renamed is a rotated log itself, and what begins like it is another one.
    """
    is_live = role_of(watch, original.path) is Role.LIVE
    return is_live and lookup.has_inode(watch, original.path, original.file_id.inode)


def _stored_key(original: Shipment) -> ObjectKey:
    """Of a copy, the key of what it is a copy of: its own was never written."""
    is_copy = original.state is State.DUPLICATE
    return ObjectKey(original.detail) if is_copy else original.key


def _trailer(shipment: Shipment, source: Source) -> Trailer | None:
    """gzip's trailer, where there may be one: no gzip file is shorter than 18 bytes."""
    if not shipment.path.endswith(b".gz") or shipment.raw_end < 18:
        return None
    return trailer_from(source.read(shipment.raw_end - 8, 8))


def _is_no_answer(error: PortError, asking: Shipment) -> bool:
    """Whether a file that cannot be read will not be waited for: a bad disk may never mend."""
    return error.code == "SourceUnreadable" or asking.attempts >= UNREADABLE_ATTEMPTS
