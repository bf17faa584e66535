"""Several things fetched at once, and given back in the order they were asked for.

All threads of the read side are here. ``read_ahead`` reads each source in steps of ``STEP_BYTES``:
the first that is not given out yet goes on as it is consumed, the others wait behind their first
step. So it holds at most ``(AHEAD + 1) * STEP_BYTES``, however large the objects are.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shipper.ports import PortError

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
T = TypeVar("T")

AHEAD = 8
"""As many as ``BucketArchive`` has connections."""
STEP_BYTES = 4 * 1024 * 1024
STEP_ITEMS = 1000


def ahead(
    fetch: Callable[[Asked], Answer], every: Iterable[Asked], *, most: int = AHEAD
) -> Iterator[tuple[Asked, Answer]]:
    """Each with what ``fetch`` gives for it; at most so many answers wait. Its errors are raised
    in their turn."""
    waiting: deque[tuple[Asked, Future[Answer]]] = deque()
    with ThreadPoolExecutor(most, "ahead") as pool:
        try:
            for one in every:
                waiting.append((one, pool.submit(fetch, one)))
                if len(waiting) == most:
                    asked, future = waiting.popleft()
                    yield asked, future.result()
            for asked, future in waiting:
                yield asked, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


@dataclass(slots=True)
class _Step(Generic[T]):
    items: list[T] = field(default_factory=list)
    is_over: bool = False
    error: PortError | None = None


def read_ahead(
    sources: Iterable[Iterator[T]], *, at_once: int = AHEAD
) -> Generator[tuple[int, T | PortError], None, None]:
    """The items of each source, with the source's number; in order.

    A ``PortError`` of a source is its last item. Sources are taken in the caller's thread, and
    read in others.
    """
    waiting = iter(sources)
    begun = deque[tuple[int, Iterator[T], Future[_Step[T]]]]()
    number = 0
    with ThreadPoolExecutor(at_once, "fetching") as threads:
        try:
            while True:
                while len(begun) < at_once:
                    source = next(waiting, None)
                    if source is None:
                        break
                    begun.append((number, source, threads.submit(_step, source)))
                    number += 1
                if not begun:
                    return
                own, source, future = begun.popleft()
                step = future.result()
                if not step.is_over:
                    begun.appendleft((own, source, threads.submit(_step, source)))
                for item in step.items:
                    yield own, item
                if step.error is not None:
                    yield own, step.error
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _step(source: Iterator[T]) -> _Step[T]:
    step, taken = _Step[T](), 0
    try:
        while taken < STEP_BYTES and len(step.items) < STEP_ITEMS:
            item = next(source)
            step.items.append(item)
            taken += len(item) if isinstance(item, bytes) else 0
    except StopIteration:
        step.is_over = True
    except PortError as error:
        step.is_over, step.error = True, error
    return step
