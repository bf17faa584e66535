"""The decoded content of a compressed file, as if it were a file that can be read anywhere."""

from collections.abc import Callable, Iterator

from shipper.core.types import FileStat, WriterTest
from shipper.ports import Encoder, PortError, Source


class DecodedSource:
    """A ``Source``. Reading on is cheap; reading backwards begins anew, from the first byte.

    ``stat`` is the compressed file's: while that does not change, neither does the content.
    """

    def __init__(
        self, source: Source, extension: str, encoder: Encoder, tick: Callable[[], None]
    ) -> None:
        self._source = source
        self._extension = extension
        self._encoder = encoder
        self._tick = tick
        self._pieces: Iterator[bytes] = iter(())
        self._piece = b""
        self._piece_at = 0
        self._begin()

    def _begin(self) -> None:
        self._pieces = self._encoder.decoded(
            self._source, self._extension, limit_bytes=1 << 62, tick=self._tick
        )
        self._piece, self._piece_at = b"", 0

    def stat(self) -> FileStat:
        return self._source.stat()

    def read(self, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        with memoryview(buffer) as view:
            found = self.read_into(offset, view)
        return bytes(buffer[:found])

    def read_into(self, offset: int, buffer: memoryview) -> int:
        if offset < self._piece_at:
            self._begin()
        filled = 0
        while filled < len(buffer) and self._reach(offset + filled):
            start = offset + filled - self._piece_at
            piece = self._piece[start : start + len(buffer) - filled]
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def _reach(self, offset: int) -> bool:
        """Read on to the piece that has the byte at ``offset``; False where there is none."""
        try:
            while offset >= self._piece_at + len(self._piece):
                following = next(self._pieces, None)
                if following is None:
                    return False
                self._piece_at += len(self._piece)
                self._piece = following
        except PortError as error:
            if error.code == "Undecodable":  # it was decoded before
                raise PortError("SourceChanged", error.detail) from error
            raise
        return True

    def writer(self) -> WriterTest:
        return self._source.writer()

    def unlinked_bytes(self) -> int:
        return self._source.unlinked_bytes()

    def close(self) -> None:
        self._source.close()
