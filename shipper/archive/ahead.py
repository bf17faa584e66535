"""Several things fetched at once, and given back in the order they were asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

AHEAD = 8
"""As many as ``BucketArchive`` has connections."""


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
