"""Retries that last seconds: the one place where a call is repeated.

What is left after that is written to the journal and comes back when it is due. A longer wait
that the other side asks for (``Retry-After``) goes there at once: who waits here holds memory.
Waiting ends when the daemon stops. Every attempt takes a turn of its own: nobody waits with one
in hand.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_attempt,
    stop_any,
    stop_when_event_set,
    wait_random_exponential,
)

from shipper.core.failures import Verdict, judge
from shipper.ports import PortError

T = TypeVar("T")

ATTEMPTS = 4
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 10.0


class RetryPolicy:
    """Repeats a call whose verdict is RETRY, with full jitter; ``count`` hears of each repeat."""

    def __init__(
        self,
        *,
        stopping: threading.Event,
        slot: Callable[[], AbstractContextManager[None]] = nullcontext,
        count: Callable[[str], None] = lambda code: None,
        attempts: int = ATTEMPTS,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
    ) -> None:
        self._slot = slot
        self._count = count
        self._retrying = Retrying(
            stop=stop_any(stop_after_attempt(attempts), stop_when_event_set(stopping)),
            wait=_WaitAtLeastAsAsked(first_wait_seconds),
            retry=retry_if_exception(_is_worth_repeating),
            sleep=sleep_using_event(stopping),
            before_sleep=self._before_sleep,
            reraise=True,
        )

    def __call__(self, call: Callable[[], T]) -> T:
        """The call's answer, or its last ``PortError``. The call must be idempotent."""

        try:
            return self._in_slot(call)  # it nearly always goes well, and tenacity costs as much
        except PortError as error:
            if not _is_worth_repeating(error):
                raise
            failures = [error]

        def repeated() -> T:
            if failures:
                raise failures.pop()
            return self._in_slot(call)

        return self._retrying.copy()(repeated)

    def _in_slot(self, call: Callable[[], T]) -> T:
        with self._slot():
            return call()

    def _before_sleep(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        assert isinstance(error, PortError)  # nothing else is worth repeating
        self._count(error.code)


class _WaitAtLeastAsAsked:
    """Full jitter, but never sooner than the other side's ``Retry-After``."""

    def __init__(self, first_wait_seconds: float) -> None:
        self._jitter = wait_random_exponential(
            multiplier=first_wait_seconds, max=LONGEST_WAIT_SECONDS
        )

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome is not None else None
        asked = error.retry_after if isinstance(error, PortError) else 0.0
        return max(self._jitter(retry_state), asked)


def _is_worth_repeating(error: BaseException) -> bool:
    return (
        isinstance(error, PortError)
        and judge(error.code, error.status) is Verdict.RETRY
        and error.retry_after <= LONGEST_WAIT_SECONDS
    )
