"""The gate (a circuit breaker): may anything be sent now, and if not, why? And the memory budget.

Waiting for credentials or for the bucket is a state of the daemon, not of a file, so it costs no
shipment an attempt. A shut gate lets one shipment through now and then (half open), because only
a write proves that writes pass again. If several shipments in a row fail with what looks like an
outage, the gate is shut as well.
"""

import contextlib
import mmap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shipper.core.failures import hint_for
from shipper.core.types import ShipmentId
from shipper.ports import Clock, PortError

PROBE_SECONDS = 60.0
"""The longest time between two trials; the shortest is half of it, by jitter."""
MEANWHILE_SECONDS = 10.0
OUTAGE_SHIPMENTS = 3
"""If so many different ones fail in a row and nothing passes meanwhile, it is an outage."""


@dataclass(frozen=True, slots=True)
class Shut:
    """Why nothing is sent. ``since_at`` is wall time; the rest is for people."""

    code: str
    detail: str
    hint: str
    since_at: float


class Gate:
    """Open, shut, or half open with one shipment on trial. ``_lock`` guards all fields.

    ``opened`` is called when it opens again; ``jitter`` draws from [0, 1].
    """

    def __init__(
        self,
        *,
        clock: Clock,
        generation: Callable[[], int],
        log: Any,
        opened: Callable[[], object] = lambda: None,
        jitter: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._clock = clock
        self.generation = generation
        """The generation of the credentials in use, for ``shut``."""
        self._log = log
        self._opened = opened
        self._jitter = jitter
        self._lock = threading.Lock()
        self._shut: Shut | None = None
        self._shut_in_generation = 0
        self._probe_at = 0.0
        self._on_trial = False
        self._failed: set[ShipmentId] = set()

    def reason(self) -> Shut | None:
        with self._lock:
            return self._shut

    def enter(self) -> bool:
        """Whether a worker may take up a shipment now. ``leave`` must follow a True."""
        with self._lock:
            if self._shut is None:
                return True
            if self._on_trial or self._wait() > 0:
                return False
            self._on_trial = True
            return True

    def leave(self) -> None:
        with self._lock:
            if self._on_trial:
                self._on_trial = False
                self._probe_at = max(self._probe_at, self._clock.monotonic() + 1.0)

    def wait_seconds(self) -> float:
        """How long to stay away after ``enter`` said no."""
        with self._lock:
            return max(0.1, self._wait()) if self._shut is not None else 0.0

    def passed(self) -> None:
        """A write was accepted: open."""
        with self._lock:
            was, self._shut = self._shut, None
            self._on_trial = False
            self._failed.clear()
        if was is not None:
            seconds = round(self._clock.now() - was.since_at, 1)
            self._log.info("gate.opened", code=was.code, shut_seconds=seconds)
            self._opened()

    def failed(self, error: PortError, *, shipment: ShipmentId, generation: int) -> bool:
        """Note that a shipment met what may be an outage; whether the gate is shut by that."""
        with self._lock:
            self._failed.add(shipment)
            is_alone = self._shut is None and len(self._failed) < OUTAGE_SHIPMENTS
        if not is_alone:
            self.shut(error, generation=generation)
        return not is_alone

    def shut(self, error: PortError, *, generation: int) -> None:
        """Stop taking up shipments. Logged once per code.

        If the credentials have changed since ``generation``, the next trial is due at once.
        """
        with self._lock:
            is_news = self._shut is None or self._shut.code != error.code
            since_at = self._clock.now() if self._shut is None else self._shut.since_at
            hint = error.hint or hint_for(error.code)
            self._shut = Shut(error.code, error.detail, hint, since_at)
            self._shut_in_generation = generation
            wait = max(PROBE_SECONDS * (1 + self._jitter()) / 2, error.retry_after)
            self._probe_at = self._clock.monotonic() + wait
            self._on_trial = False
        if is_news:
            self._log.error("gate.shut", code=error.code, detail=error.detail, hint=hint)

    def _wait(self) -> float:
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
