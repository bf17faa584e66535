"""The only place that builds things, with the ``wiring_`` modules: the parts of a configuration.

It is built in two steps, because the store needs to know its region and every key its instance:
``Services`` stands before the metadata service has answered, ``wiring_carrier`` comes after.

A house is of one configuration. What outlives a reload of it is the ``Estate``.
"""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from shipper.config.load import Configuration
from shipper.core.object_keys import InstanceFacts
from shipper.edges.clock import SystemClock
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.imds.client import ImdsMetadata
from shipper.journal.journal import Journal
from shipper.ports import PortError, Stopping
from shipper.runtime.counters import Counters
from shipper.runtime.logs import Redactor
from shipper.runtime.loops import progress
from shipper.runtime.state_directory import change_held, locked, opened_held, opened_journal
from shipper.runtime.wiring_identity import instance_lookup_for, keepers_for, metadata_for
from shipper.runtime.wiring_termination import termination_for
from shipper.services.credentials import CredentialKeeper
from shipper.services.finding.candidates import Candidates
from shipper.services.finding.discovery import Discovery
from shipper.services.housekeeping import Housekeeping
from shipper.services.instance import InstanceLookup
from shipper.services.sending.gate import Gate
from shipper.services.sending.rate_limits import ConcurrencyLimiter
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.held_budget import HeldBudget
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.lookup import SourceLookup
from shipper.services.termination import Termination

DRAIN_FACTOR = 2
"""During a drain there are so many times as many workers."""


@dataclass(slots=True)
class Nudges:
    """Whom to wake; the daemon fills these in once its loops exist."""

    discovery: Callable[[], None] = lambda: None
    carriers: Callable[[], None] = lambda: None
    credentials: Callable[[], None] = lambda: None
    look: Callable[[], None] = lambda: None
    """Wakes discovery, even where it would rest after a long scan: live files cannot wait."""
    draining: Callable[[], None] = lambda: None
    refreshed: Callable[[], None] = lambda: None
    known: Callable[[InstanceFacts], None] = lambda facts: None


@dataclass(frozen=True, slots=True)
class Estate:
    """What belongs to the state directory and to the process, whatever the configuration is.

    So nothing that is held is let go by a reload, and nobody else gets the lock meanwhile.
    """

    lock: int
    journal: Journal
    held: HeldFiles
    counters: Counters

    def close(self) -> None:
        """Release descriptors, the journal and the lock."""
        self.held.close()
        self.journal.close()
        os.close(self.lock)


@dataclass(frozen=True, slots=True)
class Services:
    """Every part that stands before the instance is known."""

    estate: Estate

    configuration: Configuration
    clock: SystemClock
    rng: Random
    log: Any
    nudges: Nudges
    stopping: threading.Event
    leaving: ExitStack
    """What is to be released when the house is left, and is not the estate's."""
    metadata: ImdsMetadata
    keepers: tuple[CredentialKeeper, ...]
    """The instance's own credentials first, those that sign for S3 last."""
    files: DirectoryFiles
    lookup: SourceLookup
    disposal: Disposal
    gate: Gate
    limiter: ConcurrencyLimiter
    instance_lookup: InstanceLookup
    discovery: Discovery
    termination: Termination
    housekeeping: Housekeeping

    @property
    def journal(self) -> Journal:
        """The estate's journal."""
        return self.estate.journal

    @property
    def held(self) -> HeldFiles:
        """What the estate holds."""
        return self.estate.held

    @property
    def counters(self) -> Counters:
        """The estate's counts."""
        return self.estate.counters

    @property
    def keeper(self) -> CredentialKeeper:
        """Who keeps the credentials that sign for S3."""
        return self.keepers[-1]

    def find(self) -> float:
        """Look for what is to be promised; the seconds to wait before the next look."""
        wait = self.discovery.step()
        self.termination.live.step()
        return wait

    def take_over(self) -> None:
        """Go on with the estate of a house that has been left: it is this configuration's now."""
        change_held(self.held, self.configuration, self.files, self.journal, self.log)
        with suppress(PortError):  # the journal's disk is full: the rows come due by themselves
            self.journal.due.make_due(self.clock.now())

    def leave(self) -> None:
        """Release what is this house's own. No loop may be at work any more."""
        self.leaving.close()

    def close(self) -> None:
        """Release everything, the estate, too."""
        self.leave()
        self.estate.close()


