"""The gate (a circuit breaker): may anything be sent now, and if not, why?

Waiting for credentials or for the bucket is a state of the daemon, not of a file, so it costs no
shipment an attempt. A shut gate lets one shipment through now and then (half open), because only
a write proves that writes pass again. If several shipments in a row fail with what looks like an
outage, the gate is shut as well; the first trials then come quickly. What failed so before another
key passed is odd: it is no sign of an outage any more, until it passes itself.

A refusal holds keys (``core.refusals``), and the others go on. When nothing passes any more, the
gate is shut; but a key that nothing is known about is tried at once, one at a time.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shipper.core.failures import hint_for
from shipper.core.refusals import (
    ALIKE,
    MOST_KEYS,
    SECONDS_EACH,
    Hold,
    Pieces,
    Refusals,
    Refused,
)
from shipper.ports import Clock, PortError

PROBE_SECONDS = 60.0
"""The longest time between two trials; the shortest is half of it, by jitter."""
OUTAGE_SHIPMENTS = 3
"""If so many different ones fail in a row and nothing passes meanwhile, it is an outage."""
FIRST_TRIAL_SECONDS = 1.0
"""The first trial of what may be an outage; each later one waits ``LONGER`` times as long."""
LONGER = 4
QUICK_TRIALS = 3
"""So many are sooner than ``PROBE_SECONDS``: in a day of outage, that many requests more."""
FLAPPING_SECONDS = 60.0
"""A gate that is shut again so soon after it opened waits twice as long as the last time."""
MOST_FLAPS = 3


@dataclass(frozen=True, slots=True)
class Shut:
    """Why nothing is sent. ``since_at`` is wall time; the rest is for people."""

    code: str
    detail: str
    hint: str
    since_at: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """What follows from a refusal: how long the key waits, and what is held with it."""

    wait_seconds: float
    hold: Hold | None
    blames_credentials: bool


class Gate:
    """Open, shut, or half open with one shipment on trial. ``_lock`` guards all fields.

    ``opened`` is called when it opens again, with the codes of what is still refused, and the
    seconds in which each of those keys may be tried again. ``lifted`` is called with the pieces
    of keys that are held no longer, and with how the details of those begin that go on now.
    ``jitter`` draws from [0, 1]. ``passed_at`` is when a write last passed, by the wall clock.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        generation: Callable[[], int],
        log: Any,
        opened: Callable[[list[str], int], object] = lambda refused, seconds: None,
        lifted: Callable[[Pieces, str], object] = lambda pieces, mark: None,
        jitter: Callable[[], float] = lambda: 1.0,
        passed_at: float = 0.0,
    ) -> None:
        self._clock = clock
        self.generation = generation
        """The generation of the credentials in use, for ``shut``."""
        self._log = log
        self._opened = opened
        self._lifted = lifted
        self._jitter = jitter
        self._lock = threading.Lock()
        self._shut: Shut | None = None
        self._shut_in_generation = 0
        self._probe_at = 0.0
        self._on_trial = False
        self._trials = 0
        self._failed: set[str] = set()
        self._odd: set[str] = set()
        self._passed_at = passed_at
        self._refusals = Refusals()
        self._refused_in_generation = 0
        self._is_refusal = False
        self._opened_at = float("-inf")
        self._flaps = 0

    @property
    def passed_at(self) -> float:
        """When a write last passed, by the wall clock; 0 if none did."""
        return self._passed_at

    def reason(self) -> Shut | None:
        with self._lock:
            return self._shut

    def enter(self) -> bool:
        """Whether a worker may take up a shipment now. ``leave`` must follow a True.

        Raises:
            PortError: ``JournalUnwritable``, where it opens for other credentials.
        """
        with self._lock:
            is_renewed = (
                self._refusals.has_refused and self.generation() != self._refused_in_generation
            )
            if is_renewed:  # other credentials may be allowed what these were not
                self._refused_in_generation = self.generation()
                self._refusals.forget()
        if is_renewed:
            self._open_for(self.standing())
        with self._lock:
            may_enter = self._shut is None or not (self._on_trial or self._wait() > 0)
            self._on_trial = self._on_trial or (may_enter and self._shut is not None)
            return may_enter

    def leave(self) -> None:
        with self._lock:
            if self._on_trial:
                self._on_trial = False
                self._probe_at = max(self._probe_at, self._clock.monotonic() + 1.0)

    def wait_seconds(self) -> float:
        """How long to stay away after ``enter`` said no."""
        with self._lock:
            return max(0.1, self._wait()) if self._shut is not None else 0.0

    def passed(self, key: str = "") -> None:
        """A write of this key was accepted, or a listing answered: open.

        A listing says nothing about refused writes.
        """
        with self._lock:
            is_mended, lifted = self._refusals.accept(key) if key else (False, [])
            if key:
                self._passed_at = self._clock.now()
                self._odd = (self._odd | self._failed) - {key}
            self._failed.clear()
            if self._is_refusal and not key:
                return
            was = self._unlatch()
        for hold in lifted:
            self._lifted(hold.pieces, "" if is_mended else hold.mark)
        self._tell_opened(was, [] if is_mended else self.standing())

    def over(self, key: str) -> None:
        """Forget a key that is not to be sent any more."""
        with self._lock:
            self._failed.discard(key)
            self._odd.discard(key)
            is_last = self._refusals.drop(key) and not self._refusals.has_refused
            was = self._unlatch() if is_last and self._is_refusal else None
        self._tell_opened(was, [])

    def failed(
        self, error: PortError, *, key: str, generation: int, is_everything: bool = False
    ) -> bool:
        """Note that a shipment met what may be an outage; whether the gate is shut by that.

        ``is_everything`` says that nobody's request would pass, so one is enough. Where others
        passed only just now, more are needed.
        """
        with self._lock:
            if key not in self._odd and len(self._failed | self._odd) < MOST_KEYS:
                self._failed.add(key)
            flaps = self._flaps + 1 if self._is_soon() else 0
            needed = 1 if is_everything and not flaps else OUTAGE_SHIPMENTS * LONGER**flaps
            is_alone = key in self._odd or len(self._failed) < needed
            if self._shut is None and is_alone:
                return False
        self.shut(error, generation=generation, is_guess=True)
        return True

    def refused(
        self, error: PortError, *, key: str, generation: int, promised_at: float = math.inf
    ) -> Refusal:
        """Note that S3 refused what was asked for this key."""
        now, hint = self._clock.monotonic(), error.hint or hint_for(error.code)
        with self._lock:
            self._refused_in_generation = generation
            refused = Refused(key, error.code, error.detail, hint, 0, now, promised_at)
            hold = self._refusals.refuse(refused)
            is_everything = hold is not None and not hold.pieces
            is_shut = self._shut is not None or is_everything
            wait = self._refusals.wait_seconds(key, passes=not is_shut)
            is_blamed = self._refusals.blames_credentials(now)
        if is_shut:
            self.shut(error, generation=generation, is_refusal=True)
        return Refusal(wait * (1 + self._jitter()) / 2, hold, is_blamed)

    def hold_of(self, key: str, *, is_new: bool) -> Hold | None:
        """What the key has to wait for; None where it may be sent, on trial or not."""
        with self._lock:
            return self._refusals.hold_of(key, self._clock.monotonic(), is_new=is_new)

    def is_in_doubt(self) -> bool:
        """Whether nothing may pass, for all that is known, and the gate is open."""
        with self._lock:
            needed = ALIKE * 2**self._flaps if self._refusals.has_passed else 1
            return self._shut is None and self._refusals.doubts(self._passed_at) >= needed

    def exhausted(self) -> None:
        """Everything that was due has been tried: if all of it was refused, shut."""
        if self.is_in_doubt():
            with self._lock:
                last = self._refusals.latest
            error = PortError(last.code, last.detail, last.hint)
            self.shut(error, generation=self.generation(), is_refusal=True)

    def standing(self) -> list[tuple[int, Refused]]:
        """For each code, how many keys S3 refuses now, and one of them."""
        with self._lock:
            return self._refusals.standing(self._clock.monotonic())

    def shut(
        self,
        error: PortError,
        *,
        generation: int,
        is_refusal: bool = False,
        is_guess: bool = False,
    ) -> None:
        """Stop taking up shipments. Logged once per code.

        If the credentials have changed since ``generation``, the next trial is due at once.
        ``is_guess`` says that other shipments may pass all the same.
        """
        with self._lock:
            is_first = self._shut is None
            is_news = self._shut is None or self._shut.code != error.code
            since_at = self._clock.now() if self._shut is None else self._shut.since_at
            hint = error.hint or hint_for(error.code)
            self._shut = Shut(error.code, error.detail, hint, since_at)
            self._shut_in_generation = generation
            self._is_refusal = is_refusal
            if is_first:
                self._flaps = min(self._flaps + 1, MOST_FLAPS) if self._is_soon() else 0
                self._trials = self._flaps
            self._trials += 1 if self._on_trial else 0
            longest = PROBE_SECONDS * 2**self._flaps
            quick = FIRST_TRIAL_SECONDS * LONGER ** min(self._trials, QUICK_TRIALS)
            wait = min(PROBE_SECONDS, quick) if is_guess else longest
            wait *= (1 + self._jitter()) / 2
            asked = min(error.retry_after, PROBE_SECONDS)
            self._probe_at = self._clock.monotonic() + max(wait, asked)
            self._on_trial = False
        if is_news:
            self._log.error("gate.shut", code=error.code, detail=error.detail, hint=hint)

    def _is_soon(self) -> bool:
        """Whether the gate opened so recently that to shut it is to flap."""
        return self._clock.monotonic() - self._opened_at < FLAPPING_SECONDS

    def _unlatch(self) -> Shut | None:
        """Open it under the lock; why it was shut, for ``_tell_opened``."""
        was, self._shut = self._shut, None
        self._on_trial = self._is_refusal = False
        if was is not None:
            self._opened_at = self._clock.monotonic()
        return was

    def _tell_opened(self, was: Shut | None, standing: list[tuple[int, Refused]]) -> None:
        if was is not None:
            seconds = round(self._clock.now() - was.since_at, 1)
            self._log.info("gate.opened", code=was.code, shut_seconds=seconds)
            self._open_for(standing)

    def _open_for(self, standing: list[tuple[int, Refused]]) -> None:
        seconds = max(PROBE_SECONDS, SECONDS_EACH * sum(keys for keys, _ in standing))
        self._opened([refused.code for _, refused in standing], int(seconds))

    def _wait(self) -> float:
        if self._is_refusal:
            return 0.0  # what is refused waits by its key
        if self.generation() != self._shut_in_generation:
            return 0.0  # other credentials may be allowed what these were not
        return max(0.0, self._probe_at - self._clock.monotonic())
