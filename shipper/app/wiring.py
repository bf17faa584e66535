"""The only place that builds things, with ``wiring_identity``: connected parts of a configuration.

It is built in two steps, because the store needs to know its region and every key its instance:
``House`` stands before the metadata service has answered, ``open_for_business`` comes after.
"""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from shipper.app.config import Configuration
from shipper.app.logs import Redactor
from shipper.app.state import locked, opened_held, opened_journal
from shipper.app.tally import Tally
from shipper.app.wiring_identity import keepers_for, metadata_for, site_for
from shipper.app.wiring_termination import termination_for
from shipper.core.keys import Place
from shipper.core.parts import frames_ahead, parts_memory
from shipper.core.terms import terms_of
from shipper.core.types import ChecksumAlgorithm, Destination
from shipper.edges.clock import SystemClock
from shipper.edges.encoder import FrameEncoder, has_crc64nvme
from shipper.edges.files import DirectoryFiles
from shipper.edges.metadata import ImdsMetadata
from shipper.journal import Journal
from shipper.ports import ObjectStore
from shipper.services.candidates import Candidates
from shipper.services.carrier import Carrier
from shipper.services.credentials import CredentialKeeper
from shipper.services.cutting import Cutting
from shipper.services.discovery import Discovery
from shipper.services.disposal import Disposal
from shipper.services.encoding import Encoding
from shipper.services.etags import ETags
from shipper.services.gate import ByteBudget, Gate
from shipper.services.held import Held
from shipper.services.janitor import Janitor
from shipper.services.moving import move
from shipper.services.orphans import Orphans
from shipper.services.pacing import Bandwidth, Turns
from shipper.services.patience import Patience
from shipper.services.ration import Ration
from shipper.services.recognition import Recognition
from shipper.services.sending import Sender
from shipper.services.site import Site
from shipper.services.sourcing import Sourcing
from shipper.services.termination import Termination
from shipper.services.twins import Twins

DRAIN_FACTOR = 2
"""During a drain there are so many times as many workers."""


@dataclass(slots=True)
class Rings:
    """Whom to wake; the daemon fills these in once its loops exist."""

    discovery: Callable[[], None] = lambda: None
    carriers: Callable[[], None] = lambda: None
    credentials: Callable[[], None] = lambda: None
    draining: Callable[[], None] = lambda: None
    refreshed: Callable[[], None] = lambda: None
    known: Callable[[Place], None] = lambda place: None


@dataclass(frozen=True, slots=True)
class House:
    """Every part that stands before the instance is known."""

    configuration: Configuration
    clock: SystemClock
    rng: Random
    log: Any
    rings: Rings
    stopping: threading.Event
    tally: Tally
    metadata: ImdsMetadata
    keepers: tuple[CredentialKeeper, ...]
    """The instance's own credentials first, those that sign for S3 last."""
    journal: Journal
    files: DirectoryFiles
    held: Held
    sourcing: Sourcing
    disposal: Disposal
    gate: Gate
    turns: Turns
    site: Site
    discovery: Discovery
    termination: Termination
    janitor: Janitor
    lock: int = field(default=-1)

    @property
    def keeper(self) -> CredentialKeeper:
        """Who keeps the credentials that sign for S3."""
        return self.keepers[-1]

    def find(self) -> float:
        """Look for what is to be promised; the seconds to wait before the next look."""
        wait = self.discovery.step()
        self.termination.live.step()
        return wait

    def close(self) -> None:
        """Release descriptors, the journal and the lock."""
        self.held.close()
        self.journal.close()
        os.close(self.lock)


