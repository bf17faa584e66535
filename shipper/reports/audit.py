"""What ``shipper audit`` does: journal, bucket and disk, compared.

The journal's rows and the bucket's listing are read side by side in the order of their keys, so a
million of each need no memory. A daemon may be shipping meanwhile: whatever looks wrong is looked
at again, in the journal and, by one more listing, in the bucket, before it is called so.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any

from shipper.core.archived import ArchivedObject
from shipper.core.audit import (
    HINTS,
    Finding,
    Found,
    Kind,
    Row,
    Segment,
    broken_segments,
    difference,
    has_etags,
    may_have_sent,
)
from shipper.core.key_owners import instance_directory
from shipper.core.object_keys import another_key, fact, printable
from shipper.core.series import Hole, Names, member_of
from shipper.core.types import ObjectKey, RelativePath, State, Watch, WatchName
from shipper.journal.journal import Journal
from shipper.journal.review import Review
from shipper.journal.schema import unsigned
from shipper.ports import PortError
from shipper.reports.audit_disk import Disk
from shipper.reports.audit_listing import Bucket
from shipper.reports.rows import instant
from shipper.services.housekeeping import REMEMBERED_SECONDS

_RENAMED_TIMES = 5
"""So many other keys a shipment may have got because something else was under the one before."""
_LISTED_SECONDS = 1
"""A listing's times are whole seconds, rounded down."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is audited: of this watch, or of all; what was found since then."""

    watch: WatchName | None = None
    since_at: float = 0.0


@dataclass(slots=True)
class Progress:
    """How far an audit is; another thread may look."""

    rows: int = 0
    rows_in_all: int = 0
    buckets: Sequence[Bucket] = ()

    @property
    def objects(self) -> int:
        return sum(bucket.listing.count for bucket in self.buckets)


