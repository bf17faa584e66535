"""Retries that last seconds."""

import threading
import time
from concurrent.futures import Future
from random import Random

import pytest

from shipper.core.backoff import Backoff
from shipper.ports import PortError
from shipper.services.sending.retry import RetryPolicy
from tests.fakes.tasks import finished, run


class Flaky:
    """Fails with these codes, one call each, then answers."""

    def __init__(self, *codes: str) -> None:
        self._codes = list(codes)
        self.calls = 0

    def __call__(self) -> Future[str]:
        self.calls += 1
        return finished(self._answer)

    def _answer(self) -> str:
        if self._codes:
            raise PortError(self._codes.pop(0))
        return "answer"


def retry_policy(stopping: threading.Event, heard: list[str]) -> RetryPolicy:
    return RetryPolicy(
        stopping=stopping,
        rng=Random(0),
        count=heard.append,
        backoff=Backoff(first_wait_seconds=0.001),
    )


def test_what_passes_is_repeated_and_counted() -> None:
    heard: list[str] = []
    call = Flaky("SlowDown", "Timeout")
    assert run(retry_policy(threading.Event(), heard)(call)) == "answer"
    assert heard == ["SlowDown", "Timeout"]


def test_it_ends_after_a_few_attempts_with_the_last_error() -> None:
    call = Flaky(*["SlowDown"] * 10)
    with pytest.raises(PortError, match="SlowDown"):
        run(retry_policy(threading.Event(), [])(call))
    assert call.calls == 4


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken", "NoSuchUpload", "SourceChanged"])
def test_what_does_not_pass_by_itself_is_not_repeated(code: str) -> None:
    call = Flaky(code)
    with pytest.raises(PortError, match=code):
        run(retry_policy(threading.Event(), [])(call))
    assert call.calls == 1


def test_who_asks_to_be_left_alone_for_longer_is_not_waited_for_here() -> None:
    calls: list[int] = []

    def refuse() -> Future[str]:
        calls.append(1)
        future: Future[str] = Future()
        future.set_exception(PortError("SlowDown", retry_after=10.1))
        return future

    with pytest.raises(PortError, match="SlowDown") as raised:
        run(retry_policy(threading.Event(), [])(refuse))
    assert len(calls) == 1
    assert raised.value.retry_after == 10.1


def test_a_bug_is_not_repeated() -> None:
    def bug() -> Future[str]:
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        run(retry_policy(threading.Event(), [])(bug))


def test_stopping_ends_a_wait_at_once() -> None:
    stopping = threading.Event()
    call = Flaky(*["SlowDown"] * 10)
    waiting = RetryPolicy(
        stopping=stopping,
        rng=Random(0),
        count=lambda _: stopping.set(),
        backoff=Backoff(first_wait_seconds=30.0, longest_wait_seconds=60.0),
    )
    started = time.monotonic()
    with pytest.raises(PortError, match="SlowDown"):
        run(waiting(call), stopping)
    assert time.monotonic() - started < 15
    assert call.calls == 1


def test_a_daemon_that_stops_waits_for_nothing() -> None:
    stopping = threading.Event()
    stopping.set()
    heard: list[str] = []
    call = Flaky("SlowDown")
    with pytest.raises(PortError, match="SlowDown"):
        run(retry_policy(stopping, heard)(call))
    assert (call.calls, heard) == (1, [])


def test_what_a_check_finds_wrong_is_a_failure_and_repeated() -> None:
    wrong = ["ChecksumMismatch"]

    def check(answer: str) -> None:
        if wrong:
            raise PortError(wrong.pop(), answer)

    call, heard = Flaky(), list[str]()
    assert run(retry_policy(threading.Event(), heard)(call, check)) == "answer"
    assert (call.calls, heard) == (2, ["ChecksumMismatch"])
