"""Frames come out in order, whoever made them first; what is ahead is bounded."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.types import Compression
from shipper.edges.encoder import FrameEncoder
from shipper.ports import PortError
from shipper.services.sending.compressor import Compressor, Encoded
from tests.machines.world import InlineExecutor

ZSTD = Compression.ZSTD


class _Reversed(FrameEncoder):
    """Makes a frame only after the one behind it, as far as that is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = [threading.Event() for _ in range(100)]

    def frame(self, raw: bytes | memoryview, compression: Compression, level: int) -> bytes:
        number = int(raw)
        self.begun[number].set()
        if number % 3 < 2:
            assert self.begun[number + 1].wait(10)
        return b"<%s>" % raw


class _Broken(FrameEncoder):
    def frame(self, raw: bytes | memoryview, compression: Compression, level: int) -> bytes:
        if raw == b"bad":
            raise ValueError(raw)
        return bytes(raw)


def inline(ahead: int) -> Compressor:
    return Compressor(encoder=FrameEncoder(), executor=InlineExecutor(), ahead=ahead)


def spares(encoding: Compressor) -> int:
    """How many frames could be made ahead now."""
    taken = 0
    while encoding._spare.acquire(blocking=False):
        taken += 1
    for _ in range(taken):
        encoding._spare.release()
    return taken


def test_frames_come_in_order_though_they_are_made_in_another() -> None:
    with ThreadPoolExecutor(3) as executor:
        encoding = Compressor(encoder=_Reversed(), executor=executor, ahead=2)
        pieces = [b"%d" % number for number in range(99)]
        found = [each.body for each in encoding.frames(pieces, ZSTD, 1)]
    assert found == [b"<%s>" % piece for piece in pieces]
    assert spares(encoding) == 2


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(0, 4))
def test_the_frames_are_the_same_however_many_are_made_ahead(
    pieces: list[bytes], ahead: int
) -> None:
    encoder = FrameEncoder()
    expected = [
        Encoded(len(piece), encoder.frame(piece, ZSTD, 1), encoder.crc32(piece))
        for piece in pieces
    ]
    encoding = inline(ahead)
    assert list(encoding.frames(pieces, ZSTD, 1)) == expected
    assert spares(encoding) == ahead


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_no_more_is_read_than_may_be_ahead(ahead: int) -> None:
    read: list[bytes] = []

    def pieces() -> Iterator[bytes]:
        for number in range(9):
            read.append(b"%d" % number)
            yield read[-1]

    for taken, _ in enumerate(inline(ahead).frames(pieces(), ZSTD, 1), 1):
        assert len(read) == min(9, taken + ahead)


@pytest.mark.parametrize("ahead", [0, 1, 9])
def test_every_piece_was_seen_when_the_last_frame_comes(ahead: int) -> None:
    """Who takes the last frame asks at once what all of them add up to."""
    seen: list[bytes] = []
    pieces = [b"a", b"b", b"c"]

    def see(piece: bytes | memoryview) -> int:
        seen.append(bytes(piece))
        return FrameEncoder().crc32(piece)

    frames = inline(ahead).frames(pieces, ZSTD, 1, see)
    for _ in pieces:
        next(frames)
    assert seen == pieces


def test_two_files_share_what_may_be_ahead_and_neither_waits_for_the_other() -> None:
    encoding = inline(2)
    first = encoding.frames([b"x"] * 9, ZSTD, 1)
    second = encoding.frames([b"y"] * 9, ZSTD, 1)
    next(first)
    assert spares(encoding) == 0
    assert len(list(second)) == 9
    assert len(list(first)) == 8
    assert spares(encoding) == 2


def test_what_is_not_taken_leaves_no_trace() -> None:
    encoding = inline(2)
    frames = encoding.frames([b"x"] * 9, ZSTD, 1)
    next(frames)
    frames.close()
    assert spares(encoding) == 2


def test_frames_that_are_not_begun_are_not_made() -> None:
    begun, ends, made = threading.Event(), threading.Event(), list[bytes]()

    class HeldFiles(_Broken):
        def frame(self, raw: bytes | memoryview, compression: Compression, level: int) -> bytes:
            if raw == b"2":
                begun.set()
                assert ends.wait(10)
            made.append(bytes(raw))
            return bytes(raw)

    with ThreadPoolExecutor(1) as executor:
        encoding = Compressor(encoder=HeldFiles(), executor=executor, ahead=2)
        frames = encoding.frames([b"1", b"2", b"3"], ZSTD, 1)
        next(frames)
        assert begun.wait(10)
        closing = threading.Thread(target=frames.close)
        closing.start()
        closing.join(0.05)
        assert closing.is_alive()  # its memory is in use until it has ended
        ends.set()
        closing.join(10)
    assert made == [b"1", b"2"]
    assert spares(encoding) == 2


@pytest.mark.parametrize("ahead", [0, 1, 9])
def test_a_failure_ends_the_frames_and_frees_what_was_ahead(ahead: int) -> None:
    encoding = Compressor(encoder=_Broken(), executor=InlineExecutor(), ahead=ahead)
    with pytest.raises(ValueError, match="bad"):
        list(encoding.frames([b"a", b"bad", b"c", b"bad"], ZSTD, 1))
    assert spares(encoding) == ahead


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_a_bit_that_flips_while_a_piece_is_compressed_is_noticed(ahead: int) -> None:
    pieces = [bytearray(b"piece %d" % number) for number in range(4)]

    class Flips(FrameEncoder):
        def frame(self, raw: bytes | memoryview, compression: Compression, level: int) -> bytes:
            if raw == b"piece 2":
                pieces[2][0] ^= 1
            return super().frame(raw, compression, level)

    before = [FrameEncoder().crc32(piece) for piece in pieces]
    encoding = Compressor(encoder=Flips(), executor=InlineExecutor(), ahead=ahead)
    digests = iter(before)
    frames = encoding.frames(cast(Any, pieces), ZSTD, 1, lambda piece: next(digests))
    with pytest.raises(PortError, match="ChecksumMismatch"):
        list(frames)
    assert spares(encoding) == ahead
