"""Retries that last seconds: the one place where a request to S3 is repeated.

What fails after that comes back when the journal says so. A longer wait that the other side asks
for (``Retry-After``) goes there at once, because who waits here holds memory.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from random import Random
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    stop_when_event_set,
)

from shipper.core.backoff import Backoff
from shipper.core.failures import Verdict, judge
from shipper.ports import PortError

T = TypeVar("T")


class RetryPolicy:
    """Repeats a call whose verdict is RETRY; safe to share between threads.

    Every attempt has a ``slot`` of its own. ``count`` is told the code of every failure that is
    followed by a wait.
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
        self._retrying = Retrying(
            stop=stop_any(stop_after_attempt(backoff.attempts), stop_when_event_set(stopping)),
            wait=self._wait_seconds,
            retry=retry_if_exception(self._is_worth_repeating),
            before_sleep=self._pause,
            sleep=lambda seconds: None,  # ``_pause`` has waited
            reraise=True,
        )

    def __call__(self, call: Callable[[], T]) -> T:
        """The call's answer, or its last ``PortError``. The call must be idempotent."""

        def attempt() -> T:
            with self._slot():
                return call()

        return self._retrying(attempt)

    def _is_worth_repeating(self, error: BaseException) -> bool:
        return (
            isinstance(error, PortError)
            and judge(error.code, error.status) is Verdict.RETRY
            and error.retry_after <= self._backoff.longest_wait_seconds
        )

    def _wait_seconds(self, state: RetryCallState) -> float:
        wait = self._backoff.wait_seconds(
            state.attempt_number, self._rng.random(), asked_seconds=_error_of(state).retry_after
        )
        return wait or 0.0  # None after the last attempt, which nothing waits for

    def _pause(self, state: RetryCallState) -> None:
        """Wait for the next attempt. When the daemon stops, there is none."""
        error = _error_of(state)
        self._count(error.code)
        assert state.next_action is not None
        if self._stopping.wait(state.next_action.sleep):
            raise error


def _error_of(state: RetryCallState) -> PortError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, PortError)
    return error