def build(
    configuration: Configuration,
    *,
    environment: Mapping[str, str],
    log: Any,
    redactor: Redactor,
) -> House:
    """Everything up to the point where the metadata service must have answered.

    Raises:
        PortError: ``JournalUnwritable``, ``JournalTooNew``, ``AlreadyRunning``.
        ConfigError: the metadata endpoint is no URL.
    """
    clock, rng, rings, stopping = SystemClock(), Random(), Rings(), threading.Event()
    metadata = metadata_for(configuration, environment, clock, wait=stopping.wait)
    lock = locked(configuration.state_directory)
    journal = opened_journal(configuration.state_directory, clock.now(), log)
    files = DirectoryFiles()
    held = opened_held(configuration, files, journal, log)
    sourcing = Sourcing(files=files, held=held, journal=journal)
    disposal = Disposal(files=files, journal=journal, sourcing=sourcing, clock=clock)
    site = site_for(
        configuration,
        metadata,
        log,
        adopt=lambda place: _adopt(place, journal, held, log),
        known=lambda place: rings.known(place),  # noqa: PLW0108  (set later)
    )
    keepers = keepers_for(
        configuration,
        environment,
        metadata,
        site,
        log,
        ring=lambda: rings.credentials(),  # noqa: PLW0108  (set later)
        refreshed=lambda: rings.refreshed(),  # noqa: PLW0108  (set later)
        learn=redactor.learn,
    )

    def opened() -> None:
        journal.requeue(clock.now())
        rings.carriers()

    gate = Gate(
        clock=clock,
        generation=lambda: keepers[-1].generation,
        log=log,
        opened=opened,
        jitter=rng.random,
    )
    uploads = configuration.uploads
    turns = Turns(
        most=uploads.concurrent_files * (1 + uploads.concurrent_parts) + 1, clock=clock, log=log
    )
    candidates = Candidates(
        files=files,
        journal=journal,
        clock=clock,
        key_template=configuration.destination.key,
        place=lambda: site.place,
    )
    termination = termination_for(
        configuration=configuration,
        environment=environment,
        metadata=metadata,
        keepers=keepers,
        journal=journal,
        files=files,
        candidates=candidates,
        site=site,
        clock=clock,
        log=log,
        promised=lambda: rings.carriers(),  # noqa: PLW0108  (set later)
        begun=lambda: rings.draining(),  # noqa: PLW0108  (set later)
        look=lambda: rings.discovery(),  # noqa: PLW0108  (set later)
    )
    discovery = Discovery(
        watches=configuration.watches,
        candidates=candidates,
        files=files,
        journal=journal,
        held=held,
        disposal=disposal,
        clock=clock,
        interval_seconds=configuration.scan_interval_seconds,
        promised=lambda: rings.carriers(),  # noqa: PLW0108  (set later)
        splay=lambda: (
            0.0 if termination.is_draining else rng.random() * uploads.start_splay_seconds
        ),
        log=log,
    )
    return House(
        configuration=configuration,
        clock=clock,
        rng=rng,
        log=log,
        rings=rings,
        stopping=stopping,
        tally=Tally(),
        metadata=metadata,
        keepers=keepers,
        journal=journal,
        files=files,
        held=held,
        sourcing=sourcing,
        disposal=disposal,
        gate=gate,
        turns=turns,
        site=site,
        discovery=discovery,
        termination=termination,
        janitor=_janitor(
            configuration=configuration,
            files=files,
            journal=journal,
            held=held,
            sourcing=sourcing,
            clock=clock,
            log=log,
        ),
        lock=lock,
    )


def _janitor(
    *,
    configuration: Configuration,
    files: DirectoryFiles,
    journal: Journal,
    held: Held,
    sourcing: Sourcing,
    clock: SystemClock,
    log: Any,
) -> Janitor:
    watches = configuration.watches
    ration = Ration(
        held=held,
        journal=journal,
        sourcing=sourcing,
        watches={watch.name: watch for watch in watches},
        clock=clock,
        budget_bytes=configuration.uploads.held_bytes,
        log=log,
    )
    waits = [watch.delete_after_seconds for watch in watches]
    longest = max(configuration.uploads.start_splay_seconds, *waits)
    return Janitor(
        watches=watches,
        files=files,
        journal=journal,
        held=held,
        ration=ration,
        clock=clock,
        longest_wait_seconds=longest,
        log=log,
    )


def carrier_for(house: House, place: Place, progress: Callable[[], None]) -> Carrier:
    """The part that talks to S3; ``progress`` is called after every write it accepted."""
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
    store = store_for(house, place, connections, counted, progress)
    terms = terms_of(configuration.destination, store.algorithm)
    move(house.journal, terms, clock=house.clock, log=house.log)
    cores = os.cpu_count() or 1
    ahead = frames_ahead(cores, uploads.memory_limit_bytes, uploads.part_size_bytes)
    encoding = Encoding(
        encoder=encoder,
        executor=ThreadPoolExecutor(cores, thread_name_prefix="frame"),
        ahead=ahead,
    )
    budget = ByteBudget(parts_memory(uploads.memory_limit_bytes, ahead))
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
        executor=ThreadPoolExecutor(senders, thread_name_prefix="part"),
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
    place: Place,
    connections: int,
    counted: Callable[[str, str], None],
    progress: Callable[[], None] = lambda: None,
) -> ObjectStore:
    """The bucket, in the configured region or the instance's.

    ``progress`` is called for every piece of a body: the piece before it has gone out.
    """
    from shipper.edges.store import S3Store  # botocore is half of what a start would load

    destination = house.configuration.destination
    algorithm = checksum_algorithm(destination)
    if algorithm is not destination.checksum:
        house.log.info("checksum.replaced", wanted=destination.checksum, used=algorithm)
    uploads, throttle = house.configuration.uploads, _unlimited
    if uploads.bandwidth_limit:
        throttle = Bandwidth(
            uploads.bandwidth_limit, clock=house.clock, wait=house.stopping.wait
        ).take

    def flows(size_bytes: int) -> None:
        throttle(size_bytes)
        progress()

    return S3Store(
        destination=destination,
        region=place.region,
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


def _adopt(place: Place, journal: Journal, held: Held, log: Any) -> None:
    if journal.adopt(place.instance_id):
        held.close()  # of shipments that are no more, and whose numbers will be used again
        log.warning("journal.adopted", instance_id=place.instance_id)
