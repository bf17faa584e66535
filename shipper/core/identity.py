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

from shipper.core.types import HEAD_BYTES, FileId, FileStat, Shipment


@dataclass(frozen=True, slots=True)
class Untouched:
    """All its bytes are promised already."""

    known: Shipment


@dataclass(frozen=True, slots=True)
class Grown:
    """The next segment starts where ``known`` ends."""

    known: Shipment


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

    The newest promise wins: an inode that was used again belongs to the later file.
    """
    return max(known, key=lambda shipment: shipment.id, default=None)


def is_untouched(known: Shipment | None, stat: FileStat) -> bool:
    """Same size and mtime as when it was promised: nothing to read, nothing to do."""
    return (
        known is not None and known.raw_end == stat.size_bytes and known.mtime_ns == stat.mtime_ns
    )


def recognise(
    known: Shipment | None, stat: FileStat, *, head: bytes, tail: bytes, is_compressed: bool
) -> Untouched | Grown | Unknown:
    """What a file that was touched is.

    ``head`` is its first bytes, ``tail`` the up to ``HEAD_BYTES`` bytes that end at
    ``known.raw_end``. A compressed file never grows: any change makes it a new file.
    """
    if known is None or not is_same_file(known, stat, head=head, tail=tail):
        return Unknown()
    if stat.size_bytes == known.raw_end:
        return Untouched(known)
    return Unknown() if is_compressed else Grown(known)


def is_same_file(known: Shipment, stat: FileStat, *, head: bytes, tail: bytes) -> bool:
    """Whether the file still begins with every byte that ``known`` promises."""
    return (
        stat.inode == known.file_id.inode
        and stat.size_bytes >= known.raw_end
        and digest(head[: known.file_id.head_length]) == known.file_id.head_digest
        and digest(tail) == known.tail_digest
    )


def tail_range(raw_end: int) -> tuple[int, int]:
    """Offset and length of the tail that ends at ``raw_end``."""
    length = min(raw_end, HEAD_BYTES)
    return raw_end - length, length
