"""Builds the part that talks to S3, once it is known where and as which instance."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from shipper.core.object_keys import InstanceFacts
from shipper.core.parts import frames_ahead, parts_memory
from shipper.core.types import ChecksumAlgorithm, Destination, terms_of
from shipper.edges.encoder import FrameEncoder, has_crc64nvme
from shipper.runtime.loops import progress, wait_beating
from shipper.runtime.wiring import DRAIN_FACTOR, Services
from shipper.services.sending.carrier import Carrier, SendingServices
from shipper.services.sending.compressor import Compressor
from shipper.services.sending.destination_change import move
from shipper.services.sending.duplicates import Duplicates
from shipper.services.sending.failed_attempts import FailedAttempts
from shipper.services.sending.gate import ByteBudget
from shipper.services.sending.lost_answers import LostAnswers
from shipper.services.sending.multipart import MultipartUploads
from shipper.services.sending.part_cutter import PartCutter
from shipper.services.sending.progress import Progress
from shipper.services.sending.rate_limits import Bandwidth
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.sender import Sender

if TYPE_CHECKING:
    from shipper.edges.s3.store import S3Store


def carrier_for(services: Services, facts: InstanceFacts) -> Carrier:
    """The part that talks to S3. The loop whose step it is beats as bytes flow.

    Raises:
        PortError: ``BadDestination``, ``JournalUnwritable``.
    """
    configuration, uploads = services.configuration, services.configuration.uploads
    encoder = FrameEncoder()
    senders = DRAIN_FACTOR * uploads.concurrent_files * uploads.concurrent_parts

    def passed() -> None:
        services.gate.passed()
        progress()

    def counted(operation: str, code: str) -> None:
        services.counters.requested(operation, code)
        progress()

    connections = senders + DRAIN_FACTOR * uploads.concurrent_files + 1
    store = store_for(services, facts.region, connections, counted)
    terms = terms_of(configuration.destination, store.algorithm)
    move(services.journal, terms, store=store, clock=services.clock, log=services.log)
    services.leaving.callback(store.close)
    progress_told = Progress(is_stopping=services.stopping.is_set, passed=passed, moved=progress)
    retry_policy = RetryPolicy(
        stopping=services.stopping,
        rng=services.rng,
        slot=services.limiter.slot,
        count=services.counters.retried,
    )
    return Carrier(
        journal=services.journal,
        store=store,
        services=SendingServices(
            lookup=services.lookup,
            held=services.held,
            duplicates=Duplicates(
                journal=services.journal,
                encoder=encoder,
                lookup=services.lookup,
                clock=services.clock,
                log=services.log,
                tick=progress_told.tick,
            ),
            sender=_sender(
                services,
                store=store,
                encoder=encoder,
                retry_policy=retry_policy,
                progress_told=progress_told,
            ),
            disposal=services.disposal,
        ),
        failed_attempts=FailedAttempts(
            gate=services.gate,
            refresh_now=services.keeper.refresh_now,
            clock=services.clock,
            rng=services.rng,
            log=services.log,
        ),
        gate=services.gate,
        watches={watch.name: watch for watch in configuration.watches},
        facts=facts,
        clock=services.clock,
        log=services.log,
        is_urgent=lambda: services.termination.is_draining,
    )


def _sender(
    services: Services,
    *,
    store: "S3Store",
    encoder: FrameEncoder,
    retry_policy: RetryPolicy,
    progress_told: Progress,
) -> Sender:
    uploads = services.configuration.uploads
    senders = DRAIN_FACTOR * uploads.concurrent_files * uploads.concurrent_parts
    cores = len(os.sched_getaffinity(0))  # those that this process may use
    ahead = frames_ahead(cores, uploads.memory_limit_bytes, uploads.part_size_bytes)
    frames = services.leaving.enter_context(ThreadPoolExecutor(cores, thread_name_prefix="frame"))
    parts = services.leaving.enter_context(ThreadPoolExecutor(senders, thread_name_prefix="part"))
    lost_answers = LostAnswers(store=store, retry_policy=retry_policy, log=services.log)
    part_cutter = PartCutter(
        encoding=Compressor(encoder=encoder, executor=frames, ahead=ahead),
        budget=ByteBudget(parts_memory(uploads.memory_limit_bytes, ahead), meanwhile=progress),
        checksum=partial(encoder.checksum, store.algorithm),
        is_stopping=services.stopping.is_set,
    )
    return Sender(
        store=store,
        encoder=encoder,
        part_cutter=part_cutter,
        uploads=MultipartUploads(
            journal=services.journal,
            store=store,
            part_cutter=part_cutter,
            retry_policy=retry_policy,
            lost_answers=lost_answers,
            executor=parts,
            concurrent_parts=uploads.concurrent_parts,
            progress=progress_told,
            now=services.clock.now,
            log=services.log,
        ),
        retry_policy=retry_policy,
        lost_answers=lost_answers,
        part_size_bytes=uploads.part_size_bytes,
        progress=progress_told,
    )


def store_for(
    services: Services,
    region: str,
    connections: int,
    counted: Callable[[str, str], None] = lambda operation, code: None,
) -> "S3Store":
    """The bucket, in that region. Every piece of a body is progress: the one before has gone out.

    Raises:
        PortError: ``BadDestination``.
    """
    from shipper.edges.s3.store import S3Store  # botocore is half of what a start would load

    destination = services.configuration.destination
    algorithm = checksum_algorithm(destination)
    if algorithm is not destination.checksum:
        services.log.info("checksum.replaced", wanted=destination.checksum, used=algorithm)
    uploads, throttle = services.configuration.uploads, _unlimited
    if uploads.bandwidth_limit_bytes_per_second:
        throttle = Bandwidth(
            uploads.bandwidth_limit_bytes_per_second,
            clock=services.clock,
            wait=partial(wait_beating, services.stopping),
        ).take

    def flows(size_bytes: int) -> None:
        throttle(size_bytes)
        progress()

    return S3Store(
        destination=destination,
        region=region,
        credentials=services.keeper.current,
        algorithm=algorithm,
        max_connections=connections,
        count=counted,
        is_direct=uploads.direct_writes,
        throttle=flows,
    )


def _unlimited(size_bytes: int) -> None:
    """No wait for a piece of any size."""


def checksum_algorithm(destination: Destination) -> ChecksumAlgorithm:
    """The configured checksum, or CRC-32 where CRC-64/NVME would need a library that is absent."""
    wanted = destination.checksum
    if wanted is ChecksumAlgorithm.CRC64NVME and not has_crc64nvme():
        return ChecksumAlgorithm.CRC32
    return wanted
