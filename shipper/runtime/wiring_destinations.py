"""Builds what each destination has of its own, before the instance is known."""

from typing import Any

from shipper.config.load import Configuration
from shipper.core.concurrency import in_flight_within
from shipper.core.destinations import shown
from shipper.core.refusals import Pieces
from shipper.journal.journal import Journal
from shipper.journal.queue import Queue
from shipper.runtime.loops import Nudges
from shipper.runtime.services import DestinationServices, Ports
from shipper.runtime.wiring_identity import (
    Identity,
)
from shipper.services.credentials import CredentialKeeper
from shipper.services.sending.gate import Gate
from shipper.services.sending.rate_limits import ConcurrencyLimiter

CONNECTION_SHARES = 2
"""Connections of several destinations take so many times their share of the memory: a quarter of
it, not an eighth. Two destinations then have as many requests in flight each as one had."""


def destinations_for(
    configuration: Configuration,
    identity: Identity,
    journal: Journal,
    *,
    nudges: Nudges,
    ports: Ports,
    log: Any,
) -> tuple[DestinationServices, ...]:
    """One for each destination that a watch names."""
    used, uploads = configuration.used_destinations, configuration.uploads
    share, has_several = uploads.memory_limit_bytes // len(used), len(used) > 1
    most = in_flight_within(
        uploads.max_in_flight,
        share * min(len(used), CONNECTION_SHARES),
        uploads.bandwidth_limit_bytes_per_second / len(used),
    )
    found = []
    for name, settings in used.items():
        own, keeper = journal.of(name), identity.keeper_of(settings)
        named = log.bind(destination=shown(name)) if has_several else log
        passed_at = own.figures.last_success_at(name if has_several else None) or 0.0
        one = DestinationServices(
            name=name,
            settings=settings,
            watches={
                watch.name: configuration.destination_of(watch)
                for watch in configuration.watches
                if watch.destination == name
            },
            journal=own,
            keeper=keeper,
            gate=_gate(own.queue, keeper, passed_at, nudges=nudges, ports=ports, log=named),
            limiter=ConcurrencyLimiter(most=most, clock=ports.clock, log=named),
            memory_bytes=share,
            log=named,
        )
        found.append(one)
    return tuple(found)


def _gate(
    queue: Queue,
    keeper: CredentialKeeper,
    passed_at: float,
    *,
    nudges: Nudges,
    ports: Ports,
    log: Any,
) -> Gate:
    clock = ports.clock

    def opened(refused: list[str], seconds: int) -> None:
        queue.requeue(clock.now(), refused, seconds)
        nudges.carriers()

    def lifted(pieces: Pieces, mark: str) -> None:
        queue.take_up(pieces, mark, clock.now())
        nudges.carriers()

    return Gate(
        clock=clock,
        generation=lambda: keeper.generation,
        log=log,
        opened=opened,
        lifted=lifted,
        jitter=ports.rng.random,
        passed_at=passed_at,
    )
