"""Builds the part that talks to S3, once it is known where and as which instance."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any

from shipper.core import hints
from shipper.core.destinations import WRITTEN_AS, for_heartbeats, shown, upload_settings_of
from shipper.core.object_keys import InstanceFacts, destined, object_key
from shipper.core.parts import frames_ahead, parts_memory, whole_frames
from shipper.core.tag_fields import resolved
from shipper.core.types import (
    ObjectKey,
    Shipment,
    UploadId,
)
from shipper.ports import ObjectStore, PortError
from shipper.runtime.loops import progress
from shipper.runtime.services import DestinationServices, Services
from shipper.runtime.wiring_carrier import Sending, carrier_of
from shipper.runtime.wiring_manifests import write_manifests_to
from shipper.runtime.wiring_store import checksum_algorithm, store_for
from shipper.services.sending.abandoned_uploads import abort_each
from shipper.services.sending.carrier import Carrier
from shipper.services.sending.destination_change import move
from shipper.services.sending.memory_budget import ByteBudget
from shipper.services.sending.progress import Progress
from shipper.services.sending.rate_limits import Bandwidth
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.small_files import SmallFiles, with_memory
from shipper.services.sending.tasks import Blocking, Interleaved

if TYPE_CHECKING:
    from shipper.edges.s3.store import S3Store

SMALL_FILES_SHARE = 8
"""Such a part of the memory is for small files."""
UNANSWERED = ("Timeout", "Unreachable")
"""A request got no answer. A minute may have passed with each."""
STORING = ("PutObject", "CompleteMultipartUpload")
"""The requests that store an object."""
DRAIN_FACTOR = 2
"""During a drain there are so many times as many workers."""


@dataclass(frozen=True, slots=True)
class Carriers:
    """Those of one destination."""

    destination: DestinationServices
    carrier: Carrier
    small: SmallFiles
    shared: "_Shared"


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all destinations use: it waits for none of them."""

    services: Services
    facts: InstanceFacts
    cores: int
    frames: Executor
    bandwidth: Bandwidth | None
    is_daemon: bool = True


def carriers_for(
    services: Services,
    facts: InstanceFacts,
    before: Sequence[Carriers] = (),
    *,
    is_daemon: bool = True,
) -> list[Carriers]:
    """The parts that talk to S3, but those of ``before``: other tags made other destinations fit.
    The loop whose step it is beats as bytes flow.

    A destination that cannot be used has its gate shut, and the others go on. Without a daemon
    somebody waits for the end: what answers nothing from the start is not asked again.

    Raises:
        PortError: ``BadDestination``, where none can be used; ``JournalUnwritable``.
    """
    begun = [one.destination for one in before]
    waiting = [one for one in services.destinations if one not in begun]
    whys = services.instance_lookup.unfit(facts.tags)
    fit = [one for one in waiting if not whys.get(one.name)]
    for one in fit:
        one.settings = resolved(one.settings, facts.tags)
        one.watches = {name: resolved(to, facts.tags) for name, to in one.watches.items()}
    abandoned = _taken_over(services, fit)
    shared = replace(before[0].shared, facts=facts) if before else _shared(services, facts)
    shared = replace(shared, is_daemon=is_daemon)
    found: list[Carriers] = []
    refused: list[tuple[DestinationServices, PortError]] = []
    for one in waiting:
        try:
            if one not in fit:
                raise PortError("TagUnusable", whys[one.name], hints.TAG_NEEDED)
            store = _store(shared, one)
        except PortError as error:
            refused.append((one, error))
            continue
        services.leaving.callback(store.close)
        if abandoned[one.name]:
            _abort_aside(services, store, abandoned[one.name])
        found.append(_carriers(shared, one, store))
        write_manifests_to(services.manifests, one, facts, store)
        one.gate.passed()  # it may be shut for want of a tag
    if not (found or before) and all(why.code == "BadDestination" for _, why in refused):
        raise refused[0][1]
    for one, why in refused:
        one.log.critical("destination.refused", detail=why.detail, hint=why.hint)
        one.gate.shut(why, generation=one.gate.generation())
    return found


def _shared(services: Services, facts: InstanceFacts) -> _Shared:
    limit = services.configuration.uploads.bandwidth_limit_bytes_per_second
    cores = len(os.sched_getaffinity(0))  # which this process may use
    executor = ThreadPoolExecutor(cores, thread_name_prefix="frame")
    return _Shared(
        services=services,
        facts=facts,
        cores=cores,
        frames=services.leaving.enter_context(executor),
        bandwidth=Bandwidth(limit, clock=services.clock) if limit else None,
    )


def _taken_over(
    services: Services, fit: Sequence[DestinationServices]
) -> dict[str, list[tuple[ObjectKey, UploadId]]]:
    """Give the destinations of today what is not shipped; for each, the uploads to abort."""
    abandoned = {}
    for one in fit:
        algorithm = checksum_algorithm(one.settings)
        settings = upload_settings_of(one.settings, one.watches, algorithm)
        how: dict[str, Any] = {"clock": services.clock, "bugs": services.bugs}
        abandoned[one.name] = move(one.journal, one.name, settings, **how, log=services.log)
    watches = {name: one.name for one in services.destinations for name in one.watches}
    services.journal.assign(watches)
    return abandoned


