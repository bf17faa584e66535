"""What an audit finds: the journal's rows, the bucket's listing and the disk, compared. Pure.

Rows and objects come in the order of their keys, which is that of their UTF-8 bytes: for SQLite,
for S3 and for Python. So a million of each need no memory.

What is on its way is not wrong, and neither is what cannot be told: an object that the journal has
forgotten or never knew, an ETag where there is none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from shipper.core.archived import ArchivedObject
from shipper.core.identity import may_be_same_generation
from shipper.core.lifecycle import ACKNOWLEDGED, FORGOTTEN
from shipper.core.types import ListedObject, State

MOST_NAMED = 1000
"""Of each kind so many findings are named; the others are counted."""
OVERDUE_SECONDS = 3600.0
"""What should have happened to a file so long ago has gone wrong."""
Listed = ArchivedObject | ListedObject


class Kind(StrEnum):
    MISSING = "missing"
    ALTERED = "altered"
    UNKNOWN = "unknown"
    HOLE = "hole"
    OVERLAP = "overlap"
    SERIES = "series"
    OVERDUE = "overdue"
    UNPROMISED = "unpromised"
    LOST = "lost"


HINTS = {
    Kind.MISSING: (
        "who deletes there? A lifecycle rule that expires objects is one answer: then `--since` "
        "leaves out what is older. CloudTrail's data events or a versioned bucket say more"
    ),
    Kind.ALTERED: (
        "somebody has written over it: in a versioned bucket the version before is shipper's. "
        "destination.conditional_writes and `shipper iam bucket-policy --write-once` prevent it"
    ),
    Kind.UNKNOWN: "shipper wrote no such object: look who did, and whether it belongs there",
    Kind.HOLE: "bytes between a log's segments are in no object: compare them with the file",
    Kind.OVERLAP: "the same bytes are in two objects: whoever joins the segments gets them twice",
    Kind.SERIES: (
        "was there such a log? A machine that was off writes none, and an empty one makes no "
        "object; else it was deleted before it was found, or its name matches no watch. It is "
        "wrong only where expect_every asks for one"
    ),
    Kind.OVERDUE: "`shipper explain PATH` says why it still stands",
    Kind.UNPROMISED: "`shipper explain PATH` says why it is not shipped; does the daemon run?",
    Kind.LOST: "`shipper status` has them; `shipper acknowledge ID` once it is known",
}


class Row(NamedTuple):
    """What an audit needs of a shipment."""

    id: int
    key: str
    watch: str
    inode: int
    """Signed, as the journal keeps it: a million rows are read, and this of few."""
    path: bytes
    state: str
    destination: str
    etag: str | None
    intents: str
    stored_bytes: int
    raw_start: int
    mtime_ns: int
    promised_at: float
    finished_at: float | None

    @property
    def is_in_s3(self) -> bool:
        """Whether S3 must have its object. It has that of a parked one, too, once it has told an
        ETag."""
        return self.state in ACKNOWLEDGED or (self.state == State.PARKED and self.etag is not None)


class Segment(NamedTuple):
    """What an audit needs of one part of a file."""

    id: int
    watch: str
    inode: int
    generation: str
    place: str
    path: bytes
    state: str
    raw_start: int
    raw_end: int
    promised_at: float
    key: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or a notice. ``name`` is a key, or the path of a file or a
    directory."""

    kind: Kind
    watch: str
    name: str
    detail: str
    is_wrong: bool = True


@dataclass(slots=True)
class Found:
    """What was found, named as far as there is room."""

    named: list[Finding] = field(default_factory=list)
    totals: dict[Kind, int] = field(default_factory=dict)
    is_wrong: bool = False
    """Whether more than notices were found."""

    def add(self, finding: Finding) -> None:
        count = self.totals[finding.kind] = self.totals.get(finding.kind, 0) + 1
        self.is_wrong = self.is_wrong or finding.is_wrong
        if count <= MOST_NAMED:
            self.named.append(finding)

    def has_room(self, kind: Kind) -> bool:
        """Whether another one is named; then it is worth a closer look."""
        return self.totals.get(kind, 0) < MOST_NAMED


def difference(row: Row, found: Listed | None) -> tuple[Kind, str] | None:
    """What is wrong with what the bucket has in the place of the row's object; None if nothing."""
    if found is None:
        return Kind.MISSING, f"{row.stored_bytes} bytes, ETag {row.etag or 'unknown'}"
    is_same = found.size_bytes == row.stored_bytes and (
        not has_etags(row, found) or found.etag in _etags(row)
    )
    if is_same:
        return None
    there = f"{found.size_bytes} bytes, ETag {found.etag or 'unknown'}"
    return Kind.ALTERED, f"{there}; sent were {row.stored_bytes}, {row.etag or 'unknown'}"


def has_etags(row: Row, found: Listed) -> bool:
    """Whether both have an ETag. Compatible servers may leave it out: then the size must do."""
    return bool(row.etag and found.etag)


def may_have_sent(row: Row, found: Listed) -> bool:
    """Whether the object may be the row's: of a write whose answer was lost, that it had intended.
    ETags are not compared, for with SSE-KMS S3 makes others."""
    sizes = {int(one.rpartition(":")[2]) for one in row.intents.split()}
    return row.is_in_s3 or found.size_bytes in sizes


def _etags(row: Row) -> set[str]:
    """S3's answer, and what was computed before the writes that may have arrived."""
    return {row.etag or "", *(one.partition(":")[0] for one in row.intents.split())}


def broken_segments(rows: Sequence[Segment]) -> Iterator[tuple[Segment, Kind, int, int]]:
    """Of the rows of one inode, those that do not begin where another one ends.

    With the bytes that no row has, or that two have. A segment that came to nothing counts: that
    is its own trouble, and told elsewhere.
    """
    ends: dict[int, list[Segment]] = {}
    for row in rows:
        ends.setdefault(row.raw_end, []).append(row)
    for row in rows:
        if not row.raw_start or row.state in FORGOTTEN:
            continue
        if any(_may_be_of_one_file(row, one) for one in ends.get(row.raw_start, ())):
            continue
        peers = [one for one in rows if one is not row and _may_be_of_one_file(row, one)]
        spanning = [one for one in peers if one.raw_start < row.raw_start < one.raw_end]
        if spanning:
            end = min(row.raw_end, max(one.raw_end for one in spanning))
            yield row, Kind.OVERLAP, row.raw_start, end
        else:
            start = max((one.raw_end for one in peers if one.raw_end < row.raw_start), default=0)
            yield row, Kind.HOLE, start, row.raw_start


def _may_be_of_one_file(one: Segment, other: Segment) -> bool:
    is_same_place = one.place == other.place or not (one.place and other.place)
    return is_same_place and may_be_same_generation(one.generation, other.generation)
