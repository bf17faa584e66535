"""Is this the file we know?

Names shift, inodes are used again at once and device numbers change at a reboot, so none of them
alone says which log a file is. Within a watch a file is its inode **and** the digest of its head;
whether it has *grown* or was *replaced* is told by the digest of the bytes just before the end
that was last promised.

The question is asked in two steps, so that a scan stays cheap: ``is_untouched`` needs one
``stat``; only when it says no are head and tail read and ``recognise`` decides.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from shipper.core.types import HEAD_BYTES, FileId, FileStat, Shipment, State


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of a file that is to be promised."""

    file_id: FileId
    raw_start: int
    raw_end: int


@dataclass(frozen=True, slots=True)
class Untouched:
    """All its bytes are promised already."""

    known: Shipment


@dataclass(frozen=True, slots=True)
class Grown:
    """The next segment starts where ``known`` ends."""

    known: Shipment


@dataclass(frozen=True, slots=True)
class Holed:
    """The range before ``known`` from ``raw_start`` to ``raw_end`` is to be promised anew."""

    known: Shipment
    raw_start: int
    raw_end: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """A new file, whatever its name and inode have been before."""


def digest(data: bytes) -> str:
    """SHA-256 as hex."""
    return hashlib.sha256(data).hexdigest()


def file_id(inode: int, head: bytes) -> FileId:
    """The identity of a file whose first bytes are ``head``."""
    head = head[:HEAD_BYTES]
    return FileId(inode, len(head), digest(head))


def latest(known: Sequence[Shipment]) -> Shipment | None:
    """Of the shipments with one inode, the one that speaks for the file that has it now.

    The newest promise wins: an inode that was used again belongs to the later file. Of that
    file's segments the last one speaks; it is not always the newest, for a hole that was left by
    a segment which came to nothing is promised after those behind it.
    """
    newest = max(known, key=lambda shipment: shipment.id, default=None)
    if newest is None:
        return None
    same_file = [shipment for shipment in known if shipment.file_id == newest.file_id]
    return max(same_file, key=lambda shipment: (shipment.raw_end, shipment.id))


def chain_of(last: Shipment, known: Sequence[Shipment]) -> list[Shipment]:
    """The segments that end with ``last``, in order, as far back as they meet without a hole."""
    by_end = {shipment.raw_end: shipment for shipment in sorted(known, key=lambda one: one.id)}
    chain = [last]
    while chain[0].raw_start > 0 and (before := by_end.get(chain[0].raw_start)) is not None:
        chain.insert(0, before)
    return chain


def hole_before(last: Shipment, known: Sequence[Shipment]) -> tuple[int, int] | None:
    """The last range before ``last`` that no shipment has, because one came to nothing."""
    end = chain_of(last, known)[0].raw_start
    if end == 0:
        return None
    return max((one.raw_end for one in known if one.raw_end < end), default=0), end


def is_untouched(known: Shipment | None, stat: FileStat) -> bool:
    """Same size and mtime as when it was promised: nothing to read, nothing to do."""
    return (
        known is not None and known.raw_end == stat.size_bytes and known.mtime_ns == stat.mtime_ns
    )


def recognise(
    known: Shipment | None,
    stat: FileStat,
    *,
    rows: Sequence[Shipment],
    head: bytes,
    tail: bytes,
    is_compressed: bool,
) -> Untouched | Grown | Holed | Unknown:
    """What a file that was touched is.

    ``rows`` is all that is known of its inode, and ``known`` the latest of them; ``head`` is its
    first bytes, ``tail`` the up to ``HEAD_BYTES`` bytes that end at ``known.raw_end``. A
    compressed file never grows: any change makes it a new file. So does a touch of a twin, of
    which nothing is known but that it once was one.
    """
    if known is None or not is_same_file(known, stat, head=head, tail=tail):
        return Unknown()
    hole = hole_before(known, [row for row in rows if _begins_as(row, head)])
    if hole is not None:
        return Holed(known, *hole)
    if stat.size_bytes == known.raw_end:
        return Unknown() if known.state is State.DUPLICATE else Untouched(known)
    return Unknown() if is_compressed else Grown(known)


def is_same_file(known: Shipment, stat: FileStat, *, head: bytes, tail: bytes) -> bool:
    """Whether the file still begins with every byte that ``known`` promises."""
    return (
        stat.inode == known.file_id.inode
        and stat.size_bytes >= known.raw_end
        and _begins_as(known, head)
        and digest(tail) == known.tail_digest
    )


def _begins_as(row: Shipment, head: bytes) -> bool:
    length = row.file_id.head_length
    return len(head) >= length and digest(head[:length]) == row.file_id.head_digest


def tail_range(raw_end: int) -> tuple[int, int]:
    """Offset and length of the tail that ends at ``raw_end``."""
    length = min(raw_end, HEAD_BYTES)
    return raw_end - length, length
