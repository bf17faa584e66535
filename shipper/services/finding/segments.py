"""What of an open file is to be promised: its segments, and the promise of each with its key."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shipper.core.identity import (
    Segment,
    digest,
    is_certain,
    recognise,
    tail_range,
    untouched,
)
from shipper.core.object_keys import MAX_KEY_BYTES, InstanceFacts, object_key, printable
from shipper.core.rotated_names import is_compressed
from shipper.core.types import (
    HEAD_BYTES,
    Compression,
    FileStat,
    ObjectKey,
    Promise,
    RelativePath,
    Shipment,
    ShipmentId,
    State,
    Watch,
)
from shipper.journal.journal import Journal
from shipper.ports import Files, PortError, Source
from shipper.services.finding.growth_proofs import GrowthProofs
from shipper.services.sources.matching import first_segment


@dataclass(frozen=True, slots=True)
class Unpromised:
    """What is to be promised of a file: ``segments``, or nothing, for all is up to ``last``.

    ``disproved`` are the shipments that the file was taken for and is not.
    """

    segments: tuple[Segment, ...] = ()
    last: Shipment | None = None
    disproved: tuple[ShipmentId, ...] = ()


def unpromised(
    journal: Journal,
    files: Files,
    watch: Watch,
    path: RelativePath,
    source: Source,
    *,
    rows: Sequence[Shipment],
    stat: FileStat,
    proofs: GrowthProofs,
    is_live: bool = False,
) -> Unpromised:
    """What of the file no shipment has, in order; or its last shipment, where they have all.

    ``rows`` is all that the journal knows of its inode. A new file that begins like a log which
    was shipped live comes in two segments: the beginning, which may be a copy, and the rest.
    Of an ``is_live`` file only the last segment is proven; all of it once it is rotated.

    Raises:
        PortError: ``ComparisonPending``, or the file's.
    """
    known = untouched(rows, stat)
    if known is not None and _needs_no_proof(known, stat, is_live=is_live):
        return Unpromised(last=known)
    disproved: list[ShipmentId] = []

    def is_proven(chain: Sequence[Shipment]) -> bool:
        is_it = proofs.has_bytes_of(source, chain[-1:] if is_live else chain)
        disproved.extend(row.id for row in chain if not is_it)
        return is_it

    head = source.read(0, HEAD_BYTES)
    found = recognise(
        rows,
        stat,
        head=head,
        tail_of=lambda row: source.read(*tail_range(row.raw_end)),
        is_compressed=is_compressed(path),
        is_proven=is_proven,
    )
    if isinstance(found, Shipment):
        return Unpromised(last=found)
    if found is not None:
        return Unpromised((found,))
    first = first_segment(journal, files, watch, path, source, stat=stat, head=head)
    segments = [first]
    if first.raw_end < stat.size_bytes:
        segments += [replace(first, raw_start=first.raw_end, raw_end=stat.size_bytes)]
    return Unpromised(tuple(segments), disproved=tuple(disproved))


def _needs_no_proof(known: Shipment, stat: FileStat, *, is_live: bool) -> bool:
    """Of an untouched file; a compressed duplicate has nothing to be proven by."""
    is_sealed_now = known.is_live and known.finished_at is not None and not is_live
    return (is_certain(known, stat) and not is_sealed_now) or known.state is State.DUPLICATE


def promise_of(
    segment: Segment,
    *,
    watch: Watch,
    path: RelativePath,
    source: Source,
    stat: FileStat,
    because: str,
    key_template: str,
    facts: InstanceFacts,
    place: str = "",
    is_live: bool = False,
) -> Promise:
    """The promise of a segment, with its key.

    Raises:
        PortError: ``KeyTooLong``, or the file's.
    """
    promise = Promise(
        watch=watch.name,
        path=path,
        file_id=segment.file_id,
        raw_start=segment.raw_start,
        raw_end=segment.raw_end,
        mtime_ns=stat.mtime_ns,
        ctime_ns=stat.ctime_ns,
        tail_digest=digest(source.read(*tail_range(segment.raw_end))),
        key=ObjectKey(""),
        compression=Compression.NONE if is_compressed(path) else watch.compression,
        sealed_because=because,
        is_live=is_live,
        place=place,
    )
    key = object_key(key_template, facts, promise)
    if len(key.encode()) > MAX_KEY_BYTES:
        raise PortError("KeyTooLong", f"{len(key.encode())} bytes: {key[:80]}…")
    return replace(promise, key=key)


def about_promise(promise: Promise) -> dict[str, Any]:
    """Whose promise it is, for the log."""
    return {"watch": promise.watch, "path": printable(promise.path)}
