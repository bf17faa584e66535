"""The carrier: takes due shipments from the journal to DONE.

A step is: pass the gate, claim, open the source, do what the shipment's state asks for, record
it, release. What is idempotent is done first and recorded afterwards, so a crash in between only
repeats it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from shipper.core.concurrency import SMALL_BYTES
from shipper.core.failures import hint_for
from shipper.core.identity import chain_of
from shipper.core.intents import Likeness
from shipper.core.lifecycle import (
    SENT_AGAIN_CODE,
    CheckFailed,
    Event,
    ObjectChecked,
    Rejected,
    SourceDisposed,
    UploadLost,
)
from shipper.core.object_keys import InstanceFacts, another_key, object_metadata
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.types import (
    AfterUpload,
    Shipment,
    ShipmentId,
    State,
    Watch,
    WatchName,
    as_sent,
)
from shipper.journal.journal import Journal
from shipper.journal.queue import ANY_SIZE, Sizes
from shipper.ports import Clock, ObjectStore, PortError, Source, Stopping
from shipper.services.bugs import Bugs
from shipper.services.sending.carried import Carried
from shipper.services.sending.duplicates import Duplicates
from shipper.services.sending.failed_attempts import FailedAttempts
from shipper.services.sending.gate import Gate
from shipper.services.sending.proofs import put_off
from shipper.services.sending.sender import Sender
from shipper.services.sending.tasks import Task, answer_of
from shipper.services.sources.canonical_line import canonical, named, tell_vanished
from shipper.services.sources.decoded_source import DecodedSource
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.held_files import HeldFiles, needs_source
from shipper.services.sources.lookup import SourceLookup
from shipper.services.sources.reading import sha256_of

IDLE_SECONDS = 60.0
LISTED_SECONDS = 3600.0
"""While a removal is refused, the segments before the last one are listed no sooner again."""


@dataclass(frozen=True, slots=True)
class SendingServices:
    """Who does what a shipment's state asks for."""

    lookup: SourceLookup
    held: HeldFiles
    duplicates: Duplicates
    sender: Sender
    disposal: Disposal
    bugs: Bugs


