"""Finds the object that a file is a copy of: compressed by the rotator, or made by copytruncate.

``likely_originals`` says what is likely. Here it is proven by the SHA-256 of every byte against
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
    standing_of,
    uncompressed,
)
from shipper.core.identity import chain_of
from shipper.core.lifecycle import DuplicateFound, RestFound
from shipper.core.object_keys import MAX_KEY_BYTES, printable
from shipper.core.rotated_names import is_compressed
from shipper.core.types import ObjectKey, Shipment, ShipmentId, State, Watch, as_sent
from shipper.journal.journal import Journal
from shipper.ports import Clock, Encoder, PortError, Source
from shipper.services.sending.likely_originals import (
    UNLIMITED,
    Copy,
    Likely,
    LikelyOriginals,
    decoded,
)
from shipper.services.sending.proofs import Proofs
from shipper.services.sources.canonical_line import named
from shipper.services.sources.reading import SegmentReader, sha256_of

UNREADABLE_ATTEMPTS = 5
"""So often (some minutes) a copy waits for what it may be a copy of, and cannot be read."""
PROOFS = 8
"""So many likely originals of one file are tried; what was none of them is shipped."""
REMEMBERED = 10_000
"""So many files are not compared again with what they are no copies of; then all are forgotten."""

MOST_RATIO = 32
"""More than logs are compressed by: the proof of a small file may still be a long one."""
_ANY_ORIGINAL = (ShipmentId(0), False)

Found = DuplicateFound | RestFound
_Refuted = tuple[ShipmentId, bool]
"""An original, and whether the file was to go on behind it."""


@dataclass(kw_only=True)
class Duplicates:
    """Finds originals; safe to share between threads. ``_lock`` guards what it remembers.

    ``key_of`` gives the key of a segment, as discovery does.
    """

    journal: Journal
    originals: LikelyOriginals
    encoder: Encoder
    clock: Clock
    log: Any
    proofs: Proofs
    key_of: Callable[[Shipment], ObjectKey]
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _refuted: dict[ShipmentId, set[_Refuted]] = field(default_factory=dict, init=False)
    """What a file is no copy of, and as what of a likeness: it may still go on behind that."""
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
        copy = Copy(shipment, source, watch, self.proofs.of_a_file(is_brief=is_brief))
        for likely in self.originals.of(copy):
            if not self._is_refuted(shipment, likely):
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

    def _has_copy(self, likely: Likely, copy: Shipment) -> bool:
        """Whether the log has its copy: then this file is another log's, however alike."""
        copies = self.journal.open_logs.copies_of(_stored_key(likely.original))
        is_repacked = is_compressed(copy.path) and not likely.goes_on
        return any(is_compressed(row.path) or not is_repacked for row in copies)

    def _proven(self, likely: Likely, copy: Copy) -> Found | None:
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
            self._refute(shipment, _refuted(likely))
        return found

    def _compared(
        self,
        chain: Sequence[Shipment],
        copy: Copy,
        tick: Callable[[], None],
        *,
        goes_on: bool,
    ) -> Found | None:
        key, end = _stored_key(chain[-1]), chain[-1].raw_end
        if is_compressed(copy.shipment.path):
            more = bytes_after(
                chain, decoded(self.encoder, copy, UNLIMITED if goes_on else end, tick)
            )
            if more:
                return self._rest(copy, key, end, end + more, tick)
            return DuplicateFound(key, self.clock.now()) if more == 0 else None
        reader = SegmentReader(copy.source, 0, self.encoder, tick)
        if bytes_after(chain, reader.digested(end)) is None:
            return None
        if goes_on:
            return self._rest(copy, key, end, copy.shipment.raw_end, tick)
        return DuplicateFound(key, self.clock.now(), reader.sha256.hexdigest())

    def _rest(
        self, copy: Copy, key: str, start: int, end: int, tick: Callable[[], None]
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

    def _is_refuted(self, shipment: Shipment, likely: Likely) -> bool:
        with self._lock:
            refuted = self._refuted.get(shipment.id, ())
        return _refuted(likely) in refuted or _ANY_ORIGINAL in refuted or len(refuted) >= PROOFS

    def _refute(self, shipment: Shipment, refuted: _Refuted) -> None:
        with self._lock:
            if len(self._refuted) >= REMEMBERED:
                self._refuted.clear()
            self._refuted.setdefault(shipment.id, set()).add(refuted)


def _refuted(likely: Likely) -> _Refuted:
    return likely.original.id, likely.goes_on


def _stored_key(original: Shipment) -> str:
    """Of a copy, the key of what it is a copy of: its own was never written."""
    return original.detail if original.state is State.DUPLICATE else original.key


def _tell(log: Any, shipment: Shipment, error: PortError) -> None:
    facts = {**named(shipment), **error.words, "path": printable(shipment.path)}
    if error.code == "ProofTooLong":
        log.warning("duplicate.unproven", **{**facts, "hint": "it is shipped as it is"})
    else:
        log.warning("archive.undecodable", **facts)
