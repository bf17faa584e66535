"""What a failed attempt does to its shipment, and to the gate: judged here and nowhere else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from shipper.core.backoff import shipment_retry_wait
from shipper.core.failures import Verdict, is_outage, judge
from shipper.core.lifecycle import (
    AttemptFailed,
    Rejected,
    UploadLost,
)
from shipper.core.object_keys import another_key
from shipper.core.refusals import LONGEST_WAIT_SECONDS, Hold
from shipper.core.types import Shipment, State, Watch, WatchName
from shipper.journal.queue import Queue
from shipper.ports import Clock, PortError
from shipper.services.sending.carried import Carried
from shipper.services.sending.gate import Gate
from shipper.services.sending.lost_answers import LostAnswers
from shipper.services.sources.canonical_line import named
from shipper.services.sources.losses import Losses

HELD_BACK_SECONDS = 60.0
AFTER_TRIAL_SECONDS = 0.05
"""The shipment for a trial is due a moment after the trial is."""


@dataclass(kw_only=True)
class FailedAttempts:
    """Records failures; safe to share between threads."""

    gate: Gate
    refresh_now: Callable[[], None]
    lost_answers: LostAnswers
    losses: Losses
    watches: Mapping[WatchName, Watch]
    clock: Clock
    rng: Random
    log: Any

    def judge(self, carried: Carried, error: PortError, generation: int) -> None:
        """Record the failure; ``generation`` is of the credentials that the attempt began with."""
        shipment = carried.shipment
        verdict = judge(error.code, error.status)
        match verdict:
            case Verdict.AWAIT_CREDENTIALS:
                self.refresh_now()
                self.gate.shut(error, generation=generation)
            case Verdict.REFUSED:
                self._refused(carried, error, generation)
            case Verdict.HOLD:
                self.refresh_now()
                is_on_trial = self.gate.reason() is not None
                self.gate.shut(error, generation=generation)
                if error.code != "JournalUnwritable":
                    self._hold_back(carried, error, is_on_trial=is_on_trial)
            case Verdict.REDISCOVER if shipment.state is not State.UPLOADED:
                self._end(carried, error, generation)
            case Verdict.PARK:
                new_key = another_key(shipment.key) if error.code == "KeyTaken" else ""
                carried.record(Rejected(error.code, error.detail, new_key))
            case _:
                if verdict is Verdict.RESTART and shipment.state is State.UPLOADING:
                    carried.record(UploadLost(error.code))
                self._put_off(carried, error, generation)

    def _end(self, carried: Carried, error: PortError, generation: int) -> None:
        """Nothing can be sent any more: it is in S3, or another file has it, or it is lost.

        What cannot be told now is told at the next attempt.
        """
        shipment = carried.shipment
        try:
            stored = self.lost_answers.stored(shipment)
            watch = self.watches.get(shipment.watch)
            event = stored or self.losses.event(shipment, watch, error)
        except PortError as untold:
            self.judge(carried, untold, generation)
        else:
            carried.record(event)

    def set_aside(self, carried: Carried, problem: PortError) -> None:
        """Record what was no answer of the world's; nothing if the shipment is over by now."""
        carried.reload()
        if carried.shipment.due_at is not None:
            self.judge(carried, problem, self.gate.generation())

    def hold(self, queue: Queue, hold: Hold) -> None:
        """Put off what is due of the keys that are held, but for the next trial."""
        now, refused = self.clock.now(), hold.refused
        queue.hold(
            hold.pieces,
            now=now,
            until=now + LONGEST_WAIT_SECONDS,
            trial_at=now + max(0.0, hold.trial_at - self.clock.monotonic()) + AFTER_TRIAL_SECONDS,
            code=refused.code,
            detail=f"{hold.mark}: {refused.detail}",
        )

    def _refused(self, carried: Carried, error: PortError, generation: int) -> None:
        """Hold the key and what the refusal explains; the shipment costs it no attempt."""
        shipment = carried.shipment
        refusal = self.gate.refused(error, key=shipment.key, generation=generation)
        if refusal.blames_credentials:
            self.refresh_now()
        due_at = self.clock.now() + refusal.wait_seconds
        carried.record(AttemptFailed(error.code, error.detail, due_at, counts=False))
        self.log.warning(
            "attempt.failed",
            **named(shipment),
            code=error.code,
            detail=error.detail,
            attempts=shipment.attempts,
            retry_in_seconds=round(refusal.wait_seconds, 1),
        )
        if refusal.hold is not None:
            self.hold(carried.journal.queue, refusal.hold)

    def next_try_at(self, shipment: Shipment, at_least_seconds: float = 0.0) -> float:
        """When a shipment that fails now is due again, by the wall clock."""
        wait = shipment_retry_wait(shipment.attempts, self.rng.random())
        return self.clock.now() + max(wait, at_least_seconds)

    def _hold_back(self, carried: Carried, error: PortError, *, is_on_trial: bool) -> None:
        """Cost the shipment no attempt. One that fails on trial makes room for another."""
        due_at = self.clock.now() + (HELD_BACK_SECONDS if is_on_trial else 0.0)
        carried.record(AttemptFailed(error.code, error.detail, due_at, counts=False))

    def _put_off(self, carried: Carried, error: PortError, generation: int) -> None:
        shipment = carried.shipment
        is_on_trial = self.gate.reason() is not None
        if is_outage(error.code, error.status) and self.gate.failed(
            error, shipment=shipment.id, generation=generation
        ):
            self._hold_back(carried, error, is_on_trial=is_on_trial)
            return
        counts = error.code not in ("DuplicateUndecided", "OtherFileSystem")
        due_at = self.next_try_at(shipment, error.retry_after)
        carried.record(AttemptFailed(error.code, error.detail, due_at, counts=counts))
        log = self.log.warning if counts else self.log.debug
        log(
            "attempt.failed",
            **named(shipment),
            code=error.code,
            detail=error.detail,
            attempts=carried.shipment.attempts,
            retry_in_seconds=round(due_at - self.clock.now(), 1),
        )
