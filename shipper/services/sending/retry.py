"""Retries that last seconds: the one place where a request to S3 is repeated.

What is left after that is written to the journal and comes back when it is due. A longer wait that
the other side asks for (``Retry-After``) goes there at once, because who waits here holds memory.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from random import Random
from typing import TypeVar

from shipper.core.backoff import Backoff
from shipper.core.failures import Verdict, judge
from shipper.ports import PortError

T = TypeVar("T")


class RetryPolicy:
    """Repeats a call whose verdict is RETRY; safe to share between threads.

    Waiting ends when ``stopping`` is set. Every attempt waits for a ``slot`` of its own, and none
    is held through a wait. ``count`` is told the code of every failure that is followed by a wait.
    """

    def __init__(
        self,
        *,
        stopping: threading.Event,
        rng: Random,
        slot: Callable[[], AbstractContextManager[None]] = nullcontext,
        count: Callable[[str], None] = lambda code: None,
        backoff: Backoff = Backoff(),  # noqa: B008  (frozen)
    ) -> None:
        self._stopping = stopping
        self._rng = rng
        self._slot = slot
        self._count = count
        self._backoff = backoff

    def __call__(self, call: Callable[[], T]) -> T:
        """The call's answer, or its last ``PortError``. The call must be idempotent."""
        failures = 0
        while True:
            try:
                with self._slot():
                    return call()
            except PortError as error:
                failures += 1
                wait = self._wait_seconds(error, failures)
                if wait is None or self._stopping.is_set():
                    raise
                self._count(error.code)
                if self._stopping.wait(wait):
                    raise

    def _wait_seconds(self, error: PortError, failures: int) -> float | None:
        if judge(error.code, error.status) is not Verdict.RETRY:
            return None
        return self._backoff.wait_seconds(
            failures, self._rng.random(), asked_seconds=error.retry_after
        )
