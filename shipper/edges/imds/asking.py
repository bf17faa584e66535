"""Questions to a service beside this machine: the metadata service, or a container's endpoint.

Requests go to the address itself: no proxy, no redirect, and at most ``BODY_BYTES`` of a body,
which is never decompressed.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any, TypeVar

from shipper.core.backoff import Backoff
from shipper.edges.http_client.body import Body
from shipper.edges.http_client.transfer import (
    NO_CONNECTION,
    SILENCE,
    TOO_LONG,
    Answer,
    Limits,
    Request,
    exchange,
)
from shipper.edges.imds.answers import is_worth_repeating
from shipper.ports import Clock, PortError

T = TypeVar("T")

BODY_BYTES = 64 * 1024
REQUESTS_A_MINUTE = 60
"""At most, because the same interface carries DNS and NTP."""
BACKOFF = Backoff(
    attempts=4, first_wait_seconds=0.5, shortest_wait_seconds=0.5, longest_wait_seconds=10.0
)
LIMITS = Limits(
    connect_seconds=1.0, stall_seconds=2.0, answer_seconds=5.0, answer_bytes=BODY_BYTES
)
NO_ANSWER = "no answer in time"


class Questions:
    """Sends them, and counts them. ``_lock`` guards the count.

    ``hint_reach`` says what to do where nobody answers, ``hint_answer`` where nonsense comes.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        hint_reach: str,
        hint_answer: str,
        wait: Callable[[float], bool] | None = None,
        send: Callable[[Request], Answer] = partial(exchange, limits=LIMITS),  # noqa: B008
        rng: Random | None = None,
    ) -> None:
        self.wait = wait or threading.Event().wait
        self._clock = clock
        self._hint_reach = hint_reach
        self._hint_answer = hint_answer
        self._send = send
        self._rng = rng or Random()
        self._lock = threading.Lock()
        self._sent_at: deque[float] = deque(maxlen=REQUESTS_A_MINUTE)

    def patiently(self, ask: Callable[[], T]) -> T:
        """Ask a few times, seconds apart; a refusal is not repeated."""
        failures = 0
        while True:
            try:
                return ask()
            except PortError as error:
                failures += 1
                pause = self.pause(failures)
                if pause is None or not is_worth_repeating(error) or self.wait(pause):
                    raise

    def pause(self, failures: int) -> float | None:
        """Seconds until the next attempt; None when there is none."""
        return BACKOFF.wait_seconds(failures, self._rng.random())

    def answer(
        self, method: str, path: str, url: str, headers: Mapping[str, str], *, shown: str = ""
    ) -> tuple[int, str, Mapping[str, str]]:
        """Status, body and headers. ``shown`` stands for the URL where that is a secret.

        Raises:
            PortError: ``Unreachable`` (also for 429 and 5xx), ``BadAnswer``, ``TooOften``.
        """
        shown = shown or url
        self._spend(shown)
        try:
            answer = self._send(Request(f"{method} {path}", method, url, headers, Body(b"")))
        except PortError as error:
            raise self._unanswered(f"{method} {shown}", shown, error) from None
        if answer.status == 429 or answer.status >= 500:
            detail = f"{shown}: HTTP {answer.status}"
            raise PortError("Unreachable", detail, self._hint_reach, status=answer.status)
        try:
            return answer.status, answer.body.decode(), answer.headers
        except UnicodeDecodeError:
            # Without a cause, which would hold the bytes.
            raise PortError("BadAnswer", f"{shown}: no UTF-8", self._hint_answer) from None

    def json_object(self, path: str, text: str) -> dict[str, Any]:
        """The text as a JSON object; ``BadAnswer`` if it is none."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            # Without a cause, which would hold the text.
            raise PortError("BadAnswer", f"{path}: no JSON", self._hint_answer) from None
        if not isinstance(document, dict):
            raise PortError("BadAnswer", f"{path}: no JSON object", self._hint_answer)
        return document

    def _unanswered(self, asked: str, shown: str, error: PortError) -> PortError:
        if TOO_LONG in error.detail:
            detail = f"{shown}: more than {BODY_BYTES} bytes"
            return PortError("BadAnswer", detail, self._hint_answer)
        if NO_CONNECTION in error.detail or SILENCE not in error.detail:
            return PortError("Unreachable", error.detail, self._hint_reach)
        return PortError("Unreachable", f"{asked}: {NO_ANSWER}", self._hint_reach)

    def _spend(self, shown: str) -> None:
        """Count a request, unless there were too many in the last minute."""
        now = self._clock.boottime()
        with self._lock:
            is_full = len(self._sent_at) == REQUESTS_A_MINUTE
            if is_full and now - self._sent_at[0] < 60.0:
                detail = f"{shown}: not sent, for {REQUESTS_A_MINUTE} were in the last minute"
                raise PortError("TooOften", detail, "this passes by itself")
            self._sent_at.append(now)
