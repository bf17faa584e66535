"""Part sizes within S3's limits, and what is left to send of a half-sent upload.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html: the last part has no minimum.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from shipper.core.concurrency import REQUEST_BYTES
from shipper.core.types import Receipt

MIN_PART_BYTES = 5 * 1024**2
MAX_PART_BYTES = 5 * 1024**3
MAX_PARTS = 10_000
MAX_OBJECT_BYTES = 50 * 10**12
"""A longer file is refused whatever it would be compressed to, which nobody knows before."""
FRAME_BYTES = 4 * 1024**2
"""Raw bytes of one frame. Fits the cache, and costs 0.4 % of compression."""
AHEAD_BYTES = 2 * FRAME_BYTES
"""What a frame takes while it is compressed."""
_WORST_EXPANSION = 1.13
"""Incompressible input grows by less. zlib-ng at level 1 is the worst: in deflate's fixed code
(RFC 1951, 3.2.6) bytes from 144 on take nine bits."""
_OVERHEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Gap:
    """Raw bytes that no receipt covers, and the part numbers that they may take.

    ``last_number`` is None at the open end. Numbers need only ascend, so a gap may use fewer.
    """

    first_number: int
    last_number: int | None
    raw_start: int
    raw_end: int


def part_size_for(raw_bytes: int, wanted: int) -> int:
    """The smallest part size, at least ``wanted``, that fits ``raw_bytes`` into 10,000 parts.

    Half of the numbers stay in reserve: a resumed upload may have to cut where it was cut before.
    """
    needed = int(raw_bytes * _WORST_EXPANSION) // (MAX_PARTS // 2) + 1
    return min(MAX_PART_BYTES - 2 * FRAME_BYTES, max(wanted, MIN_PART_BYTES, needed))


def longest_encoded(raw_bytes: int) -> int:
    """The most bytes that so many raw ones become."""
    return int(raw_bytes * _WORST_EXPANSION) + _OVERHEAD_BYTES


def gaps(receipts: Iterable[Receipt], raw_start: int, raw_end: int) -> list[Gap]:
    """What must still be sent of ``[raw_start, raw_end)``, in order.

    Parts are sent in parallel, so 1, 2 and 6 may be stored and 3 to 5 not. Cutting is
    deterministic, so the gap is cut again as before, and part 6 is kept.
    """
    missing: list[Gap] = []
    number, at = 1, raw_start
    for receipt in sorted(receipts, key=lambda receipt: receipt.number):
        if receipt.raw_start > at:
            missing.append(Gap(number, receipt.number - 1, at, receipt.raw_start))
        number, at = receipt.number + 1, receipt.raw_end
    if at < raw_end:
        missing.append(Gap(number, None, at, raw_end))
    return missing


def whole_frames(part_size: int) -> int:
    """The bytes of so many frames that they fill a part, uncompressed."""
    return -(-part_size // FRAME_BYTES) * FRAME_BYTES


def plain_part_bytes(part_size: int, number: int, gap: Gap, raw_start: int) -> int:
    """The length of the uncompressed part that begins here, cut as ``is_full`` does."""
    left = gap.raw_end - raw_start
    return left if number == gap.last_number else min(whole_frames(part_size), left)


def frames_ahead(cores: int, memory_limit: int, part_size: int) -> int:
    """How many frames are compressed ahead: one a core, none on one core.

    They take at most a quarter of the memory, and leave what a part needs.
    """
    memory = min(memory_limit // 4, memory_limit - part_size - 2 * FRAME_BYTES)
    return min(cores, memory // AHEAD_BYTES) if cores > 1 else 0


def parts_memory(memory_limit: int, ahead: int, in_flight: int) -> int:
    """The memory left for parts; 1/32 goes to compressors and answers."""
    taken = ahead * AHEAD_BYTES + in_flight * REQUEST_BYTES
    return memory_limit - taken - memory_limit // 32


def is_full(encoded_bytes: int, part_size: int, number: int, gap: Gap) -> bool:
    """Whether to cut here, between two frames; the last number of a gap takes the rest."""
    return encoded_bytes >= part_size and number != gap.last_number
