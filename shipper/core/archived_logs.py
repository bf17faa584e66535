"""Segments joined to the logs that they were, and the names under which logs are given back.

A segment follows the one of the same instance, watch and stem that ends where it begins: of the
same inode if there is one, else of another, because a copy that goes on behind its log has an
inode of its own. What follows none, and does not begin at 0, has lost what was before it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shipper.core.archived_segments import ArchivedSegment
from shipper.core.object_keys import fact
from shipper.core.rotated_names import Kind, rotated_name, stem_and_extension, without_compression
from shipper.core.types import RelativePath

MOST_NAME_BYTES = 255


@dataclass(slots=True)
class ArchivedLog:
    """Its segments in order; in ``gaps`` the ranges that are missing among them or before them."""

    segments: list[ArchivedSegment]
    gaps: list[tuple[int, int]] = field(default_factory=list)

    @property
    def first(self) -> ArchivedSegment:
        return self.segments[0]

    @property
    def last(self) -> ArchivedSegment:
        return self.segments[-1]

    @property
    def start(self) -> int:
        return self.first.raw_start or 0

    @property
    def raw_bytes(self) -> int:
        return sum(one.raw_bytes for one in self.segments)

    def before_gap(self) -> list[ArchivedSegment]:
        """Its segments up to what is missing."""
        if not self.gaps:
            return self.segments
        first = self.gaps[0][0]
        return [one for one in self.segments if (one.raw_end or 0) <= first]

    @property
    def is_packed(self) -> bool:
        return self.first.is_packed

    @property
    def extension(self) -> str:
        """Of what the rotator compressed it with; empty where it is plain."""
        if not self.is_packed:
            return ""
        return stem_and_extension(RelativePath(self.first.path)).extension.decode()


def logs_of(
    segments: Iterable[ArchivedSegment], *, may_begin_later: bool = False
) -> list[ArchivedLog]:
    """The logs, by the time of their last write; all ranges must be known.

    With ``may_begin_later``, what comes before the first segment is not missing: it was not asked
    for.
    """
    series = defaultdict[tuple[str, str, bytes], list[ArchivedSegment]](list)
    for one in segments:
        series[(one.instance, one.watch, one.stem)].append(one)
    found = [log for one in series.values() for log in _joined(one, may_begin_later)]
    return sorted(found, key=lambda log: (log.last.mtime_ns, log.last.stored.key))


def _joined(segments: list[ArchivedSegment], may_begin_later: bool) -> list[ArchivedLog]:
    logs, before = list[ArchivedLog](), None
    ending = defaultdict[int, list[ArchivedLog]](list)
    for one in sorted(segments, key=lambda one: (one.raw_start or 0, one.mtime_ns, one.raw_end)):
        if before is not None and _same(before, one):  # sent twice, under two keys
            continue
        before, start = one, one.raw_start or 0
        log = _nearest(ending[start], one) if start else None
        if log is None and start:
            same = [each for each in logs if each.last.inode == one.inode]
            log = _nearest([each for each in same if (each.last.raw_end or 0) < start], one)
            if log is not None:
                log.gaps.append((log.last.raw_end or 0, start))
        if log is None:
            log = ArchivedLog([], [(0, start)] if start and not may_begin_later else [])
            logs.append(log)
        else:
            ending[log.last.raw_end or 0] = [
                each for each in ending[log.last.raw_end or 0] if each is not log
            ]
        log.segments.append(one)
        ending[one.raw_end or 0].append(log)
    return logs


def _same(one: ArchivedSegment, other: ArchivedSegment) -> bool:
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("inode", "generation", "raw_start", "raw_end", "mtime_ns", "path")
    )


def _nearest(logs: Sequence[ArchivedLog], segment: ArchivedSegment) -> ArchivedLog | None:
    """Of the same inode if any is, written before the segment if any was, and then the last."""
    if not logs:
        return None
    return max(
        logs,
        key=lambda log: (
            log.last.inode == segment.inode,
            log.last.mtime_ns <= segment.mtime_ns,
            log.last.mtime_ns,
        ),
    )


def restored_path(log: ArchivedLog, *, is_precise: bool = False) -> tuple[bytes, ...] | None:
    """The components of the path below which a log is given back; None where it is refused.

    The instance, and the directories of the source path. A name that holds its date stays; to any
    other, which a rotator gives to another log tomorrow, the time of the last write is added, with
    its nanoseconds if ``is_precise``. A log without its beginning says where it starts.
    """
    path = log.last.path
    *directories, base = path.split(b"/")
    if path.startswith(b"/"):
        directories = directories[1:]
    name = base if log.is_packed else without_compression(base)
    extension = stem_and_extension(RelativePath(name)).extension
    if not _is_dated(name):
        name = stem_and_extension(RelativePath(name)).stem + _stamp(log.last.mtime_ns, is_precise)
    else:
        name = without_compression(name)
    name += (b".at%d" % log.start if log.start else b"") + extension
    parts = (fact(log.last.instance).encode(), *directories, name)
    return parts if all(map(_is_safe, (*parts, base))) else None


def _is_dated(name: bytes) -> bool:
    found = rotated_name(RelativePath(name))
    is_date = found is not None and found.kind is Kind.DATE
    return is_date and sum(map(bytes.isdigit, _letters(found.date if found else b""))) >= 8


def _letters(text: bytes) -> list[bytes]:
    return [text[at : at + 1] for at in range(len(text))]


def _stamp(mtime_ns: int, is_precise: bool) -> bytes:
    seconds, ns = divmod(mtime_ns, 1_000_000_000)
    at = datetime.fromtimestamp(min(max(seconds, -62_135_596_800), 253_402_300_799), UTC)
    fraction = f".{ns:09}" if is_precise else ""
    return f".{at:%Y%m%dT%H%M%S}{fraction}Z".encode()


def _is_safe(name: bytes) -> bool:
    return name not in (b"", b".", b"..") and b"\0" not in name and b"/" not in name
