"""What is known of an object in the archive as a segment of a log, and which ones are meant.

Its key tells watch, instance, stem, the second of the mtime and where it starts, as far as the
template has them. The object's own metadata tell the source path, the range and the mtime; a
manifest tells all of it and the SHA-256. What a stranger wrote there may be hostile.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import unquote, unquote_to_bytes

from shipper.core.archived import ArchivedObject
from shipper.core.globs import glob_pattern
from shipper.core.manifests import ObjectEntry
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.stored_keys import StoredKey
from shipper.core.types import RelativePath

_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_MTIME = re.compile(r"(-?)(\d{1,12})\.(\d{9})", re.ASCII)
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ArchivedSegment:
    """The bytes ``[raw_start, raw_end)`` of a log; None where that is not known.

    ``told_by`` is ``key``, ``metadata`` or ``manifest``. By a key, ``mtime_ns`` is the earliest
    that it may be, and ``path`` is empty.
    """

    bucket: str
    stored: ArchivedObject
    instance: str
    watch: str
    stem: bytes
    mtime_ns: int
    told_by: str
    path: bytes = b""
    raw_start: int | None = None
    raw_end: int | None = None
    inode: int = 0
    generation: str = ""
    sha256: str = ""
    compression: str = ""
    is_missing: bool = False
    """A manifest names it, and it is not in the bucket."""

    @property
    def label(self) -> str:
        return f"s3://{self.bucket}/{self.stored.key}"

    @property
    def is_packed(self) -> bool:
        """Whether it holds what the rotator compressed, as it was."""
        if not is_compressed(RelativePath(self.path)) or self.compression in ("zstd", "gzip"):
            return False
        extension = stem_and_extension(RelativePath(self.path)).extension.decode()
        is_whole = self.stored.size_bytes == self.raw_bytes
        return is_whole and self.stored.key.endswith(extension)

    @property
    def raw_bytes(self) -> int:
        """Of a segment whose range is known."""
        return (self.raw_end or 0) - (self.raw_start or 0)

    @property
    def own_compression(self) -> str:
        """The extension of what shipper compressed it with; empty where it did not."""
        if self.compression:
            return {"zstd": ".zst", "gzip": ".gz"}.get(self.compression, "")
        ends = (one for one in (".zst", ".gz") if self.stored.key.endswith(one))
        return "" if self.is_packed else next(ends, "")


def segment_from_key(
    bucket: str, stored: ArchivedObject, told: StoredKey, watch: str
) -> ArchivedSegment | None:
    """None where the key does not tell when, of which instance and of which log it is."""
    if told.since_at is None or not told.instance or not told.stem:
        return None
    return ArchivedSegment(
        bucket,
        stored,
        told.instance,
        told.watch or watch,
        told.stem,
        int(told.since_at) * _NS,
        "key",
        raw_start=told.raw_start,
    )


def segment_from_metadata(
    bucket: str, stored: ArchivedObject, metadata: Mapping[str, str], watch: str = ""
) -> ArchivedSegment | None:
    """None where the object is none of shipper's, or its metadata make no sense."""
    path = unquote_to_bytes(metadata.get("source-path", ""))
    mtime = _MTIME.fullmatch(metadata.get("source-mtime", ""))
    numbers = [metadata.get(name, "") for name in ("raw-start", "raw-end", "source-inode")]
    instance = unquote(metadata.get("instance-id", ""), errors="surrogateescape")
    if not path or not instance or mtime is None or not all(map(_NUMBER.fullmatch, numbers)):
        return None
    start, end, inode = map(int, numbers)
    if start > end:
        return None
    ns = int(mtime[2]) * _NS + int(mtime[3])
    return ArchivedSegment(
        bucket,
        stored,
        instance,
        watch,
        stem_and_extension(RelativePath(path)).stem,
        -ns if mtime[1] else ns,
        "metadata",
        path,
        start,
        end,
        inode,
    )


def segment_from_entry(segment: ArchivedSegment, entry: ObjectEntry) -> ArchivedSegment:
    """The same as a manifest has it."""
    path = unquote_to_bytes(entry.path)
    return replace(
        segment,
        watch=entry.watch,
        stem=stem_and_extension(RelativePath(path)).stem,
        mtime_ns=entry.mtime_ns,
        told_by="manifest",
        path=path,
        raw_start=entry.raw_start,
        raw_end=entry.raw_end,
        inode=entry.inode,
        generation=entry.generation,
        sha256=entry.sha256,
        compression=entry.compression,
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which segments are meant; empty or None is any. ``name`` is a glob.

    Of the mtime: from ``since_at`` on, before ``until_at``.
    """

    instance: str = ""
    watch: str = ""
    name: str = ""
    since_at: float | None = None
    until_at: float | None = None

    def takes(self, segment: ArchivedSegment) -> bool:
        if self.instance and segment.instance != self.instance:
            return False
        if self.watch and segment.watch != self.watch:
            return False
        at = segment.mtime_ns
        # A key tells the second alone.
        earliest = at + (_NS - 1 if segment.told_by == "key" else 0)
        if self.since_at is not None and earliest < self.since_at * _NS:
            return False
        if self.until_at is not None and at >= self.until_at * _NS:
            return False
        return not self.name or self._names(segment)

    def _names(self, segment: ArchivedSegment) -> bool:
        """A glob with a slash is of the whole path, another one of the name or its stem."""
        pattern = glob_pattern(self.name.lstrip("/"))
        if "/" in self.name:
            return bool(pattern.fullmatch(segment.path.lstrip(b"/")))
        base = segment.path.rpartition(b"/")[2]
        return any(pattern.fullmatch(one) for one in (segment.stem, base))


def iso(ns: int) -> str:
    """UTC with milliseconds; years beyond ``datetime``'s are its first or last."""
    least, most = -62_135_596_800, 253_402_300_799
    at = datetime.fromtimestamp(min(max(ns // _NS, least), most), UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ns // 1_000_000 % 1000:03}Z"
