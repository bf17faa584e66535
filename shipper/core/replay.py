"""A body too long for memory: it is made anew, piece by piece, each time it is read.

Only its length and its checksum are known beforehand. Whoever makes it must make the same bytes
every time; S3 refuses them where the checksum tells that they are not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replay:
    length: int
    pieces: Callable[[], Iterator[bytes]]

    def __len__(self) -> int:
        return self.length

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces())


class ReplayView:
    """A replay as the slices of a ``memoryview``, for whoever reads on and rewinds."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._pieces = replay.pieces()
        self._at = 0
        self._kept = memoryview(b"")

    def __len__(self) -> int:
        return len(self._replay)

    def __getitem__(self, wanted: slice) -> memoryview:
        start, stop, _ = wanted.indices(len(self))
        if start < self._at:
            self._pieces, self._at, self._kept = self._replay.pieces(), 0, memoryview(b"")
        while self._at < start:
            self._next(min(start - self._at, 1024**2))
        return self._next(stop - start)

    def _next(self, length: int) -> memoryview:
        found = [self._kept[:length]]
        missing, self._kept = length - len(found[0]), self._kept[length:]
        while missing > 0:
            piece = next(self._pieces, None)
            if piece is None:
                raise ValueError(f"the body ends {missing} bytes too early")
            found.append(memoryview(piece)[:missing])
            self._kept = memoryview(piece)[missing:]
            missing -= len(found[-1])
        self._at += length
        return found[0] if len(found) == 1 else memoryview(b"".join(found))
