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

from collections.abc import Callable, Sequence
from typing import Any, assert_never

from shipper.core.backoff import scan_interval
from shipper.core.object_keys import printable
from shipper.core.scan_cache import ScanCache
from shipper.core.sealing import Look
from shipper.core.types import (
    AfterUpload,
    Promise,
    RelativePath,
    Shipment,
    ShipmentId,
    Watch,
    WriterTest,
)
from shipper.journal.journal import Journal
from shipper.ports import Clock, PortError, Source
from shipper.services.finding.candidates import Candidate, Candidates, Decision, LookKey, look_key
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.matching import matches

BATCH = 256
REST_FACTOR = 10.0
"""A scan rests this many times as long as it took, so that nudges cost a tenth of a core."""
SHORTEST_REST_SECONDS = 0.2
PROBLEMS_SHOWN = 100


class Discovery:
    """``step`` belongs to one thread. Whatever is public is of the last scan, for any thread."""

    problems: tuple[Candidate, ...] = ()
    """What could not be shipped, the first ``PROBLEMS_SHOWN`` of it."""
    waiting_files = 0
    oldest_waiting_seconds = 0.0
    """How long the file that has waited longest has been waiting."""
    unproven_files = 0
    """Waiting files of which nobody can tell whether they have a writer."""
    partial_files = 0
    """Files of which a part was promised; the rest comes with the next scan."""
    empty_files = 0
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
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._promised = promised
        self._splay = splay
        self._log = log
        self._looks: dict[LookKey, Look] = {}
        self._scan_cache = {watch.name: ScanCache() for watch in watches}
        self._told: set[tuple[str, bytes, str]] = set()

    def step(self) -> float:
        """Scan once; the seconds to wait before the next scan."""
        started, was_nudged = self._clock.monotonic(), self.is_nudged
        self.is_nudged = False
        scan = _Scan()
        looks, self._looks = self._looks, {}
        try:
            for candidate in self._candidates.each(self._watches, looks, self._scan_cache):
                scan.add(candidate)
                self._act(candidate, scan)
            self._flush(scan)
        except PortError as error:  # what was found will be found again
            self._looks = looks | self._looks
            if self.trouble is None:
                self._log.error("journal.unwritable", **error.words)
            self.trouble = error
            return self._interval_seconds
        finally:
            scan.close()
        self.trouble = None
        self.found_by_scan += 0 if was_nudged or not self.scans else scan.promised
        self.waiting_files, self.empty_files = scan.waiting, scan.empty
        self.oldest_waiting_seconds = max(0.0, started - min([started, *scan.first_looks]))
        self.unproven_files, self.partial_files = scan.unproven, scan.partial
        self._tell(scan.problems)
        self.scans += 1
        self.scan_seconds = self._clock.monotonic() - started
        rest = max(SHORTEST_REST_SECONDS, REST_FACTOR * self.scan_seconds)
        self.rest_seconds = min(rest, self._interval_seconds)
        interval = scan_interval(self._interval_seconds, has_unwatched=self.has_unwatched)
        return max(self.rest_seconds, min([interval, *scan.waits]))

    def _act(self, candidate: Candidate, scan: "_Scan") -> None:
        look, stat, known = candidate.look, candidate.stat, candidate.known
        self._hold_again(candidate)
        match candidate.decision:
            case Decision.NEW:
                assert candidate.promise is not None
                assert candidate.source is not None
                scan.fresh.append((candidate.promise, candidate.source))
                self._journal.disown(*candidate.disproved)
            case Decision.UNDERWAY | Decision.SHIPPED | Decision.PARKED:
                assert known is not None
                self._follow(candidate, known, scan)
            case Decision.TOUCHED:
                assert known is not None
                assert stat is not None
                scan.touches.append((known.id, stat.mtime_ns, stat.ctime_ns))
            case Decision.EMPTY | Decision.DUPLICATE:
                self._clear_away(candidate)
            case Decision.WAITING | Decision.REFUSED:
                pass
            case decision:
                assert_never(decision)
        if look is not None and candidate.decision is not Decision.NEW and stat is not None:
            self._looks[look_key(candidate.watch, stat)] = look
        if len(scan.fresh) >= BATCH:
            self._flush(scan)

    def _follow(self, candidate: Candidate, known: Shipment, scan: "_Scan") -> None:
        """Remember its name; clear away what was shipped live and is rotated by now."""
        if known.path != candidate.path and known.finished_at is None:
            scan.moves[known.id] = candidate.path
        if candidate.is_renamed and candidate.stat is not None:
            scan.touches.append((known.id, known.mtime_ns, candidate.stat.ctime_ns))
        if known.is_live and known.finished_at is not None:
            self._clear_away(candidate)

    def _hold_again(self, candidate: Candidate) -> None:
        """Hold what waits since before a restart, or since there was no room for it."""
        for shipment in candidate.unsent:
            if not self._held.wants(shipment):
                continue
            source = self._candidates.source_of(candidate, shipment)
            if source is not None:
                self._held.keep(shipment, source)

    def _flush(self, scan: "_Scan") -> None:
        """Write what was found so far."""
        if scan.fresh:
            scan.fresh.sort(key=lambda fresh: fresh[0].mtime_ns)  # the oldest are sent first
            now = self._clock.now()
            promises = [promise for promise, _ in scan.fresh]
            rows = self._journal.promise(promises, now=now, due_at=now + self._splay())
            added = {row.key: row for row in rows}
            scan.promised += len(added)
            while scan.fresh:  # what is handed over is not the scan's to close
                promise, source = scan.fresh[0]
                self._hold(added.pop(promise.key, None), source)
                del scan.fresh[0]
            self._promised()
        if scan.touches:
            self._journal.touched(scan.touches)
            scan.touches = []
        if scan.moves:
            self._journal.moved(scan.moves.items())
            scan.moves = {}

    def _hold(self, shipment: Shipment | None, source: Source) -> None:
        if shipment is None:  # the file was seen under two names while it was renamed
            source.close()
            return
        self._held.keep(shipment, source)
        self._log.debug(
            "shipment.promised",
            shipment=shipment.id,
            watch=shipment.watch,
            path=printable(shipment.path),
            key=shipment.key,
            raw_bytes=shipment.raw_bytes,
            sealed_because=shipment.sealed_because,
        )

    def _clear_away(self, candidate: Candidate) -> None:
        """Dispose of what needs no shipment, once it is as old as ``delete_after`` asks.

        So go a duplicate, an empty file, and a rotated log that was shipped whole while live.
        """
        watch, known, stat = candidate.watch, candidate.known, candidate.stat
        if watch.after_upload is AfterUpload.KEEP or stat is None:
            return
        if known is not None:
            age = self._clock.now() - (known.finished_at or self._clock.now())
        else:
            age = self._clock.monotonic() - (candidate.look.since if candidate.look else 0.0)
        if age < watch.delete_after_seconds:
            return

        def is_same(source: Source) -> bool:
            now = source.stat()
            # Bytes in its middle may have changed since the scan looked at it.
            is_it = (now.inode, now.size_bytes, now.mtime_ns) == (
                stat.inode,
                stat.size_bytes,
                stat.mtime_ns,
            )
            is_it = is_it and (known is None or self._is_there(source, known))
            return is_it and source.writer() is not WriterTest.OPEN

        try:
            removed = self._disposal.remove(watch, candidate.path, is_same)
        except PortError as error:
            self._log.warning("file.not_removed", path=printable(candidate.path), code=error.code)
            return
        if removed:
            self._log.info(
                "file.removed", path=printable(candidate.path), because=candidate.decision.value
            )

    def _is_there(self, source: Source, known: Shipment) -> bool:
        """Whether S3 has all of it; for live segments, that was not asked yet."""
        return matches(source, known) and (
            not known.is_live or self._disposal.is_shipped(source, known)
        )

    def _tell(self, problems: Sequence[Candidate]) -> None:
        """Log each problem when it appears, not at every scan."""
        self.problems = tuple(problems)
        told, self._told = self._told, set()
        for one in problems:
            assert one.problem is not None
            label = (one.watch.name, one.path, one.problem.code)
            if label not in told and label not in self._told:
                path = printable(one.path)
                self._log.warning(
                    "candidate.refused", watch=one.watch.name, path=path, **one.problem.words
                )
            self._told.add(label)


class _Scan:
    def __init__(self) -> None:
        self.fresh: list[tuple[Promise, Source]] = []
        self.moves: dict[ShipmentId, RelativePath] = {}
        self.touches: list[tuple[ShipmentId, int, int]] = []
        self.problems: list[Candidate] = []
        self.waits: list[float] = []
        self.first_looks: list[float] = []
        self.waiting = self.unproven = self.partial = self.empty = self.promised = 0

    def add(self, candidate: Candidate) -> None:
        if candidate.problem is not None and len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(candidate)
        if candidate.wait_seconds is not None:
            self.waits = [min([candidate.wait_seconds, *self.waits])]
        if candidate.decision is Decision.WAITING and candidate.look is not None:
            self.waiting += 1
            self.first_looks = [min([candidate.look.first_at, *self.first_looks])]
        self.unproven += candidate.is_unproven
        self.partial += candidate.decision is Decision.NEW and candidate.wait_seconds is not None
        self.empty += candidate.decision is Decision.EMPTY

    def close(self) -> None:
        for _, source in self.fresh:
            source.close()
