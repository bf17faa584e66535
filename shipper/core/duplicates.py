"""Is this file a copy of a log that S3 has already? What is likely, and what a proof may cost.

Likely is not proven: ``services.sending.duplicates`` reads every byte before anything counts as a
copy. But two logs may be equal to the last byte, and both are to be shipped, so bytes alone prove
nothing either. What tells a copy from a second log, all within one watch:

* the stem: ``app.log.1`` and ``web.log.1`` are two logs, whatever is in them;
* the directory: ``a/app.log.1`` and ``b/app.log.1`` are two logs. A compressed copy may have been
  moved, if its mtime is the original's to the nanosecond;
* the mtime, for what is not a compressed copy of a plain file: to the nanosecond where both
  are plain or both compressed (``cp -p``), to the second where a compressed log was unpacked
  again, because some compressors keep no more. Another mtime is another log;
* the time: a restored file was promised later than the one it copies. Two rotations of one log
  that stand side by side when shipper finds them were promised together.

A log that was shipped while it was live is the exception: whatever copytruncate copied later, with
an mtime of its own, begins as the segment did, and the log still has its live name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from shipper.core.checksums import combine_crc32
from shipper.core.rotated_names import is_compressed
from shipper.core.types import RelativePath, Shipment, State

DECODABLE = (b".gz", b".zst", b".xz", b".bz2", b".lz4")
"""Compressed files that can be compared with what is in them."""

AT_ONCE_BYTES = 16 * 1024 * 1024
"""Decompressing this much takes a fraction of a second, and nobody has to wait his turn for it."""

_SECOND_NS = 10**9
_GZIP_SIZES = 2**32
_OVERHEAD_BYTES = 1024 * 1024
_SPARE_MEMBERS = 1000
_MEMBER_BYTES = 1024

_UNDECIDED = frozenset({State.READY, State.UPLOADING, State.UPLOADED})
_REMOVAL_CODES = frozenset({"RemoveDenied", "CrossDevice"})


class Relation(Enum):
    """What a file may be to a log that was promised before it, or beside it."""

    COMPRESSED = "the compressed copy of a plain file"
    UNPACKED = "the plain copy of a compressed file"
    RESTORED = "the same bytes again, under another inode"
    COPIED = "the beginning of what was copied of a live log"


class Standing(Enum):
    """How far a log is on its way to S3."""

    STORED = "S3 has every byte, verified"
    UNDECIDED = "it will be known later"
    ABSENT = "not all of it is in S3, and may never be"


@dataclass(frozen=True, slots=True)
class Trailer:
    """The last 8 bytes of a gzip file: of its last member, CRC-32 and size modulo 2^32."""

    crc32: int
    size: int


def trailer_from(last_bytes: bytes) -> Trailer | None:
    """The trailer in the last 8 bytes of a gzip file; None when there are fewer."""
    if len(last_bytes) < 8:
        return None
    crc32, size = last_bytes[:4], last_bytes[4:]
    return Trailer(int.from_bytes(crc32, "little"), int.from_bytes(size, "little"))


def relation(original: Shipment, copy: Shipment) -> Relation | None:
    """What ``copy`` may be to a shipment of the same stem; None when it is another log.

    Of the original it is the last segment, of the copy the whole file.
    """
    is_packed = is_compressed(copy.path)
    if original.is_live and not is_packed and _is_copied(original, copy):
        return Relation.COPIED
    if is_packed and not is_compressed(original.path):
        is_it = is_decodable(copy.path) and _is_same_place(original, copy)
        return Relation.COMPRESSED if is_it else None
    if not is_packed and is_decodable(original.path):
        is_it = _is_same_place(original, copy) and is_same_second(original, copy)
        return Relation.UNPACKED if is_it and original.raw_start == 0 else None
    return Relation.RESTORED if _is_restored(original, copy) else None


def _is_restored(original: Shipment, copy: Shipment) -> bool:
    return (
        _directory(original.path) == _directory(copy.path)
        and is_compressed(original.path) == is_compressed(copy.path)
        and original.mtime_ns == copy.mtime_ns
        and original.raw_end == copy.raw_end
        and original.tail_digest == copy.tail_digest
        and original.promised_at < copy.promised_at
    )


def _is_copied(original: Shipment, copy: Shipment) -> bool:
    return (
        _directory(original.path) == _directory(copy.path)
        and original.file_id.inode != copy.file_id.inode
        and original.raw_end == copy.raw_end
        and original.tail_digest == copy.tail_digest
        and original.id < copy.id
    )


def is_likely_compressed(
    chain: Sequence[Shipment], copy: Shipment, trailer: Trailer | None, *, is_beside: bool
) -> bool:
    """Whether decompressing ``copy`` may prove it equal to the whole log that ``chain`` is.

    By gzip's trailer, or the mtime that the compressor carried over, or because the two stand
    side by side (``is_beside``), as a compressor leaves them that was ended at its work.
    """
    last = chain[-1]
    if copy.raw_end > most_encoded_bytes(last.raw_end):
        return False
    if is_beside or is_same_second(last, copy):
        return True
    if trailer is None or trailer.size != last.raw_end % _GZIP_SIZES:
        return False
    return standing_of(chain) is Standing.UNDECIDED or trailer.crc32 == _crc32(chain)


def is_likely_unpacked(original: Shipment, copy: Shipment) -> bool:
    """Whether decompressing ``original`` may prove it equal to ``copy``."""
    return original.raw_end <= most_encoded_bytes(copy.raw_end)


def standing_of(chain: Sequence[Shipment]) -> Standing:
    """Whether S3 has every segment of a log."""
    if any(segment.state in _UNDECIDED for segment in chain):
        return Standing.UNDECIDED
    is_stored = all(segment.raw_sha256 and _is_verified(segment) for segment in chain)
    return Standing.STORED if is_stored else Standing.ABSENT


def _is_verified(segment: Shipment) -> bool:
    """PARKED only where nothing failed but the removal of the source, which comes after."""
    match segment.state:
        case State.VERIFIED | State.DONE | State.DUPLICATE:
            return True
        case State.PARKED:
            return segment.code in _REMOVAL_CODES
        case _:
            return False


def most_encoded_bytes(raw_bytes: int) -> int:
    """No compressor makes more of so much content: a file that is longer holds other things."""
    return 2 * raw_bytes + _OVERHEAD_BYTES


def most_members(raw_bytes: int) -> int:
    """The most members (streams, frames, zstd's blocks) of so much content: one for each KiB, the
    smallest block of zstd, and a thousand that are shorter or empty."""
    return _SPARE_MEMBERS + raw_bytes // _MEMBER_BYTES


def is_decodable(path: RelativePath) -> bool:
    """Whether the name says that there is content that can be read."""
    return path.endswith(DECODABLE)


def _directory(path: RelativePath) -> bytes:
    return path.rpartition(b"/")[0]


def _is_same_place(one: Shipment, other: Shipment) -> bool:
    return _directory(one.path) == _directory(other.path) or one.mtime_ns == other.mtime_ns


def is_same_second(one: Shipment, other: Shipment) -> bool:
    """Whether their mtimes are equal as far as every compressor carries them over."""
    return one.mtime_ns // _SECOND_NS == other.mtime_ns // _SECOND_NS


def _crc32(chain: Sequence[Shipment]) -> int:
    whole = 0
    for segment in chain:
        whole = combine_crc32(whole, segment.raw_crc32, segment.raw_bytes)
    return whole
