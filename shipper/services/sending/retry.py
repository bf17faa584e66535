"""Retries that last seconds: the one place where a request to S3 is repeated.

What fails after that comes back when the journal says so. A longer wait that the other side asks
for (``Retry-After``) goes there at once, because who waits here holds memory.
"""

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from random import Random
from typing import Protocol, TypeVar

from tenacity import (
    DoSleep,
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
from shipper.services.sending.tasks import answer_of, pause

T = TypeVar("T")


async def _at_once(begin: Callable[[], Future[T]], *, is_small: bool) -> T:  # noqa: ARG001
    return await answer_of(begin())


class InTurn(Protocol):
    """Makes a request when it is its turn."""

    def __call__(self, begin: Callable[[], Future[T]], *, is_small: bool) -> Awaitable[T]: ...


class RetryPolicy:
    """Repeats a request whose verdict is RETRY; safe to share between threads.

    ``in_turn`` makes every attempt. ``count`` is told the code of every failure that is followed
    by a wait. ``gives_up`` says whether nothing that fails with a code is repeated.
    """

    def __init__(
        self,
        *,
        stopping: threading.Event,
        rng: Random,
        in_turn: InTurn = _at_once,
        count: Callable[[str], None] = lambda code: None,
        gives_up: Callable[[str], bool] = lambda code: False,
        backoff: Backoff = Backoff(),  # noqa: B008  (frozen)
    ) -> None:
        self._rng = rng
        self._in_turn = in_turn
        self._count = count
        self._gives_up = gives_up
        self._backoff = backoff
        self._retrying = Retrying(
            stop=stop_any(stop_after_attempt(backoff.attempts), stop_when_event_set(stopping)),
            wait=self._wait_seconds,
            retry=retry_if_exception(self._is_worth_repeating),
            reraise=True,
        )

    async def __call__(
        self,
        request: Callable[[], Future[T]],
        check: Callable[[T], None] = lambda answer: None,
        *,
        is_small: bool = False,
    ) -> T:
        """The request's answer, or its last ``PortError``. It must be idempotent.

        ``check`` raises what makes the answer a failure.
        """
        # Tenacity decides; what it decides is done here, for it would block.
        self._retrying.begin()
        state = RetryCallState(self._retrying, None, (), {})
        while True:
            step = self._retrying.iter(retry_state=state)
            if isinstance(step, DoSleep):
                error = _error_of(state)
                self._count(error.code)
                if await pause(step):  # when the daemon stops, there is no other attempt
                    raise error
                state.prepare_for_next_attempt()
                continue
            try:
                answer = await self._in_turn(request, is_small=is_small)
                check(answer)
            except PortError as failure:
                state.set_exception((PortError, failure, failure.__traceback__))
            else:
                return answer

    def _is_worth_repeating(self, error: BaseException) -> bool:
        return (
            isinstance(error, PortError)
            and judge(error.code, error.status) is Verdict.RETRY
            and error.retry_after <= self._backoff.longest_wait_seconds
            and not self._gives_up(error.code)
        )

    def _wait_seconds(self, state: RetryCallState) -> float:
        wait = self._backoff.wait_seconds(
            state.attempt_number, self._rng.random(), asked_seconds=_error_of(state).retry_after
        )
        return wait or 0.0  # None after the last attempt, which nothing waits for


def _error_of(state: RetryCallState) -> PortError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, PortError)
    return error
