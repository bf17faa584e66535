"""Cutting: a segment's raw bytes into parts, each behind a whole frame, each with its memory.

The cuts depend on the bytes and the settings only, not on who compresses what when: a resumed
upload and ``services.recognition`` make the same ones again.

A part's checksum is taken of the bytes as they come from the file or from the compressor, before
they are laid together and wait: what goes wrong with them from then on is refused by S3.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from shipper.core.checksums import combine_crc32
from shipper.core.parts import (
    AHEAD_BYTES,
    FRAME_BYTES,
    Gap,
    is_full,
    longest_encoded,
    plain_part_bytes,
)
from shipper.core.types import Compression, FileStat, Shipment
from shipper.ports import Checksum, Encoder, PortError, Source, Stopping
from shipper.services.sending.compressor import Compressor, Encoded
from shipper.services.sending.gate import Buffer, ByteBudget
from shipper.services.sources.matching import matches


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
    is_other = after != before and not matches(source, shipment)
    if after.size_bytes < shipment.raw_end or is_rewritten or is_other:
        raise PortError("SourceChanged", "the file changed while it was read")


@dataclass(frozen=True, slots=True)
class Part:
    """Whoever gets one gives ``reserved_bytes`` back, with the ``lent`` buffer ``body`` is in."""

    number: int
    raw_start: int
    raw_end: int
    body: memoryview
    checksum: str
    """What S3 expects of ``body``, in base64."""
    reserved_bytes: int
    lent: Buffer


Parts = Generator[Part, None, None]
"""Whoever does not take every part has to close it."""


class PartCutter:
    """Cuts segments; safe to share between threads. ``is_stopping`` is asked before every part.

    ``checksum`` begins the one of a part.
    """

    def __init__(
        self,
        *,
        encoding: Compressor,
        budget: ByteBudget,
        checksum: Callable[[], Checksum],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._compressor = encoding
        self._budget = budget
        self._checksum = checksum
        self._is_stopping = is_stopping

    def parts(self, raw: Raw, gap: Gap, shipment: Shipment, part_size: int, level: int) -> Parts:
        """The gap's parts in order. Blocks until there is memory for the next one.

        Raises:
            PortError: the file's.
            Stopping: the daemon is asked to stop.
        """
        raw.skip_to(gap.raw_start)
        if shipment.compression is Compression.NONE:
            yield from self._plain(raw, gap, part_size)
            return
        frames = self._compressor.frames(
            raw.frames(gap.raw_end), shipment.compression, level, meanwhile=raw.digest_piece
        )
        with closing(frames):
            yield from self._compressed(frames, gap, part_size)

    # Whoever sends a part frees its memory, so nothing here may know it any more by then.

    def _plain(self, raw: Raw, gap: Gap, part_size: int) -> Parts:
        number = gap.first_number
        while raw.at < gap.raw_end:
            yield self._plain_part(raw, number, plain_part_bytes(part_size, number, gap, raw.at))
            number += 1

    def _compressed(
        self, frames: Generator[Encoded, None, None], gap: Gap, part_size: int
    ) -> Parts:
        number, at = gap.first_number, gap.raw_start
        while at < gap.raw_end:
            made = [self._compressed_part(frames, number, at, gap, part_size)]
            number, at = number + 1, made[0].raw_end
            yield made.pop()

    def _plain_part(self, raw: Raw, number: int, length: int) -> Part:
        """Read where it is sent from."""
        start, (reserved, lent) = raw.at, self._lent(length, length)
        try:
            checksum = self._checksum()
            raw.fill(lent, checksum)
        except BaseException:
            self._budget.give_back(reserved, lent)
            raise
        body = memoryview(lent)
        return Part(number, start, raw.at, body, checksum.value(), reserved, lent)

    def _compressed_part(
        self,
        frames: Generator[Encoded, None, None],
        number: int,
        at: int,
        gap: Gap,
        part_size: int,
    ) -> Part:
        start, size, left = at, 0, gap.raw_end - at
        length = longest_encoded(min(part_size + FRAME_BYTES, left))
        for_a_frame = min(AHEAD_BYTES, 2 * left)
        reserved, lent = self._lent(length + for_a_frame, length)
        try:
            checksum = self._checksum()
            while at < gap.raw_end and not is_full(size, part_size, number, gap):
                frame = next(frames)
                if size + len(frame.body) > len(lent):  # a gap that was compressed better before
                    reserved, lent = self._budget.lengthen(reserved, lent, 2 * len(lent))
                checksum.add(frame.body)
                lent[size : size + len(frame.body)] = frame.body
                size, at = size + len(frame.body), at + frame.raw_bytes
        except BaseException:
            self._budget.give_back(reserved, lent)
            raise
        self._budget.give_back(for_a_frame)
        body = memoryview(lent)[:size]
        return Part(number, start, at, body, checksum.value(), reserved - for_a_frame, lent)

    def _lent(self, wanted_bytes: int, length: int) -> tuple[int, Buffer]:
        if self._is_stopping():
            raise Stopping
        return self._budget.lend(wanted_bytes, length)
