"""Builds the part that talks to S3, once it is known where and as which instance."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from shipper.core.object_keys import Place
from shipper.core.parts import frames_ahead, parts_memory
from shipper.core.terms import terms_of
from shipper.core.types import ChecksumAlgorithm, Destination
from shipper.edges.encoder import FrameEncoder, has_crc64nvme
from shipper.runtime.loops import progress, wait_beating
from shipper.runtime.wiring import DRAIN_FACTOR, House
from shipper.services.sending.abandoned_uploads import Orphans
from shipper.services.sending.carrier import Carrier
from shipper.services.sending.compressor import Encoding
from shipper.services.sending.destination_change import move
from shipper.services.sending.duplicates import Twins
from shipper.services.sending.etags import ETags
from shipper.services.sending.gate import ByteBudget
from shipper.services.sending.part_cutter import Cutting
from shipper.services.sending.rate_limits import Bandwidth
from shipper.services.sending.recognition import Recognition
from shipper.services.sending.retry import Patience
from shipper.services.sending.sender import Sender

if TYPE_CHECKING:
    from shipper.edges.s3.store import S3Store


def carrier_for(house: House, place: Place) -> Carrier:
    """The part that talks to S3. The loop whose step it is beats as bytes flow.

    Raises:
        PortError: ``BadDestination``, ``JournalUnwritable``.
    """
    configuration, uploads = house.configuration, house.configuration.uploads
    encoder = FrameEncoder()
    senders = DRAIN_FACTOR * uploads.concurrent_files * uploads.concurrent_parts

    def passed() -> None:
        house.gate.passed()
        progress()

    def counted(operation: str, code: str) -> None:
        house.tally.requested(operation, code)
        progress()

    connections = senders + DRAIN_FACTOR * uploads.concurrent_files + 1
    store = store_for(house, place.region, connections, counted)
    terms = terms_of(configuration.destination, store.algorithm)
    move(house.journal, terms, clock=house.clock, log=house.log)
    house.leaving.callback(store.close)
    cores = len(os.sched_getaffinity(0))  # those that this process may use
    ahead = frames_ahead(cores, uploads.memory_limit_bytes, uploads.part_size_bytes)
    frames = house.leaving.enter_context(ThreadPoolExecutor(cores, thread_name_prefix="frame"))
    parts = house.leaving.enter_context(ThreadPoolExecutor(senders, thread_name_prefix="part"))
    encoding = Encoding(encoder=encoder, executor=frames, ahead=ahead)
    budget = ByteBudget(parts_memory(uploads.memory_limit_bytes, ahead), meanwhile=progress)
    etags = ETags(store)
    patience = Patience(stopping=house.stopping, turn=house.turns.turn, count=house.tally.retried)
    sender = Sender(
        journal=house.journal,
        store=store,
        encoder=encoder,
        cutting=Cutting(
            encoding=encoding,
            budget=budget,
            checksum=partial(encoder.checksum, store.algorithm),
            is_stopping=house.stopping.is_set,
        ),
        budget=budget,
        patience=patience,
        executor=parts,
        etags=etags,
        part_size_bytes=uploads.part_size_bytes,
        concurrent_parts=uploads.concurrent_parts,
        is_stopping=house.stopping.is_set,
        passed=passed,
        progress=progress,
        now=house.clock.now,
        log=house.log,
    )
    recognition = Recognition(
        journal=house.journal,
        store=store,
        encoder=encoder,
        encoding=encoding,
        budget=budget,
        patience=patience,
        etags=etags,
        part_size_bytes=uploads.part_size_bytes,
        key_template=configuration.destination.key,
        place=place,
        tick=sender.tick,
        log=house.log,
    )

    return Carrier(
        journal=house.journal,
        store=store,
        sender=sender,
        sourcing=house.sourcing,
        twins=Twins(
            journal=house.journal,
            encoder=encoder,
            sourcing=house.sourcing,
            log=house.log,
            tick=sender.tick,
        ),
        recognition=recognition,
        disposal=house.disposal,
        held=house.held,
        orphans=Orphans(journal=house.journal, store=store, clock=house.clock, log=house.log),
        gate=house.gate,
        kick=house.keeper.kick,
        watches={watch.name: watch for watch in configuration.watches},
        place=place,
        clock=house.clock,
        rng=house.rng,
        log=house.log,
        is_urgent=lambda: house.termination.is_draining,
    )


def store_for(
    house: House,
    region: str,
    connections: int,
    counted: Callable[[str, str], None] = lambda operation, code: None,
) -> "S3Store":
    """The bucket, in that region. Every piece of a body is progress: the one before has gone out.

    Raises:
        PortError: ``BadDestination``.
    """
    from shipper.edges.s3.store import S3Store  # botocore is half of what a start would load

    destination = house.configuration.destination
    algorithm = checksum_algorithm(destination)
    if algorithm is not destination.checksum:
        house.log.info("checksum.replaced", wanted=destination.checksum, used=algorithm)
    uploads, throttle = house.configuration.uploads, _unlimited
    if uploads.bandwidth_limit:
        throttle = Bandwidth(
            uploads.bandwidth_limit, clock=house.clock, wait=partial(wait_beating, house.stopping)
        ).take

    def flows(size_bytes: int) -> None:
        throttle(size_bytes)
        progress()

    return S3Store(
        destination=destination,
        region=region,
        credentials=house.keeper.current,
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
