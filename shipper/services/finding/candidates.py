"""What is to be done about one directory entry: gather as little as decides it.

A known, unchanged file costs the ``stat`` of the scan and one question to the journal. Only a file
that has been quiet for long enough is opened.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from shipper.core.identity import untouched
from shipper.core.object_keys import InstanceFacts
from shipper.core.rotated_names import role_of
from shipper.core.scan_cache import ScanCache
from shipper.core.sealing import Look, Unsealed, look_again, seal, wait_for_quiet
from shipper.core.types import (
    Entry,
    FileKind,
    FileStat,
    InodeSummary,
    Promise,
    RelativePath,
    Role,
    Shipment,
    State,
    Watch,
    WatchName,
)
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files, PortError, Source
from shipper.services.finding.segments import promise_of, unpromised
from shipper.services.sources.held_files import needs_source
from shipper.services.sources.matching import matches

LookKey = tuple[WatchName, int, int]
"""The watch, and the device and inode of the file: whose look it is."""


def look_key(watch: Watch, stat: FileStat) -> LookKey:
    """The key of a file's look."""
    return watch.name, stat.device, stat.inode


class Decision(Enum):
    """What a candidate is; the value is shown."""

    NEW = "to be shipped"
    WAITING = "not sealed yet"
    UNDERWAY = "on its way"
    SHIPPED = "shipped"
    TOUCHED = "shipped; touched since"
    DUPLICATE = "copy of a shipped log"
    PARKED = "parked"
    EMPTY = "nothing in it"
    REFUSED = "cannot be shipped"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry that looks like a rotated log, and what was decided about it.

    ``source`` is open when the decision is NEW, and whoever gets the candidate closes it.
    """

    watch: Watch
    path: RelativePath
    decision: Decision
    because: str = ""
    stat: FileStat | None = None
    look: Look | None = None
    wait_seconds: float | None = None
    is_unproven: bool = False
    """It waits only because nobody can tell whether it has a writer."""
    known: Shipment | None = None
    unsent: tuple[Shipment, ...] = ()
    """Every shipment of the entry's inode whose bytes may still have to be read."""
    promise: Promise | None = None
    source: Source | None = None
    problem: PortError | None = None


