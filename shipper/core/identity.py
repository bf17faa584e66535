"""Which shipped log a file is, and which of its bytes are not promised yet.

Names shift, inode numbers are used again at once, and device numbers change at a reboot. Within a
watch a file is its inode number **and** generation. While neither size nor mtime changes, there is
nothing to do. Any other file has what was shipped only if the SHA-256 says so; the digests of head
and tail spare that work where it would be in vain.

A directory entry tells no generation. As long as its ctime is the same, too, it is the same file:
a program can set an mtime, but no ctime.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shipper.core.types import (
    HEAD_BYTES,
    FileId,
    FileKind,
    FileStat,
    Shipment,
    State,
)


@dataclass(frozen=True, slots=True)
class Segment:
    file_id: FileId
    raw_start: int
    raw_end: int


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_id(inode: int, head: bytes, generation: str = "") -> FileId:
    head = head[:HEAD_BYTES]
    return FileId(inode, len(head), digest(head), generation)


def may_be_same_generation(one: str, other: str) -> bool:
    """Whether nothing says that the inode number was used again in between.

    A birth time cannot be compared with a generation, as another kernel may give it.
    """
    return one == other or one[:1] != other[:1]


def is_certain(row: Shipment, stat: FileStat) -> bool:
    """Whether the kernel says that it is the row's file: by its ctime, or its generation."""
    generation = row.file_id.generation
    return row.ctime_ns == stat.ctime_ns or generation == stat.generation != ""


def is_file_of(row: Shipment, stat: FileStat) -> bool:
    """Whether nothing says that it is another file than the row's."""
    generation = row.file_id.generation
    is_it = stat.inode == row.file_id.inode
    return is_it and may_be_same_generation(generation, stat.generation)


def latest_segments(known: Sequence[Shipment]) -> list[Shipment]:
    """Of the shipments with one inode, the segments that no other continues.

    The newest file comes first, for it has the inode now; of one file the furthest segment, which
    need not be the newest: a hole is promised after what lies behind it.
    """
    files: dict[FileId, list[Shipment]] = {}
    for shipment in sorted(known, key=lambda one: one.id, reverse=True):
        files.setdefault(shipment.file_id, []).append(shipment)
    latest: list[Shipment] = []
    for file in files.values():
        continued = {one.raw_start for one in file}
        by_end = sorted(file, key=lambda one: one.raw_end, reverse=True)
        latest += (one for one in by_end if one.raw_end not in continued)
    return latest


def chain_of(last: Shipment, known: Sequence[Shipment]) -> list[Shipment]:
    """The segments that end with ``last``, in order, as far back as they meet without a hole."""
    by_end: dict[int, list[Shipment]] = {}
    for one in known:
        by_end.setdefault(one.raw_end, []).append(one)
    chain = [last]
    while (start := chain[-1].raw_start) > 0:
        before = _before(chain[-1], by_end.get(start, ()))
        if before is None:
            break
        chain.append(before)
    return chain[::-1]


def _before(segment: Shipment, meeting: Sequence[Shipment]) -> Shipment | None:
    """Of those that end where this segment starts, the one of the same file.

    Another file that had the inode may have one that ends there, but its head differs. Where a
    head is too short to tell, the last promise before this one is the file's, because the next
    file of the inode comes later. Else it is the first one after: a filled hole.
    """
    mine = segment.file_id

    def may_be_of_this_file(one: FileId) -> bool:
        is_alike = one.head_length != mine.head_length or one.head_digest == mine.head_digest
        return is_alike and may_be_same_generation(one.generation, mine.generation)

    def closeness(one: Shipment) -> tuple[bool, bool, int]:
        is_earlier = one.id < segment.id
        return one.file_id == mine, is_earlier, one.id if is_earlier else -one.id

    meeting = [one for one in meeting if may_be_of_this_file(one.file_id)]
    return max(meeting, key=closeness, default=None)


def hole_before(last: Shipment, known: Sequence[Shipment]) -> tuple[int, int] | None:
    """The last range before ``last`` that no shipment has, because one came to nothing."""
    end = chain_of(last, known)[0].raw_start
    if end == 0:
        return None
    mine = last.file_id.generation
    before = (
        one.raw_end
        for one in known
        if one.raw_end < end and may_be_same_generation(one.file_id.generation, mine)
    )
    return max(before, default=0), end


