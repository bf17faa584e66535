"""What is to be done about one directory entry: gather as little as decides it.

A known, unchanged file costs the ``stat`` of the scan and one question to the journal. Only a file
that has been quiet for long enough is opened.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial

from shipper.core.dates_in_names import earlier_clock
from shipper.core.destinations import Destination
from shipper.core.identity import (
    chain_of,
    is_certain,
    is_finished,
    latest_segments,
    times_of,
    untouched,
)
from shipper.core.left_alone import is_older
from shipper.core.live_segments import is_shipped_live
from shipper.core.object_keys import InstanceFacts, printable
from shipper.core.roles import may_be_held_open, may_change
from shipper.core.scan_cache import ScanCache
from shipper.core.sealing import Look, Unsealed, early, look_again, seal, wait_for_segment
from shipper.core.types import (
    Entry,
    FileKind,
    FileStat,
    RelativePath,
    Shipment,
    Watch,
    WatchName,
    WriterTest,
)
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files, PortError
from shipper.services.bugs import Bugs
from shipper.services.finding.candidate import Candidate, Decision, decision_of, refused
from shipper.services.finding.decided import Decided
from shipper.services.finding.entries import entries_of
from shipper.services.finding.growth_proofs import GrowthProofs
from shipper.services.finding.live_logs import LiveLogs
from shipper.services.finding.obstacles import obstacle, refusal_of
from shipper.services.finding.segments import OpenFile, promise_of, unpromised
from shipper.services.sources.held_files import needs_source
from shipper.services.sources.matching import matches

LookKey = tuple[WatchName, int, int]
"""The watch, and the device and inode of the file: whose look it is."""


def look_key(watch: Watch, stat: FileStat) -> LookKey:
    """The key of a file's look."""
    return watch.name, stat.device, stat.inode