def _carriers(shared: _Shared, one: DestinationServices, store: ObjectStore) -> Carriers:
    services, uploads = shared.services, shared.services.configuration.uploads
    ahead = frames_ahead(shared.cores, one.memory_bytes, uploads.part_size_bytes)
    memory = parts_memory(one.memory_bytes, ahead, one.limiter.most)
    small_budget = ByteBudget(memory // SMALL_FILES_SHARE)
    budget = ByteBudget(
        memory - small_budget.total_bytes,
        longest_bytes=whole_frames(uploads.part_size_bytes),
        meanwhile=progress,
    )
    carrier = carrier_of(_sending(shared, one, store, budget, ahead))
    tasks = Interleaved(
        journal=one.journal,
        clock=services.clock,
        is_stopping=services.stopping.is_set,
        nudge=lambda: one.answered(),  # noqa: PLW0108  (the loop enters itself later)
    )
    if services.heartbeats is not None and one is services.destinations[0]:
        prefix = destined(shared.facts, one.settings).prefix
        services.heartbeats.open(store, prefix, shared.facts.instance_id)
    small = SmallFiles(
        carrier=with_memory(carrier, small_budget),
        tasks=tasks,
        limiter=one.limiter,
        budget=small_budget,
    )
    return Carriers(one, carrier, small, shared)


def _sending(
    shared: _Shared, one: DestinationServices, store: ObjectStore, budget: ByteBudget, ahead: int
) -> Sending:
    services, uploads = shared.services, shared.services.configuration.uploads
    senders = DRAIN_FACTOR * uploads.concurrent_files * uploads.concurrent_parts
    parts = ThreadPoolExecutor(senders, thread_name_prefix="part")

    def key_of(shipment: Shipment) -> ObjectKey:
        to = one.watches[shipment.watch]
        return object_key(to.key, destined(shared.facts, to), shipment)

    begun_at = services.clock.now()

    def gives_up(code: str) -> bool:
        return not shared.is_daemon and code in UNANSWERED and one.gate.passed_at < begun_at

    def passed(key: str) -> None:
        one.gate.passed(key)
        progress()

    return Sending(
        journal=one.journal,
        store=store,
        lookup=services.lookup,
        held=services.held,
        losses=services.losses,
        disposal=services.disposal,
        gate=one.gate,
        watches=services.configuration.watches,
        facts=shared.facts,
        key_of=key_of,
        clock=services.clock,
        rng=services.ports.rng,
        log=one.log,
        retry_policy=RetryPolicy(
            stopping=services.stopping,
            rng=services.ports.rng,
            in_turn=one.limiter.request,
            count=services.counters.retried,
            gives_up=gives_up,
        ),
        progress=Progress(is_stopping=services.stopping.is_set, passed=passed, moved=progress),
        frames=shared.frames,
        ahead=ahead,
        parts=services.leaving.enter_context(parts),
        concurrent_parts=uploads.concurrent_parts,
        blocking=Blocking(journal=one.journal, wait=services.stopping.wait, moved=progress),
        part_size_bytes=uploads.part_size_bytes,
        is_signed=one.settings.sign_payloads,
        budget=budget,
        refresh_now=one.keeper.refresh_now,
        is_urgent=lambda: services.termination.is_draining,
        bugs=services.bugs,
    )


def _abort_aside(
    services: Services, store: ObjectStore, abandoned: list[tuple[ObjectKey, UploadId]]
) -> None:
    """Abort on a thread that nobody waits for: S3 may be silent, now and when the daemon stops."""
    is_stopping, log = services.stopping.is_set, services.log
    abort = partial(abort_each, store, abandoned, is_stopping=is_stopping, log=log)
    Thread(target=abort, name="abort", daemon=True).start()


def _store(shared: _Shared, one: DestinationServices) -> "S3Store":
    """The bucket; every piece of a body is progress, for the one before it has gone out."""
    services, bandwidth = shared.services, shared.bandwidth
    wanted, used = one.settings.checksum, checksum_algorithm(one.settings)
    if used is not wanted:
        one.log.info("checksum.replaced", wanted=wanted, used=used)
    is_stopping = services.stopping.is_set
    traffic = services.counters.traffic[shown(one.name)]

    def flows(size_bytes: int) -> Callable[[], float]:
        """A stop waits for no bandwidth."""
        progress()
        traffic.sent_bytes.add(size_bytes, services.clock.monotonic())
        if bandwidth is None or is_stopping():
            return lambda: 0.0
        left = bandwidth.take(size_bytes)
        return lambda: 0.0 if is_stopping() else left()

    def counted(operation: str, code: str) -> None:
        services.counters.requested(operation, code)
        if operation in STORING and not code:
            traffic.stored_files.add(1, services.clock.monotonic())
        progress()

    heartbeats = services.heartbeats is not None and {WRITTEN_AS: for_heartbeats(one.settings)}
    return store_for(
        one.settings,
        shared.facts,
        one.keeper.current,
        watches={**one.watches, **(heartbeats or {})},
        connections=one.limiter.most,
        count=counted,
        redact=services.redact,
        throttle=flows,
        server_time=services.server_time,
    )