def untouched(known: Sequence[Shipment], stat: FileStat) -> Shipment | None:
    """The last segment of a file with this size and mtime: there is nothing to read."""
    for last in latest_segments(known):
        is_it = (last.raw_end, last.mtime_ns) == (stat.size_bytes, stat.mtime_ns)
        if is_it and may_be_same_generation(last.file_id.generation, stat.generation):
            return last if hole_before(last, known) is None else None
    return None


def recognise(
    rows: Sequence[Shipment],
    stat: FileStat,
    *,
    head: bytes,
    tail_of: Callable[[Shipment], bytes],
    is_compressed: bool,
    is_proven: Callable[[Sequence[Shipment]], bool],
) -> Shipment | Segment | None:
    """The next segment of a file, or its last shipment where all is promised; None of a new file.

    A change makes a compressed file a new one, and so does a touch of a duplicate.
    ``rows`` is all that is known of its inode; ``tail_of(row)`` is the file's up to ``HEAD_BYTES``
    bytes that end at ``row.raw_end``. ``is_proven(segments)`` compares every byte; it is asked
    only of what begins and ends alike.
    """
    fitting = (
        row
        for row in latest_segments(rows)
        if is_same_file(row, stat, head=head, tail=tail_of(row)) and is_proven(chain_of(row, rows))
    )
    known = next(fitting, None)
    if known is None:
        return None
    hole = hole_before(known, [row for row in rows if begins_as(row, head)])
    if hole is not None:
        ending = [row for row in rows if row.raw_end == hole[0] and begins_as(row, head)]
        is_whole = all(is_proven(chain_of(row, rows)) for row in ending[-1:])
        return Segment(known.file_id, *hole) if is_whole else None
    if stat.size_bytes == known.raw_end:
        return None if known.state is State.DUPLICATE else known
    if is_compressed:
        return None
    return Segment(file_id(stat.inode, head, stat.generation), known.raw_end, stat.size_bytes)


def is_same_file(known: Shipment, stat: FileStat, *, head: bytes, tail: bytes) -> bool:
    """Whether the file may still begin with what ``known`` promises."""
    return (
        is_file_of(known, stat)
        and stat.size_bytes >= known.raw_end
        and begins_as(known, head)
        and digest(tail) == known.tail_digest
    )


def begins_as(row: Shipment, head: bytes) -> bool:
    """Whether a file with this head may begin as the row's."""
    length = row.file_id.head_length
    return len(head) >= length and digest(head[:length]) == row.file_id.head_digest


def beginning(
    lives: Sequence[Shipment],
    has_live_name: Callable[[Shipment], bool],
    stat: FileStat,
    *,
    head: bytes,
    tail_of: Callable[[Shipment], bytes],
) -> int:
    """Where the longest of the live segments ends with which a new file seems to begin; else 0.

    A log that lost its live name was rotated itself, so no other file can be its copy.
    """
    return max(
        (
            row.raw_end
            for row in lives
            if row.file_id.inode != stat.inode
            and row.raw_end <= stat.size_bytes
            and row.mtime_ns <= stat.mtime_ns
            and begins_as(row, head)
            and digest(tail_of(row)) == row.tail_digest
            and has_live_name(row)
        ),
        default=0,
    )


def tail_range(raw_end: int) -> tuple[int, int]:
    length = min(raw_end, HEAD_BYTES)
    return raw_end - length, length


def times_of(chain: Sequence[Shipment]) -> list[float]:
    """When the segments of a file were promised, but for those of its time as a live one."""
    return [one.promised_at for one in chain if not one.is_live]


@dataclass(frozen=True, slots=True)
class InodeSummary:
    """What one query tells of the files that have had an inode.

    ``finished`` is size, mtime and ctime of the newest, where it was shipped in one piece.
    """

    is_unknown: bool = False
    finished: tuple[int, int, int] | None = None
    newest: tuple[object, ...] = ()
    """Of a file that came in segments, what would change if anything happened to its newest."""
    newest_id: int = 0


def is_finished(summary: InodeSummary, stat: FileStat) -> bool:
    """Whether there is nothing left to do about the file for as long as it stays as it is."""
    is_as_shipped = summary.finished == (stat.size_bytes, stat.mtime_ns, stat.ctime_ns)
    return is_as_shipped and stat.kind is FileKind.REGULAR