class Candidates:
    """Decides about entries; promises nothing and changes nothing."""

    def __init__(
        self,
        *,
        files: Files,
        journal: Journal,
        clock: Clock,
        key_template: str,
        facts: Callable[[], InstanceFacts | None],
    ) -> None:
        self._files = files
        self._journal = journal
        self._clock = clock
        self._key_template = key_template
        self._facts = facts

    def each(
        self,
        watches: Iterable[Watch],
        looks: Mapping[LookKey, Look],
        scan_cache: Mapping[WatchName, ScanCache],
    ) -> Iterator[Candidate]:
        """Scan the watches and decide about every entry that looks like a rotated log.

        Files that are finished are left out, and go into the scan cache.
        """
        for watch in watches:
            known = scan_cache[watch.name]
            for entry in self._files.scan(watch, _selector(watch), known):
                if isinstance(entry, PortError):
                    yield refused(watch, RelativePath(b""), entry)
                    continue
                inode_summary = self._journal.inode_summary(watch.name, entry.stat.inode)
                if _is_finished(inode_summary, entry.stat):
                    known.add(entry.path, entry.stat)
                    continue
                before = looks.get(look_key(watch, entry.stat))
                yield self.decide(watch, entry, before, is_unknown=inode_summary.is_unknown)

    def plan(self, watches: Iterable[Watch]) -> Iterator[Candidate]:
        """Every candidate as it would be decided if it were quiet; their sources are closed."""
        for watch in watches:
            for entry in self._files.scan(watch, _selector(watch)):
                if isinstance(entry, PortError):
                    yield refused(watch, RelativePath(b""), entry)
                    continue
                candidate = self.decide(watch, entry, None, assume_quiet=True)
                if candidate.source is not None:
                    candidate.source.close()
                yield candidate

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
        stat, path = entry.stat, entry.path
        refusal = _refusal(watch, stat)
        if refusal is not None:
            return refused(watch, path, refusal)
        look = look_again(before, entry, now=self._clock.monotonic())
        if stat.size_bytes == 0:
            return Candidate(watch, path, Decision.EMPTY, stat=stat, look=look)
        rows = [] if is_unknown else self._journal.known(watch.name, stat.inode)
        candidate = self._decided(watch, entry, look, rows, assume_quiet=assume_quiet)
        unsent = tuple(filter(needs_source, rows))
        return replace(candidate, unsent=unsent) if unsent else candidate

    def _decided(
        self,
        watch: Watch,
        entry: Entry,
        look: Look,
        rows: Sequence[Shipment],
        *,
        assume_quiet: bool,
    ) -> Candidate:
        stat, path = entry.stat, entry.path
        known = untouched(rows, stat)
        if known is not None:
            return Candidate(
                watch, path, _of_known(known), known.sealed_because, stat, known=known
            )
        settle = watch.settle_seconds
        wait = wait_for_quiet(look, settle_seconds=settle, now=self._clock.monotonic())
        if wait > 0 and not assume_quiet:
            return _waiting(watch, entry, look, wait, f"settles after {settle:g} s of quiet")
        try:
            return self._open(watch, entry, look, rows, assume_quiet=assume_quiet)
        except PortError as error:
            if error.code == "NotFound":
                return _waiting(watch, entry, look, settle, "renamed or removed meanwhile")
            return refused(watch, path, error, stat, look)

    def _open(
        self,
        watch: Watch,
        entry: Entry,
        look: Look,
        rows: Sequence[Shipment],
        *,
        assume_quiet: bool,
    ) -> Candidate:
        source = self._files.open(watch, entry.path)
        try:
            candidate = self._sealed(watch, entry, look, rows, source, assume_quiet=assume_quiet)
        except BaseException:
            source.close()
            raise
        if candidate.source is None:
            source.close()
        return candidate

    def _sealed(
        self,
        watch: Watch,
        entry: Entry,
        look: Look,
        rows: Sequence[Shipment],
        source: Source,
        *,
        assume_quiet: bool,
    ) -> Candidate:
        stat, settle = source.stat(), watch.settle_seconds
        if (stat.inode, stat.size_bytes) != (entry.stat.inode, entry.stat.size_bytes):
            return _waiting(watch, entry, look, settle, "changed between look and open")
        now = self._clock.monotonic() + (settle if assume_quiet else 0.0)
        sealed = seal(look, source.writer(), settle_seconds=settle, now=now)
        if isinstance(sealed, Unsealed):
            waiting = _waiting(watch, entry, look, sealed.wait_seconds, sealed.because)
            return replace(waiting, is_unproven=sealed.is_unproven)
        return self._recognised(
            watch, entry, look, rows, source, stat=stat, because=sealed.because
        )

    def _recognised(
        self,
        watch: Watch,
        entry: Entry,
        look: Look,
        rows: Sequence[Shipment],
        source: Source,
        *,
        stat: FileStat,
        because: str,
    ) -> Candidate:
        path, settle = entry.path, watch.settle_seconds
        found = unpromised(self._journal, watch, path, source, rows=rows, stat=stat)
        if isinstance(found, Shipment):
            # An unfinished shipment keeps its mtime, by which a removal checks every byte.
            is_over = found.finished_at is not None
            decision = Decision.TOUCHED if is_over else _of_known(found)
            return Candidate(watch, path, decision, because, stat, known=found)
        facts, segment = self._facts(), found[0]
        if facts is None:
            return _waiting(watch, entry, look, settle, "the instance is not known yet")
        promise = promise_of(
            segment,
            watch=watch,
            path=path,
            source=source,
            mtime_ns=stat.mtime_ns,
            because=because,
            key_template=self._key_template,
            facts=facts,
        )
        wait = settle if segment.raw_end < stat.size_bytes else None
        return Candidate(
            watch, path, Decision.NEW, because, stat, look, wait, promise=promise, source=source
        )

    def source_of(self, candidate: Candidate, shipment: Shipment) -> Source | None:
        """The candidate's file, open, if its name leads to that of the shipment."""
        try:
            source = self._files.open(candidate.watch, candidate.path)
        except PortError:
            return None
        if _is_still(source, shipment):
            return source
        source.close()
        return None


def refused(
    watch: Watch,
    path: RelativePath,
    problem: PortError,
    stat: FileStat | None = None,
    look: Look | None = None,
) -> Candidate:
    """An entry that cannot be shipped as it is."""
    return Candidate(watch, path, Decision.REFUSED, str(problem), stat, look, problem=problem)


def _is_still(source: Source, shipment: Shipment) -> bool:
    """Whether the name led to the shipment's file when it was opened, too."""
    try:
        return matches(source, shipment)
    except PortError:
        return False


def _selector(watch: Watch) -> Callable[[RelativePath], bool]:
    return lambda path: role_of(watch, path) is Role.ROTATED


def _is_finished(inode_summary: InodeSummary, stat: FileStat) -> bool:
    """Whether there is nothing left to do about the file for as long as it stays as it is."""
    return (
        inode_summary.finished == (stat.size_bytes, stat.mtime_ns)
        and stat.kind is FileKind.REGULAR
    )


def _refusal(watch: Watch, stat: FileStat) -> PortError | None:
    if stat.kind is not FileKind.REGULAR:
        return PortError("NotRegular", stat.kind.value, "exclude it, or remove it")
    if stat.link_count > 1 and not watch.follow_hard_links:
        return PortError(
            "HardLinked",
            f"{stat.link_count} names lead to it",
            "set follow_hard_links = true if whoever may write there is trusted",
        )
    return None


def _waiting(watch: Watch, entry: Entry, look: Look, wait: float, because: str) -> Candidate:
    return Candidate(
        watch, entry.path, Decision.WAITING, because, entry.stat, look, wait_seconds=wait
    )


def _of_known(known: Shipment) -> Decision:
    match known.state:
        case State.DUPLICATE:
            return Decision.DUPLICATE
        case State.PARKED:
            return Decision.PARKED
        case State.DONE | State.VERIFIED | State.UPLOADED:
            return Decision.SHIPPED
        case _:
            return Decision.UNDERWAY
