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

from shipper.core.types import Compression
from shipper.ports import Encoder, PortError


@dataclass(frozen=True, slots=True)
class Encoded:
    """A frame; the CRC-32 is of its raw bytes after they were compressed."""

    raw_bytes: int
    body: bytes
    raw_crc32: int


class Compressor:
    """Compresses; safe to share between threads, none of which waits for another's frames."""

    def __init__(self, *, encoder: Encoder, executor: Executor, ahead: int) -> None:
        self._encoder = encoder
        self._executor = executor
        self._spare = threading.Semaphore(ahead)

    def frames(
        self,
        pieces: Iterable[bytes],
        compression: Compression,
        level: int,
        meanwhile: Callable[[bytes], int] | None = None,
    ) -> Generator[Encoded, None, None]:
        """Each piece as a frame; who does not take every one has to close the iterator.

        ``meanwhile`` gets a piece while it is compressed, and returns its CRC-32.

        Raises:
            PortError: ``ChecksumMismatch``; what was compressed is not what was digested.
        """
        coming: deque[Future[Encoded]] = deque()
        digested: deque[int] = deque()
        spares = 0
        try:
            for piece in pieces:
                coming.append(self._executor.submit(self._encoded, piece, compression, level))
                if meanwhile is not None:
                    digested.append(meanwhile(piece))
                if self._spare.acquire(blocking=False):
                    spares += 1
                else:
                    yield _checked(coming.popleft().result(), digested)
            while coming:
                encoded = _checked(coming.popleft().result(), digested)
                spares -= 1
                self._spare.release()
                yield encoded
        finally:
            for future in reversed(coming):  # so that none begins meanwhile
                if not future.cancel():
                    future.exception()  # its memory is in use until it has ended
            for _ in range(spares):
                self._spare.release()

    def frame(self, piece: bytes, compression: Compression, level: int) -> bytes:
        """One frame, at once and in this thread."""
        return self._encoder.frame(piece, compression, level)

    def _encoded(self, piece: bytes, compression: Compression, level: int) -> Encoded:
        frame = self._encoder.frame(piece, compression, level)
        return Encoded(len(piece), frame, self._encoder.crc32(piece))


def _checked(encoded: Encoded, digested: deque[int]) -> Encoded:
    if digested and digested.popleft() != encoded.raw_crc32:
        raise PortError("ChecksumMismatch", "bytes of the log changed in memory")
    return encoded
