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

HELD_BACK_SECONDS = 30.0
"""A shipment that shut the gate makes room for others; it is due by the next but quick trial."""
_OF_THE_DAEMON = frozenset({"CredentialsUnavailable", "JournalUnwritable"})
"""Whatever is asked for: these shut the gate always."""
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

    async def judge(self, carried: Carried, error: PortError, generation: int) -> None:
        """Record the failure; ``generation`` is of the credentials that the attempt began with."""
        shipment = carried.shipment
        verdict = judge(error.code, error.status)
        match verdict:
            case Verdict.AWAIT_CREDENTIALS | Verdict.HOLD:
                self.refresh_now()
                if error.code in _OF_THE_DAEMON:
                    self.gate.shut(error, generation=generation)
                else:
                    await self._put_off(carried, error, generation)
            case Verdict.REFUSED:
                await self._refused(carried, error, generation)
            case Verdict.REDISCOVER if shipment.state is not State.UPLOADED:
                await self._end(carried, error, generation)
            case Verdict.PARK:
                new_key = another_key(shipment.key) if error.code == "KeyTaken" else ""
                await carried.record(Rejected(error.code, error.detail, new_key))
            case _:
                if verdict is Verdict.RESTART and shipment.state is State.UPLOADING:
                    await carried.record(UploadLost(error.code))
                await self._put_off(carried, error, generation)

    async def _end(self, carried: Carried, error: PortError, generation: int) -> None:
        """Nothing can be sent any more: it is in S3, or another file has it, or it is lost.

        What cannot be told now is told at the next attempt.
        """
        shipment = carried.shipment
        try:
            stored = await self.lost_answers.stored(shipment)
            watch = self.watches.get(shipment.watch)
            event = stored or self.losses.event(shipment, watch, error)
        except PortError as untold:
            await self.judge(carried, untold, generation)
        else:
            await carried.record(event)

    async def set_aside(self, carried: Carried, problem: PortError) -> None:
        """Record what was no answer of the world's; nothing if the shipment is over by now."""
        carried.reload()
        if carried.shipment.due_at is not None:
            await self.judge(carried, problem, self.gate.generation())

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

    async def _refused(self, carried: Carried, error: PortError, generation: int) -> None:
        """Hold the key and what the refusal explains; the shipment costs it no attempt."""
        shipment = carried.shipment
        refusal = self.gate.refused(
            error, key=shipment.key, generation=generation, promised_at=shipment.promised_at
        )
        if refusal.blames_credentials:
            self.refresh_now()
        due_at = self.clock.now() + refusal.wait_seconds
        await carried.record(AttemptFailed(error.code, error.detail, due_at, counts=False))
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

    async def _shuts(self, carried: Carried, error: PortError, generation: int) -> bool:
        """Whether it shuts the gate, or keeps it shut: that costs the shipment no attempt."""
        verdict, key = judge(error.code, error.status), carried.shipment.key
        is_renewable = verdict is Verdict.AWAIT_CREDENTIALS
        is_everything = is_renewable or verdict is Verdict.HOLD
        if not (is_everything or is_outage(error.code, error.status)):
            return False
        is_on_trial = self.gate.reason() is not None
        if not self.gate.failed(
            error, key=key, generation=generation, is_everything=is_everything
        ):
            return False
        # Other credentials are tried at once, and there may be no other shipment.
        wait = 0.0 if is_renewable and not is_on_trial else HELD_BACK_SECONDS
        await carried.record(
            AttemptFailed(error.code, error.detail, self.clock.now() + wait, counts=False)
        )
        return True

    async def _put_off(self, carried: Carried, error: PortError, generation: int) -> None:
        if await self._shuts(carried, error, generation):
            return
        shipment = carried.shipment
        counts = error.code not in ("DuplicateUndecided", "OtherFileSystem")
        due_at = self.next_try_at(shipment, error.retry_after)
        await carried.record(AttemptFailed(error.code, error.detail, due_at, counts=counts))
        log = self.log.warning if counts else self.log.debug
        log(
            "attempt.failed",
            **named(shipment),
            code=error.code,
            detail=error.detail,
            attempts=carried.shipment.attempts,
            retry_in_seconds=round(due_at - self.clock.now(), 1),
        )
