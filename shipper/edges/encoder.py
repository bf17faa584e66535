"""Compression in independent frames, decompression in bounded pieces, and S3's checksums.

zstd frames and gzip members may be concatenated: the result is a valid stream for every reader
(RFC 8878 section 3, RFC 1952 section 2.2). gzip and CRC-32 are zlib-ng's, faster than zlib's by a
seventh to a half and by a factor of eight; CRC-64/NVME is the AWS runtime's and needs the ``crt``
extra.

What is decompressed comes from other programs and may be damaged, or made to harm. A piece is at
most ``PIECE_BYTES`` whatever the ratio, a window at most ``WINDOW_BYTES``; and a file is read to
its last byte: whatever does not end where a member ends is ``Undecodable``.
"""

import base64
import bz2
import hashlib
import lzma
import threading
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Protocol

import zstandard
from zlib_ng import zlib_ng

from shipper.core.types import ChecksumAlgorithm, Compression
from shipper.ports import PortError, Source

PIECE_BYTES = 1024 * 1024
READ_BYTES = 64 * 1024
WINDOW_BYTES = 128 * 1024 * 1024
"""As much as ``zstd -d`` and ``xz -d -9`` accept without being asked to."""

_GZIP = 16 + zlib.MAX_WBITS
_ZSTD_LONGEST_HEADER = 18
_ZSTD_SKIPPABLE_HEADER = 8
_ZSTD_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_RLE_BLOCK = 1
_DAMAGE = (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError)


class FrameEncoder:
    """``ports.Encoder``; a zstd context is kept per thread and level."""

    def __init__(self) -> None:
        self._local = threading.local()

    def frame(self, raw: bytes, compression: Compression, level: int) -> bytes:
        """One frame of its own; ``raw`` itself where nothing is compressed."""
        match compression:
            case Compression.ZSTD:
                return self._zstd(level).compress(raw)
            case Compression.GZIP:
                compressor = zlib_ng.compressobj(level, zlib_ng.DEFLATED, _GZIP)
                return b"".join((compressor.compress(raw), compressor.flush()))
            case Compression.NONE:
                return raw

    def checksum(self, body: bytes | bytearray, algorithm: ChecksumAlgorithm) -> str:
        """The base64 value S3 expects for ``body``; empty for ``NONE``.

        Raises:
            PortError: ``AlgorithmUnavailable``; CRC-64/NVME without the ``crt`` extra.
        """
        return base64.b64encode(_digest(body, algorithm)).decode()

    def decoded(self, source: Source, extension: str) -> Iterator[bytes]:
        """The decompressed content in pieces of at most ``PIECE_BYTES``.

        Raises:
            PortError: ``Undecodable``; damaged, cut short, or an extension not known here.
        """
        try:
            match extension:
                case ".zst":
                    yield from _zstd_pieces(source)
                case ".gz":
                    yield from _pieces(source, _GzipMember)
                case ".xz":
                    yield from _pieces(source, _xz_stream)
                case ".bz2":
                    yield from _pieces(source, bz2.BZ2Decompressor)
                case _:
                    raise ValueError(f"{extension or 'no extension'}: not a format read here")
        except _DAMAGE as error:
            raise PortError("Undecodable", str(error)) from error

    def _zstd(self, level: int) -> zstandard.ZstdCompressor:
        kept: dict[int, zstandard.ZstdCompressor] | None = getattr(self._local, "zstd", None)
        if kept is None:
            kept = self._local.zstd = {}
        if level not in kept:
            kept[level] = zstandard.ZstdCompressor(
                level=level, write_content_size=True, write_checksum=True
            )
        return kept[level]


def _digest(body: bytes | bytearray, algorithm: ChecksumAlgorithm) -> bytes:
    match algorithm:
        case ChecksumAlgorithm.CRC32:
            return crc32(body).to_bytes(4, "big")
        case ChecksumAlgorithm.CRC64NVME:
            return _crc64nvme()(body).to_bytes(8, "big")
        case ChecksumAlgorithm.SHA256:
            return hashlib.sha256(body).digest()
        case ChecksumAlgorithm.NONE:
            return b""


