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
from typing import Any

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

    def frame(self, raw: bytes | memoryview, compression: Compression, level: int) -> bytes:
        match compression:
            case Compression.ZSTD:
                return self._zstd(level).compress(raw)
            case Compression.GZIP:
                compressor = zlib_ng.compressobj(min(level, 9), zlib_ng.DEFLATED, _GZIP)
                return b"".join((compressor.compress(raw), compressor.flush()))
            case Compression.NONE:
                return bytes(raw)

    def checksum(self, algorithm: ChecksumAlgorithm) -> Checksum:
        """As the port says; ``AlgorithmUnavailable`` for CRC-64/NVME without the ``crt`` extra."""
        match algorithm:
            case ChecksumAlgorithm.CRC32:
                return _RunningCrc(zlib_ng.crc32, width_bytes=4)
            case ChecksumAlgorithm.CRC64NVME:
                return _RunningCrc(_crc64nvme(), width_bytes=8)
            case ChecksumAlgorithm.SHA256:
                return _RunningDigest(hashlib.sha256())
            case ChecksumAlgorithm.MD5:
                return _RunningDigest(hashlib.md5(usedforsecurity=False))
            case ChecksumAlgorithm.NONE:
                return _RunningCrc(lambda piece, start: 0, width_bytes=0)

    def crc32(self, body: bytes | bytearray | memoryview) -> int:
        return int(zlib_ng.crc32(body))

    def decoded(
        self,
        source: Readable,
        extension: str,
        *,
        limit_bytes: int,
        tick: Callable[[], None] = lambda: None,
    ) -> Iterator[bytes]:
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


class _RunningDigest:
    """``ports.Checksum`` of a hash of the standard library."""

    def __init__(self, running: Any) -> None:
        self._running = running

    def add(self, piece: bytes | memoryview) -> None:
        self._running.update(piece)

    def value(self) -> str:
        return base64.b64encode(self._running.digest()).decode()


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
