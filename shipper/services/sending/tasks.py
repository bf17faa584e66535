"""Tasks: coroutines that a thread carries one at a time, or many in turn.

What takes long is awaited: an answer of S3 (a future), a pause, and a journal entry. ``Blocking``
waits for it, in the thread of whoever calls. ``Interleaved`` goes on with the other tasks of its
thread meanwhile, and writes what they record meanwhile in one transaction: the disk costs the same
for one row as for many.
"""

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from types import coroutine
from typing import Any, TypeVar

from shipper.core.lifecycle import Event
from shipper.core.types import Shipment
from shipper.journal.journal import Journal
from shipper.ports import Clock, PortError

T = TypeVar("T")

MEANWHILE_SECONDS = 10.0
GROUP_ROWS = 64
GROUP_SECONDS = 0.02
"""A row waits no longer than this for others that are written with it."""


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Entry:
    """The events that a shipment's row is to be advanced by."""

    shipment: Shipment
    events: Sequence[Event]


class Turn(Future[None]):
    """Comes when others have ended what they do: to wait for it is no stall."""


Awaited = Future[Any] | Pause | Entry
Task = Coroutine[Awaited, Any, T]


@coroutine
def answer_of(future: Future[T]) -> Generator[Awaited, T, T]:
    """The future's result, or what it failed with."""
    return (yield future)


@coroutine
def pause(seconds: float) -> Generator[Awaited, bool, bool]:
    """Whether it ended early, because the daemon is asked to stop."""
    return (yield Pause(seconds))


@coroutine
def recorded(shipment: Shipment, *events: Event) -> Generator[Awaited, Shipment, Shipment]:
    """The shipment, advanced by the events, once that is on disk; as ``Journal.record``."""
    return (yield Entry(shipment, events))


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocking:
    """Carries tasks to their ends, in any thread.

    ``wait`` waits for so many seconds; it says whether the daemon was asked to stop meanwhile.
    ``moved`` is called while a turn does not come.
    """

    journal: Journal
    wait: Callable[[float], bool]
    moved: Callable[[], None]

    def run(self, task: Task[T]) -> T:
        """What the task returns or raises."""
        step: Callable[[], Awaited] = partial(task.send, None)
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                step = partial(task.send, self._got(awaited))
            except BaseException as error:  # noqa: BLE001  (raised where it is awaited)
                step = partial(task.throw, error)

    def _got(self, awaited: Awaited) -> Any:
        match awaited:
            case Pause(seconds):
                return self.wait(seconds)
            case Entry(shipment, events):
                return self.journal.record(shipment, *events)
            case Turn():
                while not wait([awaited], MEANWHILE_SECONDS).done:
                    self.moved()
                return None
            case future:
                return future.result()


class Interleaved:
    """Carries many tasks in turn; all but ``_arrived`` belongs to one thread.

    ``nudge`` is called from any thread when there is something to go on with. A row that
    ``lingers`` waits for those of tasks that are not ready yet, too.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        clock: Clock,
        is_stopping: Callable[[], bool],
        nudge: Callable[[], None],
        lingers: bool = True,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self.is_stopping = is_stopping
        self._nudge = nudge
        self._has_arrived = threading.Event()
        self._ready: deque[tuple[Task[None], Callable[[], Awaited]]] = deque()
        self._arrived: deque[tuple[Task[None], Future[Any]]] = deque()
        self._pauses: list[tuple[float, int, Task[None]]] = []
        self._numbers = itertools.count()
        self._entries: list[tuple[Task[None], Entry]] = []
        self._write_at = 0.0
        self._lingers = lingers
        self._asked_at: dict[Task[None], float] = {}
        self._tasks: set[Task[None]] = set()
        """All that have not ended."""
        self.asked_at = float("inf")
        """Since when the longest has been waiting for an answer; monotonic, for any thread."""

    @property
    def count(self) -> int:
        return len(self._tasks)

    def begin(self, task: Task[None]) -> None:
        """Have the task carried; it begins with the next ``run``."""
        self._tasks.add(task)
        self._ready.append((task, partial(task.send, None)))

    def run(self) -> float:
        """Go on with all that can; the seconds until there is more, but for answers.

        Raises:
            Whatever a task raises.
        """
        while True:
            self._take_up()
            while self._ready and self._has_room():
                self._advance(*self._ready.popleft())
            if self._entries and not (self._may_be_more() and self._has_room()):
                self._write()
            elif not (self._ready or self._arrived):
                break
        self.asked_at = next(iter(self._asked_at.values()), float("inf"))
        write_at = self._write_at if self._entries else float("inf")
        pause_until = self._pauses[0][0] if self._pauses else float("inf")
        return max(0.0, min(write_at, pause_until) - self._clock.monotonic())

    def _has_room(self) -> bool:
        """Whether the group that is to be written may have another row."""
        is_due = bool(self._entries) and self._clock.monotonic() >= self._write_at
        return len(self._entries) < GROUP_ROWS and not is_due

    def _may_be_more(self) -> bool:
        """Whether others may record something soon, which is worth a wait."""
        return self._lingers and len(self._entries) < len(self._tasks)

    def _take_up(self) -> None:
        """Make ready what was answered, and what has paused for long enough."""
        while self._arrived:
            task, future = self._arrived.popleft()
            self._asked_at.pop(task, None)
            error = future.exception()
            self._resume(task, error, None if error else future.result())
        now = float("inf") if self.is_stopping() else self._clock.monotonic()
        while self._pauses and self._pauses[0][0] <= now:
            self._resume(heapq.heappop(self._pauses)[2], None, self.is_stopping())

    def _resume(self, task: Task[None], error: BaseException | None, value: Any) -> None:
        step = partial(task.send, value) if error is None else partial(task.throw, error)
        self._ready.append((task, step))

    def _advance(self, task: Task[None], step: Callable[[], Awaited]) -> None:
        try:
            awaited = step()
        except StopIteration:
            self._tasks.remove(task)
            return
        match awaited:
            case Pause(seconds):
                at = self._clock.monotonic() + seconds
                heapq.heappush(self._pauses, (at, next(self._numbers), task))
            case Entry():
                if not self._entries:
                    self._write_at = self._clock.monotonic() + GROUP_SECONDS
                self._entries.append((task, awaited))
            case future:
                if not isinstance(future, Turn):
                    self._asked_at[task] = self._clock.monotonic()
                future.add_done_callback(partial(self._arrive, task))

    def _arrive(self, task: Task[None], future: Future[Any]) -> None:
        self._arrived.append((task, future))
        self._has_arrived.set()
        self._nudge()

    def wait(self, seconds: float) -> None:
        """Wait for an answer, at most so many seconds; then ``run``."""
        self._has_arrived.wait(min(seconds, MEANWHILE_SECONDS))
        self._has_arrived.clear()

    def _write(self) -> None:
        """Write what was recorded, in one transaction; where one row spoils it, each by itself."""
        entries, self._entries = self._entries, []
        try:
            rows = self._journal.record_all((one.shipment, one.events) for _, one in entries)
        except PortError as error:  # the journal's
            for task, _ in entries:
                self._resume(task, error, None)
        except Exception:  # noqa: BLE001  (raised below where it is awaited)
            for task, one in entries:
                self._resume(task, *self._alone(one))
        else:
            for (task, _), row in zip(entries, rows, strict=True):
                self._resume(task, None, row)

    def _alone(self, entry: Entry) -> tuple[BaseException | None, Shipment | None]:
        try:
            return None, self._journal.record(entry.shipment, *entry.events)
        except Exception as error:  # noqa: BLE001  (raised where it is awaited)
            return error, None
