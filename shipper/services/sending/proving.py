"""Reading what is to be proven: in pieces, with signs of life, and what it adds up to."""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from shipper.core.types import FileStat, Shipment
from shipper.ports import Readable

PIECE_BYTES = 1024 * 1024


class Ticking:
    """A file that shows a sign of life, and may be stopped, at every read."""

    def __init__(self, source: Readable, tick: Callable[[], None]) -> None:
        self._source = source
        self._tick = tick

    def stat(self) -> FileStat:
        """``fstat``."""
        return self._source.stat()

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``.

        Raises:
            PortError: the file's; and whatever ``tick`` raises.
        """
        self._tick()
        return self._source.read(offset, length)


class Whole:
    """What all pieces of a file add up to."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.crc32 = 0
        self.length = 0

    def add(self, piece: bytes) -> None:
        """The next piece."""
        self._sha256.update(piece)
        self.crc32 = zlib.crc32(piece, self.crc32)
        self.length += len(piece)

    @property
    def sha256(self) -> str:
        """As hex."""
        return self._sha256.hexdigest()

    def of(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces as they are, each added."""
        for piece in pieces:
            self.add(piece)
            yield piece


def pieces_of(source: Readable, end: int) -> Iterator[bytes]:
    """The first ``end`` bytes of a file."""
    for at in range(0, end, PIECE_BYTES):
        yield source.read(at, min(PIECE_BYTES, end - at))


def is_whole(chain: Sequence[Shipment], pieces: Iterator[bytes]) -> bool:
    """Whether the pieces are, to the last byte, the log whose segments ``chain`` are."""
    lengths = [segment.raw_bytes for segment in chain]
    return list(_digests(pieces, lengths)) == [segment.raw_sha256 for segment in chain]


def _digests(pieces: Iterator[bytes], lengths: Sequence[int]) -> Iterator[str]:
    """The digest of every run of ``lengths`` bytes; one more if there is content left over."""
    rest = b""
    for length in lengths:
        sha256, left = hashlib.sha256(), length
        while left:
            rest = rest or next(pieces, b"")
            if not rest:
                break
            sha256.update(rest[:left])
            left, rest = left - min(left, len(rest)), rest[left:]
        yield sha256.hexdigest()
    if rest or next(pieces, b""):
        yield ""
