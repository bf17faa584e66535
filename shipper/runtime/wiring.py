"""Builds everything, with ``wiring_remote``; the only place that does.

It is built in two steps, because the store needs its region and every key its instance:
``build`` comes before the metadata service has answered, ``carrier_for`` afterwards.
"""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from shipper.config.load import Configuration
from shipper.core.object_keys import InstanceFacts
from shipper.core.parts import frames_ahead, parts_memory
from shipper.core.termination import DrainPolicy, Reason
from shipper.core.types import terms_of
from shipper.edges.clock import SystemClock
from shipper.edges.encoder import FrameEncoder
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files, LifecycleHook, Stopping
from shipper.runtime.counters import Counters
from shipper.runtime.logs import Redactor
from shipper.runtime.loops import Nudges, progress, wait_beating
from shipper.runtime.services import Ports, Services
from shipper.runtime.state_directory import locked, opened_held, opened_journal
from shipper.runtime.wiring_remote import Identity, checksum_algorithm, identity_for, store_for
from shipper.services.finding.candidates import Candidates
from shipper.services.finding.discovery import Discovery
from shipper.services.finding.live_files import LiveFiles
from shipper.services.housekeeping import Housekeeping
from shipper.services.sending.abandoned_uploads import AbandonedUploads
from shipper.services.sending.carrier import Carrier
from shipper.services.sending.compressor import Compressor
from shipper.services.sending.destination_change import move
from shipper.services.sending.duplicates import Duplicates
from shipper.services.sending.gate import ByteBudget, Gate
from shipper.services.sending.part_cutter import PartCutter
from shipper.services.sending.rate_limits import Bandwidth, ConcurrencyLimiter
from shipper.services.sending.recognition import Recognition
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.sender import ETags, Sender
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.held_budget import HeldBudget
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.lookup import SourceLookup
from shipper.services.termination import Termination

if TYPE_CHECKING:
    from shipper.edges.s3.store import S3Store

DRAIN_FACTOR = 2
"""During a drain there are so many times as many workers."""


def build(
    configuration: Configuration,
    *,
    environment: Mapping[str, str],
    log: Any,
    redactor: Redactor,
    ports: Ports | None = None,
) -> Services:
    """Everything up to the point where the metadata service must have answered.

    Raises:
        PortError: ``JournalUnwritable``, ``JournalTooNew``, ``AlreadyRunning``,
            ``StateUnwritable``, ``BadEndpoint``, ``BadProfileName``.
    """
    ports, nudges, stopping = ports or Ports(), Nudges(), threading.Event()
    clock, rng, uploads = ports.clock, ports.rng, configuration.uploads

    def adopt(facts: InstanceFacts) -> None:
        if journal.adopt(facts.instance_id):
            held.drop_all()  # their shipments are no more, and their numbers will be used again
            log.warning("journal.adopted", instance_id=facts.instance_id)

    identity = identity_for(
        configuration,
        environment,
        log,
        clock=clock,
        wait=stopping.wait,
        adopt=adopt,
        learn=redactor.learn,
        nudges=nudges,
    )
    leaving = ExitStack()
    leaving.callback(identity.metadata.close)
    lock = locked(configuration.state_directory, ports.lock)
    journal = opened_journal(configuration.state_directory, clock.now(), log)
    held = opened_held(configuration, ports.descriptor_store, journal, log)
    files = ports.files or DirectoryFiles(between=partial(_between, stopping))
    base = _Base(configuration, environment, identity, files, journal, held, clock, log, nudges)
    lookup = SourceLookup(files=files, held=held, journal=journal)
    disposal = Disposal(files=files, journal=journal, lookup=lookup, clock=clock)
    candidates = candidates_for(
        configuration, journal, lambda: identity.instance_lookup.facts, files=files, clock=clock
    )
    termination = _termination(base)

    def opened() -> None:
        journal.due.requeue(clock.now())
        nudges.carriers()

    def splay() -> float:
        return 0.0 if termination.is_draining else rng.random() * uploads.start_splay_seconds

    return Services(
        ports=ports,
        configuration=configuration,
        clock=clock,
        log=log,
        nudges=nudges,
        stopping=stopping,
        leaving=leaving,
        lock=lock,
        journal=journal,
        held=held,
        counters=Counters(),
        keepers=identity.keepers,
        lookup=lookup,
        disposal=disposal,
        gate=Gate(
            clock=clock,
            generation=lambda: identity.keepers[-1].generation,
            log=log,
            opened=opened,
            jitter=rng.random,
        ),
        limiter=ConcurrencyLimiter(
            most=uploads.concurrent_files * (1 + uploads.concurrent_parts) + 1,
            clock=clock,
            log=log,
            meanwhile=progress,
        ),
        instance_lookup=identity.instance_lookup,
        discovery=Discovery(
            watches=configuration.watches,
            candidates=candidates,
            journal=journal,
            held=held,
            disposal=disposal,
            clock=clock,
            interval_seconds=configuration.scan_interval_seconds,
            promised=lambda: nudges.carriers(),  # noqa: PLW0108  (set later)
            splay=splay,
            log=log,
        ),
        termination=termination,
        housekeeping=_housekeeping(base, lookup),
    )


