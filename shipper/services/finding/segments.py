"""What of an open file is to be promised: its segments, and the promise of each with its key."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from shipper.core.identity import (
    Grown,
    Holed,
    Segment,
    Unknown,
    Untouched,
    digest,
    file_id,
    recognise,
    tail_range,
)
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
    match found:
        case Untouched(known):
            return known
        case Holed(known, raw_start, raw_end):
            return [Segment(known.file_id, raw_start, raw_end)]
        case Grown(known):
            return [Segment(file_id(stat.inode, head), known.raw_end, stat.size_bytes)]
        case Unknown():
            first = first_segment(journal, watch, path, source, stat=stat, head=head)
            rest = replace(first, raw_start=first.raw_end, raw_end=stat.size_bytes)
            return [first, rest] if rest.raw_end > rest.raw_start else [first]
        case _:
            assert_never(found)


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
    return replace(promise, key=_key_of(promise, key_template, facts))


def _key_of(promise: Promise, key_template: str, facts: InstanceFacts) -> ObjectKey:
    key = object_key(
        key_template,
        facts,
        watch=promise.watch,
        path=promise.path,
        file_id=promise.file_id,
        raw_start=promise.raw_start,
        raw_end=promise.raw_end,
        mtime_ns=promise.mtime_ns,
        tail_digest=promise.tail_digest,
        compression=promise.compression,
    )
    if len(key.encode()) > MAX_KEY_BYTES:
        raise PortError("KeyTooLong", f"{len(key.encode())} bytes: {key[:80]}…")
    return key
