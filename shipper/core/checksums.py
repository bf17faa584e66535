"""Checksum arithmetic: the CRC of a whole from the CRCs of its parts, and S3's multipart ETag.

Both CRCs are reflected, with all-ones initial value and final xor (CRC-32: ISO 3309; CRC-64/NVME:
NVM Express NVM Command Set 1.0d, section 5.2.1.3.4).
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from shipper.core.replay import Replay
from shipper.core.types import ChecksumAlgorithm, ETag


@dataclass(frozen=True, slots=True)
class _Crc:
    width: int
    polynomial: int
    """Reflected, without the leading term."""

    def multiply(self, a: int, b: int) -> int:
        """The product of two reflected polynomials modulo the CRC's."""
        product = 0
        for bit in range(self.width - 1, -1, -1):
            if a >> bit & 1:
                product ^= b
            b = b >> 1 ^ (self.polynomial if b & 1 else 0)
        return product

    def shift(self, byte_count: int) -> int:
        """x to the power of 8 x ``byte_count``, modulo the polynomial."""
        result, square = 1 << self.width - 1, 1 << self.width - 2
        exponent = 8 * byte_count
        while exponent:
            if exponent & 1:
                result = self.multiply(result, square)
            square = self.multiply(square, square)
            exponent >>= 1
        return result


_CRCS = {
    ChecksumAlgorithm.CRC32: _Crc(32, 0xEDB88320),
    ChecksumAlgorithm.CRC64NVME: _Crc(64, 0x9A6C9329AC4BC9B5),
}
_LENGTHS = {
    ChecksumAlgorithm.CRC32: 4,
    ChecksumAlgorithm.CRC64NVME: 8,
    ChecksumAlgorithm.SHA256: 32,
    ChecksumAlgorithm.MD5: 16,
    ChecksumAlgorithm.NONE: 0,
}


def combine(algorithm: ChecksumAlgorithm, first: int, second: int, second_bytes: int) -> int:
    """The CRC of A + B from those of A and B, and the length of B."""
    crc = _CRCS[algorithm]
    return crc.multiply(crc.shift(second_bytes), first) ^ second


def base64_from_crc(algorithm: ChecksumAlgorithm, crc: int) -> str:
    return base64.b64encode(crc.to_bytes(_CRCS[algorithm].width // 8, "big")).decode()


def is_from(algorithm: ChecksumAlgorithm, checksum: str) -> bool:
    """Whether it has the algorithm's length."""
    return len(base64.b64decode(checksum)) == _LENGTHS[algorithm]


def full_object_checksum(algorithm: ChecksumAlgorithm, parts: Iterable[tuple[str, int]]) -> str:
    """The checksum of the whole object from its parts' (base64 checksum, length).

    Empty for algorithms that S3 knows as composites only.
    """
    if algorithm not in _CRCS:
        return ""
    whole = 0
    for checksum, length in parts:
        part = int.from_bytes(base64.b64decode(checksum), "big")
        whole = combine(algorithm, whole, part, length)
    return base64_from_crc(algorithm, whole)


def multipart_etag(part_etags: Iterable[str]) -> ETag:
    """Of a multipart object; ``ValueError`` where a part's ETag is no MD5 (SSE-KMS)."""
    digests = [bytes.fromhex(etag) for etag in part_etags]
    joined = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
    return ETag(f"{joined}-{len(digests)}")


def etag_of_pieces(pieces: Iterable[bytes]) -> ETag:
    """The same of a body that comes in pieces."""
    md5 = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        md5.update(piece)
    return ETag(md5.hexdigest())


def single_etag(body: bytes | bytearray | memoryview | Replay) -> ETag:
    """The ETag of an object written by one PutObject."""
    md5 = hashlib.md5(usedforsecurity=False)
    for piece in body.pieces() if isinstance(body, Replay) else (body,):
        md5.update(piece)
    return ETag(md5.hexdigest())
