"""Reading a source in pieces and in order, and what the pieces add up to."""

import hashlib
from collections.abc import Callable, Iterator

from shipper.core.checksums import combine_crc32
from shipper.core.parts import FRAME_BYTES
from shipper.core.types import FileStat, Shipment
from shipper.ports import Checksum, Encoder, PortError, Readable, Source
from shipper.services.sources.matching import matches

PIECE_BYTES = 1024 * 1024


class SegmentReader:
    """Raw bytes, read once and in order, with their SHA-256 and CRC-32.

    ``at`` is the offset of the next byte. ``tick`` is called before every read; whatever it
    raises ends the reading.
    """

    def __init__(
        self, source: Source, start: int, encoder: Encoder, tick: Callable[[], None]
    ) -> None:
        self.source = source
        self._encoder = encoder
        self._tick = tick
        self.at = start
        self.sha256 = hashlib.sha256()
        self.crc32 = 0

    def frames(self, end: int) -> Iterator[bytes]:
        """The frames up to ``end``. The caller digests each of them, in this order.

        Raises:
            PortError: ``SourceChanged``; the file ends before.
        """
        while self.at < end:
            self._tick()
            length = min(FRAME_BYTES, end - self.at)
            frame = self.source.read(self.at, length)
            self._pass(len(frame), length)
            yield frame

    def digest(self, frame: bytes | memoryview) -> None:
        """Add the next bytes to SHA-256 and CRC-32."""
        self.sha256.update(frame)
        self.crc32 = self._encoder.crc32(frame, self.crc32)

    def digest_piece(self, piece: bytes) -> int:
        """As ``digest``; returns the piece's own CRC-32."""
        crc32 = self._encoder.crc32(piece)
        self.sha256.update(piece)
        self.crc32 = combine_crc32(self.crc32, crc32, len(piece))
        return crc32

    def fill(self, buffer: memoryview, checksum: Checksum) -> None:
        """Read the next bytes into ``buffer``; digest and sum them while they are in the cache.

        Raises:
            PortError: ``SourceChanged``; the file ends before.
        """
        for start in range(0, len(buffer), FRAME_BYTES):
            self._tick()
            with buffer[start : start + FRAME_BYTES] as piece:
                self._pass(self.source.read_into(self.at, piece), len(piece))
                checksum.add(piece)
                self.digest(piece)

    def skip_to(self, offset: int) -> None:
        """Read on to ``offset`` for the digests alone."""
        for frame in self.frames(offset):
            self.digest(frame)

    def _pass(self, found_bytes: int, wanted_bytes: int) -> None:
        self.at += found_bytes
        if found_bytes < wanted_bytes:
            raise PortError("SourceChanged", f"ends at {self.at} bytes")


def frames_of(source: Source, start: int, end: int) -> Iterator[bytes]:
    """The frames of ``[start, end)``, which was read before; less where the file ends by now."""
    for at in range(start, end, FRAME_BYTES):
        yield source.read(at, min(FRAME_BYTES, end - at))


def sha256_of(source: Readable, start: int, end: int) -> str:
    """The SHA-256 of ``[start, end)``, as hex; of less where the file ends before."""
    sha256 = hashlib.sha256()
    for at in range(start, end, PIECE_BYTES):
        sha256.update(source.read(at, min(PIECE_BYTES, end - at)))
    return sha256.hexdigest()


def require_unchanged(source: Source, before: FileStat, shipment: Shipment) -> None:
    """Require that what was read since ``before`` are the bytes of one file at one time.

    Raises:
        PortError: ``SourceChanged``; they are not.
    """
    after = source.stat()
    is_rewritten = after.size_bytes == before.size_bytes and after.mtime_ns != before.mtime_ns
    # A longer file may have been truncated and written anew while it was read.
    is_other = after != before and not matches(source, shipment)
    if after.size_bytes < shipment.raw_end or is_rewritten or is_other:
        raise PortError("SourceChanged", "the file changed while it was read")
