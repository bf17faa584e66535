"""Raw bytes into frames, in order; where there are cores, several are compressed at once.

The frame that is needed next is always under way. Beyond it at most ``ahead`` frames are read and
compressed for the whole daemon. Their memory is set aside for good, so that a file which waits
for memory while it has some keeps nobody else from getting theirs.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from shipper.core.types import Compression
from shipper.ports import Encoder


@dataclass(frozen=True, slots=True)
class Encoded:
    """A frame, and how many raw bytes it holds."""

    raw_bytes: int
    body: bytes


class Encoding:
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
        meanwhile: Callable[[bytes], None] = lambda piece: None,
    ) -> Generator[Encoded, None, None]:
        """Each piece as a frame. ``meanwhile`` is called for a piece while it is compressed, and
        has been for every piece when the last frame comes out.

        Whoever does not take every frame has to close the iterator.
        """
        coming: deque[Future[Encoded]] = deque()
        spares = 0
        try:
            for piece in pieces:
                coming.append(self._executor.submit(self._encoded, piece, compression, level))
                meanwhile(piece)
                if self._spare.acquire(blocking=False):
                    spares += 1
                else:
                    yield coming.popleft().result()
            while coming:
                encoded = coming.popleft().result()
                spares -= 1
                self._spare.release()
                yield encoded
        finally:
            for future in reversed(coming):  # so that none begins meanwhile
                if not future.cancel():
                    future.exception()  # its memory is in use until it has ended
            for _ in range(spares):
                self._spare.release()

    def _encoded(self, piece: bytes, compression: Compression, level: int) -> Encoded:
        return Encoded(len(piece), self._encoder.frame(piece, compression, level))
