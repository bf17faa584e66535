"""Compression in independent frames, and S3's checksums.

Concatenated zstd frames or gzip members are a valid stream for every reader (RFC 8878 section 3,
RFC 1952 section 2.2). gzip and CRC-32 are zlib-ng's: CRC-32 is eight times as fast as zlib's.
CRC-64/NVME is the AWS runtime's and needs the ``crt`` extra.
"""

import base64
import hashlib
import threading
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module

import zstandard
from zlib_ng import zlib_ng

from shipper.core.types import ChecksumAlgorithm, Compression
from shipper.edges.decoder import content
from shipper.ports import Checksum, PortError, Readable

Crc = Callable[[bytes | memoryview, int], int]
"""The CRC of the bytes, continued from that of the bytes before."""

_GZIP = 16 + zlib.MAX_WBITS


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
                compressor = zlib_ng.compressobj(min(level, 9), zlib_ng.DEFLATED, _GZIP)
                return b"".join((compressor.compress(raw), compressor.flush()))
            case Compression.NONE:
                return raw

    def checksum(self, algorithm: ChecksumAlgorithm) -> Checksum:
        """The checksum of nothing yet.

        Raises:
            PortError: ``AlgorithmUnavailable``; CRC-64/NVME without the ``crt`` extra.
        """
        match algorithm:
            case ChecksumAlgorithm.CRC32:
                return _RunningCrc(zlib_ng.crc32, width_bytes=4)
            case ChecksumAlgorithm.CRC64NVME:
                return _RunningCrc(_crc64nvme(), width_bytes=8)
            case ChecksumAlgorithm.SHA256:
                return _RunningSha256()
            case ChecksumAlgorithm.NONE:
                return _RunningCrc(lambda piece, start: 0, width_bytes=0)

    def crc32(self, body: bytes | bytearray | memoryview, start: int = 0) -> int:
        """CRC-32 (ISO-HDLC) of ``body``, continued from the CRC of what comes before it."""
        return int(zlib_ng.crc32(body, start))

    def decoded(
        self,
        source: Readable,
        extension: str,
        *,
        limit_bytes: int,
        tick: Callable[[], None] = lambda: None,
    ) -> Iterator[bytes]:
        """As ``ports.Encoder``; a piece has at most ``decoder.PIECE_BYTES``."""
        return content(source, extension, limit_bytes=limit_bytes, tick=tick)

    def _zstd(self, level: int) -> zstandard.ZstdCompressor:
        kept: dict[int, zstandard.ZstdCompressor] | None = getattr(self._local, "zstd", None)
        if kept is None:
            kept = self._local.zstd = {}
        if level not in kept:
            kept[level] = zstandard.ZstdCompressor(
                level=level, write_content_size=True, write_checksum=True
            )
        return kept[level]


class _RunningCrc:
    """``ports.Checksum``, where one call goes on from the value of the last."""

    def __init__(self, crc: Crc, *, width_bytes: int) -> None:
        self._crc = crc
        self._width_bytes = width_bytes
        self._value = 0

    def add(self, piece: bytes | memoryview) -> None:
        self._value = self._crc(piece, self._value)

    def value(self) -> str:
        return base64.b64encode(self._value.to_bytes(self._width_bytes, "big")).decode()


class _RunningSha256:
    """``ports.Checksum``."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, piece: bytes | memoryview) -> None:
        self._sha256.update(piece)

    def value(self) -> str:
        return base64.b64encode(self._sha256.digest()).decode()


def has_crc64nvme() -> bool:
    """Whether CRC-64/NVME can be computed here."""
    try:
        _crc64nvme()
    except PortError:
        return False
    return True


def _crc64nvme() -> Crc:
    """The function; imported late, because it takes 7 MB and may be absent."""
    try:
        found: Crc = import_module("awscrt.checksums").crc64nvme
    except (ImportError, AttributeError) as error:
        raise PortError(
            "AlgorithmUnavailable", "crc64nvme", "install 's3-log-shipper[crt]'"
        ) from error
    return found
