"""Decompression in bounded pieces, of what other programs compressed.

It may be damaged, or made to harm. A piece is at most ``PIECE_BYTES`` whatever the ratio, a window
at most ``WINDOW_BYTES``. A file is read to its last byte: whatever does not end where a member
ends is ``Undecodable``. Members that hold nothing cost time and give no piece, so the caller's
``tick``, which bounds the time, is called before every read as well.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator

import zstandard

from shipper.ports import PortError, Readable

PIECE_BYTES = 1024 * 1024
READ_BYTES = 64 * 1024
WINDOW_BYTES = 128 * 1024 * 1024
"""As much as ``zstd -d`` and ``xz -d -9`` accept without being asked to."""

_GZIP = 16 + zlib.MAX_WBITS
_PAGE_BYTES = 4096
"""Read at once to walk over zstd's headers, most of which are further apart."""
_ZSTD_LONGEST_HEADER = 18
_ZSTD_SKIPPABLE_HEADER = 8
_ZSTD_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_RLE_BLOCK = 1
_DAMAGE = (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError)


def content(
    source: Readable,
    extension: str,
    *,
    limit_bytes: int,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[bytes]:
    """``ports.Encoder.decoded``; a read is at most of ``READ_BYTES``."""
    left = limit_bytes
    try:
        for piece in _pieces_of(_File(source, tick), extension):
            tick()
            left -= len(piece)
            if left < 0:
                raise PortError("ContentTooLong", f"more than {limit_bytes} bytes are in it")
            yield piece
    except _DAMAGE as error:
        raise PortError("Undecodable", str(error)) from error


def streamed(pieces: Iterator[bytes], extension: str) -> Iterator[bytes]:
    """The content of a ``.zst .gz .xz .bz2`` that comes in pieces; of anything else, the pieces.

    Memory is bounded as ``content``'s. A zstd frame that is cut short gives what is there, and is
    no error, so the caller must know the content's digest or its end.

    Raises:
        PortError: ``Undecodable``.
    """
    try:
        match extension:
            case ".zst":
                yield from _zstd_frames(_Stream(pieces))
            case ".gz":
                yield from _pieces(_Stream(pieces), _GzipMember)
            case ".xz":
                yield from _pieces(_Stream(pieces), _xz_stream)
            case ".bz2":
                yield from _pieces(_Stream(pieces), bz2.BZ2Decompressor)
            case _:
                yield from pieces
    except _DAMAGE as error:
        raise PortError("Undecodable", str(error)) from error


class _Stream:
    """Pieces, read from front to back."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def read(self, length: int) -> bytes:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._piece = memoryview(piece)
        taken, self._piece = self._piece[:length], self._piece[length:]
        return bytes(taken)


class _File:
    """A source that is read from front to back, with a ``tick`` before every read."""

    def __init__(self, source: Readable, tick: Callable[[], None]) -> None:
        self._source = source
        self._tick = tick
        self._offset = 0
        self._page_at = 0
        self._page = b""

    def size_bytes(self) -> int:
        return self._source.stat().size_bytes

    def read(self, length: int) -> bytes:
        self._tick()
        piece = self._source.read(self._offset, length)
        self._offset += len(piece)
        return piece

    def peek(self, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset``, or fewer at the end of the file; ``read`` stays where
        it is. For short reads at rising offsets: a page is read at a time.
        """
        at = offset - self._page_at
        if not 0 <= at <= len(self._page) - length:
            self._tick()
            self._page_at, at = offset, 0
            self._page = self._source.read(offset, _PAGE_BYTES)
        return self._page[at : at + length]


def _pieces_of(file: _File, extension: str) -> Iterator[bytes]:
    match extension:
        case ".zst":
            return _zstd_pieces(file)
        case ".gz":
            return _pieces(file, _GzipMember)
        case ".xz":
            return _pieces(file, _xz_stream)
        case ".bz2":
            return _pieces(file, bz2.BZ2Decompressor)
        case _:
            raise ValueError(f"{extension or 'no extension'}: not a format read here")


class _GzipMember:
    """zlib's decompressor with lzma's interface: it keeps what it could not read yet."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_GZIP)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


_Member = _GzipMember | lzma.LZMADecompressor | bz2.BZ2Decompressor


def _xz_stream() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=WINDOW_BYTES)


def _pieces(file: _File | _Stream, begun: Callable[[], _Member]) -> Iterator[bytes]:
    """Member after member to the end of the file. Only zeros may follow the last one."""
    encoded, member = b"", begun()
    while True:
        if not encoded and (member.eof or member.needs_input):
            encoded = file.read(READ_BYTES)
            if not encoded:
                break
        if member.eof:
            if encoded[:1] == b"\0":
                _check_zeros(file, encoded)
                return
            member = begun()
        if piece := member.decompress(encoded, PIECE_BYTES):
            yield piece
        encoded = member.unused_data if member.eof else b""
    if not member.eof:
        raise EOFError("ends in the middle of a stream")


def _check_zeros(file: _File | _Stream, padding: bytes) -> None:
    while padding:
        if padding.strip(b"\0"):
            raise ValueError("zeros between two streams")
        padding = file.read(READ_BYTES)


def _zstd_pieces(file: _File) -> Iterator[bytes]:
    """zstandard bounds its output in ``stream_reader`` only, which does not tell a frame that was
    cut short from one that is over; so the frames are walked first."""
    _check_zstd_frames(file)
    return _zstd_frames(file)


def _zstd_frames(file: _File | _Stream) -> Iterator[bytes]:
    context = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
    with context.stream_reader(file, READ_BYTES, read_across_frames=True) as reader:  # type: ignore[arg-type]  # it asks for no more than read()
        while piece := reader.read(PIECE_BYTES):
            yield piece


def _check_zstd_frames(file: _File) -> None:
    """Whether the file is whole frames from the first byte to the last (RFC 8878, section 3.1)."""
    offset, size_bytes = 0, file.size_bytes()
    while offset < size_bytes:
        header = file.peek(offset, _ZSTD_LONGEST_HEADER)
        if int.from_bytes(header[:4], "little") in _ZSTD_SKIPPABLE:
            offset += _ZSTD_SKIPPABLE_HEADER + int.from_bytes(header[4:8], "little")
        else:
            offset = _end_of_zstd_frame(file, offset, header)
    if offset != size_bytes or not size_bytes:
        raise EOFError("ends in the middle of a frame")


def _end_of_zstd_frame(file: _File, offset: int, header: bytes) -> int:
    checksum_bytes = 4 if zstandard.get_frame_parameters(header).has_checksum else 0
    offset += zstandard.frame_header_size(header)
    is_last = False
    while not is_last:
        block_header = file.peek(offset, 3)
        if len(block_header) < 3:
            raise EOFError("ends in the middle of a frame")
        block = int.from_bytes(block_header, "little")
        is_last = bool(block & 1)
        offset += 3 + (1 if (block >> 1) & 3 == _RLE_BLOCK else block >> 3)
    return offset + checksum_bytes