@dataclass(kw_only=True)
class Candidates:
    """Decides about entries; promises nothing and changes nothing."""

    files: Files
    journal: Journal
    clock: Clock
    destination_of: Callable[[Watch], Destination]
    facts: Callable[[], InstanceFacts | None]
    proofs: GrowthProofs
    bugs: Bugs
    logs: LiveLogs
    """Is told of the live files."""
    takes_live: bool = True
    """Whether live files are shipped when the machine ends: one that cannot be is refused."""
    is_ending: Callable[[], bool] = bool
    """Whether the machine is about to end."""
    _decided: Decided[Candidate] = field(default_factory=Decided, init=False)

    def each(
        self,
        watches: Iterable[Watch],
        looks: Mapping[LookKey, Look],
        scan_cache: Mapping[WatchName, ScanCache],
    ) -> Iterator[Candidate]:
        """Scan the watches and decide about every entry that looks like a rotated log.

        Files that are finished are left out, and go into the scan cache. So do live files that
        could be opened: a change of their permissions changes their ctime, too.
        """
        self._decided.begin()
        for watch in watches:
            cache = scan_cache[watch.name]
            cache.doubt_old(self.clock.now())
            for entry in self._entries(watch, cache):
                if isinstance(entry, Candidate):
                    yield entry
                    continue
                summary = self.journal.inode_summary(watch.name, entry.stat.inode)
                if is_finished(summary, entry.stat):
                    cache.add(entry.path, entry.stat)
                    continue
                before = looks.get(look_key(watch, entry.stat))
                decide = partial(self._contained, watch, entry, before)
                candidate = self._decided.again(entry, watch.name, summary, decide)
                if candidate.decision is Decision.OLD:
                    old_after = watch.ignore_older_seconds
                    cache.add(entry.path, entry.stat, old_after_seconds=old_after)
                elif candidate.is_over:
                    cache.add(entry.path, entry.stat)
                yield candidate

    def plan(
        self, watches: Iterable[Watch], seen: dict[WatchName, ScanCache] | None = None
    ) -> Iterator[Candidate]:
        """Every candidate as it would be decided if it were quiet; their sources are closed.

        ``seen`` gets what each watch leaves alone, and which directories match.
        """
        for watch in watches:
            cache = ScanCache()
            if seen is not None:
                seen[watch.name] = cache
            for entry in self._entries(watch, cache):
                if isinstance(entry, Candidate):
                    yield entry
                    continue
                candidate = self._contained(watch, entry, None, assume_quiet=True)
                if candidate.source is not None:
                    candidate.source.close()
                cache.left_alone.older += candidate.decision is Decision.OLD
                yield candidate

    def refused_live(self, watch: Watch, entry: Entry) -> Candidate | None:
        """The live file, if a drain could not take it as it is now."""
        problem = obstacle(self.files, self.journal, watch, entry, is_live=True)
        return None if problem is None else refused(watch, entry.path, problem)

    def _contained(
        self, watch: Watch, entry: Entry, before: Look | None, **how: bool
    ) -> Candidate:
        return self.bugs.contained(
            lambda: self.decide(watch, entry, before, **how),
            partial(refused, watch, entry.path),
            watch=watch.name,
            path=printable(entry.path),
        )

    def decide(
        self,
        watch: Watch,
        entry: Entry,
        before: Look | None,
        *,
        assume_quiet: bool = False,
        is_unknown: bool = False,
    ) -> Candidate:
        """What to do about the entry.

        ``assume_quiet`` skips the wait between two looks; ``is_unknown``: the journal knows
        nothing of its inode, and is not asked.

        Raises:
            PortError: ``JournalUnwritable``; whatever is wrong with the file is in the candidate.
        """
        refusal, stat, now = refusal_of(watch, entry.stat), entry.stat, self.clock.monotonic()
        if refusal is not None and stat.kind is not FileKind.REGULAR:
            return refused(watch, entry.path, refusal)
        at = self.clock.now()
        look = look_again(before, entry, now=now, is_older=is_older(watch, stat, at))
        is_unknown = is_unknown or stat.size_bytes == 0
        rows = [] if is_unknown else self.journal.known(watch.name, stat.inode)
        seen = Candidate(watch, entry.path, Decision.EMPTY, place=entry.place, stat=stat)
        seen = replace(seen, look=look, unsent=tuple(filter(needs_source, rows)))
        is_old = not rows and look.is_old
        if is_old or stat.size_bytes == 0:
            return seen.old() if is_old else seen
        if (same := self._untouched(seen, stat, rows)) is not None:
            return same
        if refusal is not None:
            return seen.refused(refusal)
        ends = self.is_ending()
        unsealed = early(watch, look, now=now, at=at, assume_quiet=assume_quiet, is_ending=ends)
        if unsealed is not None:
            return seen.unsealed(unsealed)
        try:
            return self._opened(seen, stat, look, rows, assume_quiet=assume_quiet)
        except PortError as error:
            return seen.failed(error)

    def _untouched(
        self, seen: Candidate, stat: FileStat, rows: Sequence[Shipment]
    ) -> Candidate | None:
        """The candidate if it is a known file, perhaps renamed, as its generation says then."""
        known = untouched(rows, stat)
        if known is None or (known.is_live and known.finished_at is not None):
            return None  # shipped live, all of it is compared once it is sealed
        same = seen.promised(known, decision_of(known), known.sealed_because)
        if is_certain(known, stat):
            return same
        try:
            with closing(self.files.open(seen.watch, seen.path)) as source:
                now = source.stat()
        except PortError:
            return None
        is_same = (now.size_bytes, now.mtime_ns) == (known.raw_end, known.mtime_ns)
        if known.is_live or not (is_same and is_certain(known, now)):
            return None
        return replace(same, stat=now, is_renamed=True)

    def _opened(
        self,
        seen: Candidate,
        stat: FileStat,
        look: Look,
        rows: Sequence[Shipment],
        *,
        assume_quiet: bool,
    ) -> Candidate:
        settle = seen.watch.settle_seconds
        with ExitStack() as unless_new:
            source = self.files.open(seen.watch, seen.path)
            unless_new.callback(source.close)
            now = source.stat()
            if (now.inode, now.size_bytes) != (stat.inode, stat.size_bytes):
                return seen.waiting(settle, "changed between look and open")
            at = self.clock.monotonic() + (settle if assume_quiet else 0.0)
            sealed = seal(look, source.writer(), settle_seconds=settle, now=at)
            if isinstance(sealed, Unsealed):
                is_open = sealed.because == WriterTest.OPEN.value
                clock = earlier_clock(self.clock.now())
                is_expected = is_open and may_be_held_open(seen.path, clock)
                return seen.unsealed(replace(sealed, is_expected=is_expected))
            file = OpenFile(seen.watch, seen.path, seen.place, source, now)
            candidate = self._recognised(seen, file, sealed.because, rows)
            if candidate.source is not None:
                unless_new.pop_all()
        return candidate

    def _recognised(
        self, seen: Candidate, file: OpenFile, because: str, rows: Sequence[Shipment]
    ) -> Candidate:
        pause = self._pause(file, rows)
        if pause > 0:
            return seen.waiting(pause, f"grows: its next segment is due in {pause:.0f} s")
        found = unpromised(self.journal, self.files, file, rows, self.proofs)
        if found.last is not None:
            # An unfinished shipment keeps its mtime, by which a removal checks every byte.
            is_over = found.last.finished_at is not None
            decision = Decision.TOUCHED if is_over else decision_of(found.last)
            return replace(seen, stat=file.stat).promised(found.last, decision, because)
        facts, segment = self.facts(), found.segments[0]
        if not segment.raw_start and seen.look is not None and seen.look.is_old:
            return seen.old()
        settle = file.watch.settle_seconds
        if facts is None:
            return seen.waiting(settle, "the instance is not known yet")
        to = self.destination_of(file.watch)
        promise = promise_of(segment, file, because, destination=to, facts=facts)
        since_at = self.logs.since_at(file)
        return replace(
            seen,
            decision=Decision.NEW,
            because=because,
            stat=file.stat,
            wait_seconds=settle if segment.raw_end < file.stat.size_bytes else None,
            promise=replace(promise, since_at=since_at or file.stat.born_ns / 1e9),
            source=file.source,
            disproved=found.disproved,
        )

    def _pause(self, file: OpenFile, rows: Sequence[Shipment]) -> float:
        """Seconds until the file gets another segment; asked before all of it is read."""
        grown = [last for last in latest_segments(rows) if last.raw_end < file.stat.size_bytes]
        return max(
            (
                wait_for_segment(times_of(chain_of(last, rows)), self.clock.now())
                for last in grown
                if matches(file.source, last)
            ),
            default=0.0,
        )

    def _entries(self, watch: Watch, cache: ScanCache) -> Iterator[Entry | Candidate]:
        """The rotated files, and every other entry that is refused."""
        live, now = set[RelativePath](), self.clock.now()
        takes_live = self.takes_live or is_shipped_live(watch)
        for entry in entries_of(self.files, watch, cache, now=now, bugs=self.bugs, live=live):
            if isinstance(entry, PortError):
                yield refused(watch, RelativePath(b""), entry)
                continue
            if entry.path not in live:
                yield entry
                continue
            self.logs.saw(watch, entry)
            refusal = self.refused_live(watch, entry) if takes_live else None
            if refusal is not None:
                yield refusal
            elif entry.stat.kind is FileKind.REGULAR and not may_change(entry.path):
                cache.add(entry.path, entry.stat)