@dataclass(kw_only=True)
class Carrier:
    """Carries shipments; several workers may share one."""

    journal: Journal
    store: ObjectStore
    services: SendingServices
    failed_attempts: FailedAttempts
    gate: Gate
    watches: Mapping[WatchName, Watch]
    facts: InstanceFacts
    clock: Clock
    log: Any
    run: Callable[[Task[None]], None]
    """Carries a task to its end."""
    is_urgent: Callable[[], bool] = lambda: False
    _on_trial: set[ShipmentId] = field(default_factory=set, init=False)
    _listed_until: dict[ShipmentId, float] = field(default_factory=dict, init=False)
    """Monotonic."""

    def step(self, sizes: Sizes = ANY_SIZE, due_by: float = float("inf")) -> float:
        """Carry one due shipment; the seconds to wait before the next step, 0 if it did.

        Take only one of these ``sizes`` that was due by ``due_by`` (wall time).
        """
        claimed, wait = self.claim(sizes, 1, due_by)
        for shipment in claimed:
            self.run(self.carried(shipment))
        return wait

    def claim(self, sizes: Sizes, most: int, due_by: float) -> tuple[list[Shipment], float]:
        """Claim what is due, or else say how many seconds there is nothing to claim.

        ``carried`` must follow for each. At a shut gate it is one, on trial.
        """
        try:
            if not self.gate.enter():
                return [], self.gate.wait_seconds()
        except PortError as error:
            return [], self._shut(error)
        is_trial, claimed = False, list[Shipment]()
        try:
            now = min(self.clock.now(), due_by)
            is_trial = self.gate.reason() is not None
            if is_trial:  # whoever came first has it, whatever there is to try
                sizes, most = (sizes if sizes.are_small else ANY_SIZE), 1
            claimed = self.journal.queue.claim(
                now, sizes, most, is_urgent=self.is_urgent(), is_trial=is_trial
            )
            if claimed:
                return claimed, 0.0
            if self.gate.is_in_doubt() and self.journal.queue.is_idle(now):
                self.gate.exhausted()
            return [], self._wait_for_due(sizes)
        except PortError as error:
            return [], self._shut(error)
        finally:
            if is_trial and claimed:
                self._on_trial.add(claimed[0].id)
            else:
                self.gate.leave()

    async def carried(self, shipment: Shipment, *, is_brief: bool = False) -> None:
        """Carry a claimed shipment as far as it goes now, and give the claim back."""
        try:
            await self._carry(shipment, is_brief=is_brief)
        except PortError as error:
            self._shut(error)
        finally:
            self.journal.queue.release(shipment.id)
            if shipment.id in self._on_trial:
                self._on_trial.remove(shipment.id)
                self.gate.leave()

    def _shut(self, error: PortError) -> float:
        self.gate.shut(error, generation=self.gate.generation())
        return self.gate.wait_seconds()

    def _is_held(self, shipment: Shipment) -> bool:
        """Whether a refusal of others holds it, too; then it and its like are put off."""
        is_sent = shipment.state not in (State.READY, State.UPLOADING)
        hold = None if is_sent else self.gate.hold_of(shipment.key, is_new=not shipment.code)
        if hold is not None:
            self.failed_attempts.hold(self.journal.queue, hold)
        return hold is not None

    def _wait_for_due(self, sizes: Sizes) -> float:
        due_at = self.journal.queue.next_due_at(sizes)
        wait = IDLE_SECONDS if due_at is None else due_at - self.clock.now()
        return min(max(wait, 0.05), IDLE_SECONDS)

    async def _carry(self, claimed: Shipment, *, is_brief: bool) -> None:
        """Advance the shipment as far as it goes now; a failure ends up in its row."""
        carried = Carried(claimed, self.journal, self.store, self.log, is_brief)
        contained = partial(self.services.bugs.contained_task, shipment=claimed.id)

        async def set_aside(problem: PortError) -> None:
            await contained(lambda: self.failed_attempts.set_aside(carried, problem), take_out)

        async def take_out(_: PortError) -> None:
            self.journal.queue.take_out(claimed.id)

        await contained(lambda: self._attempt(carried), set_aside)
        self.services.bugs.contained(
            lambda: self._settle(carried), lambda problem: None, shipment=claimed.id
        )

    def _settle(self, carried: Carried) -> None:
        if not needs_source(carried.shipment):
            self.services.held.drop(carried.shipment.id)
        if carried.shipment.due_at is None:
            self._listed_until.pop(carried.shipment.id, None)
            self.gate.over(carried.shipment.key)
            tell_end(self.log, carried.shipment, self.clock.now())

    async def _attempt(self, carried: Carried) -> None:
        if self._is_held(carried.shipment):
            return
        generation = self.gate.generation()
        try:
            while carried.is_due(self.clock.now()):
                await self._advance(carried)
        except Stopping:
            self.log.info("shipment.interrupted", **named(carried.shipment))
        except PortError as error:
            await self.failed_attempts.judge(carried, error, generation)

    async def _advance(self, carried: Carried) -> None:
        shipment = carried.shipment
        watch = self.watches.get(shipment.watch)
        if watch is None:
            raise PortError("WatchRemoved", f"no watch is called {shipment.watch!r} any more")
        match shipment.state:
            case State.READY | State.UPLOADING:
                await self._send(carried, watch)
            case State.UPLOADED:
                await self._check(carried, watch)
            case State.VERIFIED:
                await self._dispose(carried, watch)
            case state:
                raise AssertionError(f"{state} is never due")

    async def _send(self, carried: Carried, watch: Watch) -> None:
        shipment = carried.shipment
        with self.services.lookup.source(shipment, watch) as source:
            is_fresh = shipment.state is State.READY and not shipment.copy_of
            if is_fresh and await self._is_duplicate(carried, source, watch):
                return
            stat = source.stat()
            goes_on = shipment.is_live and shipment.state is State.UPLOADING
            if stat.mtime_ns != shipment.mtime_ns and not goes_on:
                if shipment.state is State.UPLOADING:  # what S3 has may be of other bytes
                    await carried.record(UploadLost("UploadExpired"))
                    return
                # A resumed upload compares the file with the mtime that it was begun with.
                self._require_same(shipment, source)
                self.journal.touched([(shipment.id, stat.mtime_ns, stat.ctime_ns)])
                carried.reload()
                shipment = carried.shipment
            sending, content = self._sent_of(carried, source)
            metadata = object_metadata(sending, watch.directory, self.facts)
            try:
                sent = await self.services.sender.send(
                    sending, content, stat, level=watch.compression_level, metadata=metadata
                )
            except (PortError, Stopping):
                carried.reload()  # an upload may have been opened
                raise
        start, end = shipment.raw_start, shipment.raw_end
        carried.shipment = replace(sent.shipment, raw_start=start, raw_end=end)
        events: list[Event] = [sent.stored]
        if sent.is_confirmed and watch.after_upload is AfterUpload.KEEP:
            now = self.clock.now()
            events += [ObjectChecked(now), SourceDisposed(now)]
        await carried.record(*events)

    def _sent_of(self, carried: Carried, source: Source) -> tuple[Shipment, Source]:
        """What is sent, and from what: of a copy that goes on, the rest, decoded."""
        shipment = carried.shipment
        if not shipment.decoded_end:
            return shipment, source
        if carried.is_brief and shipment.decoded_end > SMALL_BYTES:
            raise put_off("this worker is for what takes a moment")
        if not is_compressed(shipment.path):
            return as_sent(shipment), source
        extension = stem_and_extension(shipment.path).extension.decode()
        sender = self.services.sender
        content = DecodedSource(source, extension, sender.encoder, sender.progress.tick)
        return as_sent(shipment), content

    def _require_same(self, shipment: Shipment, source: Source) -> None:
        """Require that a compressed copy that was touched is what was compared with its log."""
        tick = self.services.sender.progress.tick
        found = sha256_of(source, 0, shipment.raw_end, tick) if shipment.file_sha256 else ""
        if found != shipment.file_sha256:
            raise PortError("SourceChanged", "no longer what was compared with its log")

    async def _is_duplicate(self, carried: Carried, source: Source, watch: Watch) -> bool:
        with self.services.duplicates.found(
            carried.shipment, source, watch, is_brief=carried.is_brief
        ) as found:
            if found is not None:
                await carried.record(found)
        return found is not None

    async def _check(self, carried: Carried, watch: Watch) -> None:
        it_is = await self._looked_for(carried)
        if it_is is None:
            return
        shipment, answers = carried.shipment, self.services.sender.lost_answers
        keeps = watch.after_upload is AfterUpload.KEEP
        wait = 0.0 if keeps or shipment.is_live else watch.delete_after_seconds
        is_to_go = not keeps or self.services.disposal.removes(shipment, watch)
        events: list[Event] = [ObjectChecked(self.clock.now() + wait)]
        if is_to_go and not answers.is_proven(shipment, it_is):
            events.append(Rejected("ObjectUnproven", "no checksum came back, ETags tell nothing"))
        await carried.record(*events)

    async def _dispose(self, carried: Carried, watch: Watch) -> None:
        """Look once more before a removal, unless S3 was asked in this very attempt."""
        shipment = carried.shipment
        if self.services.disposal.removes(shipment, watch):
            if not carried.is_looked_at and await self._looked_for(carried) is None:
                return
            await self._require_earlier(shipment)
        await carried.record(self.services.disposal.dispose(shipment, watch))

    async def _require_earlier(self, shipment: Shipment) -> None:
        """Require that S3 lists the log's earlier segments, but for those of a destination that
        was the watch's before: of these the journal knows that they were there."""
        now = self.clock.monotonic()
        if shipment.raw_start == 0 or now < self._listed_until.get(shipment.id, now):
            return
        known = self.journal.known(shipment.watch, shipment.file_id.inode)
        for earlier in chain_of(shipment, known)[:-1]:
            is_here = earlier.destination == shipment.destination
            is_done = is_here and earlier.state is State.DONE
            if is_done and await answer_of(self.store.find(earlier.key)) is None:
                raise PortError("ObjectMissing", f"nothing is there as {earlier.key}")
        self._listed_until[shipment.id] = now + LISTED_SECONDS

    async def _looked_for(self, carried: Carried) -> Likeness | None:
        """How what S3 lists compares with what was sent; None where it is to be sent again."""
        shipment = carried.shipment
        found = await answer_of(self.store.find(shipment.key))
        self.gate.passed()
        answers = self.services.sender.lost_answers
        it_is = Likeness.OTHER if found is None else answers.compare(shipment, found)
        is_other = it_is is not Likeness.SAME and found and found.etag != (shipment.etag or "")
        if not is_other and it_is not in (Likeness.OTHER, Likeness.UNDECIDED):
            carried.is_looked_at = True
            return it_is
        there = "nothing" if found is None else f"{found.size_bytes} bytes, ETag {found.etag}"
        self.log.error("object.mismatched", **named(shipment), detail=f"{there} is there")
        has_attempts = shipment.attempts > 0 and shipment.state is State.UPLOADED
        if has_attempts or shipment.code == SENT_AGAIN_CODE:
            raise PortError("ObjectMissing", f"{there} is there, for the second time")
        due_at = self.failed_attempts.next_try_at(shipment)
        # Whatever is there is never overwritten.
        new_key = another_key(shipment.key) if found is not None else ""
        await carried.record(CheckFailed(f"{there} is there", due_at, new_key))
        return None


def tell_end(log: Any, shipment: Shipment, now: float) -> None:
    """Write the canonical line of a shipment that is finished or parked."""
    facts, code = canonical(shipment, now), shipment.code
    match shipment.state:
        case State.DONE:
            log.info("shipment.finished", **facts)
        case State.GONE:
            tell_vanished(log, shipment, now)
        case State.SUPERSEDED:
            log.info("source.superseded", **facts, code=code, by=shipment.detail)
        case State.PARKED:
            log.error(
                "shipment.parked",
                **facts,
                code=code,
                detail=shipment.detail,
                hint=hint_for(code, shipment.detail),
            )
        case _:
            log.info("shipment.settled", **facts, code=code)
