"""What is held of promised files, and what is let go when that would cost too much.

A rotator deletes its oldest file first, so the oldest files have the first claim on a place; and
the oldest are sent first, so of those that only shipper still keeps, the newest are the ones that
would be kept for longest. What is let go is lost: which, depends on nothing but age and size.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from shipper.core.lifecycle import UNCHECKED
from shipper.core.types import Shipment, ShipmentId, State


@dataclass(frozen=True, slots=True)
class LastCopy:
    """A file that has lost its last name, and the disk that it takes until it is let go."""

    shipment_id: ShipmentId
    mtime_ns: int
    size_bytes: int
    is_clone: bool
    """It takes its room in the state directory, not where the log was."""


def needs_source(shipment: Shipment) -> bool:
    """Whether the shipment's bytes may still have to be read.

    S3's word that it has the object is not enough until a listing has shown it; of what is parked,
    it is.
    """
    is_parked_unsent = shipment.state is State.PARKED and shipment.etag is None
    return shipment.state in UNCHECKED or is_parked_unsent


def age_of(shipment: Shipment) -> tuple[int, ShipmentId]:
    """The order in which a rotator deletes files: the smaller, the sooner."""
    return shipment.mtime_ns, shipment.id


def beyond_budget(
    copies: Iterable[LastCopy], *, budget_bytes: int, lacking_bytes: int
) -> list[LastCopy]:
    """What has to be let go: whatever does not fit, counted from the oldest.

    A file that is too large leaves its room to newer ones that are not. ``lacking_bytes`` is by
    how much the state directory is short of free space, which only clones can give back.
    """
    oldest_first = sorted(copies, key=lambda copy: (copy.mtime_ns, copy.shipment_id))
    cloned_bytes = sum(copy.size_bytes for copy in oldest_first if copy.is_clone)
    left, left_for_clones = budget_bytes, cloned_bytes - lacking_bytes
    beyond = []
    for copy in oldest_first:
        if copy.size_bytes > left or (copy.is_clone and copy.size_bytes > left_for_clones):
            beyond.append(copy)
            continue
        left -= copy.size_bytes
        left_for_clones -= copy.size_bytes if copy.is_clone else 0
    return beyond


def affordable_files(wanted: int, *, limit: int, reserved: int) -> int:
    """How many descriptors may be held under a limit of open files; a negative one is none."""
    return wanted if limit < 0 else max(0, min(wanted, limit - reserved))


def clone_name(shipment: Shipment) -> str:
    """The name of the shipment's clone.

    The number finds the shipment; the digest tells it from one that had the number in a journal
    that was lost. Nothing in it changes while the shipment waits.
    """
    identity = (
        shipment.watch,
        shipment.file_id.inode,
        shipment.file_id.head_length,
        shipment.file_id.head_digest,
        shipment.raw_start,
        shipment.raw_end,
        shipment.tail_digest,
    )
    return f"{shipment.id}-{hashlib.sha256(repr(identity).encode()).hexdigest()[:16]}"


def shipment_id_from_name(name: str) -> ShipmentId | None:
    """Whose clone it is, if the name is one of ``clone_name``."""
    number, dash, _ = name.partition("-")
    is_ours = bool(dash) and number.isascii() and number.isdigit() and len(number) < 19
    return ShipmentId(int(number)) if is_ours else None
