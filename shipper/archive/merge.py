"""Entries and objects, both in byte order of their keys, side by side."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from shipper.archive.entry_spill import Spilled
from shipper.core.archived import ArchivedObject


def merged(
    entries: Iterator[Spilled], objects: Iterator[ArchivedObject]
) -> Iterator[tuple[Sequence[Spilled], ArchivedObject | None]]:
    """Of each key: its entries that differ, at most two, and the object; one of them is there."""
    groups = ((key, _distinct(rows)) for key, rows in groupby(entries, lambda row: row.key))
    key, rows = next(groups, (None, []))
    for stored in objects:
        while key is not None and key < stored.key:
            yield rows, None
            key, rows = next(groups, (None, []))
        if key == stored.key:
            yield rows, stored
            key, rows = next(groups, (None, []))
        else:
            yield (), stored
    while key is not None:
        yield rows, None
        key, rows = next(groups, (None, []))


def _distinct(rows: Iterator[Spilled]) -> list[Spilled]:
    """The first, and the first that contradicts it. A journal that was lost enters logs again."""
    first = next(rows)
    other = next((row for row in rows if not row.is_loss and _contradict(first, row)), None)
    for _ in rows:
        pass
    return [first, other] if other else [first]


def _contradict(one: Spilled, other: Spilled) -> bool:
    pairs = ((one.etag, other.etag), (one.sha256, other.sha256))
    return one.size != other.size or any(a and b and a != b for a, b in pairs)


def difference(entry: Spilled, stored: ArchivedObject) -> str:
    if entry.size != stored.size_bytes:
        return f"it has {stored.size_bytes:,} bytes; its manifest says {entry.size:,}"
    if entry.etag and stored.etag and entry.etag != stored.etag:
        return f"its ETag is {stored.etag}; its manifest says {entry.etag}"
    return ""
