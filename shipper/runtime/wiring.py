"""Builds the services, with ``wiring_sending``; the only place that does.

It is built in two steps, because the store needs its region and every key its instance: ``build``
comes before the metadata service has answered, ``wiring_sending.carriers_for`` afterwards.
"""

import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from shipper.config.load import Configuration
from shipper.core.backoff import start_splay
from shipper.core.object_keys import InstanceFacts, destined, fact, object_key
from shipper.core.tag_fields import unfit
from shipper.core.termination import DrainPolicy, Reason
from shipper.core.types import ObjectKey, Shipment
from shipper.edges.clock import SystemClock
from shipper.edges.encoder import FrameEncoder
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.server_time import ServerTime
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files, LifecycleHook
from shipper.runtime.counters import Counters
from shipper.runtime.logs import Redactor, silent
from shipper.runtime.loops import Nudges, progress, progress_or_stop
from shipper.runtime.services import Ports, Services
from shipper.runtime.state_directory import locked, opened_held, opened_journal
from shipper.runtime.wiring_destinations import destinations_for
from shipper.runtime.wiring_disk import high_water_for
from shipper.runtime.wiring_heartbeats import heartbeats_for
from shipper.runtime.wiring_identity import (
    AUTO_SCALING_URL,
    METADATA,
    Identity,
    identity_for,
    unencrypted,
)
from shipper.runtime.wiring_manifests import manifests_for
from shipper.services.bugs import Bugs
from shipper.services.finding.candidates import Candidates
from shipper.services.finding.discovery import Discovery
from shipper.services.finding.growth_proofs import GrowthProofs
from shipper.services.finding.live_files import LiveFiles
from shipper.services.finding.live_logs import LiveLogs
from shipper.services.housekeeping import Housekeeping
from shipper.services.sources.disposal import UNPROVEN_SECONDS, Disposal
from shipper.services.sources.held_budget import HeldBudget
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.lookup import SourceLookup
from shipper.services.sources.losses import Losses
from shipper.services.sources.watch_roots import WatchRoots
from shipper.services.termination import Termination


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
        PortError: the state directory, its journal or an endpoint cannot be used.
    """
    base = _base(configuration, environment, log, redactor, ports or Ports())
    lookup, losses, disposal = _sources(base)
    termination = _termination(base)
    discovery = _discovery(base, disposal, termination)
    server_time = ServerTime(base.clock)
    return Services(
        ports=base.ports,
        configuration=configuration,
        clock=base.clock,
        log=log,
        redact=redactor.text,
        nudges=base.nudges,
        stopping=base.stopping,
        leaving=base.leaving,
        lock=base.lock,
        journal=base.journal,
        held=base.held,
        counters=Counters(base.clock.now()),
        bugs=base.bugs,
        keepers=base.identity.keepers,
        lookup=lookup,
        losses=losses,
        disposal=disposal,
        server_time=server_time,
        destinations=destinations_for(
            configuration,
            base.identity,
            base.journal,
            nudges=base.nudges,
            ports=base.ports,
            log=log,
        ),
        instance_lookup=base.identity.instance_lookup,
        discovery=discovery,
        termination=termination,
        housekeeping=_housekeeping(base, lookup, losses),
        high_water=high_water_for(
            configuration,
            files=base.files,
            journal=base.journal,
            disposal=disposal,
            scans=lambda: discovery.scans,
            clock=base.clock,
            bugs=base.bugs,
            nudges=base.nudges,
            log=log,
        ),
        heartbeats=heartbeats_for(
            configuration, base.identity, server_time, base.ports, bugs=base.bugs, log=log
        ),
        manifests=manifests_for(
            configuration,
            journal=base.journal,
            facts=lambda: base.identity.instance_lookup.facts,
            drain=lambda: termination.drain,
            ports=base.ports,
            bugs=base.bugs,
            log=log,
        ),
    )


def _adopt(
    configuration: Configuration,
    journal: Journal,
    held: HeldFiles,
    facts: InstanceFacts,
    *,
    bugs: Bugs,
    log: Any,
) -> None:
    """Bind the journal to the instance. Held files may have no name any more: they stay."""
    kept = set(held.shipments())
    watches = {watch.name: watch for watch in configuration.watches}

    def key_of(shipment: Shipment) -> ObjectKey | None:
        if shipment.id not in kept:
            return None
        watch = watches.get(shipment.watch)
        to = configuration.destination_of(watch) if watch else configuration.destination
        if unfit(to, facts.tags):
            return None
        key = partial(object_key, to.key, destined(facts, to), shipment)
        return bugs.contained(key, lambda problem: None, shipment=shipment.id)

    if journal.origin.adopt(facts.instance_id, facts=asdict(facts), key_of=key_of):
        for number in held.shipments():
            if journal.shipment(number) is None:  # and its number will be used again
                held.drop(number)
        log.warning("journal.adopted", instance_id=fact(facts.instance_id))


def candidates_for(
    configuration: Configuration,
    journal: Journal,
    facts: Callable[[], InstanceFacts | None],
    *,
    files: Files | None = None,
    clock: Clock | None = None,
    bugs: Bugs | None = None,
    proofs: GrowthProofs | None = None,
    logs: LiveLogs | None = None,
    is_ending: Callable[[], bool] = bool,
) -> Candidates:
    """What decides about each file below the watches; without ``proofs`` at once."""
    clock, files = clock or SystemClock(), files or DirectoryFiles()
    return Candidates(
        files=files,
        journal=journal,
        clock=clock,
        destination_of=configuration.destination_of,
        facts=facts,
        proofs=proofs or GrowthProofs(clock, scan_bytes=sys.maxsize),
        bugs=bugs or Bugs(silent(), str),
        takes_live=configuration.termination.ship_live_files,
        logs=logs or LiveLogs(files=files, journal=journal, clock=clock),
        is_ending=is_ending,
    )


@dataclass(frozen=True, slots=True)
class _Base:
    """What most parts are made of."""

    configuration: Configuration
    environment: Mapping[str, str]
    ports: Ports
    identity: Identity
    files: Files
    lock: int
    journal: Journal
    held: HeldFiles
    bugs: Bugs
    log: Any
    nudges: Nudges
    stopping: threading.Event
    leaving: ExitStack

    @property
    def clock(self) -> Clock:
        return self.ports.clock


def _base(
    configuration: Configuration,
    environment: Mapping[str, str],
    log: Any,
    redactor: Redactor,
    ports: Ports,
) -> _Base:
    """Whatever waits for nothing but this machine."""
    nudges, stopping, leaving = Nudges(), threading.Event(), ExitStack()
    bugs = Bugs(log, redactor.text)
    for _, problem in unencrypted(configuration, environment):
        log.warning("destination.unencrypted", **problem.words)
    identity = identity_for(
        configuration,
        environment,
        log,
        clock=ports.clock,
        wait=stopping.wait,
        adopt=lambda facts: _adopt(configuration, journal, held, facts, bugs=bugs, log=log),
        redactor=redactor,
        nudges=nudges,
    )
    if configuration.credentials.source != "imds":
        log.info("credentials.chosen", source=identity.source)
    lock = locked(configuration.state_directory, ports.lock)
    journal = opened_journal(configuration.state_directory, lock, ports.clock.now(), log)
    identity.instance_lookup.remember(journal.origin.facts())
    held = opened_held(configuration, ports.descriptor_store, journal, bugs, log)
    return _Base(
        configuration=configuration,
        environment=environment,
        ports=ports,
        identity=identity,
        files=ports.files or DirectoryFiles(between=partial(progress_or_stop, stopping)),
        lock=lock,
        journal=journal,
        held=held,
        bugs=bugs,
        log=log,
        nudges=nudges,
        stopping=stopping,
        leaving=leaving,
    )


def _sources(base: _Base) -> tuple[SourceLookup, Losses, Disposal]:
    files, journal, clock = base.files, base.journal, base.clock
    roots = WatchRoots(files=files, journal=journal)
    lookup = SourceLookup(files=files, held=base.held, journal=journal, roots=roots)
    losses = Losses(
        files=files, journal=journal, encoder=FrameEncoder(), clock=clock, tick=progress
    )
    disposal = Disposal(
        files=files,
        journal=journal,
        lookup=lookup,
        clock=clock,
        tick=progress,
        removes_kept=base.configuration.disk.removes_kept,
    )
    return lookup, losses, disposal


def _discovery(base: _Base, disposal: Disposal, termination: Termination) -> Discovery:
    configuration, rng = base.configuration, base.ports.rng

    def splay() -> float:
        seconds = configuration.uploads.start_splay_seconds
        return start_splay(seconds, rng.random(), is_draining=termination.is_draining)

    return Discovery(
        watches=configuration.watches,
        candidates=candidates_for(
            configuration,
            base.journal,
            lambda: base.identity.instance_lookup.facts_for_keys,
            files=base.files,
            clock=base.clock,
            bugs=base.bugs,
            proofs=GrowthProofs(base.clock),
            logs=termination.live.logs,
            is_ending=lambda: termination.is_draining,
        ),
        journal=base.journal,
        held=base.held,
        disposal=disposal,
        clock=base.clock,
        interval_seconds=configuration.scan.interval_seconds,
        promised=lambda: base.nudges.carriers(),  # noqa: PLW0108  (set later)
        splay=splay,
        log=base.log,
    )


def _termination(base: _Base) -> Termination:
    table, keepers, nudges = base.configuration.termination, base.identity.keepers, base.nudges
    wanted = {
        Reason.SPOT: table.spot,
        Reason.AUTOSCALING: table.autoscaling,
        Reason.REBALANCE: table.rebalance,
    }
    has_notices = base.identity.source == METADATA
    hook = _lifecycle_hook(base) if table.lifecycle_hook and has_notices else None

    def begun() -> None:
        for keeper in keepers:
            keeper.refresh_now()
        nudges.draining()
        nudges.look()  # for what waits for ``min_age``

    return Termination(
        metadata=base.identity.metadata,
        policy=DrainPolicy(
            table.lifecycle_timeout_seconds,
            has_hook=hook is not None,
            reasons=frozenset(
                reason for reason, is_wanted in wanted.items() if is_wanted and has_notices
            ),
            ships_live=table.ship_live_files,
        ),
        journal=base.journal,
        live=LiveFiles(
            watches=base.configuration.watches,
            destination_of=base.configuration.destination_of,
            files=base.files,
            journal=base.journal,
            facts=lambda: base.identity.instance_lookup.facts,
            clock=base.clock,
            promised=lambda: nudges.carriers(),  # noqa: PLW0108  (set later)
            held=base.held,
            bugs=base.bugs,
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
        clock=base.clock,
        endpoint_url=base.environment.get(AUTO_SCALING_URL, ""),
        redact=base.identity.redactor.text,
    )


def _housekeeping(base: _Base, lookup: SourceLookup, losses: Losses) -> Housekeeping:
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
            losses=losses,
            watches={watch.name: watch for watch in watches},
            clock=base.clock,
            budget_bytes=uploads.held_bytes,
            bugs=base.bugs,
            log=base.log,
        ),
        clock=base.clock,
        longest_wait_seconds=max(
            UNPROVEN_SECONDS,
            uploads.start_splay_seconds,
            *(watch.delete_after_seconds for watch in watches),
        ),
        roots=lookup.roots,
        bugs=base.bugs,
        log=base.log,
    )
