"""Discovery: finds rotated logs, waits until they are sealed, and promises them.

One step is one scan of every watch:

1. every directory entry that a watch selects gets a look (one ``stat``);
2. an entry whose inode the journal knows as finished, at that size and mtime, is passed over by
   later scans until it changes;
3. an entry that changed since the last look, or not long enough ago, waits;
4. the others are opened, tested for writers and recognised by their bytes;
5. what is new is promised, in batches of one transaction, and held.

The scan is the truth; a nudge of the watcher only ends the wait for it. An entry that could not be
looked at is a problem to show, and never means that a file was deleted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, assert_never

from shipper.core.backoff import scan_interval
from shipper.core.left_alone import LeftAlone
from shipper.core.lifecycle import RemovalWanted
from shipper.core.object_keys import printable
from shipper.core.scan_cache import ScanCache
from shipper.core.sealing import Look
from shipper.core.types import (
    Shipment,
    State,
    Watch,
    WatchName,
)
from shipper.journal.journal import Journal
from shipper.ports import Clock, PortError, Source
from shipper.services.finding.candidate import Candidate, Decision
from shipper.services.finding.candidates import Candidates, LookKey, look_key
from shipper.services.finding.cleanup import Cleanup
from shipper.services.finding.refusals import Refused
from shipper.services.finding.scan import Fresh, Scan, about, warn_of_left_alone
from shipper.services.sources.canonical_line import named
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.matching import opened_source
from shipper.services.sources.watch_roots import other_root

BATCH = 256
REST_FACTOR = 10.0
"""A scan rests this many times as long as it took, so that nudges cost a tenth of a core."""
SHORTEST_REST_SECONDS = 0.2


class Discovery:
    """``step`` belongs to one thread. Whatever is public is of the last scan, for any thread."""

    problems: tuple[Candidate, ...] = ()
    """What could not be shipped, the first ``PROBLEMS_SHOWN`` of it."""
    refusals: Mapping[tuple[WatchName, str], Refused] = MappingProxyType({})
    """All of it, and what is parked or late, in numbers."""
    left_alone: Mapping[WatchName, LeftAlone] = MappingProxyType({})
    """What no watch selects."""
    directories: Mapping[WatchName, tuple[bytes, ...]] = MappingProxyType({})
    """What the patterns match, below their watches' directories."""
    waiting_files = 0
    oldest_waiting_seconds = 0.0
    """How long the file that has waited longest has been waiting."""
    waiting_since: Mapping[WatchName, float] = MappingProxyType({})
    """Since when (wall time) each watch's has been."""
    unproven_files = 0
    """Waiting files of which nobody can tell whether they have a writer."""
    partial_files = 0
    """Files of which a part was promised; the rest comes with the next scan."""
    empty_files = 0
    unremoved_files = 0
    """Files due for removal of which nobody can tell whether they have a writer."""
    scans = 0
    scan_seconds = 0.0
    rest_seconds = SHORTEST_REST_SECONDS
    """How long not even a nudge should cause another scan."""
    trouble: PortError | None = None
    """Why nothing can be promised; None while everything can."""
    found_by_scan = 0
    """Promised files that no event had announced, in this life."""
    is_nudged = False
    """Set by an event; the next step takes it back."""
    has_unwatched = False
    """Set while something may be rotated without an event: scans come more often."""

    def __init__(
        self,
        *,
        watches: Sequence[Watch],
        candidates: Candidates,
        journal: Journal,
        held: HeldFiles,
        disposal: Disposal,
        clock: Clock,
        interval_seconds: float,
        promised: Callable[[], None],
        splay: Callable[[], float] = lambda: 0.0,
        log: Any,
    ) -> None:
        self._watches = watches
        self._candidates = candidates
        self._journal = journal
        self._held = held
        self._disposal = disposal
        self._cleanup = Cleanup(disposal=disposal, clock=clock, log=log)
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._promised = promised
        self._splay = splay
        self._log = log
        self._looks: dict[LookKey, Look] = {}
        shifting = journal.origin.shifting
        self._scan_cache = {watch.name: ScanCache(shifting(watch.name)) for watch in watches}
        self._told: set[tuple[str, bytes, str]] = set()

    def step(self) -> float:
        """Scan once; the seconds to wait before the next scan."""
        was_nudged, self.is_nudged = self.is_nudged, False
        facts, now = self._candidates.facts(), self._clock.now()
        owner = facts.instance_id if facts is not None else ""
        scan = Scan(self._clock.monotonic(), now, owner)
        looks, self._looks = self._looks, {}
        try:
            self._go_through(scan, looks)
        except PortError as error:  # what was found will be found again
            self._looks = looks | self._looks
            if error.code == "InstanceChanged":
                return SHORTEST_REST_SECONDS
            if self.trouble is None:
                self._log.error("journal.unwritable", **error.words)
            self.trouble = error
            return self._interval_seconds
        finally:
            scan.close()
        self.trouble = None
        self.found_by_scan += 0 if was_nudged or not self.scans else scan.promised
        self._show(scan)
        interval = scan_interval(self._interval_seconds, has_unwatched=self.has_unwatched)
        wait = 0.0 if self.is_comparing else min([interval, *scan.waits])
        return max(self.rest_seconds, wait)

    def _go_through(self, scan: Scan, looks: Mapping[LookKey, Look]) -> None:
        self._cleanup.begin()
        self._candidates.proofs.begin()
        logs = self._candidates.logs
        logs.begin()
        for watch in self._watches:
            for place in self._disposal.roots.look(watch):
                words = other_root(watch, place).words
                self._log.error("watch.replaced", watch=watch.name, **words)
        for candidate in self._candidates.each(self._watches, looks, self._scan_cache):
            self._candidates.bugs.contained(
                partial(self._act, candidate, scan),
                partial(scan.refuse, candidate),
                watch=candidate.watch.name,
                path=printable(candidate.path),
            )
        self._flush(scan)
        kept = {key: look for key, look in looks.items() if key[0] in scan.missed}
        self._looks = kept | self._looks
        has = self._scan_cache
        logs.unsealed = scan.unsealed
        logs.end(lambda log: has[log.watch.name].has(log.entry.path), self._looks)
        self._remember_shifts()

    def _show(self, scan: Scan) -> None:
        """Let everybody see what the scan found."""
        self.waiting_files, self.empty_files = scan.waiting, scan.empty
        self.oldest_waiting_seconds = scan.oldest_waiting_seconds
        self.waiting_since = scan.waiting_since
        self.unproven_files, self.partial_files = scan.unproven, scan.partial
        self.refusals, self.unremoved_files = scan.refusals, scan.unremoved
        self.directories = {
            watch.name: tuple(sorted(self._scan_cache[watch.name].directories))
            for watch in self._watches
            if watch.pattern
        }
        before = self.left_alone
        self.left_alone = {name: cache.left_alone for name, cache in self._scan_cache.items()}
        warn_of_left_alone(self._log, before, self.left_alone)
        self._tell(scan.problems)
        self.scans += 1
        self.scan_seconds = self._clock.monotonic() - scan.started
        rest = max(SHORTEST_REST_SECONDS, REST_FACTOR * self.scan_seconds)
        self.rest_seconds = min(rest, self._interval_seconds)

    @property
    def is_comparing(self) -> bool:
        """Whether a comparison with what was shipped goes on in the next scan."""
        return self._candidates.proofs.is_pending

    def _remember_shifts(self) -> None:
        for name, cache in self._scan_cache.items():
            if cache.shifts.has_new:
                self._journal.origin.remember_shifting(name, cache.shifts.known)
                cache.shifts.has_new = False

    def _act(self, candidate: Candidate, scan: Scan) -> None:
        scan.add(candidate)
        stat, known = candidate.stat, candidate.known
        self._hold_again(candidate)
        match candidate.decision:
            case Decision.NEW:
                assert candidate.promise is not None
                assert candidate.source is not None
                scan.fresh.append(Fresh(candidate.promise, candidate.source, candidate))
                self._journal.disown(*candidate.disproved)
            case Decision.UNDERWAY | Decision.SHIPPED | Decision.PARKED:
                assert known is not None
                self._follow(candidate, known, scan)
            case Decision.TOUCHED:
                assert known is not None
                assert stat is not None
                self._remember_name(candidate, known, scan)
                self._seal(candidate, known, stat.mtime_ns, scan)
            case Decision.EMPTY | Decision.DUPLICATE:
                scan.unremoved += self._cleanup.clear_away(candidate) == "WriterUnproven"
            case Decision.WAITING | Decision.REFUSED | Decision.OLD:
                pass
            case decision:
                assert_never(decision)
        if candidate.decision is not Decision.NEW:
            self._remember(candidate)
        if len(scan.fresh) >= BATCH:
            self._flush(scan)

    def _remember_name(self, candidate: Candidate, known: Shipment, scan: Scan) -> None:
        is_asked_for = known.finished_at is None or self._disposal.removes_kept
        if known.path != candidate.path and is_asked_for:
            scan.moves[known.id] = candidate.path

    def _remember(self, candidate: Candidate) -> None:
        """Keep its look until the next scan."""
        if candidate.look is not None and candidate.stat is not None:
            self._looks[look_key(candidate.watch, candidate.stat)] = candidate.look

    def _follow(self, candidate: Candidate, known: Shipment, scan: Scan) -> None:
        """Remember its name, and what has to happen to its file."""
        self._remember_name(candidate, known, scan)
        if candidate.is_renamed or candidate.is_to_go:
            self._seal(candidate, known, known.mtime_ns, scan)
        scan.unremoved += known.state is State.VERIFIED and known.code == "WriterUnproven"

    def _seal(self, candidate: Candidate, known: Shipment, mtime_ns: int, scan: Scan) -> None:
        """Note that all of it is shipped, and have it removed where it is to go."""
        assert candidate.stat is not None
        path = candidate.path if known.is_live else known.path
        events = [RemovalWanted(self._clock.now())] if candidate.is_to_go else []
        ctime_ns = candidate.stat.ctime_ns
        now = replace(known, path=path, mtime_ns=mtime_ns, ctime_ns=ctime_ns)
        scan.sealed.append((now, events))

    def _hold_again(self, candidate: Candidate) -> None:
        """Hold what waits since before a restart, or since there was no room for it."""
        for shipment in filter(self._held.wants, candidate.unsent):
            at = self._candidates.files, candidate.watch, candidate.path
            if (source := opened_source(*at, shipment)) is not None:
                self._held.keep(shipment, source)

    def _flush(self, scan: Scan) -> None:
        """Write what was found so far."""
        if scan.fresh:
            self._promise(scan)
            self._promised()
        batch = self._candidates.bugs.batch
        if scan.sealed:
            batch(self._journal.sealed, scan.sealed, lambda one: {"shipment": one[0].id})
            if any(events for _, events in scan.sealed):
                self._promised()
            scan.sealed = []
        if scan.moves:
            batch(self._journal.moved, [*scan.moves.items()], lambda move: {"shipment": move[0]})
            scan.moves = {}

    def _promise(self, scan: Scan) -> None:
        bugs = self._candidates.bugs
        scan.fresh.sort(key=lambda fresh: fresh.promise.mtime_ns)  # the oldest are sent first
        now = self._clock.now()
        due_at, owner = now + self._splay(), scan.instance_id

        def write(fresh: Sequence[Fresh]) -> list[Shipment]:
            promises = [one.promise for one in fresh]
            return self._journal.promise(promises, now=now, due_at=due_at, instance_id=owner)

        def refuse(fresh: Fresh, bug: PortError) -> None:
            scan.refuse(fresh.found, bug)
            self._remember(fresh.found)

        rows = bugs.batch(write, scan.fresh, about, refuse)
        added = {row.key: row for row in rows}
        scan.promised += len(added)
        while scan.fresh:  # what is handed over is not the scan's to close
            fresh = scan.fresh[0]
            hold = partial(self._hold, added.pop(fresh.promise.key, None), fresh.source)
            if not bugs.contained(hold, lambda bug: False, **about(fresh)):
                fresh.source.close()
            del scan.fresh[0]

    def _hold(self, shipment: Shipment | None, source: Source) -> bool:
        """Hand it over; False where it is not: it was seen under two names while it was renamed,
        and the other one has the shipment."""
        if shipment is None:
            return False
        self._held.keep(shipment, source)
        self._log.debug(
            "shipment.promised",
            **named(shipment),
            path=printable(shipment.path),
            raw_bytes=shipment.raw_bytes,
            sealed_because=shipment.sealed_because,
        )
        return True

    def _tell(self, problems: Sequence[Candidate]) -> None:
        """Log each problem when it appears, not at every scan."""
        self.problems = tuple(problems)
        told, self._told = self._told, set()
        for one in problems:
            assert one.problem is not None
            label = (one.watch.name, one.path, one.problem.code)
            if label not in told and label not in self._told:
                facts = {"watch": one.watch.name, "path": printable(one.path)}
                self._log.warning("candidate.refused", **facts, **one.problem.words)
            self._told.add(label)
