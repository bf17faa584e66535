"""What of an open file is to be promised: its segments, and the promise of each with its key."""

from collections.abc import Sequence
from dataclasses import replace

from shipper.core.identity import Segment, digest, recognise, tail_range
from shipper.core.object_keys import MAX_KEY_BYTES, InstanceFacts, object_key
from shipper.core.rotated_names import is_compressed
from shipper.core.types import (
    HEAD_BYTES,
    Compression,
    FileStat,
    ObjectKey,
    Promise,
    RelativePath,
    Shipment,
    Watch,
)
from shipper.journal.journal import Journal
from shipper.ports import PortError, Source
from shipper.services.sources.matching import first_segment


def unpromised(
    journal: Journal,
    watch: Watch,
    path: RelativePath,
    source: Source,
    *,
    rows: Sequence[Shipment],
    stat: FileStat,
) -> Shipment | list[Segment]:
    """What of the file no shipment has, in order; or its last shipment, where they have all.

    ``rows`` is all that the journal knows of its inode. A new file that begins like a log which
    was shipped live comes in two segments: the beginning, which may be a copy, and the rest.
    """
    head = source.read(0, HEAD_BYTES)
    found = recognise(
        rows,
        stat,
        head=head,
        tail_of=lambda row: source.read(*tail_range(row.raw_end)),
        is_compressed=is_compressed(path),
    )
    if found is not None:
        return [found] if isinstance(found, Segment) else found
    first = first_segment(journal, watch, path, source, stat=stat, head=head)
    rest = replace(first, raw_start=first.raw_end, raw_end=stat.size_bytes)
    return [first, rest] if rest.raw_end > rest.raw_start else [first]


def promise_of(
    segment: Segment,
    *,
    watch: Watch,
    path: RelativePath,
    source: Source,
    mtime_ns: int,
    because: str,
    key_template: str,
    facts: InstanceFacts,
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
        mtime_ns=mtime_ns,
        tail_digest=digest(source.read(*tail_range(segment.raw_end))),
        key=ObjectKey(""),
        compression=Compression.NONE if is_compressed(path) else watch.compression,
        sealed_because=because,
        is_live=is_live,
    )
    key = object_key(key_template, facts, promise)
    if len(key.encode()) > MAX_KEY_BYTES:
        raise PortError("KeyTooLong", f"{len(key.encode())} bytes: {key[:80]}…")
    return replace(promise, key=key)
