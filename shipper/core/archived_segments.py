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
from shipper.core.globs import glob_pattern, is_wild
from shipper.core.manifests import ObjectEntry
from shipper.core.object_keys import fact
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.stored_keys import StoredKey
from shipper.core.types import RelativePath

BY_CONTENT = "by content"
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_MTIME = re.compile(r"(-?)(\d{1,12})\.(\d{9})", re.ASCII)
_LETTERS = re.compile(rb"[A-Za-z]*")
_NS = 1_000_000_000
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
"""Of ``datetime``, and of keys."""


@dataclass(frozen=True, slots=True)
class ArchivedSegment:
    """The bytes ``[raw_start, raw_end)`` of a log; None where that is not known.

    ``told_by`` is ``key``, ``metadata`` or ``manifest``. By a key, ``mtime_ns`` is the earliest
    that it may be, ``until_ns`` is what it is before, and ``path`` is empty.
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
    until_ns: int = 0
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
        """The extension of what shipper compressed it with; empty where it did not, and
        ``BY_CONTENT`` where neither key nor manifest tells it."""
        if self.compression:
            return {"zstd": ".zst", "gzip": ".gz"}.get(self.compression, "")
        ends = (one for one in (".zst", ".gz") if self.stored.key.endswith(one))
        as_it_was = "" if self.stored.size_bytes == self.raw_bytes else BY_CONTENT
        return "" if self.is_packed else next(ends, as_it_was)


def segment_from_key(
    bucket: str, stored: ArchivedObject, told: StoredKey, watch: str
) -> ArchivedSegment | None:
    """None where the key does not tell when, of which instance and of which log it is."""
    if told.since_at is None or told.until_at is None or not told.instance or not told.stem:
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
        until_ns=int(told.until_at) * _NS,
    )


def is_of_key(segment: ArchivedSegment, told: StoredKey) -> bool:
    """Whether metadata do not deny what the object's key tells.

    Where each host may only write below its own prefix, the key is what a host cannot forge.
    """
    at = min(max(segment.mtime_ns // _NS, _FIRST_SECOND), _LAST_SECOND)
    return (
        fact(told.instance) in ("", fact(segment.instance))
        and told.stem in (b"", segment.stem)
        and told.raw_start in (None, segment.raw_start)
        and (told.since_at is None or told.since_at <= at)
        and (told.until_at is None or at < told.until_at)
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
        """Of what its key tells alone: whether it may be meant."""
        if self.instance and segment.instance != self.instance:
            return False
        is_by_key = segment.told_by == "key"
        if self.watch and segment.watch != self.watch and (segment.watch or not is_by_key):
            return False
        at = segment.mtime_ns
        latest = max(at, segment.until_ns - 1) if is_by_key else at
        if self.since_at is not None and latest < self.since_at * _NS:
            return False
        if self.until_at is not None and at >= self.until_at * _NS:
            return False
        return not self.name or self._names(segment) or (is_by_key and self._may_name(segment))

    def is_decided(self, segment: ArchivedSegment) -> bool:
        """Whether more facts cannot change whether this segment is taken."""
        if segment.told_by != "key":
            return True
        bounds = [at * _NS for at in (self.since_at, self.until_at) if at is not None]
        return (
            bool(segment.watch or not self.watch)
            and not any(segment.mtime_ns < at < segment.until_ns for at in bounds)
            and (not self.name or self._names(segment))
        )

    def _may_name(self, segment: ArchivedSegment) -> bool:
        """Whether the name may be of this stem. What rotation adds does not begin with a letter,
        so letters at the beginning stay; and a name that is no glob has a stem of its own."""
        if "/" in self.name:
            return True
        name = self.name.encode("utf-8", "surrogateescape")
        letters = _LETTERS.match(name)[0]  # type: ignore[index]  # it matches nothing, too
        is_possible = segment.stem.startswith(letters)
        if not is_wild(self.name):
            is_possible &= stem_and_extension(RelativePath(name)).stem == segment.stem
        return is_possible

    def _names(self, segment: ArchivedSegment) -> bool:
        """A glob with a slash is of the whole path, another one of the name or its stem."""
        pattern = glob_pattern(self.name.lstrip("/"))
        if "/" in self.name:
            return bool(pattern.fullmatch(segment.path.lstrip(b"/")))
        base = segment.path.rpartition(b"/")[2]
        return any(pattern.fullmatch(one) for one in (segment.stem, base))


def iso(ns: int) -> str:
    """UTC with milliseconds; years beyond ``datetime``'s are its first or last."""
    at = datetime.fromtimestamp(min(max(ns // _NS, _FIRST_SECOND), _LAST_SECOND), UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ns // 1_000_000 % 1000:03}Z"
