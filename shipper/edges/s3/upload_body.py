"""A request body that is written in pieces, within a deadline, and never copied.

Each write has the connect timeout, which a server that takes a few bytes a second never trips;
so the body as a whole has a deadline too, and it is looked at between two pieces.
"""

import os
import time
from collections.abc import Callable, Iterator

from shipper.core.concurrency import PIECE_BYTES, longest_body_seconds
from shipper.core.replay import Replay, ReplayView

WRITE_BYTES = PIECE_BYTES
"""A large body is written in pieces of this size. Each must be gone within the connect timeout,
which urllib3 applies to writes as well; a whole part in one write would need a fast network."""


class Body:
    """A large body as botocore wants a file: for the signature and its length, never in memory
    twice.

    ``throttle`` is called with the size of every piece and blocks until it may go out.
    """

    def __init__(
        self, body: bytes | bytearray | memoryview | Replay, throttle: Callable[[int], None]
    ) -> None:
        self._view = ReplayView(body) if isinstance(body, Replay) else memoryview(body)
        self._throttle = throttle
        self._at = 0

    def __len__(self) -> int:
        return len(self._view)

    def read(self, length: int = -1) -> memoryview:
        start, size = self._at, len(self._view)
        self._at = size if length < 0 else min(start + length, size)
        return self._view[start : self._at]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence, len(self._view))
        return self._at

    def tell(self) -> int:
        return self._at

    def pieces(self) -> Iterator[memoryview]:
        """The body as it is written: a file would be read and written 16 KiB at a time.

        Raises:
            TimeoutError: who reads it is too slow. What the throttle waits is not counted.
        """
        size, left = len(self._view), longest_body_seconds(len(self._view))
        for start in range(0, size, WRITE_BYTES):
            if left < 0:
                raise TimeoutError(f"{start} of {size} bytes were sent when the time was up")
            piece = self._view[start : start + WRITE_BYTES]
            self._throttle(len(piece))
            began = time.monotonic()
            yield piece
            left -= time.monotonic() - began
