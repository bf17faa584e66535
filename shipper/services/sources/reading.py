"""Reading a source in pieces and in order, and what the pieces add up to."""

import hashlib
import mmap
from collections.abc import Callable, Iterator

from shipper.core.parts import FRAME_BYTES
from shipper.core.types import FileStat, Shipment
from shipper.ports import Checksum, Encoder, PortError, Readable, Source

PIECE_BYTES = 1024 * 1024


class SegmentReader:
    """Raw bytes, read once and in order, with their SHA-256.

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
        self._spare: list[mmap.mmap] = []

    def digested(self, end: int) -> Iterator[bytes]:
        """What is read up to ``end``, in pieces; each is digested before it is given.

        Raises:
            PortError: ``SourceChanged``; the file ends before.
        """
        while self.at < end:
            self._tick()
            length = min(PIECE_BYTES, end - self.at)
            piece = self.source.read(self.at, length)
            self._pass(len(piece), length)
            self.digest(piece)
            yield piece

    def lent_frames(self, end: int) -> Iterator[memoryview]:
        """The frames up to ``end``. The caller digests each of them, in this order.

        They lie in memory that ``reuse`` gets back: fresh pages cost a fifth of zstd.

        Raises:
            PortError: ``SourceChanged``; the file ends before.
        """
        while self.at < end:
            self._tick()
            yield self._lent_frame(min(FRAME_BYTES, end - self.at))

    def reuse(self, frame: bytes | memoryview) -> None:
        """Take back one of ``lent_frames``."""
        if isinstance(frame, memoryview) and isinstance(frame.obj, mmap.mmap):
            self._spare.append(frame.obj)

    def forget(self) -> None:
        """Free what was taken back; whoever waits now holds no memory."""
        self._spare.clear()

    def digest(self, frame: bytes | memoryview) -> None:
        """Add the next bytes to the SHA-256."""
        self.sha256.update(frame)

    def digest_piece(self, piece: bytes | memoryview) -> int:
        """As ``digest``; returns the piece's CRC-32."""
        self.sha256.update(piece)
        return self._encoder.crc32(piece)

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
        for _ in self.digested(offset):
            pass

    def sha256_again(self, start: int) -> str:
        """The SHA-256 of ``[start, at)`` as it is in the file by now.

        Raises:
            PortError: ``SourceChanged``; the file ends before.
        """
        again = SegmentReader(self.source, start, self._encoder, self._tick)
        again.skip_to(self.at)
        return again.sha256.hexdigest()

    def _lent_frame(self, length: int) -> memoryview:
        if length < FRAME_BYTES and not self._spare:
            frame = memoryview(self.source.read(self.at, length))
            self._pass(len(frame), length)
        else:
            memory = self._spare.pop() if self._spare else mmap.mmap(-1, FRAME_BYTES)
            frame = memoryview(memory)[:length]
            self._pass(self.source.read_into(self.at, frame), length)
        return frame

    def _pass(self, found_bytes: int, wanted_bytes: int) -> None:
        self.at += found_bytes
        if found_bytes < wanted_bytes:
            raise PortError("SourceChanged", f"ends at {self.at} bytes")


def frames_of(source: Source, start: int, end: int) -> Iterator[bytes]:
    """The frames of ``[start, end)``, which was read before; less where the file ends by now."""
    for at in range(start, end, FRAME_BYTES):
        yield source.read(at, min(FRAME_BYTES, end - at))


def sha256_of(source: Readable, start: int, end: int, tick: Callable[[], None]) -> str:
    """The SHA-256 of ``[start, end)``, as hex; of less where the file ends before."""
    sha256 = hashlib.sha256()
    for at in range(start, end, PIECE_BYTES):
        tick()
        sha256.update(source.read(at, min(PIECE_BYTES, end - at)))
    return sha256.hexdigest()


def require_unchanged(reader: SegmentReader, before: FileStat, shipment: Shipment) -> None:
    """Require that all that was read since ``before`` are the bytes of one file at one time.

    A log that was written to meanwhile is read once more: it may have grown, or been touched; or
    been truncated and written anew, and then its beginning and end may be as before.

    Raises:
        PortError: ``SourceChanged``; they are not.
    """
    after = reader.source.stat()
    if (after.size_bytes, after.mtime_ns) == (before.size_bytes, before.mtime_ns):
        return
    if reader.sha256_again(shipment.raw_start) != reader.sha256.hexdigest():
        raise PortError("SourceChanged", "the file changed while it was read")
