"""Writes heartbeats: how this instance does, into the bucket, for whoever looks after a fleet.

It goes out although the gate is shut, for then it matters most. What becomes of it, and be it a
bug, shuts no gate and ends no loop. ``step`` does not wait for S3, whose answer wakes the loop; so
no stop waits for it either.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from shipper.core import hints
from shipper.core.destinations import WRITTEN_AS
from shipper.core.failures import hint_for
from shipper.core.heartbeats import (
    Heartbeat,
    HourText,
    State,
    encoded,
    hourly_key,
    last_word,
    millisecond,
    overwritten_key,
)
from shipper.core.pace import Way, arrived, begun, failed, first_pace, first_way, next_way
from shipper.core.types import ObjectKey, StoredObject
from shipper.ports import Clock, Encoder, ObjectStore, PortError
from shipper.services.bugs import Bugs

LOOK_SECONDS = 30.0
"""How often it is looked whether the state is another one."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of them so far; ``problem`` is why the last one did not arrive."""

    arrived: int = 0
    failed: int = 0
    arrived_at: float = 0.0
    """By the wall clock; 0 where none did."""
    key: str = ""
    """Of the last that arrived."""
    problem: PortError | None = None


@dataclass(frozen=True, slots=True)
class _Under:
    """On its way."""

    heartbeat: Heartbeat
    way: Way
    key: ObjectKey
    answer: Future[StoredObject]


class Heartbeats:
    """``step`` belongs to one thread; once its loop has ended, ``step_last`` to another.

    ``look`` says how the instance does. ``now`` is the wall clock, put right by S3's. ``answered``
    wakes the loop, from any thread.
    """

    def __init__(
        self,
        *,
        interval_seconds: float,
        encoder: Encoder,
        now: Callable[[], float],
        clock: Clock,
        rng: Random,
        bugs: Bugs,
        log: Any,
    ) -> None:
        self._interval_seconds = interval_seconds
        self._encoder = encoder
        self._now = now
        self._clock = clock
        self._rng = rng
        self._bugs = bugs
        self._log = log
        self._pace = first_pace(interval_seconds, clock.boottime(), rng.random())
        self._under: _Under | None = None
        self._store: ObjectStore | None = None
        self._prefix = self._instance_id = ""
        self._hour = HourText("")
        self._has_last = False
        self._looked: Heartbeat | None = None
        self.look: Callable[[], Heartbeat] | None = None
        self.answered: Callable[[], None] = lambda: None
        self.told = Told()
        """For any thread."""
        self.is_hourly = False
        """Whether the bucket refuses to replace one."""

    def open(self, store: ObjectStore, prefix: str, instance_id: str) -> None:
        """The bucket is known, and who this is."""
        self._prefix, self._instance_id, self._store = prefix, instance_id, store

    def step(self) -> float:
        """Write one if it is due; the seconds until the next look."""
        return self._bugs.contained(self._step, self._met, loop="heartbeat")

    def _met(self, why: PortError) -> float:
        """A bug was met."""
        self._under = None
        self._failed(why)
        return LOOK_SECONDS

    def _step(self) -> float:
        if self._store is None or self.look is None or not self._is_answered():
            return LOOK_SECONDS
        self._looked = heartbeat = self.look()
        now = self._clock.boottime()
        due_at = self._pace.due_at(State(heartbeat.state))
        if due_at > now:
            return min(LOOK_SECONDS, due_at - now)
        self._begin(heartbeat)
        return LOOK_SECONDS

    def step_last(
        self, *, has_drained: bool = False, is_final: bool = False, died: str = ""
    ) -> bool:
        """Write the last one, as ``last_word`` has it; whether that is over. Nothing else is at
        work. For one that ``died`` nobody looks anew: the journal may be what it died of."""
        look = (lambda: self._looked) if died else self.look
        told = partial(last_word, has_drained=has_drained, is_final=is_final, died=died)
        write = partial(self._step_last, look, told)
        return self._bugs.contained(write, lambda why: True, loop="heartbeat")

    def _step_last(
        self,
        look: Callable[[], Heartbeat | None] | None,
        told: Callable[[Heartbeat], Heartbeat],
    ) -> bool:
        if self._store is None or look is None:
            return True
        if not self._is_answered():
            return False
        if not self._has_last:
            self._has_last = True
            if (heartbeat := look()) is not None:
                self._begin(told(heartbeat), is_last=True)
                return False
        return True

    def _begin(self, heartbeat: Heartbeat, *, is_last: bool = False) -> None:
        now, wall = self._clock.boottime(), self._now()
        self._pace = begun(self._pace, now)
        turn_at = self._pace.turn_at if self._pace.turn_at > now else now + self._interval_seconds
        heartbeat = replace(
            heartbeat,
            at=millisecond(wall),
            interval_seconds=self._interval_seconds,
            next_due_at="" if is_last else millisecond(wall + turn_at - now),
        )
        is_another = heartbeat.at[:13] == self._hour
        self._send(heartbeat, first_way(is_hourly=self.is_hourly, is_another=is_another))

    def _send(self, heartbeat: Heartbeat, way: Way) -> None:
        assert self._store is not None
        key, body = self._key(heartbeat, way), encoded(heartbeat)
        checksum = self._encoder.checksum(self._store.algorithm)
        checksum.add(body)
        answer = self._store.put(
            key,
            body,
            checksum=checksum.value(),
            metadata={},
            watch=WRITTEN_AS,
            overwrites=way is Way.OVERWRITE,
        )
        self._under = _Under(heartbeat, way, key, answer)
        answer.add_done_callback(lambda _: self.answered())

    def _key(self, heartbeat: Heartbeat, way: Way) -> ObjectKey:
        if way is Way.OVERWRITE:
            return overwritten_key(self._prefix, self._instance_id)
        is_another = way is Way.SECOND
        return hourly_key(self._prefix, self._instance_id, heartbeat.at, is_another=is_another)

    def _is_answered(self) -> bool:
        """Whether nothing is on its way any more; what was answered is dealt with."""
        while (under := self._under) is not None:
            if not under.answer.done():
                return False
            self._under, error = None, under.answer.exception()
            if error is None:
                self._arrived(under)
            elif not isinstance(error, PortError):
                raise error
            elif (way := next_way(under.way, error.code)) is not None:
                self._send(under.heartbeat, way)
            else:
                self._failed(error)
        return True

    def _arrived(self, under: _Under) -> None:
        state = State(under.heartbeat.state)
        self._pace = arrived(self._pace, state, self._clock.boottime())
        is_news = self.told.problem is not None or not self.told.arrived
        self.told = Told(
            self.told.arrived + 1, self.told.failed, self._clock.now(), under.key, None
        )
        if under.way is not Way.OVERWRITE:
            self._hour = HourText(under.heartbeat.at[:13])
            if not self.is_hourly:
                self.is_hourly = True
                self._log.info("heartbeat.hourly", key=under.key)
        log = self._log.info if is_news else self._log.debug
        log("heartbeat.written", key=under.key, state=state.value)

    def _failed(self, error: PortError) -> None:
        is_denied = error.code == "AccessDenied"
        hint = hints.HEARTBEAT_DENIED if is_denied else error.hint or hint_for(error.code)
        problem = PortError(error.code, error.detail, hint)
        if self.told.problem is None or self.told.problem.code != error.code:
            self._log.warning("heartbeat.failed", **problem.words)
        self.told = replace(self.told, failed=self.told.failed + 1, problem=problem)
        self._pace = failed(self._pace, self._clock.boottime(), self._rng.random())
