"""The disk's part of an audit: rotated files against what the journal knows of them."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from shipper.core.audit import OVERDUE_SECONDS, Finding, Kind, Row, Segment
from shipper.core.dates_in_names import earlier_clock
from shipper.core.left_alone import is_older
from shipper.core.object_keys import printable
from shipper.core.roles import may_be_held_open, selection
from shipper.core.sealing import UNPROVEN_QUIET_FACTOR, UNPROVEN_QUIET_SECONDS
from shipper.core.series import Member, member_of
from shipper.core.siblings import Siblings
from shipper.core.types import (
    AfterUpload,
    Entry,
    FileKind,
    RelativePath,
    Shipment,
    State,
    Watch,
)
from shipper.journal.journal import Journal
from shipper.ports import Files, PortError
from shipper.reports.rows import instant


@dataclass(kw_only=True)
class Disk:
    """The directories of the watches; for one thread."""

    files: Files
    journal: Journal
    now: float
    booted_at: float
    unread: list[tuple[str, PortError]] = field(default_factory=list, init=False)
    """Directories that could not be looked at."""

    def findings(self, watches: Iterable[Watch]) -> Iterator[Finding]:
        """What stands there and should not, or of which nothing was promised."""
        for watch in watches:
            for entry in self._rotated(watch):
                found = self._judged(watch, entry)
                if found is not None:
                    kind, detail = found
                    yield Finding(kind, watch.name, printable(entry.path), detail)

    def _rotated(self, watch: Watch) -> Iterator[Entry]:
        clock = self._long_ago

        def selects(path: RelativePath, siblings: Siblings) -> bool | None:
            return selection(watch, path, siblings, clock)

        for entry in self.files.scan(watch, selects):
            if isinstance(entry, PortError):
                self.unread.append((f"watch {watch.name}", entry))
            elif entry.stat.kind is FileKind.REGULAR:
                yield entry

    def _judged(self, watch: Watch, entry: Entry) -> tuple[Kind, str] | None:
        known = self.journal.newest(watch.name, entry.stat.inode, entry.place)
        if known is None:
            return self._unpromised(watch, entry)
        due_at = _due_at(watch, known)
        is_same = (known.raw_end, known.mtime_ns) == (entry.stat.size_bytes, entry.stat.mtime_ns)
        if not is_same or due_at is None or self._up_since(due_at) < OVERDUE_SECONDS:
            return None
        why = f": {known.code}" if known.code else ""
        return Kind.OVERDUE, f"was to go at {instant(due_at)}{why}"

    def _unpromised(self, watch: Watch, entry: Entry) -> tuple[Kind, str] | None:
        stat = entry.stat
        quiet_since = max(stat.mtime_ns, stat.ctime_ns) / 1e9
        unproven = max(UNPROVEN_QUIET_FACTOR * watch.settle_seconds, UNPROVEN_QUIET_SECONDS)
        late = OVERDUE_SECONDS + unproven + watch.min_age_seconds
        is_to_stay = not stat.size_bytes or is_older(watch, stat, self.now)
        if is_to_stay or may_be_held_open(entry.path, self._long_ago):
            return None
        if self._up_since(quiet_since) < late:
            return None
        return Kind.UNPROMISED, f"{stat.size_bytes} bytes, unchanged since {instant(quiet_since)}"

    @property
    def _long_ago(self) -> datetime:
        """A dated log that was live until midnight is not expected to be promised at midnight."""
        return earlier_clock(self.now - OVERDUE_SECONDS)

    def _up_since(self, at: float) -> float:
        """For how many seconds since then the machine was surely up."""
        return self.now - max(at, self.booted_at)

    def members(self, watch: Watch, series: set[bytes]) -> Iterator[tuple[int, Member]]:
        """What stands of these series, with its mtime."""
        if not series:
            return
        for entry in self._rotated(watch):
            member = member_of(entry.path)
            if member is not None and member.series in series:
                yield entry.stat.mtime_ns, member

    def stands(self, watch: Watch, row: Row | Segment) -> bool:
        """Whether the file of the row is where it was seen last."""
        try:
            with closing(self.files.open(watch, RelativePath(row.path))) as source:
                return source.stat().inode == row.inode
        except PortError:
            return False


def _due_at(watch: Watch, known: Shipment) -> float | None:
    """When its file was to be removed; None where it is to stay, or is not verified. What was kept
    stays under another configuration, too."""
    is_to_stay = watch.after_upload is AfterUpload.KEEP or known.is_live
    return None if is_to_stay or known.state is not State.VERIFIED else known.due_at
