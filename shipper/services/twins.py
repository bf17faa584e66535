"""Is this compressed file the twin of a log that was shipped before it was compressed?

The pre-test is cheap (gzip's trailer, or an mtime that the compressor carried over); the proof is
the SHA-256 of the decompressed content against every segment of the log, and nothing less.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from shipper.core.checksums import combine_crc32
from shipper.core.rotation import is_compressed, stem_and_extension
from shipper.core.types import Shipment, State
from shipper.journal import Journal
from shipper.ports import Encoder, PortError, Source
from shipper.services.proving import Ticking, is_whole

CANDIDATES = 1000
"""Of the shipments of the same log, this many of the newest are considered."""

_UNDECIDED = frozenset({State.READY, State.UPLOADING, State.UPLOADED})
_SETTLED = frozenset({State.VERIFIED, State.DONE, State.PARKED})
"""PARKED only with an object behind it: what failed then was the removal of its source."""


class Twins:
    """Finds the originals of compressed files."""

    def __init__(
        self, *, journal: Journal, encoder: Encoder, tick: Callable[[], None] = lambda: None
    ) -> None:
        self._journal = journal
        self._encoder = encoder
        self._tick = tick
        """Called for every piece that was decompressed; whatever it raises ends the proof."""

    def find(self, shipment: Shipment, source: Source) -> Shipment | None:
        """The last segment of the log that the compressed source is a copy of, or None.

        Raises:
            PortError: ``TwinUndecided``; a likely original is still on its way.
        """
        newest = self._journal.of_same_log(shipment.watch, shipment.path, CANDIDATES)
        for chain in _chains([other for other in newest if not is_compressed(other.path)]):
            states = {segment.state for segment in chain}
            is_stored = states <= _SETTLED and all(segment.raw_sha256 for segment in chain)
            if not self._is_likely(chain, shipment, source):
                continue
            if states & _UNDECIDED:
                raise PortError("TwinUndecided", f"waits for {chain[-1].key}")
            if is_stored and self._is_proven(chain, shipment, source):
                return chain[-1]
        return None

    def _is_likely(self, chain: Sequence[Shipment], shipment: Shipment, source: Source) -> bool:
        if not shipment.path.endswith(b".gz"):
            return chain[-1].mtime_ns // 10**9 == shipment.mtime_ns // 10**9
        trailer = source.read(shipment.raw_end - 8, 8) if shipment.raw_end >= 18 else b""
        crc32, size = int.from_bytes(trailer[:4], "little"), int.from_bytes(trailer[4:], "little")
        if not trailer or size != chain[-1].raw_end % 2**32:
            return False
        return bool({segment.state for segment in chain} & _UNDECIDED) or crc32 == _crc32(chain)

    def _is_proven(self, chain: Sequence[Shipment], shipment: Shipment, source: Source) -> bool:
        extension = stem_and_extension(shipment.path).extension.decode()
        try:
            ticking = Ticking(source, self._tick)
            decoded = self._encoder.decoded(ticking, extension, limit_bytes=chain[-1].raw_end)
            return is_whole(chain, self._each(decoded))
        except PortError as error:
            if error.code in ("Undecodable", "ContentTooLong"):
                return False
            raise

    def _each(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._tick()
            yield piece


def _chains(shipments: Sequence[Shipment]) -> Iterator[list[Shipment]]:
    """The shipments file by file, where they cover it from its first byte without a hole."""
    ordered = sorted(shipments, key=lambda shipment: (shipment.file_id.inode, shipment.id))
    for _, group in groupby(ordered, key=lambda shipment: shipment.file_id.inode):
        chain: list[Shipment] = []
        for segment in group:
            if segment.raw_start == 0:
                if chain:
                    yield chain
                chain = [segment]
            elif chain and segment.raw_start == chain[-1].raw_end:
                chain.append(segment)
        if chain:
            yield chain


def _crc32(chain: Sequence[Shipment]) -> int:
    whole = 0
    for segment in chain:
        whole = combine_crc32(whole, segment.raw_crc32, segment.raw_bytes)
    return whole
