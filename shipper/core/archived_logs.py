"""Segments joined to the logs that they were, and the names under which logs are given back.

A segment follows the one of the same instance, watch and stem that ends where it begins, if that
is of the same inode and generation. Else it may be what a copy holds behind its log: a copy has an
inode and a name of its own, beside its log, or in a directory of copies. What follows none, and
does not begin at 0, has lost what was before it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby

from shipper.core.archived_segments import ArchivedSegment
from shipper.core.object_keys import fact
from shipper.core.rotated_names import Kind, rotated_name, stem_and_extension, without_compression
from shipper.core.types import RelativePath


@dataclass(slots=True)
class ArchivedLog:
    """Its segments in order; in ``gaps`` the ranges that are missing among them or before them."""

    segments: list[ArchivedSegment]
    gaps: list[tuple[int, int]] = field(default_factory=list)
    goes_on: bool = False
    """What is behind it was not asked for."""

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
    def end(self) -> int:
        return self.last.raw_end or 0

    @property
    def raw_bytes(self) -> int:
        return sum(one.raw_bytes for one in self.segments)

    def before_gap(self) -> list[ArchivedSegment]:
        """Its segments up to what is missing."""
        lost = [one.raw_start or 0 for one in self.segments if one.is_missing]
        first = min([start for start, _ in self.gaps] + lost, default=self.end)
        return [one for one in self.segments if (one.raw_end or 0) <= first]

    def there(self) -> list[ArchivedSegment]:
        """Its segments without those that are missing."""
        return [one for one in self.segments if not one.is_missing]

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
    logs, ending = list[ArchivedLog](), defaultdict[int, list[ArchivedLog]](list)
    homes = {_directory(one) for one in segments if not is_rotated(one)}
    for start, group in groupby(_once(segments), key=lambda one: one.raw_start or 0):
        own, others = list[ArchivedSegment](), list[ArchivedSegment]()
        for one in group:
            is_own = any(is_one_file(log.last, one) for log in ending[start])
            (own if is_own else others).append(one)
        for one in (*own, *others):
            log = _before(ending[start], one, homes) if start else None
            if log is not None:
                ending[start] = [each for each in ending[start] if each is not log]
            elif log := _behind_gap(logs, one):
                ending[log.end] = [each for each in ending[log.end] if each is not log]
                log.gaps.append((log.end, start))
            else:
                log = ArchivedLog([], [(0, start)] if start and not may_begin_later else [])
                logs.append(log)
            log.segments.append(one)
            ending[log.end].append(log)
    return logs


def _once(segments: list[ArchivedSegment]) -> Iterator[ArchivedSegment]:
    """In order, without what was sent twice, under two keys. What is most known comes first."""
    before = None
    for one in sorted(
        segments,
        key=lambda one: (
            (one.raw_start or 0, one.mtime_ns, one.raw_end, one.inode, one.path),
            (one.is_missing, not one.generation, not one.sha256, one.stored.key),
        ),
    ):
        if before is None or not _is_again(before, one):
            before = one
            yield one


def _is_again(one: ArchivedSegment, other: ArchivedSegment) -> bool:
    return (
        all(
            getattr(one, name) == getattr(other, name)
            for name in ("raw_start", "raw_end", "mtime_ns", "path")
        )
        and is_one_file(one, other)
        and _agree(one.sha256, other.sha256)
    )


def is_one_file(one: ArchivedSegment, other: ArchivedSegment) -> bool:
    """Whether they may be of one inode. A generation that nobody tells is no other one."""
    return one.inode == other.inode and _agree(one.generation, other.generation)


def is_rotated(segment: ArchivedSegment) -> bool:
    return rotated_name(RelativePath(segment.path)) is not None


def _agree(one: str, other: str) -> bool:
    return one == other or not one or not other


def _before(
    logs: Sequence[ArchivedLog], segment: ArchivedSegment, homes: set[bytes]
) -> ArchivedLog | None:
    """The log that goes on with the segment: of its inode, else one that it may be a copy of."""
    own = [log for log in logs if is_one_file(log.last, segment)]
    if own:
        return _nearest(own, segment)
    copied = [log for log in logs if _may_be_copied(log.last, segment)]
    beside = [log for log in copied if _directory(log.last) == _directory(segment)]
    if beside:
        return _nearest(beside, segment)
    # ``olddir``: a directory in which no log is written, and one log alone that fits.
    return copied[0] if len(copied) == 1 and _directory(segment) not in homes else None


def _may_be_copied(log: ArchivedSegment, copy: ArchivedSegment) -> bool:
    """A copy has an inode and a name of its own, and is not older."""
    is_other = log.inode != copy.inode and log.path != copy.path
    return is_other and log.mtime_ns // 10**9 <= copy.mtime_ns // 10**9


def _behind_gap(logs: Sequence[ArchivedLog], segment: ArchivedSegment) -> ArchivedLog | None:
    start = segment.raw_start or 0
    same = [log for log in logs if log.end < start and is_one_file(log.last, segment)]
    return _nearest(same, segment) if same else None


def _nearest(logs: Sequence[ArchivedLog], segment: ArchivedSegment) -> ArchivedLog:
    """Written before the segment if any was, and then the last."""
    return max(logs, key=lambda log: (log.last.mtime_ns <= segment.mtime_ns, log.last.mtime_ns))


def _directory(segment: ArchivedSegment) -> bytes:
    return segment.path.rpartition(b"/")[0]


def may_be_doubled(older: ArchivedLog, newer: ArchivedLog) -> bool:
    """Whether the files met: what was a copy's once is not the emptied log's again."""
    pairs = ((older.last, newer.first), (older.first, newer.last))
    return any(is_one_file(*pair) for pair in pairs) and _meet(older, newer)


def _meet(one: ArchivedLog, other: ArchivedLog) -> bool:
    return max(one.start, other.start) < min(one.end, other.end)


def united(older: ArchivedLog, newer: ArchivedLog) -> ArchivedLog | None:
    """Both as one, if they are equal where they meet; None where segments overlap in part."""
    if any(gap != (0, log.start) for log in (older, newer) for gap in log.gaps):
        return None
    for one, other in ((newer, older), (older, newer)):
        if one.start <= other.start and other.end <= one.end:
            return one
    first, last = sorted((older, newer), key=lambda log: log.start)
    kept = [one for one in first.segments if (one.raw_end or 0) <= last.start]
    if not kept or kept[-1].raw_end != last.start:
        return None
    return ArchivedLog([*kept, *last.segments], first.gaps)


def restored_path(log: ArchivedLog, *, is_precise: bool = False) -> tuple[bytes, ...] | None:
    """The components of the path below which a log is given back; None where it is refused.

    The instance, and the directories of the source path. A name that holds its date stays; to any
    other, which a rotator gives to another log tomorrow, the time of the last write is added; to
    either with its nanoseconds if ``is_precise``. A log that is a part says from where to where.
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
        name = without_compression(name) + (_stamp(log.last.mtime_ns, True) if is_precise else b"")
    name += b".at%d" % log.start if log.start else b""
    name += (b".to%d" % log.end if log.goes_on else b"") + extension
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
