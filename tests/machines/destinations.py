"""Two destinations of one machine on a simulated clock: each with its gate, queue and memory.

Answers come when simulated time has come so far, so what waits for one side costs the other only
what it really shares: the journal, the clock, and what is claimed.
"""

import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from shipper.core.concurrency import in_flight_within
from shipper.core.types import RelativePath, State, StoredObject, Watch, WatchName
from shipper.ports import PortError
from shipper.runtime.wiring_carrier import carrier_of
from shipper.services.sending.gate import Gate
from shipper.services.sending.memory_budget import ByteBudget
from shipper.services.sending.progress import Progress
from shipper.services.sending.rate_limits import ConcurrencyLimiter
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.small_files import SmallFiles, with_memory
from shipper.services.sending.tasks import Blocking, Interleaved
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore
from tests.machines.world import MIB, ONCE, World

ANSWER_SECONDS = 0.05
UP = Watch(
    name=WatchName("up"),
    directory="/logs",
    include=("up*",),
    exclude=("down*",),
    live=(),
    settle_seconds=1.0,
)
DOWN = replace(
    UP, name=WatchName("down"), include=("down*",), exclude=("up*",), destination="down"
)


class Later:
    """What happens in simulated time, in its order."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._clock.monotonic() + seconds, next(self._numbers), action))

    def pass_on(self, at_most_seconds: float) -> None:
        """Let time pass up to the next thing that happens, and let it happen."""
        next_at = self._due[0][0] if self._due else float("inf")
        wait = max(0.0, min(at_most_seconds, next_at - self._clock.monotonic()))
        self._clock.advance(seconds=wait)
        while self._due and self._due[0][0] <= self._clock.monotonic() + 1e-9:
            heapq.heappop(self._due)[2]()


@dataclass(frozen=True, slots=True)
class Outage:
    """How writes fail: after so long, with what."""

    error: PortError
    seconds: float


class SimulatedStore:
    """A bucket whose answers to writes take their time."""

    def __init__(self, later: Later) -> None:
        self.bucket = FakeStore()
        self.outage: Outage | None = None
        self.asked = 0
        self._later = later

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bucket, name)

    def put(self, *given: Any, **named: Any) -> Future[StoredObject]:
        future: Future[StoredObject] = Future()
        self.asked += 1
        outage = self.outage

        def answer() -> None:
            if outage is not None:
                future.set_exception(outage.error)
            else:
                future.set_result(self.bucket.put(*given, **named).result())

        self._later.after(ANSWER_SECONDS if outage is None else outage.seconds, answer)
        return future


class Side:
    """One destination, as ``runtime.wiring_sending`` builds it."""

    def __init__(self, world: World, later: Later, name: str, memory_bytes: int) -> None:
        clock, journal = world.clock, world.journal.of(name)
        self.store = SimulatedStore(later)
        self.gate = Gate(
            clock=clock,
            generation=lambda: 0,
            log=world.log,
            opened=lambda refused, seconds: journal.queue.requeue(clock.now(), refused, seconds),
            lifted=lambda pieces, mark: journal.queue.take_up(pieces, mark, clock.now()),
            jitter=Random(0).random,
        )
        most = in_flight_within(64, memory_bytes, 0)
        limiter = ConcurrencyLimiter(most=most, clock=clock, log=world.log)
        budget = ByteBudget(memory_bytes // 8)
        carrier = carrier_of(
            replace(
                world.sending,
                journal=journal,
                store=self.store,
                gate=self.gate,
                watches=world.watches,
                retry_policy=RetryPolicy(
                    stopping=world.stopping, rng=Random(0), in_turn=limiter.request, backoff=ONCE
                ),
                progress=Progress(
                    is_stopping=lambda: False, passed=self.gate.passed, moved=lambda: None
                ),
                blocking=Blocking(journal=journal, wait=world.stopping.wait, moved=lambda: None),
                budget=ByteBudget(memory_bytes),
            )
        )
        tasks = Interleaved(
            journal=journal,
            clock=clock,
            is_stopping=lambda: False,
            nudge=lambda: None,
            lingers=False,
        )
        self.small = SmallFiles(
            carrier=with_memory(carrier, budget), tasks=tasks, limiter=limiter, budget=budget
        )


class TwoDestinations:
    """A machine with a watch for each of two destinations."""

    def __init__(self, world: World) -> None:
        world.watch, world.beside = UP, (DOWN,)
        world.restart()
        self.world, self.later = world, Later(world.clock)
        self.up = Side(world, self.later, "", 64 * MIB)
        self.down = Side(world, self.later, "down", 64 * MIB)
        self._numbers = itertools.count()

    def write(self, name: str, files: int) -> None:
        for _ in range(files):
            number = next(self._numbers)
            self.world.files.write(RelativePath(f"{name}{number}.log.1".encode()), b"line\n" * 20)

    def left(self, watch: Watch) -> int:
        """How many of its files are promised and not shipped."""
        totals = self.world.journal.figures.totals()
        return sum(one.files for one in totals if one.watch == watch.name) - self.done(watch)

    def done(self, watch: Watch) -> int:
        totals = self.world.journal.figures.totals()
        return sum(
            one.files for one in totals if one.watch == watch.name and one.state is State.DONE
        )

    def carry(self, until: Callable[[], bool], at_most_seconds: float) -> float:
        """Let both sides work; the simulated seconds it took, ``at_most_seconds`` at the most."""
        clock = self.world.clock
        begun_at = clock.monotonic()
        while (left := at_most_seconds - (clock.monotonic() - begun_at)) > 1e-9:
            waits = [side.small.step() for side in (self.up, self.down)]
            if until():
                break
            self.later.pass_on(min(*waits, left))
        return clock.monotonic() - begun_at
