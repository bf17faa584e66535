"""Builds a carrier: what takes the shipments of one destination to S3."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from shipper.core.object_keys import InstanceFacts
from shipper.core.types import (
    ObjectKey,
    Shipment,
    Watch,
)
from shipper.edges.encoder import FrameEncoder
from shipper.journal.journal import Journal
from shipper.ports import Clock, ObjectStore
from shipper.services.bugs import Bugs
from shipper.services.sending.carrier import Carrier, SendingServices
from shipper.services.sending.compressor import Compressor
from shipper.services.sending.duplicates import Duplicates
from shipper.services.sending.failed_attempts import FailedAttempts
from shipper.services.sending.gate import Gate
from shipper.services.sending.likely_originals import LikelyOriginals
from shipper.services.sending.lost_answers import LostAnswers
from shipper.services.sending.memory_budget import ByteBudget
from shipper.services.sending.multipart import MultipartUploads
from shipper.services.sending.part_cutter import PartCutter
from shipper.services.sending.progress import Progress
from shipper.services.sending.proofs import Proofs
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.sender import Sender
from shipper.services.sending.tasks import Blocking
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.lookup import SourceLookup
from shipper.services.sources.losses import Losses


@dataclass(frozen=True, slots=True)
class Sending:
    """What a carrier is made of."""

    journal: Journal
    store: ObjectStore
    lookup: SourceLookup
    held: HeldFiles
    losses: Losses
    disposal: Disposal
    gate: Gate
    watches: Sequence[Watch]
    facts: InstanceFacts
    key_of: Callable[[Shipment], ObjectKey]
    clock: Clock
    rng: Random
    log: Any
    retry_policy: RetryPolicy
    progress: Progress
    frames: Executor
    """Compresses so many frames ahead of what is sent."""
    ahead: int
    parts: Executor
    concurrent_parts: int
    blocking: Blocking
    part_size_bytes: int
    is_signed: bool
    """Every body is signed, so the server checks it."""
    budget: ByteBudget
    refresh_now: Callable[[], None]
    is_urgent: Callable[[], bool]
    bugs: Bugs


def carrier_of(sending: Sending) -> Carrier:
    """A carrier with everything that it needs."""
    encoder = FrameEncoder()
    sender = _sender(sending, encoder)
    watches = {watch.name: watch for watch in sending.watches}
    return Carrier(
        journal=sending.journal,
        store=sending.store,
        services=SendingServices(
            lookup=sending.lookup,
            held=sending.held,
            duplicates=Duplicates(
                journal=sending.journal,
                originals=LikelyOriginals(
                    journal=sending.journal,
                    encoder=encoder,
                    lookup=sending.lookup,
                    clock=sending.clock,
                ),
                encoder=encoder,
                clock=sending.clock,
                log=sending.log,
                key_of=sending.key_of,
                proofs=Proofs(
                    queue=sending.journal.queue,
                    gate=sending.gate,
                    clock=sending.clock,
                    is_urgent=sending.is_urgent,
                    tick=sending.progress.tick,
                ),
            ),
            sender=sender,
            disposal=sending.disposal,
            bugs=sending.bugs,
        ),
        failed_attempts=FailedAttempts(
            gate=sending.gate,
            refresh_now=sending.refresh_now,
            lost_answers=sender.lost_answers,
            losses=sending.losses,
            watches=watches,
            clock=sending.clock,
            rng=sending.rng,
            log=sending.log,
        ),
        gate=sending.gate,
        watches=watches,
        facts=sending.facts,
        clock=sending.clock,
        log=sending.log,
        run=sending.blocking.run,
        is_urgent=sending.is_urgent,
    )


def _sender(sending: Sending, encoder: FrameEncoder) -> Sender:
    lost_answers = LostAnswers(
        store=sending.store,
        journal=sending.journal,
        retry_policy=sending.retry_policy,
        is_signed=sending.is_signed,
        log=sending.log,
    )
    part_cutter = PartCutter(
        encoding=Compressor(encoder=encoder, executor=sending.frames, ahead=sending.ahead),
        budget=sending.budget,
        checksum=partial(encoder.checksum, sending.store.algorithm),
        is_stopping=sending.progress.is_stopping,
    )
    return Sender(
        store=sending.store,
        encoder=encoder,
        part_cutter=part_cutter,
        uploads=MultipartUploads(
            journal=sending.journal,
            store=sending.store,
            part_cutter=part_cutter,
            retry_policy=sending.retry_policy,
            lost_answers=lost_answers,
            executor=sending.parts,
            concurrent_parts=sending.concurrent_parts,
            run=sending.blocking.run,
            progress=sending.progress,
            now=sending.clock.now,
            log=sending.log,
        ),
        retry_policy=sending.retry_policy,
        lost_answers=lost_answers,
        part_size_bytes=sending.part_size_bytes,
        progress=sending.progress,
        now=sending.clock.now,
    )