def crc32(body: bytes | bytearray, start: int = 0) -> int:
    """CRC-32 (ISO-HDLC) of ``body``, continued from the CRC of what comes before it."""
    return int(zlib_ng.crc32(body, start))


def has_crc64nvme() -> bool:
    """Whether CRC-64/NVME can be computed here."""
    try:
        _crc64nvme()
    except PortError:
        return False
    return True


def _crc64nvme() -> Callable[[bytes | bytearray], int]:
    """The function; imported late, because it takes 7 MB and may be absent."""
    try:
        found: Callable[[bytes | bytearray], int] = import_module("awscrt.checksums").crc64nvme
    except (ImportError, AttributeError) as error:
        raise PortError("AlgorithmUnavailable", "crc64nvme", "install shipper[crt]") from error
    return found


class _Member(Protocol):
    """One stream of a compressed file, as lzma and bz2 decompress it."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _GzipMember:
    """zlib's decompressor with the manners of lzma's: it keeps what it could not read yet."""

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


def _xz_stream() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=WINDOW_BYTES)


def _pieces(source: Source, begun: Callable[[], _Member]) -> Iterator[bytes]:
    """Member after member to the end of the file. Only zeros may follow the last one."""
    offset, encoded, member = 0, b"", begun()
    while True:
        if not encoded and (member.eof or member.needs_input):
            encoded = source.read(offset, READ_BYTES)
            offset += len(encoded)
            if not encoded:
                break
        if member.eof:
            if encoded[:1] == b"\0":
                _check_zeros(source, offset, encoded)
                return
            member = begun()
        if piece := member.decompress(encoded, PIECE_BYTES):
            yield piece
        encoded = member.unused_data if member.eof else b""
    if not member.eof:
        raise EOFError("ends in the middle of a stream")


def _check_zeros(source: Source, offset: int, padding: bytes) -> None:
    while padding:
        if padding.strip(b"\0"):
            raise ValueError("zeros between two streams")
        padding = source.read(offset, READ_BYTES)
        offset += len(padding)


class _Readable:
    """A source as the file that zstandard reads from."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._offset = 0

    def read(self, length: int) -> bytes:
        piece = self._source.read(self._offset, length)
        self._offset += len(piece)
        return piece


def _zstd_pieces(source: Source) -> Iterator[bytes]:
    """zstandard bounds its output in ``stream_reader`` only, which does not tell a frame that was
    cut short from one that is over; so the frames are walked first."""
    _check_zstd_frames(source)
    context = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
    readable = _Readable(source)
    with context.stream_reader(readable, READ_BYTES, read_across_frames=True) as reader:  # type: ignore[arg-type]  # it asks for no more than read()
        while piece := reader.read(PIECE_BYTES):
            yield piece


def _check_zstd_frames(source: Source) -> None:
    """Whether the file is whole frames from the first byte to the last (RFC 8878, section 3.1)."""
    offset, size = 0, source.stat().size_bytes
    while offset < size:
        header = source.read(offset, _ZSTD_LONGEST_HEADER)
        if int.from_bytes(header[:4], "little") in _ZSTD_SKIPPABLE:
            size_field = _exactly(source, offset + 4, 4)
            offset += _ZSTD_SKIPPABLE_HEADER + int.from_bytes(size_field, "little")
        else:
            offset = _end_of_zstd_frame(source, offset, header)
    if offset != size or not size:
        raise EOFError("ends in the middle of a frame")


def _end_of_zstd_frame(source: Source, offset: int, header: bytes) -> int:
    checksum_bytes = 4 if zstandard.get_frame_parameters(header).has_checksum else 0
    offset += zstandard.frame_header_size(header)
    is_last = False
    while not is_last:
        block = int.from_bytes(_exactly(source, offset, 3), "little")
        is_last = bool(block & 1)
        offset += 3 + (1 if (block >> 1) & 3 == _RLE_BLOCK else block >> 3)
    return offset + checksum_bytes


def _exactly(source: Source, offset: int, length: int) -> bytes:
    found = source.read(offset, length)
    if len(found) < length:
        raise EOFError("ends in the middle of a frame")
    return found
