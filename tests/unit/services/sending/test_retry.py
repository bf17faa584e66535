"""Retries that last seconds."""

import threading
import time

import pytest

from shipper.ports import PortError
from shipper.services.sending.retry import RetryPolicy, _WaitAtLeastAsAsked


class Flaky:
    """Fails with these codes, one call each, then answers."""

    def __init__(self, *codes: str) -> None:
        self._codes = list(codes)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._codes:
            raise PortError(self._codes.pop(0))
        return "answer"


def retry_policy(stopping: threading.Event, heard: list[str]) -> RetryPolicy:
    return RetryPolicy(stopping=stopping, count=heard.append, first_wait_seconds=0.001)


def test_what_passes_is_repeated_and_counted() -> None:
    heard: list[str] = []
    call = Flaky("SlowDown", "Timeout")
    assert retry_policy(threading.Event(), heard)(call) == "answer"
    assert heard == ["SlowDown", "Timeout"]


def test_it_ends_after_a_few_attempts_with_the_last_error() -> None:
    call = Flaky(*["SlowDown"] * 10)
    with pytest.raises(PortError, match="SlowDown"):
        retry_policy(threading.Event(), [])(call)
    assert call.calls == 4


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken", "NoSuchUpload", "SourceChanged"])
def test_what_does_not_pass_by_itself_is_not_repeated(code: str) -> None:
    call = Flaky(code)
    with pytest.raises(PortError, match=code):
        retry_policy(threading.Event(), [])(call)
    assert call.calls == 1


def test_who_asks_to_be_left_alone_for_longer_is_not_waited_for_here() -> None:
    calls: list[int] = []

    def refuse() -> None:
        calls.append(1)
        raise PortError("SlowDown", retry_after=10.1)

    with pytest.raises(PortError, match="SlowDown") as raised:
        retry_policy(threading.Event(), [])(refuse)
    assert len(calls) == 1
    assert raised.value.retry_after == 10.1


def test_a_bug_is_not_repeated() -> None:
    def bug() -> None:
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        retry_policy(threading.Event(), [])(bug)


def test_stopping_ends_a_wait_at_once() -> None:
    stopping = threading.Event()
    call = Flaky(*["SlowDown"] * 10)
    waiting = RetryPolicy(
        stopping=stopping, first_wait_seconds=30.0, count=lambda _: stopping.set()
    )
    started = time.monotonic()
    with pytest.raises(PortError, match="SlowDown"):
        waiting(call)
    assert time.monotonic() - started < 15
    assert call.calls <= 2


@pytest.mark.parametrize(
    ("asked", "lowest", "highest"), [(5.0, 5.0, 5.0), (10.0, 10.0, 10.0), (0.0, 0.0, 1.0)]
)
def test_the_other_side_may_ask_for_a_longer_wait(
    asked: float, lowest: float, highest: float
) -> None:
    class State:
        attempt_number = 1

        class outcome:  # noqa: N801  (tenacity's name)
            @staticmethod
            def exception() -> PortError:
                return PortError("SlowDown", retry_after=asked)

    wait = _WaitAtLeastAsAsked(0.001)
    assert lowest <= wait(State()) <= highest  # type: ignore[arg-type]  # what wait reads