def candidates_for(
    configuration: Configuration,
    journal: Journal,
    facts: Callable[[], InstanceFacts | None],
    *,
    files: Files | None = None,
    clock: Clock | None = None,
) -> Candidates:
    """What decides about each file below the watches."""
    return Candidates(
        files=files or DirectoryFiles(),
        journal=journal,
        clock=clock or SystemClock(),
        key_template=configuration.destination.key,
        facts=facts,
    )


@dataclass(frozen=True, slots=True)
class _Base:
    """What most parts are made of."""

    configuration: Configuration
    environment: Mapping[str, str]
    identity: Identity
    files: Files
    journal: Journal
    held: HeldFiles
    clock: Clock
    log: Any
    nudges: Nudges


def _between(stopping: threading.Event) -> None:
    """Called between two directories of a scan."""
    progress()
    if stopping.is_set():
        raise Stopping


def _termination(base: _Base) -> Termination:
    table, keepers, nudges = base.configuration.termination, base.identity.keepers, base.nudges
    wanted = {
        Reason.SPOT: table.spot,
        Reason.AUTOSCALING: table.autoscaling,
        Reason.REBALANCE: table.rebalance,
    }
    hook = _lifecycle_hook(base) if table.lifecycle_hook else None

    def begun() -> None:
        for keeper in keepers:
            keeper.refresh_now()
        nudges.draining()

    return Termination(
        metadata=base.identity.metadata,
        policy=DrainPolicy(
            table.lifecycle_timeout,
            has_hook=hook is not None,
            reasons=frozenset(reason for reason, is_wanted in wanted.items() if is_wanted),
            ships_live=table.ship_live_files,
        ),
        journal=base.journal,
        live=LiveFiles(
            watches=base.configuration.watches,
            key_template=base.configuration.destination.key,
            files=base.files,
            journal=base.journal,
            facts=lambda: base.identity.instance_lookup.facts,
            clock=base.clock,
            promised=lambda: nudges.carriers(),  # noqa: PLW0108  (set later)
            log=base.log,
        ),
        hook=hook,
        begun=begun,
        look=lambda: nudges.look(),  # noqa: PLW0108  (set later)
        skew_seconds=lambda: keepers[0].state().skew_seconds,
        clock=base.clock,
        log=base.log,
    )


def _lifecycle_hook(base: _Base) -> LifecycleHook:
    from shipper.edges.autoscaling import AutoScalingHook  # and botocore, where it is needed

    table = base.configuration.termination
    return AutoScalingHook(
        hook=table.lifecycle_hook,
        group=table.autoscaling_group,
        metadata=base.identity.metadata,
        credentials=base.identity.keepers[0].current,
        endpoint_url=base.environment.get("AWS_ENDPOINT_URL_AUTO_SCALING", ""),
    )


def _housekeeping(base: _Base, lookup: SourceLookup) -> Housekeeping:
    watches, uploads = base.configuration.watches, base.configuration.uploads
    return Housekeeping(
        watches=watches,
        files=base.files,
        journal=base.journal,
        held=base.held,
        held_budget=HeldBudget(
            held=base.held,
            journal=base.journal,
            lookup=lookup,
            watches={watch.name: watch for watch in watches},
            clock=base.clock,
            budget_bytes=uploads.held_bytes,
            log=base.log,
        ),
        clock=base.clock,
        longest_wait_seconds=max(
            uploads.start_splay_seconds, *(watch.delete_after_seconds for watch in watches)
        ),
        log=base.log,
    )