@dataclass(kw_only=True)
class Audit:
    """One audit, for one thread."""

    instance_id: str
    watches: Sequence[Watch]
    journal: Journal
    review: Review
    buckets: Sequence[Bucket]
    disk: Disk
    now: float
    asked: Asked
    progress: Progress = field(default_factory=Progress)
    found: Found = field(default_factory=Found, init=False)
    counts: Counter[str] = field(default_factory=Counter, init=False)
    _names: Names = field(default_factory=Names, init=False)
    _mixed: set[str] = field(default_factory=set, init=False)
    """Watches that ship logs of no series, too."""
    _has_segments: bool = field(default=False, init=False)

    def run(self) -> None:
        """Look at everything once.

        Raises:
            PortError: the journal's. What is wrong with a bucket is in its listing.
        """
        self.progress.rows_in_all = self.review.count()
        self.progress.buckets = self.buckets
        self._remembers_since = max(
            self.now - REMEMBERED_SECONDS, self.review.begins_at() or self.now
        )
        by_destination = {name: one for one in self.buckets for name in one.destinations}
        for row in self.review.by_key():
            self.progress.rows += 1
            bucket = by_destination.get(row.destination)
            if bucket is None or not self._is_covered(bucket, row):
                self._count(row, "elsewhere")
                continue
            self._learn(row)
            self._judge_strays(bucket, bucket.listing.before(row.key))
            self._compare(bucket, row, bucket.listing.take(row.key))
        for bucket in self.buckets:
            self._judge_strays(bucket, bucket.listing.rest())
        self._add_holes()
        if self._has_segments:
            self._add_broken()
        self._add_lost()
        for finding in self.disk.findings(self._asked_watches()):
            self.found.add(finding)

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong, and everything could be looked at."""
        return not (self.found.is_wrong or self.disk.unread or any(self._failed()))

    def _failed(self) -> Iterator[tuple[Bucket, str, PortError]]:
        for bucket in self.buckets:
            for prefix, problem in bucket.listing.failed.items():
                yield bucket, prefix, problem

    def _asked_watches(self) -> list[Watch]:
        return [one for one in self.watches if self.asked.watch in (None, one.name)]

    def _is_asked(self, row: Row | Segment) -> bool:
        is_of_watch = self.asked.watch in (None, row.watch)
        return is_of_watch and row.promised_at >= self.asked.since_at

    def _count(self, row: Row, what: str) -> None:
        self.counts[what] += row.is_in_s3 and self._is_asked(row)

    # The journal and the bucket.

    def _learn(self, row: Row) -> None:
        """What the row's name says of its series; only of a time of which nothing is forgotten."""
        if row.promised_at < self.now - REMEMBERED_SECONDS or not self._is_asked(row):
            return
        self._has_segments = self._has_segments or row.raw_start > 0
        member = member_of(RelativePath(row.path))
        if member is not None:
            self._names.add(row.watch, member, row.mtime_ns)
        else:
            self._mixed.add(row.watch)

    def _is_covered(self, bucket: Bucket, row: Row) -> bool:
        """Whether the key is listed. One that an earlier configuration gave to this instance is,
        where it names the instance; one of another machine, of an image, is not."""
        if bucket.listing.prefix_of(row.key) is not None:
            return True
        own = self._own_directory(row.key)
        if not own or not self._is_asked(row) or not row.is_in_s3:
            return False
        prefix = bucket.cover(own, row.key)
        if prefix:
            self._judge_strays(bucket, bucket.listing.before(prefix))
            bucket.listing.insert(prefix)
        return bool(prefix)

    def _own_directory(self, key: str) -> str:
        """The key's beginning, if it names a directory after this instance."""
        return instance_directory(key, "", fact(self.instance_id))

    def _compare(self, bucket: Bucket, row: Row, found: ArchivedObject | None) -> None:
        if not self._is_asked(row):
            return
        if not row.is_in_s3:
            self._judge_unshipped(bucket, row, found)
            return
        if bucket.listing.prefix_of(row.key) in bucket.listing.failed:
            self.counts["unlisted"] += 1
            return
        if (row.finished_at or row.promised_at) < bucket.moved_at.get(row.destination, 0.0):
            self.counts["elsewhere"] += 1
            return
        self.counts["compared"] += 1
        self.counts["size_only"] += found is not None and not has_etags(row, found)
        verdict = difference(row, found)
        if verdict is not None and self.found.has_room(verdict[0]):
            verdict = self._looked_again(bucket, row)
        if verdict is not None and verdict[0] is Kind.MISSING and self._is_over(row):
            self.counts["expired"] += 1
        elif verdict is not None:
            self.found.add(Finding(verdict[0], row.watch, row.key, verdict[1]))

    def _judge_unshipped(self, bucket: Bucket, row: Row, found: ArchivedObject | None) -> None:
        on_the_way = {State.READY: "waiting", State.UPLOADING: "waiting"}
        self.counts[on_the_way.get(State(row.state), row.state.lower())] += 1
        if found is not None and not may_have_sent(row, found):
            self._judge_stray(bucket, found)

    def _is_over(self, row: Row) -> bool:
        """Whether the next pruning forgets the row. A rule that expires objects after as many
        days may come before that."""
        if (row.finished_at or self.now) >= self.now - REMEMBERED_SECONDS:
            return False
        watch = self._watch_of(row)
        file = row._replace(inode=unsigned(row.inode))
        return watch is None or not self.disk.stands(watch, file)

    def _watch_of(self, row: Row | Segment) -> Watch | None:
        return next((one for one in self.watches if one.name == row.watch), None)

    def _is_own(self, key: str) -> bool:
        """Whether this instance wrote it, and no machine of which the disk is an image."""
        is_listed = any(one.listing.prefix_of(key) is not None for one in self.buckets)
        return is_listed or bool(self._own_directory(key))

    def _looked_again(self, bucket: Bucket, row: Row) -> tuple[Kind, str] | None:
        """It may have been shipped, or sent again under another key, since its page was read."""
        now = self.review.again(row)
        if now is None or not now.is_in_s3 or now.key != row.key:
            return None
        try:
            return difference(now, bucket.find(ObjectKey(now.key)))
        except PortError as error:
            bucket.listing.failed[bucket.listing.prefix_of(row.key) or row.key] = error
            return None

    def _judge_strays(self, bucket: Bucket, strays: Iterator[ArchivedObject]) -> None:
        """Objects that no row of the journal had, or had sent, when it was read."""
        for one in strays:
            self._judge_stray(bucket, one)

    def _judge_stray(self, bucket: Bucket, one: ArchivedObject) -> None:
        if bucket.is_reserved(one.key):
            return
        is_of_one_watch = self.asked.watch is not None
        owner = bucket.owner_of(one.key, strictly=is_of_one_watch)
        is_named = bool(self._own_directory(one.key)) and not is_of_one_watch
        if owner is None and not is_named:
            self.counts["unattributed"] += not is_of_one_watch
        elif one.modified_at + _LISTED_SECONDS <= self._remembers_since:
            self.counts["forgotten"] += one.modified_at >= self.asked.since_at
        elif one.modified_at >= self.asked.since_at:
            self._judge_unknown(owner.watch if owner else "", one)

    def _judge_unknown(self, watch: str, one: ArchivedObject) -> None:
        row = self.review.at_key(one.key)
        if row is not None and may_have_sent(row, one):
            return  # sent since its page was read
        key = one.key
        for _ in range(_RENAMED_TIMES):
            key = another_key(key)
            if self.review.at_key(key) is not None:
                self.counts["set_apart"] += 1
                return
        written = f"{one.size_bytes} bytes, written {instant(one.modified_at)}"
        self.found.add(Finding(Kind.UNKNOWN, watch, one.key, written))

    # The journal alone.

    def _add_holes(self) -> None:
        """Look on the disk first: empty logs make no objects, but may stand there."""
        self.counts["unjudged_series"] = int(self._names.is_full)
        incomplete: dict[str, set[bytes]] = {}
        for (watch, series), _ in self._names.holes():
            incomplete.setdefault(watch, set()).add(series)
        for one in self.watches:
            for mtime_ns, member in self.disk.members(one, incomplete.get(one.name, set())):
                self._names.add(one.name, member, mtime_ns)
        for (watch, series), hole in self._names.holes():
            self.found.add(
                _of_hole(watch, series, hole, is_wrong=self._is_unexpected(watch, hole))
            )

    def _is_unexpected(self, name: str, hole: Hole) -> bool:
        """Whether a log had to come in the hole: ``expect_every`` is about all logs of a watch."""
        if name in self._mixed or len(self._names.series_of(name)) > 1:
            return False
        every = next((one.expect_every_seconds for one in self.watches if one.name == name), 0.0)
        since_at = self.journal.origin.expected_since(name) if every else None
        is_longer = hole.until_at - hole.since_at > every
        return is_longer and since_at is not None and hole.since_at >= since_at

    def _add_broken(self) -> None:
        rows = self.review.of_inodes()
        for _, of_inode in groupby(rows, key=lambda one: (one.watch, one.inode)):
            group = [*of_inode]
            if any(one.raw_start for one in group):
                self._add_broken_of(group)

    def _add_broken_of(self, group: list[Segment]) -> None:
        for row, kind, start, end in broken_segments(group):
            watch = self._watch_of(row)
            is_remembered = row.promised_at >= self.now - REMEMBERED_SECONDS
            # The journal forgets the first segments of a log that stands no more, one by one.
            is_told = start > 0 or (watch is not None and self.disk.stands(watch, row))
            if is_remembered and is_told and self._is_asked(row) and self._is_own(row.key):
                detail = f"bytes {start} to {end} before {row.key}"
                name = printable(row.path)
                self.found.add(Finding(kind, row.watch, name, detail))

    def _add_lost(self) -> None:
        for row in self.journal.lost(-1):
            is_asked = self.asked.watch in (None, row.watch)
            if is_asked and row.promised_at >= self.asked.since_at:
                name, detail = printable(row.path), f"shipment {row.id}: {row.code}"
                self.found.add(Finding(Kind.LOST, row.watch, name, detail))

    # What is said.

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        kinds = [kind for kind in Kind if kind in self.found.totals]
        return {
            "well": self.is_well,
            "instance": self.instance_id,
            "at": instant(self.now),
            "since": instant(self.asked.since_at) if self.asked.since_at else None,
            "watches": [watch.name for watch in self._asked_watches()],
            "buckets": [
                {"bucket": one.name, "prefixes": sorted(one.listing.prefixes)}
                for one in self.buckets
            ],
            "objects": self.progress.objects,
            "shipments": self.progress.rows,
            "counts": {name: self.counts[name] for name in COUNTED},
            "totals": {kind.value: self.found.totals[kind] for kind in kinds},
            "hints": {kind.value: HINTS[kind] for kind in kinds},
            "findings": [
                {
                    "kind": one.kind.value,
                    "watch": one.watch,
                    "name": one.name,
                    "detail": one.detail,
                    "is_wrong": one.is_wrong,
                }
                for one in sorted(self.found.named, key=lambda one: (kinds.index(one.kind),))
            ],
            "problems": [
                {"name": name, "code": one.code, "detail": one.detail, "hint": one.hint}
                for name, one in chain(
                    ((f"{one.name}/{prefix}", error) for one, prefix, error in self._failed()),
                    self.disk.unread,
                )
            ],
        }