def build(
    configuration: Configuration,
    *,
    environment: Mapping[str, str],
    log: Any,
    redactor: Redactor,
    estate: Estate | None = None,
) -> Services:
    """Everything up to the point where the metadata service must have answered.

    With the ``estate`` of another house nothing is opened and nothing is begun: that one may
    still be at work, and ``take_over`` is called when it is not any more.

    Raises:
        PortError: ``JournalUnwritable``, ``JournalTooNew``, ``AlreadyRunning``,
            ``BadEndpoint``, ``BadProfileName``.
    """
    clock, rng, nudges, stopping = SystemClock(), Random(), Nudges(), threading.Event()
    metadata = metadata_for(configuration, environment, clock, wait=stopping.wait)
    leaving = ExitStack()
    leaving.callback(metadata.close)

    def between() -> None:
        progress()
        if stopping.is_set():
            raise Stopping

    files = DirectoryFiles(between=between)
    estate = estate or _taken(configuration, files, clock, log)
    journal, held = estate.journal, estate.held
    lookup = SourceLookup(files=files, held=held, journal=journal)
    disposal = Disposal(files=files, journal=journal, lookup=lookup, clock=clock)
    instance_lookup = instance_lookup_for(
        configuration,
        metadata,
        log,
        adopt=lambda facts: _adopt(facts, journal, held, log),
        known=lambda facts: nudges.known(facts),  # noqa: PLW0108  (set later)
    )
    keepers = keepers_for(
        configuration,
        environment,
        metadata,
        instance_lookup,
        log,
        nudge=lambda: nudges.credentials(),  # noqa: PLW0108  (set later)
        refreshed=lambda: nudges.refreshed(),  # noqa: PLW0108  (set later)
        learn=redactor.learn,
    )

    def opened() -> None:
        journal.due.requeue(clock.now())
        nudges.carriers()

    gate = Gate(
        clock=clock,
        generation=lambda: keepers[-1].generation,
        log=log,
        opened=opened,
        jitter=rng.random,
    )
    uploads = configuration.uploads
    limiter = ConcurrencyLimiter(
        most=uploads.concurrent_files * (1 + uploads.concurrent_parts) + 1,
        clock=clock,
        log=log,
        meanwhile=progress,
    )
    candidates = Candidates(
        files=files,
        journal=journal,
        clock=clock,
        key_template=configuration.destination.key,
        facts=lambda: instance_lookup.facts,
    )
    termination = termination_for(
        configuration=configuration,
        environment=environment,
        metadata=metadata,
        keepers=keepers,
        journal=journal,
        files=files,
        instance_lookup=instance_lookup,
        clock=clock,
        log=log,
        promised=lambda: nudges.carriers(),  # noqa: PLW0108  (set later)
        begun=lambda: nudges.draining(),  # noqa: PLW0108  (set later)
        look=lambda: nudges.look(),  # noqa: PLW0108  (set later)
    )
    discovery = Discovery(
        watches=configuration.watches,
        candidates=candidates,
        journal=journal,
        held=held,
        disposal=disposal,
        clock=clock,
        interval_seconds=configuration.scan_interval_seconds,
        promised=lambda: nudges.carriers(),  # noqa: PLW0108  (set later)
        splay=lambda: (
            0.0 if termination.is_draining else rng.random() * uploads.start_splay_seconds
        ),
        log=log,
    )
    return Services(
        estate=estate,
        configuration=configuration,
        clock=clock,
        rng=rng,
        log=log,
        nudges=nudges,
        stopping=stopping,
        leaving=leaving,
        metadata=metadata,
        keepers=keepers,
        files=files,
        lookup=lookup,
        disposal=disposal,
        gate=gate,
        limiter=limiter,
        instance_lookup=instance_lookup,
        discovery=discovery,
        termination=termination,
        housekeeping=_housekeeping(
            configuration=configuration,
            files=files,
            journal=journal,
            held=held,
            lookup=lookup,
            clock=clock,
            log=log,
        ),
    )


def _taken(
    configuration: Configuration, files: DirectoryFiles, clock: SystemClock, log: Any
) -> Estate:
    lock = locked(configuration.state_directory)
    journal = opened_journal(configuration.state_directory, clock.now(), log)
    held = opened_held(configuration, files, journal, log)
    return Estate(lock, journal, held, Counters())


def _housekeeping(
    *,
    configuration: Configuration,
    files: DirectoryFiles,
    journal: Journal,
    held: HeldFiles,
    lookup: SourceLookup,
    clock: SystemClock,
    log: Any,
) -> Housekeeping:
    watches = configuration.watches
    held_budget = HeldBudget(
        held=held,
        journal=journal,
        lookup=lookup,
        watches={watch.name: watch for watch in watches},
        clock=clock,
        budget_bytes=configuration.uploads.held_bytes,
        log=log,
    )
    waits = [watch.delete_after_seconds for watch in watches]
    longest = max(configuration.uploads.start_splay_seconds, *waits)
    return Housekeeping(
        watches=watches,
        files=files,
        journal=journal,
        held=held,
        held_budget=held_budget,
        clock=clock,
        longest_wait_seconds=longest,
        log=log,
    )


def _adopt(facts: InstanceFacts, journal: Journal, held: HeldFiles, log: Any) -> None:
    if journal.adopt(facts.instance_id):
        held.close()  # of shipments that are no more, and whose numbers will be used again
        log.warning("journal.adopted", instance_id=facts.instance_id)
