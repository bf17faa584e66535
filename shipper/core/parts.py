"""Part sizes within S3's limits, and what is left to send of a half-sent upload.

Limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html: 1 to 10,000 parts of
5 MiB to 5 GiB (the last one has no minimum), objects up to 50 TB.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shipper.core.types import Receipt

MIN_PART_BYTES = 5 * 1024**2
MAX_PART_BYTES = 5 * 1024**3
MAX_PARTS = 10_000
FRAME_BYTES = 4 * 1024**2
"""Raw bytes of one frame. Small enough for the cache, large enough to cost 0.4 % of ratio."""

_WORST_EXPANSION = 1.01
"""Incompressible input grows by less than this in any of our encodings."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Raw bytes that no receipt covers: part ``number`` starts at ``raw_start``.

    ``raw_end`` is where the next stored part begins; None for the open end, which may take as
    many parts as it needs.
    """

    number: int
    raw_start: int
    raw_end: int | None


def part_size_for(raw_bytes: int, wanted: int) -> int:
    """The smallest part size, at least ``wanted``, that fits ``raw_bytes`` into 10,000 parts.

    Half of the numbers are kept in reserve: a part is cut after a whole frame, and a resumed
    upload may have to cut where the dead process did.
    """
    needed = int(raw_bytes * _WORST_EXPANSION) // (MAX_PARTS // 2) + 1
    return min(MAX_PART_BYTES - 2 * FRAME_BYTES, max(wanted, MIN_PART_BYTES, needed))


def gaps(receipts: Iterable[Receipt], raw_start: int, raw_end: int) -> list[Gap]:
    """What must still be sent, in order; empty when every byte is stored.

    Parts are sent in parallel, so the process may have died with part 4 stored and part 3 not:
    then part 3 is sent again with exactly the raw bytes it had, and part 4 is not.
    """
    missing: list[Gap] = []
    number, at = 1, raw_start
    for receipt in sorted(receipts, key=lambda receipt: receipt.number):
        if receipt.number > number:
            missing.append(Gap(number, at, receipt.raw_start))
        number, at = receipt.number + 1, receipt.raw_end
    if at < raw_end:
        missing.append(Gap(number, at, None))
    return missing


def trusted(receipts: Sequence[Receipt]) -> list[Receipt]:
    """The receipts an upload can be resumed from.

    A gap of two or more parts in a row cannot be cut as before, so the receipts behind it are
    not used: their numbers are sent again.
    """
    ordered = sorted(receipts, key=lambda receipt: receipt.number)
    kept: list[Receipt] = []
    for receipt in ordered:
        expected = kept[-1].number + 1 if kept else 1
        if receipt.number > expected + 1:
            break
        kept.append(receipt)
    return kept
