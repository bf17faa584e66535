"""The gate (a circuit breaker): may anything be sent now, and if not, why? And the memory budget.

Waiting for credentials or for the bucket is a state of the daemon, not of a file, so it costs no
shipment an attempt. A shut gate lets one shipment through now and then (half open), because only
a write proves that writes pass again. If several shipments in a row fail with what looks like an
outage, the gate is shut as well.

A refusal holds keys (``core.refusals``), and the others go on. When nothing passes any more, the
gate is shut; but a key that nothing is known about is tried at once, one at a time.
"""

import contextlib
import mmap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shipper.core.failures import hint_for
from shipper.core.refusals import ALIKE, SECONDS_EACH, Hold, Pieces, Refusals, Refused
from shipper.core.types import ShipmentId
from shipper.ports import Clock, PortError

PROBE_SECONDS = 60.0
"""The longest time between two trials; the shortest is half of it, by jitter."""
MEANWHILE_SECONDS = 10.0
OUTAGE_SHIPMENTS = 3
"""If so many different ones fail in a row and nothing passes meanwhile, it is an outage."""
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
    ``jitter`` draws from [0, 1].
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
        self._failed: set[ShipmentId] = set()
        self._refusals = Refusals()
        self._refused_in_generation = 0
        self._is_refusal = False
        self._opened_at = float("-inf")
        self._flaps = 0

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
            self._failed.clear()
            if self._is_refusal and not key:
                return
            was, self._shut = self._shut, None
            self._on_trial = self._is_refusal = False
            if was is not None:
                self._opened_at = self._clock.monotonic()
        for hold in lifted:
            self._lifted(hold.pieces, "" if is_mended else hold.mark)
        if was is not None:
            seconds = round(self._clock.now() - was.since_at, 1)
            self._log.info("gate.opened", code=was.code, shut_seconds=seconds)
            self._open_for([] if is_mended else self.standing())

    def failed(self, error: PortError, *, shipment: ShipmentId, generation: int) -> bool:
        """Note that a shipment met what may be an outage; whether the gate is shut by that."""
        with self._lock:
            self._failed.add(shipment)
            is_alone = self._shut is None and len(self._failed) < OUTAGE_SHIPMENTS
        if not is_alone:
            self.shut(error, generation=generation)
        return not is_alone

    def refused(self, error: PortError, *, key: str, generation: int) -> Refusal:
        """Note that S3 refused what was asked for this key."""
        now, hint = self._clock.monotonic(), error.hint or hint_for(error.code)
        with self._lock:
            self._refused_in_generation = generation
            hold = self._refusals.refuse(Refused(key, error.code, error.detail, hint, 0, now))
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
        """Whether keys were refused since the last write that passed, and the gate is open."""
        with self._lock:
            needed = ALIKE * 2**self._flaps if self._refusals.has_passed else 1
            return self._shut is None and self._refusals.fresh >= needed

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

    def shut(self, error: PortError, *, generation: int, is_refusal: bool = False) -> None:
        """Stop taking up shipments. Logged once per code.

        If the credentials have changed since ``generation``, the next trial is due at once.
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
                is_soon = self._clock.monotonic() - self._opened_at < FLAPPING_SECONDS
                self._flaps = min(self._flaps + 1, MOST_FLAPS) if is_soon else 0
            wait = PROBE_SECONDS * 2**self._flaps * (1 + self._jitter()) / 2
            self._probe_at = self._clock.monotonic() + max(wait, error.retry_after)
            self._on_trial = False
        if is_news:
            self._log.error("gate.shut", code=error.code, detail=error.detail, hint=hint)

    def _open_for(self, standing: list[tuple[int, Refused]]) -> None:
        seconds = max(PROBE_SECONDS, SECONDS_EACH * sum(keys for keys, _ in standing))
        self._opened([refused.code for _, refused in standing], int(seconds))

    def _wait(self) -> float:
        if self._is_refusal:
            return 0.0  # what is refused waits by its key
        if self.generation() != self._shut_in_generation:
            return 0.0  # other credentials may be allowed what these were not
        return max(0.0, self._probe_at - self._clock.monotonic())


Buffer = bytearray | mmap.mmap
MAPPED_BYTES = 1024**2


class ByteBudget:
    """Memory that parts in flight may take, for the whole daemon. ``_freed`` guards all fields.

    An eighth is kept for requests of no more than that, so that small files do not wait behind the
    parts of huge ones. ``meanwhile`` is called while somebody waits.

    Buffers are kept for the next part of the same size: fresh pages cost half as much as hashing.
    Lent and kept together never exceed the budget, and nothing is kept while nothing is in flight.
    Large buffers are mapped outside of the heap, which they would fragment.
    """

    def __init__(self, total_bytes: int, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._meanwhile = meanwhile
        self._total = total_bytes
        self._small = total_bytes // 8
        self.longest_bytes = total_bytes - self._small
        """No request gets more, and no buffer should be longer."""
        self._left = total_bytes
        self._kept: list[Buffer] = []
        self._freed = threading.Condition()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lent."""
        with self._freed:
            return self._left == self._total

    def lend(self, wanted_bytes: int, length: int) -> tuple[int, Buffer]:
        """Block until the bytes are free; how many were taken: at most ``longest_bytes``.

        The buffer of ``length`` is among them; its content is undefined.
        """
        with self._freed:
            spared = self._small if wanted_bytes > self._small else 0
            taken = min(wanted_bytes, self._total - spared)
            while self._left - taken < spared:
                self._freed.wait(MEANWHILE_SECONDS)
                self._meanwhile()
            self._left -= taken
            fitting = next((each for each in self._kept if len(each) == length), None)
            if fitting is not None:
                self._kept = [each for each in self._kept if each is not fitting]
            self._forget()
        try:
            return taken, _buffer(length) if fitting is None else fitting
        except MemoryError:
            self.give_back(taken)
            raise

    def lengthen(self, taken_bytes: int, buffer: Buffer, length: int) -> tuple[int, Buffer]:
        """A longer buffer with the same bytes for one that was lent, and what is taken now.

        It goes beyond the budget if need be: who has memory must not wait for more.
        """
        longer = _buffer(length)
        with memoryview(buffer) as present:
            longer[: len(present)] = present
        more_bytes = length - len(buffer)
        _release(buffer)
        with self._freed:
            self._left -= more_bytes
            self._forget()
        return taken_bytes + more_bytes, longer

    def give_back(self, taken_bytes: int, buffer: Buffer | None = None) -> None:
        with self._freed:
            self._left += taken_bytes
            self._kept += [] if buffer is None else [buffer]
            self._forget()
            self._freed.notify_all()

    def _forget(self) -> None:
        """Free kept buffers until they fit, all of them when nothing is in flight."""
        room = 0 if self._left == self._total else self._left
        while self._kept and sum(map(len, self._kept)) > room:
            _release(self._kept.pop(0))


def _buffer(length: int) -> Buffer:
    if length < MAPPED_BYTES:
        return bytearray(length)
    try:
        return mmap.mmap(-1, length)
    except OSError as error:
        raise MemoryError(f"{length} bytes: {error.strerror}") from error


def _release(buffer: Buffer) -> None:
    """Free it now even if it is referred to; later if a view of it is open."""
    with contextlib.suppress(BufferError):
        if isinstance(buffer, mmap.mmap):
            buffer.close()
        else:
            buffer.clear()