def carrier_for(services: Services, facts: InstanceFacts) -> Carrier:
    """The part that talks to S3. The loop whose step it is beats as bytes flow.

    Raises:
        PortError: ``BadDestination``, ``JournalUnwritable``.
    """
    configuration, uploads = services.configuration, services.configuration.uploads
    is_stopping, ports = services.stopping.is_set, services.ports
    encoder, senders = FrameEncoder(), DRAIN_FACTOR * uploads.concurrent_files
    senders *= uploads.concurrent_parts

    def passed() -> None:
        services.gate.passed()
        progress()

    connections = senders + DRAIN_FACTOR * uploads.concurrent_files + 1
    store = _store(services, facts.region, connections)
    terms = terms_of(configuration.destination, store.algorithm)
    move(services.journal, terms, clock=services.clock, log=services.log)
    services.leaving.callback(store.close)
    cores = len(os.sched_getaffinity(0))  # those that this process may use
    ahead = frames_ahead(cores, uploads.memory_limit_bytes, uploads.part_size_bytes)
    frames = services.leaving.enter_context(ThreadPoolExecutor(cores, thread_name_prefix="frame"))
    parts = services.leaving.enter_context(ThreadPoolExecutor(senders, thread_name_prefix="part"))
    compressor = Compressor(encoder=encoder, executor=frames, ahead=ahead)
    budget = ByteBudget(parts_memory(uploads.memory_limit_bytes, ahead), meanwhile=progress)
    etags = ETags(store)
    retry_policy = RetryPolicy(
        stopping=services.stopping, slot=services.limiter.slot, count=services.counters.retried
    )
    sender = Sender(
        journal=services.journal,
        store=store,
        encoder=encoder,
        part_cutter=PartCutter(
            encoding=compressor,
            budget=budget,
            checksum=partial(encoder.checksum, store.algorithm),
            is_stopping=is_stopping,
        ),
        budget=budget,
        retry_policy=retry_policy,
        executor=parts,
        etags=etags,
        part_size_bytes=uploads.part_size_bytes,
        concurrent_parts=uploads.concurrent_parts,
        is_stopping=is_stopping,
        passed=passed,
        progress=progress,
        now=services.clock.now,
        log=services.log,
    )
    recognition = Recognition(
        journal=services.journal,
        store=store,
        encoder=encoder,
        encoding=compressor,
        budget=budget,
        retry_policy=retry_policy,
        etags=etags,
        part_size_bytes=uploads.part_size_bytes,
        key_template=configuration.destination.key,
        facts=facts,
        tick=sender.tick,
        log=services.log,
    )
    return Carrier(
        journal=services.journal,
        store=store,
        sender=sender,
        lookup=services.lookup,
        duplicates=Duplicates(
            journal=services.journal,
            encoder=encoder,
            lookup=services.lookup,
            log=services.log,
            tick=sender.tick,
        ),
        recognition=recognition,
        disposal=services.disposal,
        held=services.held,
        abandoned_uploads=AbandonedUploads(
            journal=services.journal, store=store, clock=services.clock, log=services.log
        ),
        gate=services.gate,
        refresh_now=services.keeper.refresh_now,
        watches={watch.name: watch for watch in configuration.watches},
        facts=facts,
        clock=services.clock,
        rng=ports.rng,
        log=services.log,
        is_urgent=lambda: services.termination.is_draining,
    )


def _store(services: Services, region: str, connections: int) -> "S3Store":
    """The bucket; every piece of a body is progress, for the one before it has gone out."""
    wanted = services.configuration.destination.checksum
    used = checksum_algorithm(services.configuration.destination)
    if used is not wanted:
        services.log.info("checksum.replaced", wanted=wanted, used=used)
    limit, bandwidth = services.configuration.uploads.bandwidth_limit, None
    if limit:
        wait = partial(wait_beating, services.stopping)
        bandwidth = Bandwidth(limit, clock=services.clock, wait=wait)

    def flows(size_bytes: int) -> None:
        if bandwidth is not None:
            bandwidth.take(size_bytes)
        progress()

    def counted(operation: str, code: str) -> None:
        services.counters.requested(operation, code)
        progress()

    return store_for(
        services.configuration,
        region,
        services.keeper.current,
        connections=connections,
        count=counted,
        throttle=flows,
    )
