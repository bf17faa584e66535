"""The carrier: takes one due shipment at a time from the journal to DONE.

A step is: pass the gate, claim, open the source, do what the shipment's state asks for, record
it, release. What is idempotent is done first and recorded afterwards; a crash in between only
repeats it. Every failure is judged in one place, ``_judge``.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from shipper.core.backoff import retry_wait
from shipper.core.failures import Verdict, is_outage, judge
from shipper.core.lifecycle import (
    AttemptFailed,
    CheckFailed,
    DuplicateFound,
    Event,
    ObjectChecked,
    Rejected,
    SourceChanged,
    SourceDisposed,
    SourceVanished,
    UploadLost,
)
from shipper.core.object_keys import InstanceFacts, another_key, object_metadata
from shipper.core.rotated_names import is_compressed
from shipper.core.types import AfterUpload, Shipment, State, Watch, WatchName
from shipper.journal.journal import Journal
from shipper.journal.statements import ANY_BYTES
from shipper.ports import Clock, ObjectStore, PortError, Source, Stopping
from shipper.services.sending.abandoned_uploads import AbandonedUploads
from shipper.services.sending.duplicates import Duplicates
from shipper.services.sending.gate import Gate
from shipper.services.sending.recognition import Recognition
from shipper.services.sending.sender import Sender, Sent
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.held_files import HeldFiles, needs_source
from shipper.services.sources.lookup import SourceLookup
from shipper.services.sources.shipment_end import tell_end

IDLE_SECONDS = 60.0
HELD_BACK_SECONDS = 60.0


class Carrier:
    """Carries shipments; several workers may share one."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: ObjectStore,
        sender: Sender,
        lookup: SourceLookup,
        duplicates: Duplicates,
        recognition: Recognition,
        disposal: Disposal,
        held: HeldFiles,
        abandoned_uploads: AbandonedUploads,
        gate: Gate,
        refresh_now: Callable[[], None],
        watches: Mapping[WatchName, Watch],
        facts: InstanceFacts,
        clock: Clock,
        rng: Random,
        log: Any,
        is_urgent: Callable[[], bool] = lambda: False,
    ) -> None:
        self._journal = journal
        self._store = store
        self._sender = sender
        self._lookup = lookup
        self._duplicates = duplicates
        self._recognition = recognition
        self._disposal = disposal
        self._held = held
        self._abandoned_uploads = abandoned_uploads
        self._gate = gate
        self._refresh_now = refresh_now
        self._watches = watches
        self._facts = facts
        self._clock = clock
        self._rng = rng
        self._log = log
        self._is_urgent = is_urgent

    def step(self, at_most_bytes: int = ANY_BYTES, due_by: float = float("inf")) -> float:
        """Carry one due shipment; the seconds to wait before the next step, 0 if it did.

        It is one of which no more than ``at_most_bytes`` have to be sent, and that fell due by
        then (wall time).
        """
        if not self._gate.enter():
            return self._gate.wait_seconds()
        try:
            now = min(self._clock.now(), due_by)
            shipment = self._journal.claim(now, at_most_bytes, is_urgent=self._is_urgent())
            if shipment is None:
                self._abandoned_uploads.sweep()
                return self._wait_for_due(at_most_bytes)
            try:
                self._carry(shipment)
            finally:
                self._journal.release(shipment.id)
        except PortError as error:
            self._gate.shut(error, generation=self._gate.generation())
            return self._gate.wait_seconds()
        finally:
            self._gate.leave()
        return 0.0

    def _wait_for_due(self, at_most_bytes: int) -> float:
        due_at = self._journal.next_due_at(at_most_bytes)
        wait = IDLE_SECONDS if due_at is None else due_at - self._clock.now()
        return min(max(wait, 0.05), IDLE_SECONDS)

    def _carry(self, claimed: Shipment) -> None:
        """Advance the shipment as far as it goes now; failures end up in its row."""
        generation = self._gate.generation()
        carried, has_failed = _Carried(claimed, self._journal), False
        try:
            while carried.is_due(self._clock.now()):
                self._advance(carried)
        except Stopping:
            self._log.info("shipment.interrupted", **_named(carried.shipment))
        except PortError as error:
            has_failed = True
            self._judge(carried, error, generation)
        if not needs_source(carried.shipment):
            self._held.drop(claimed.id)
        if carried.shipment.due_at is None:
            tell_end(carried.shipment, now=self._clock.now(), log=self._log)
        if has_failed:
            self._abandoned_uploads.sweep()

    def _advance(self, carried: "_Carried") -> None:
        shipment = carried.shipment
        watch = self._watches.get(shipment.watch)
        if watch is None:
            raise PortError("WatchRemoved", f"no watch is called {shipment.watch!r} any more")
        match shipment.state:
            case State.READY | State.UPLOADING:
                self._send(carried, watch)
            case State.UPLOADED:
                self._check(carried, watch)
            case State.VERIFIED:
                carried.record(self._disposal.dispose(shipment, watch))
            case state:
                raise AssertionError(f"{state} is never due")

    def _send(self, carried: "_Carried", watch: Watch) -> None:
        shipment = carried.shipment
        with self._lookup.source(shipment, watch) as source:
            if shipment.state is State.READY and self._is_there(carried, source, watch):
                return
            mtime_ns = source.stat().mtime_ns
            if mtime_ns != shipment.mtime_ns and not shipment.is_live:
                if shipment.state is State.UPLOADING:
                    raise PortError("UploadExpired", "the file was touched since it was begun")
                # From now on it is this one that a resumed upload must find.
                self._journal.touched(shipment.id, mtime_ns)
                carried.reload()
                shipment = carried.shipment
            metadata = object_metadata(shipment, watch.directory, self._facts)
            try:
                sent = self._sender.send(
                    shipment, source, level=watch.compression_level, metadata=metadata
                )
            except BaseException:
                carried.reload()  # an upload may have been opened
                raise
        carried.shipment = sent.shipment
        self._record(carried, sent, watch)

    def _is_there(self, carried: "_Carried", source: Source, watch: Watch) -> bool:
        """Whether S3 has the bytes: as a twin, or sent for a journal that was lost."""
        shipment, is_packed = carried.shipment, is_compressed(carried.shipment.path)
        # On trial, for the whole daemon, there is no time for a long proof.
        between = self._carry_others if self._gate.reason() is None else None
        duplicate = self._duplicates.find(shipment, source, watch, between=between)
        if duplicate is not None:
            now = self._clock.now()
            carried.record(
                DuplicateFound(duplicate.key, now, duplicate.raw_sha256, duplicate.raw_crc32)
            )
            return True
        stored = self._recognition.recognise(shipment, source, watch)
        if stored is not None:
            self._gate.passed()
            self._record(carried, Sent(shipment, stored, is_confirmed=True), watch)
            return True
        original = self._recognition.original(shipment, source, watch) if is_packed else None
        if original is not None:
            self._gate.passed()
            carried.record(DuplicateFound(original, self._clock.now()))
        return original is not None

    def _record(self, carried: "_Carried", sent: Sent, watch: Watch) -> None:
        events: list[Event] = [sent.stored]
        # Of a live file, too: once it is rotated, it is removed with what was shipped before.
        if sent.is_confirmed and watch.after_upload is AfterUpload.KEEP:
            now = self._clock.now()
            events += [ObjectChecked(now), SourceDisposed(now)]
        carried.record(*events)

    def _carry_others(self) -> None:
        """Between two pieces of a long proof: uploads that have fallen due go first."""
        while self.step() == 0.0:
            self._sender.tick()

    def _check(self, carried: "_Carried", watch: Watch) -> None:
        shipment = carried.shipment
        found = self._store.find(shipment.key)
        self._gate.passed()
        is_equal = found is not None and found.size_bytes == shipment.stored_bytes
        if not is_equal or (shipment.etag and found and found.etag != shipment.etag):
            there = "nothing" if found is None else f"{found.size_bytes} bytes, ETag {found.etag}"
            self._log.error("object.mismatched", **_named(shipment), detail=f"{there} is there")
            if shipment.attempts:
                raise PortError("ObjectMissing", f"{there} is there, for the second time")
            wait = retry_wait(shipment.attempts, self._rng.random())
            carried.record(CheckFailed(f"{there} is there", self._clock.now() + wait))
            return
        keeps = watch.after_upload is AfterUpload.KEEP or shipment.is_live
        wait = 0.0 if keeps else watch.delete_after_seconds
        carried.record(ObjectChecked(self._clock.now() + wait))

    def _judge(self, carried: "_Carried", error: PortError, generation: int) -> None:
        """What the failure does to the shipment or to the gate."""
        shipment, now = carried.shipment, self._clock.now()
        verdict = judge(error.code, error.status)
        match verdict:
            case Verdict.AWAIT_CREDENTIALS:
                self._refresh_now()
                self._gate.shut(error, generation=generation)
            case Verdict.HOLD:
                self._refresh_now()
                is_on_trial = self._gate.reason() is not None
                self._gate.shut(error, generation=generation)
                if error.code != "JournalUnwritable":
                    self._hold_back(carried, error, is_on_trial=is_on_trial)
            case Verdict.REDISCOVER if shipment.state is not State.UPLOADED:
                event = SourceVanished if error.code == "SourceVanished" else SourceChanged
                carried.record(event(now))
            case Verdict.PARK:
                new_key = another_key(shipment.key) if error.code == "KeyTaken" else ""
                carried.record(Rejected(error.code, error.detail, new_key))
            case _:
                if verdict is Verdict.RESTART and shipment.state is State.UPLOADING:
                    carried.record(UploadLost(error.code))
                self._put_off(carried, error, generation)

    def _hold_back(self, carried: "_Carried", error: PortError, *, is_on_trial: bool) -> None:
        """It costs no attempt. One that fails on trial makes room: it may be the only one to."""
        due_at = self._clock.now() + (HELD_BACK_SECONDS if is_on_trial else 0.0)
        carried.record(AttemptFailed(error.code, error.detail, due_at, counts=False))

    def _put_off(self, carried: "_Carried", error: PortError, generation: int) -> None:
        shipment = carried.shipment
        is_on_trial = self._gate.reason() is not None
        if is_outage(error.code, error.status) and self._gate.failed(
            error, shipment=shipment.id, generation=generation
        ):
            self._hold_back(carried, error, is_on_trial=is_on_trial)
            return
        counts = error.code != "TwinUndecided"
        wait = retry_wait(shipment.attempts, self._rng.random())
        wait = max(wait, error.retry_after)
        carried.record(
            AttemptFailed(error.code, error.detail, self._clock.now() + wait, counts=counts)
        )
        log = self._log.warning if counts else self._log.debug
        log(
            "attempt.failed",
            **_named(shipment),
            code=error.code,
            detail=error.detail,
            attempts=carried.shipment.attempts,
            retry_in_seconds=round(wait, 1),
        )


class _Carried:
    """The shipment in a worker's hands, always as its row is now."""

    def __init__(self, shipment: Shipment, journal: Journal) -> None:
        self.shipment = shipment
        self._journal = journal

    def is_due(self, now: float) -> bool:
        return self.shipment.due_at is not None and self.shipment.due_at <= now

    def record(self, *events: Event) -> None:
        self.shipment = self._journal.record(self.shipment, *events)

    def reload(self) -> None:
        self.shipment = self._journal.shipment(self.shipment.id) or self.shipment


def _named(shipment: Shipment) -> dict[str, object]:
    return {"shipment": shipment.id, "watch": shipment.watch, "key": shipment.key}
