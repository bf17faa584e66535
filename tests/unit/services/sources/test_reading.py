"""A segment is read in frames whose memory is used again."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from shipper.core.parts import FRAME_BYTES
from shipper.core.types import FileStat
from shipper.edges.encoder import FrameEncoder
from shipper.services.sources.reading import SegmentReader
from tests.fakes.examples import stat


class _File:
    """``ports.Source`` of bytes."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stat(self) -> FileStat:
        return stat(size_bytes=len(self._body))

    def read(self, offset: int, length: int) -> bytes:
        return self._body[offset : offset + length]

    def read_into(self, offset: int, buffer: memoryview) -> int:
        found = self.read(offset, len(buffer))
        buffer[: len(found)] = found
        return len(found)


BODY = b"".join(b"%015d\n" % number for number in range((3 * FRAME_BYTES + 1000) // 16))


def reader(body: bytes) -> SegmentReader:
    return SegmentReader(_File(body), 0, FrameEncoder(), lambda: None)  # type: ignore[arg-type]  # all that is asked for


@given(ahead=st.integers(0, 3), forgets=st.booleans())
def test_a_frame_keeps_its_bytes_until_it_is_given_back(ahead: int, forgets: bool) -> None:
    segment, under_way, read = reader(BODY), deque[memoryview](), list[bytes]()
    for frame in segment.lent_frames(len(BODY)):
        under_way.append(frame)
        if len(under_way) > ahead:
            done = under_way.popleft()
            read.append(bytes(done))
            segment.reuse(done)
        if forgets:
            segment.forget()
    assert b"".join([*read, *under_way]) == BODY
    assert segment.at == len(BODY)


def test_frames_share_memory_once_they_are_given_back() -> None:
    segment, memories = reader(BODY), list[int]()
    for frame in segment.lent_frames(len(BODY)):
        memories.append(id(frame.obj))
        segment.reuse(frame)
    assert len(memories) == 4
    assert len(set(memories)) == 1


def test_a_small_file_takes_no_more_memory_than_it_has_bytes() -> None:
    segment = reader(b"hello\n")
    (frame,) = segment.lent_frames(6)
    assert frame.obj == b"hello\n"
    segment.reuse(frame)
    assert list(segment.lent_frames(6)) == []
