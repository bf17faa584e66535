"""What of an open file is to be promised: its segments, and the promise of each with its key."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from shipper.core import hints
from shipper.core.destinations import Destination, table_of
from shipper.core.duplicates import directory_of
from shipper.core.identity import (
    Segment,
    beginning,
    digest,
    file_id,
    is_certain,
    recognise,
    tail_range,
    untouched,
)
from shipper.core.object_keys import (
    MAX_KEY_BYTES,
    InstanceFacts,
    destined,
    object_key,
    printable,
)
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.tag_fields import unfit
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
from shipper.services.sources.matching import has_live_name


@dataclass(frozen=True, slots=True)
class Unpromised:
    """What is to be promised of a file: ``segments``, or nothing, for all is up to ``last``.

    ``disproved`` are the shipments that the file was taken for and is not.
    """

    segments: tuple[Segment, ...] = ()
    last: Shipment | None = None
    disproved: tuple[ShipmentId, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that may have to be promised, as it is now, and where it was found."""

    watch: Watch
    path: RelativePath
    place: str
    source: Source
    stat: FileStat
    is_live: bool = False

    def tail_of(self, row: Shipment) -> bytes:
        """Its bytes where the row ends."""
        return self.source.read(*tail_range(row.raw_end))


def unpromised(
    journal: Journal,
    files: Files,
    file: OpenFile,
    rows: Sequence[Shipment],
    proofs: GrowthProofs,
) -> Unpromised:
    """What of the file no shipment has, in order; or its last shipment, where they have all.

    ``rows`` is all that the journal knows of its inode. Of a live file only the last segment is
    proven; all of it once it is rotated.

    Raises:
        PortError: ``ComparisonPending``, or the file's.
    """
    known = untouched(rows, file.stat)
    if known is not None and _needs_no_proof(known, file):
        return Unpromised(last=known)
    disproved: list[ShipmentId] = []

    def is_proven(chain: Sequence[Shipment]) -> bool:
        is_it = proofs.has_bytes_of(file.source, chain[-1:] if file.is_live else chain)
        disproved.extend(row.id for row in chain if not is_it)
        return is_it

    head = file.source.read(0, HEAD_BYTES)
    found = recognise(
        rows,
        file.stat,
        head=head,
        tail_of=file.tail_of,
        is_compressed=is_compressed(file.path),
        is_proven=is_proven,
    )
    if isinstance(found, Shipment):
        return Unpromised(last=found)
    if found is not None:
        return Unpromised((found,))
    return Unpromised(_of_new(journal, files, file, head), disproved=tuple(disproved))


def _needs_no_proof(known: Shipment, file: OpenFile) -> bool:
    """Of an untouched file; a compressed duplicate has nothing to be proven by."""
    is_sealed_now = known.is_live and known.finished_at is not None and not file.is_live
    is_certainly = is_certain(known, file.stat) and not is_sealed_now
    return is_certainly or known.state is State.DUPLICATE


def _of_new(journal: Journal, files: Files, file: OpenFile, head: bytes) -> tuple[Segment, ...]:
    """All of a new file; in two segments, if it begins like a log that was shipped live.

    Whether the first is its copy, the carrier finds out.
    """
    stat, end = file.stat, 0
    if not is_compressed(file.path):
        end = beginning(
            journal.open_logs.of(file.watch.name, stem_and_extension(file.path).stem),
            lambda row: has_live_name(files, file.watch, row, directory_of(file.path)),
            stat,
            head=head,
            tail_of=file.tail_of,
        )
    identity = file_id(stat.inode, head, stat.generation)
    cuts = (0, end, stat.size_bytes) if 0 < end < stat.size_bytes else (0, stat.size_bytes)
    return tuple(Segment(identity, *ends) for ends in pairwise(cuts))


def promise_of(
    segment: Segment,
    file: OpenFile,
    because: str,
    *,
    destination: Destination,
    facts: InstanceFacts,
) -> Promise:
    """The promise of a segment, with its key.

    Raises:
        PortError: ``KeyTooLong``, ``TagUnusable``, or the file's.
    """
    # A guess of the facts has no tags at all.
    why = unfit(destination, facts.tags, table_of(file.watch.destination)) if facts.tags else ""
    if why:
        raise PortError("TagUnusable", why, hints.TAG_NEEDED)
    promise = Promise(
        watch=file.watch.name,
        path=file.path,
        file_id=segment.file_id,
        raw_start=segment.raw_start,
        raw_end=segment.raw_end,
        mtime_ns=file.stat.mtime_ns,
        ctime_ns=file.stat.ctime_ns,
        tail_digest=digest(file.source.read(*tail_range(segment.raw_end))),
        key=ObjectKey(""),
        compression=Compression.NONE if is_compressed(file.path) else file.watch.compression,
        sealed_because=because,
        is_live=file.is_live,
        place=file.place,
        destination=file.watch.destination,
    )
    key = object_key(destination.key, destined(facts, destination), promise)
    if len(key.encode()) > MAX_KEY_BYTES:
        raise PortError("KeyTooLong", f"{len(key.encode())} bytes: {key[:80]}…")
    return replace(promise, key=key)


def about_promise(promise: Promise) -> dict[str, Any]:
    """Whose promise it is, for the log."""
    return {"watch": promise.watch, "path": printable(promise.path)}
