"""Is this file a copy of a log that S3 has already? What is likely; and the proof, byte for byte.

Two logs may be equal to the last byte, and both are to be shipped, so bytes alone prove nothing.
Two kinds of copies are told from a second log, each within one watch and one stem:

* the rotator's compressed copy of a plain log: it stands in the log's directory, or has its mtime
  to the nanosecond; and gzip's trailer fits, or the mtime to the second, or they are side by side;
* copytruncate's copy of a log that was shipped live: it begins as what was shipped, has an inode
  of its own, is no older than what it copies, and the log still has its live name.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from shipper.core.checksums import combine_crc32
from shipper.core.failures import REMOVAL_CODES
from shipper.core.lifecycle import SETTLED, UNCHECKED
from shipper.core.rotated_names import is_compressed
from shipper.core.types import RelativePath, Shipment, State

_SECOND_NS = 10**9
_GZIP_SIZES = 2**32
_OVERHEAD_BYTES = 1024 * 1024


class Standing(Enum):
    STORED = "S3 has every byte, verified"
    UNDECIDED = "it will be known later"
    ABSENT = "not all of it is in S3, and may never be"


@dataclass(frozen=True, slots=True)
class Trailer:
    """The last 8 bytes of a gzip file: CRC-32 and size (modulo 2^32) of its last member."""

    crc32: int
    size: int


def trailer_from(last_bytes: bytes) -> Trailer | None:
    return Trailer(*struct.unpack("<II", last_bytes)) if len(last_bytes) == 8 else None


def may_be_compressed(original: Shipment, copy: Shipment) -> bool:
    """Whether ``copy`` may be the compressed copy of the log that ends with ``original``."""
    is_same_place = (
        _directory(original.path) == _directory(copy.path) or original.mtime_ns == copy.mtime_ns
    )
    return is_decodable(copy.path) and not is_compressed(original.path) and is_same_place


def may_be_copied(original: Shipment, copy: Shipment) -> bool:
    """Whether ``copy`` may begin with the live log that was shipped up to ``original``."""
    return (
        original.is_live
        and not is_compressed(copy.path)
        and _directory(original.path) == _directory(copy.path)
        and original.file_id.inode != copy.file_id.inode
        and original.raw_end == copy.raw_end
        and original.tail_digest == copy.tail_digest
        and original.mtime_ns <= copy.mtime_ns  # an older log may have the same bytes
        and original.id < copy.id
    )


def is_likely_compressed(
    chain: Sequence[Shipment], copy: Shipment, trailer: Trailer | None, *, is_beside: bool
) -> bool:
    """Whether to decompress ``copy``. It ``is_beside`` where a compressor was ended at work."""
    last = chain[-1]
    if copy.raw_end > most_encoded_bytes(last.raw_end):
        return False
    if is_beside or is_same_second(last, copy):
        return True
    if trailer is None or trailer.size != last.raw_end % _GZIP_SIZES:
        return False
    return standing_of(chain) is Standing.UNDECIDED or trailer.crc32 == _crc32(chain)


def is_content_of(chain: Sequence[Shipment], pieces: Iterator[bytes]) -> bool:
    """Whether the pieces are, to the last byte, the log that ``chain`` is."""
    lengths = [segment.raw_bytes for segment in chain]
    return list(_digests(pieces, lengths)) == [segment.raw_sha256 for segment in chain]


def standing_of(chain: Sequence[Shipment]) -> Standing:
    if any(segment.state in UNCHECKED for segment in chain):
        return Standing.UNDECIDED
    is_stored = all(segment.raw_sha256 and _is_verified(segment) for segment in chain)
    return Standing.STORED if is_stored else Standing.ABSENT


def _is_verified(segment: Shipment) -> bool:
    is_kept = segment.state is State.PARKED and segment.code in REMOVAL_CODES
    return segment.state in SETTLED or is_kept  # a removal comes after verification


def most_encoded_bytes(raw_bytes: int) -> int:
    """No compressor makes more of so much content: a longer file holds something else."""
    return 2 * raw_bytes + _OVERHEAD_BYTES


def is_decodable(path: RelativePath) -> bool:
    """Whether the name says that the file can be compared by its decompressed content."""
    return path.endswith((b".gz", b".zst", b".xz", b".bz2"))


def is_same_second(one: Shipment, other: Shipment) -> bool:
    """Whether their mtimes are equal, as far as every compressor carries them over."""
    return one.mtime_ns // _SECOND_NS == other.mtime_ns // _SECOND_NS


def _digests(pieces: Iterator[bytes], lengths: Sequence[int]) -> Iterator[str]:
    """The digest of every run of ``lengths`` bytes; one more if content is left over."""
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


def _directory(path: RelativePath) -> bytes:
    return path.rpartition(b"/")[0]


def _crc32(chain: Sequence[Shipment]) -> int:
    whole = 0
    for segment in chain:
        whole = combine_crc32(whole, segment.raw_crc32, segment.raw_bytes)
    return whole
