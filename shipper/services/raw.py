"""A segment's raw bytes: read once, in order, from one descriptor, and digested on the way."""

import hashlib
import zlib
from collections.abc import Callable, Iterator

from shipper.core.parts import FRAME_BYTES
from shipper.core.types import FileStat, Shipment
from shipper.ports import PortError, Source
from shipper.services.identification import holds


class Raw:
    """The segment's raw bytes, read once and in order, and what they add up to."""

    def __init__(self, source: Source, shipment: Shipment, tick: Callable[[], None]) -> None:
        self.source = source
        self._tick = tick
        self.at = shipment.raw_start
        self.sha256 = hashlib.sha256()
        self.crc32 = 0

    def read_frame(self, raw_end: int) -> bytes:
        """The next frame's bytes, which end at ``raw_end`` at the latest.

        Raises:
            PortError: ``SourceChanged``; the file ends before.
        """
        self._tick()
        length = min(FRAME_BYTES, raw_end - self.at)
        frame = self.source.read(self.at, length)
        if len(frame) < length:
            raise PortError("SourceChanged", f"ends at {self.at + len(frame)} bytes")
        self.sha256.update(frame)
        self.crc32 = zlib.crc32(frame, self.crc32)
        self.at += length
        return frame

    def frames(self, raw_end: int) -> Iterator[bytes]:
        """Every frame up to ``raw_end``."""
        while self.at < raw_end:
            yield self.read_frame(raw_end)

    def skip_to(self, offset: int) -> None:
        """Read on to ``offset``, for the digests alone."""
        for _ in self.frames(offset):
            pass


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
