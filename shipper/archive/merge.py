"""Entries and objects, both in byte order of their keys, side by side."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from shipper.archive.entry_spill import Spilled
from shipper.core.archived import ArchivedObject

_MOST_WORDS = 8
"""Different entries of one key that are remembered."""


def merged(
    entries: Iterator[Spilled], objects: Iterator[ArchivedObject]
) -> Iterator[tuple[Sequence[Spilled], ArchivedObject | None]]:
    """Of each key: its entries that differ, and the object; one of them is there."""
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
    """Those that say different things, but no more than ``_MOST_WORDS``."""
    found = dict[tuple[int, str, str], Spilled]()
    for row in rows:
        if len(found) < _MOST_WORDS:
            found.setdefault((row.size, row.etag, row.sha256), row)
    return [row for row in found.values() if not row.is_loss] or [*found.values()]


def has_other_content(rows: Sequence[Spilled]) -> bool:
    """Whether they disagree on the raw bytes.

    A log may be entered again, by another journal or after S3 lost it, and compressed otherwise.
    An entry without SHA-256 must be of an object that another one knows.
    """
    if len({row.sha256 for row in rows} - {""}) > 1:
        return True
    known = telling(rows)
    known = known if known[0].sha256 else known[:1]
    return any(
        not row.sha256 and not any(_is_same_object(row, one) for one in known) for row in rows
    )


def telling(rows: Sequence[Spilled]) -> Sequence[Spilled]:
    """Those by which the object is judged: with a SHA-256, if there are such."""
    return [row for row in rows if row.sha256] or rows


def _is_same_object(one: Spilled, other: Spilled) -> bool:
    return one.size == other.size and (one.etag == other.etag or not (one.etag and other.etag))


def difference(entry: Spilled, stored: ArchivedObject) -> str:
    if entry.size != stored.size_bytes:
        return f"it has {stored.size_bytes:,} bytes; its manifest says {entry.size:,}"
    if entry.etag and stored.etag and entry.etag != stored.etag:
        return f"its ETag is {stored.etag}; its manifest says {entry.etag}"
    return ""
