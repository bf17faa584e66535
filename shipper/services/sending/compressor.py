"""Compresses raw bytes into frames, in order and several at once.

The frame that is needed next is always under way. Beyond it at most ``ahead`` frames are
compressed for the whole daemon. Their memory is set aside, so a file that waits for memory
blocks no other.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import NamedTuple

from shipper.core.types import Compression
from shipper.ports import Encoder, PortError

Raw = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Encoded:
    """A frame; the CRC-32 is of its raw bytes after they were compressed."""

    raw_bytes: int
    body: bytes
    raw_crc32: int


class _Coming(NamedTuple):
    """A frame under way; ``crc32`` is of its raw bytes as they were digested."""

    future: Future[Encoded]
    piece: Raw
    crc32: int | None


class Compressor:
    """Compresses; safe to share between threads, none of which waits for another's frames."""

    def __init__(self, *, encoder: Encoder, executor: Executor, ahead: int) -> None:
        self._encoder = encoder
        self._executor = executor
        self._spare = threading.Semaphore(ahead)

    def frames(
        self,
        pieces: Iterable[Raw],
        compression: Compression,
        level: int,
        meanwhile: Callable[[Raw], int] | None = None,
        done: Callable[[Raw], None] = lambda piece: None,
    ) -> Generator[Encoded, None, None]:
        """Each piece as a frame; who does not take every one has to close the iterator.

        ``meanwhile`` gets a piece while it is compressed, and returns its CRC-32. ``done`` gets it
        when nobody here reads it any more.

        Raises:
            PortError: ``ChecksumMismatch``; what was compressed is not what was digested.
        """
        coming: deque[_Coming] = deque()
        spares = 0
        try:
            for piece in pieces:
                future = self._executor.submit(self._encoded, piece, compression, level)
                coming.append(_Coming(future, piece, None))
                if meanwhile is not None:
                    coming[-1] = _Coming(future, piece, meanwhile(piece))
                del future, piece  # suspended below, this refers to the frames ahead only
                if self._spare.acquire(blocking=False):
                    spares += 1
                else:
                    yield _taken(coming, done)
            while coming:
                taken = [_taken(coming, done)]
                spares -= 1
                self._spare.release()
                yield taken.pop()
        finally:
            for future, _, _ in reversed(coming):  # so that none begins meanwhile
                if not future.cancel():
                    future.exception()  # its memory is in use until it has ended
            for _ in range(spares):
                self._spare.release()

    def frame(self, piece: Raw, compression: Compression, level: int) -> bytes:
        """One frame, at once and in this thread."""
        return self._encoder.frame(piece, compression, level)

    def _encoded(self, piece: Raw, compression: Compression, level: int) -> Encoded:
        frame = self._encoder.frame(piece, compression, level)
        return Encoded(len(piece), frame, self._encoder.crc32(piece))


def _taken(coming: deque[_Coming], done: Callable[[Raw], None]) -> Encoded:
    encoded, (_, piece, crc32) = coming[0].future.result(), coming.popleft()
    if crc32 not in (None, encoded.raw_crc32):
        raise PortError("ChecksumMismatch", "bytes of the log changed in memory")
    done(piece)
    return encoded