COUNTED = {
    "compared": "compared with their objects",
    "size_only": "of these by their size alone: the server lists no ETags",
    "waiting": "not in S3 yet: `shipper status`",
    "parked": "parked: `shipper status`",
    "duplicate": "copies of a log whose object has their bytes",
    "elsewhere": (
        "of a bucket, a destination or a machine before, or under keys that do not name this "
        "instance: not compared"
    ),
    "unlisted": "where the bucket could not be listed: not compared",
    "expired": (
        "shipments of more than 30 days ago, without their objects: the journal is about to "
        "forget them, and nothing of them stands"
    ),
    "forgotten": "objects that are older than the journal remembers",
    "unattributed": "objects that may be another instance's: their keys name none",
    "set_apart": "objects under a key that shipper found taken and left alone",
    "unjudged_series": "too many names to tell what is missing in a series",
}
"""What is counted and is not wrong."""


def _of_hole(watch: str, series: bytes, hole: Hole, *, is_wrong: bool) -> Finding:
    missing = ", ".join(hole.missing) + (", ..." if hole.count > len(hole.missing) else "")
    detail = f"{hole.count} missing between {hole.before} and {hole.after}: {missing}"
    return Finding(Kind.SERIES, watch, printable(series), detail, is_wrong=is_wrong)
