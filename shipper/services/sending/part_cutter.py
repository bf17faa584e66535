"""Cuts a segment's raw bytes into parts, each behind a whole frame, each with its memory.

The cuts depend on the bytes and the settings only, so a resumed upload makes the same ones again.

A part's checksum is taken of the bytes as they come from the file or the compressor, before they
are laid together: S3 refuses what is damaged in memory from then on.
"""

from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial

from shipper.core.parts import (
    AHEAD_BYTES,
    FRAME_BYTES,
    Gap,
    is_full,
    longest_encoded,
    plain_part_bytes,
)
from shipper.core.replay import Replay
from shipper.core.types import Compression, Shipment
from shipper.ports import Checksum, PortError, Stopping
from shipper.services.sending.compressor import Compressor, Encoded
from shipper.services.sending.memory_budget import Buffer, ByteBudget
from shipper.services.sources.reading import SegmentReader, frames_of

AGAIN_BYTES = 2 * AHEAD_BYTES
"""What a part takes that is read twice: one frame is on its way while the next is compressed."""


@dataclass(frozen=True, slots=True)
class Part:
    """An encoded part in memory; whoever gets one gives it back with ``PartCutter.let_go``."""

    number: int
    raw_start: int
    raw_end: int
    body: memoryview | Replay
    checksum: str
    """What S3 expects of ``body``, in base64."""
    reserved_bytes: int
    lent: Buffer


Parts = Generator[Part, None, None]
"""Whoever does not take every part has to close it."""


@dataclass(kw_only=True)
class PartCutter:
    """Cuts segments; safe to share between threads.

    ``checksum`` begins the checksum of a part. ``is_stopping`` is asked before every part.
    """

    encoding: Compressor
    budget: ByteBudget
    checksum: Callable[[], Checksum]
    is_stopping: Callable[[], bool]

    def parts(
        self, reader: SegmentReader, gap: Gap, shipment: Shipment, part_size: int, level: int
    ) -> Parts:
        """The gap's parts in order. Blocks until there is memory for the next one.

        Raises:
            PortError: the file's.
            Stopping: the daemon is asked to stop.
        """
        reader.skip_to(gap.raw_start)
        if shipment.compression is Compression.NONE:
            yield from self._plain(reader, gap, part_size)
            return
        frames = self.encoding.frames(
            reader.lent_frames(gap.raw_end),
            shipment.compression,
            level,
            meanwhile=reader.digest_piece,
            done=reader.reuse,
        )
        made_again = partial(self.encoding.frame, compression=shipment.compression, level=level)
        with closing(frames):
            yield from self._compressed(frames, gap, part_size, reader, made_again)

    def let_go(self, part: Part) -> None:
        """Let another part have its memory, whoever still refers to it."""
        with suppress(BufferError):  # a failed request has it in its hands a moment longer
            if isinstance(part.body, memoryview):
                part.body.release()
        self.budget.give_back(part.reserved_bytes, part.lent)

    # Whoever sends a part frees its memory, so nothing here may refer to it any more by then.

    def _plain(self, reader: SegmentReader, gap: Gap, part_size: int) -> Parts:
        number = gap.first_number
        while reader.at < gap.raw_end:
            length = plain_part_bytes(part_size, number, gap, reader.at)
            yield self._plain_part(reader, number, length)
            number += 1

    def _compressed(
        self,
        frames: Generator[Encoded, None, None],
        gap: Gap,
        part_size: int,
        reader: SegmentReader,
        made_again: Callable[[bytes], bytes],
    ) -> Parts:
        number, at = gap.first_number, gap.raw_start
        while at < gap.raw_end:
            length = longest_encoded(min(part_size + FRAME_BYTES, gap.raw_end - at))
            if length > self.budget.longest_bytes:
                made = [self._long_part(frames, number, at, gap, part_size, reader, made_again)]
            else:
                made = [self._compressed_part(frames, number, at, gap, part_size)]
            number, at = number + 1, made[0].raw_end
            reader.forget()
            yield made.pop()

    def _plain_part(self, reader: SegmentReader, number: int, length: int) -> Part:
        """Read straight into the memory that the part is sent from, if it has room there."""
        if length > self.budget.longest_bytes:
            return self._long_plain_part(reader, number, length)
        start, (reserved, lent) = reader.at, self._lent(length, length)
        try:
            checksum = self.checksum()
            with memoryview(lent) as view:
                reader.fill(view, checksum)
        except BaseException:
            self.budget.give_back(reserved, lent)
            raise
        body = memoryview(lent)
        return Part(number, start, reader.at, body, checksum.value(), reserved, lent)

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
            checksum = self.checksum()
            while at < gap.raw_end and not is_full(size, part_size, number, gap):
                frame = next(frames)
                if size + len(frame.body) > len(lent):  # a gap that was compressed better before
                    if 2 * len(lent) > self.budget.longest_bytes:
                        raise PortError("UploadExpired", "what is left has no room in memory")
                    reserved, lent = self.budget.lengthen(reserved, lent, 2 * len(lent))
                checksum.add(frame.body)
                lent[size : size + len(frame.body)] = frame.body
                size, at = size + len(frame.body), at + frame.raw_bytes
                del frame  # before the next is made
        except BaseException:
            self.budget.give_back(reserved, lent)
            raise
        self.budget.give_back(for_a_frame)
        body = memoryview(lent)[:size]
        return Part(number, start, at, body, checksum.value(), reserved - for_a_frame, lent)

    # A part that has no room in memory is read twice: for its length and checksum, and to be sent.

    def _long_plain_part(self, reader: SegmentReader, number: int, length: int) -> Part:
        start, (reserved, lent) = reader.at, self._lent(AGAIN_BYTES, 0)
        try:
            checksum = self.checksum()
            for piece in reader.digested(start + length):
                checksum.add(piece)
        except BaseException:
            self.budget.give_back(reserved, lent)
            raise
        body = Replay(length, partial(frames_of, reader.source, start, reader.at))
        return Part(number, start, reader.at, body, checksum.value(), reserved, lent)

    def _long_part(  # noqa: PLR0917  (as its neighbour, and what makes its bytes again)
        self,
        frames: Generator[Encoded, None, None],
        number: int,
        at: int,
        gap: Gap,
        part_size: int,
        reader: SegmentReader,
        made_again: Callable[[bytes], bytes],
    ) -> Part:
        start, size, (reserved, lent) = at, 0, self._lent(AGAIN_BYTES, 0)
        try:
            checksum = self.checksum()
            while at < gap.raw_end and not is_full(size, part_size, number, gap):
                frame = next(frames)
                checksum.add(frame.body)
                size, at = size + len(frame.body), at + frame.raw_bytes
                del frame  # before the next is made
        except BaseException:
            self.budget.give_back(reserved, lent)
            raise
        body = Replay(size, lambda: map(made_again, frames_of(reader.source, start, at)))
        return Part(number, start, at, body, checksum.value(), reserved, lent)

    def _lent(self, wanted_bytes: int, length: int) -> tuple[int, Buffer]:
        if self.is_stopping():
            raise Stopping
        return self.budget.lend(wanted_bytes, length)
