"""A segment's raw bytes: read once, in order, from one descriptor, and digested on the way."""

import hashlib
from collections.abc import Callable, Iterator

from shipper.core.checksums import combine_crc32
from shipper.core.parts import FRAME_BYTES
from shipper.core.types import FileStat, Shipment
from shipper.ports import Checksum, Encoder, PortError, Source
from shipper.services.sending.gate import Buffer
from shipper.services.sources.matching import holds


class Raw:
    """The segment's raw bytes, read once and in order, and what they add up to.

    ``at`` is where the next byte is read. ``tick`` is called for every frame of them, and whatever
    it raises ends the reading.
    """

    def __init__(
        self, source: Source, shipment: Shipment, encoder: Encoder, tick: Callable[[], None]
    ) -> None:
        self.source = source
        self._encoder = encoder
        self._tick = tick
        self.at = shipment.raw_start
        self.sha256 = hashlib.sha256()
        self.crc32 = 0

    def frames(self, raw_end: int) -> Iterator[bytes]:
        """Every frame up to ``raw_end``, to be digested by the caller, in this order.

        Raises:
            PortError: ``SourceChanged``; the file ends before.
        """
        while self.at < raw_end:
            self._tick()
            length = min(FRAME_BYTES, raw_end - self.at)
            frame = self.source.read(self.at, length)
            self._pass(len(frame), length)
            yield frame

    def digest(self, frame: bytes | memoryview) -> None:
        """Add the next bytes to what all add up to."""
        self.sha256.update(frame)
        self.crc32 = self._encoder.crc32(frame, self.crc32)

    def digest_piece(self, piece: bytes) -> int:
        """The same; and the piece's own CRC-32, for whoever uses the piece to compare."""
        crc32 = self._encoder.crc32(piece)
        self.sha256.update(piece)
        self.crc32 = combine_crc32(self.crc32, crc32, len(piece))
        return crc32

    def fill(self, part: Buffer, checksum: Checksum) -> None:
        """The next bytes into ``part``, digested and summed while the processor has them near.

        Raises:
            PortError: ``SourceChanged``; the file ends before.
        """
        with memoryview(part) as view:
            for start in range(0, len(part), FRAME_BYTES):
                self._tick()
                with view[start : start + FRAME_BYTES] as piece:
                    self._pass(self.source.read_into(self.at, piece), len(piece))
                    checksum.add(piece)
                    self.digest(piece)

    def skip_to(self, offset: int) -> None:
        """Read on to ``offset``, for the digests alone."""
        for frame in self.frames(offset):
            self.digest(frame)

    def _pass(self, found_bytes: int, wanted_bytes: int) -> None:
        self.at += found_bytes
        if found_bytes < wanted_bytes:
            raise PortError("SourceChanged", f"ends at {self.at} bytes")


def require_unchanged(source: Source, before: FileStat, shipment: Shipment) -> None:
    """Whether what was read since ``before`` are the bytes of one file at one time.

    Raises:
        PortError: ``SourceChanged``; they are not.
    """
    after = source.stat()
    is_rewritten = after.size_bytes == before.size_bytes and after.mtime_ns != before.mtime_ns
    # Longer is not always grown: it may have been cut and written anew while it was read.
    is_other = after != before and not holds(source, shipment)
    if after.size_bytes < shipment.raw_end or is_rewritten or is_other:
        raise PortError("SourceChanged", "the file changed while it was read")
