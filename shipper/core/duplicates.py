"""Is this file a copy of a log that S3 has already? What is likely; and the proof, byte for byte.

Two logs may be equal to the last byte, and both are to be shipped, so bytes alone prove nothing.
Two kinds of copies are told from a second log, each within one watch and one stem:

* the rotator's compressed copy of a plain log: it has the log's mtime, or gzip's header has it;
  the log is gone, or stands beside it; and no other archive has been taken for that log's copy;
* copytruncate's copy of a log that was shipped live: it begins as what was shipped, has an inode
  of its own, was created and written no earlier than what it copies, and the log still has its
  live name.

The compressed copy of a log that was shipped live need not have its mtime, for the log may have
gone on: it begins as what was shipped, was written no earlier, and the log stands nowhere any
more, or was emptied.
"""

import hashlib
from collections.abc import Iterator, Sequence
from enum import Enum

from shipper.core.failures import REMOVAL_CODES
from shipper.core.lifecycle import SETTLED, UNCHECKED
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.types import RelativePath, Shipment, State

_ROUNDING_NS = 2000
_OVERHEAD_BYTES = 1024 * 1024


class Standing(Enum):
    STORED = "S3 has every byte, verified"
    UNDECIDED = "it will be known later"
    ABSENT = "not all of it is in S3, and may never be"


def may_be_compressed(original: Shipment, copy: Shipment, mtime_ns: int) -> bool:
    """Whether ``copy`` may be the compressed copy of the log that ends with ``original``.

    ``mtime_ns`` is the copy's, or the one that its gzip header says its content had.
    """
    is_same_place = directory_of(original.path) == directory_of(copy.path)
    return (
        is_decodable(copy.path)
        and not is_compressed(original.path)
        and (is_same_place or original.mtime_ns == mtime_ns)
        and is_carried_over(original.mtime_ns, mtime_ns)
        and copy.raw_end <= most_encoded_bytes(original.raw_end)
    )


def may_be_compressed_beside(original: Shipment, copy: Shipment, born_ns: int) -> bool:
    """Whether a compressor that keeps no mtime made ``copy``, beside the log and of its bytes.

    The file was created at ``born_ns``: after the log's last byte, and before the log was found
    under the same name. So it is not the archive of a later log that got that name.
    """
    is_in_time = original.mtime_ns <= born_ns <= original.promised_at * 1e9
    is_beside = is_decodable(copy.path) and uncompressed(copy.path) == original.path
    return is_beside and is_in_time and copy.raw_end <= most_encoded_bytes(original.raw_end)


def uncompressed(path: RelativePath) -> RelativePath:
    """Where a compressor finds the log of which it makes this file."""
    return RelativePath(path.removesuffix(stem_and_extension(path).extension))


def is_carried_over(original_ns: int, copy_ns: int) -> bool:
    """Whether a file's mtime was set to that of another.

    Compressors cut it to seconds or milliseconds, and programs that keep it in a ``float`` are
    off by some hundred nanoseconds.
    """
    cut = (original_ns - original_ns % unit for unit in (10**6, 10**9))
    return abs(original_ns - copy_ns) <= _ROUNDING_NS or copy_ns in cut


def mtime_in_gzip(head: bytes) -> int:
    """The mtime of the content, in nanoseconds, that gzip's header tells; 0 if it tells none."""
    if len(head) < 8 or head[:2] != b"\x1f\x8b":
        return 0
    return int.from_bytes(head[4:8], "little") * 10**9


def may_be_copied(original: Shipment, copy: Shipment, born_ns: int) -> bool:
    """Whether ``copy`` may begin with the live log that was shipped up to ``original``.

    The file was created at ``born_ns``, 0 where nobody knows.
    """
    return (
        original.is_live
        and not is_compressed(copy.path)
        and original.file_id.inode != copy.file_id.inode
        and original.raw_end == copy.raw_end
        and original.tail_digest == copy.tail_digest
        and original.mtime_ns <= copy.mtime_ns  # an older log may have the same bytes
        and (original.mtime_ns <= born_ns or not born_ns)  # or may get them late
        and original.id < copy.id
    )


def may_go_on(original: Shipment, copy: Shipment, mtime_ns: int, born_ns: int) -> bool:
    """Whether ``copy`` may be the compressed copy of a live log that was shipped up to
    ``original`` and went on. ``mtime_ns`` and ``born_ns`` as above."""
    return (
        original.is_open
        and is_decodable(copy.path)
        and not is_compressed(original.path)
        and original.mtime_ns // 10**9 <= mtime_ns // 10**9
        and (original.mtime_ns <= born_ns or not born_ns)
        and original.id < copy.id
    )


def bytes_after(chain: Sequence[Shipment], pieces: Iterator[bytes]) -> int | None:
    """How many bytes follow the log that ``chain`` is; None if the pieces do not begin as it."""
    rest = b""
    for segment in chain:
        sha256, left = hashlib.sha256(), segment.raw_end - segment.raw_start
        while left:
            rest = rest or next(pieces, b"")
            if not rest:
                return None
            sha256.update(rest[:left])
            left, rest = left - min(left, len(rest)), rest[left:]
        if sha256.hexdigest() != segment.source_sha256:
            return None
    return len(rest) + sum(map(len, pieces))


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


def directory_of(path: RelativePath) -> bytes:
    return path.rpartition(b"/")[0]
