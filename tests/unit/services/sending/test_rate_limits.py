"""How many requests are under way at once, and how fast bytes go out."""

import threading
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.backoff import Backoff
from shipper.core.concurrency import (
    Concurrency,
    longest_body_seconds,
    passed,
    slowed,
    slowest_bandwidth,
)
from shipper.ports import PortError
from shipper.services.sending.rate_limits import Bandwidth, ConcurrencyLimiter
from shipper.services.sending.retry import RetryPolicy
from tests.fakes.clock import FakeClock
from tests.fakes.log import RecordingLog

SLOW = PortError("SlowDown", status=503)


def limiter(most: int = 8) -> tuple[ConcurrencyLimiter, FakeClock, RecordingLog]:
    clock, log = FakeClock(), RecordingLog()
    return ConcurrencyLimiter(most=most, clock=clock, log=log), clock, log


def answered(pacer: ConcurrencyLimiter, times: int = 1) -> None:
    for _ in range(times):
        assert run(pacer.request(lambda: finished(lambda: "good"))) == "good"


def refused(pacer: ConcurrencyLimiter, error: BaseException = SLOW) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        run(pacer.request(lambda: finished(fail)))


@given(st.integers(1, 64), st.lists(st.sampled_from(["passed", "slowed", "later"])))
def test_the_pace_stays_between_one_and_all(most: int, history: list[str]) -> None:
    concurrency, now = Concurrency(most, most), 0.0
    for step in history:
        before = concurrency
        if step == "later":
            now += 1.0
        elif step == "passed":
            concurrency = passed(concurrency, now)
            assert before.allowed <= concurrency.allowed <= before.allowed + 1
        else:
            concurrency = slowed(concurrency, now)
            assert concurrency == slowed(concurrency, now), "one round, one reason"
            assert concurrency.limit in (before.limit, max(1.0, before.limit / 2))
        assert 1 <= concurrency.allowed <= most


def test_more_workers_have_more_turns_at_once() -> None:
    pacer, _, _ = limiter(most=4)
    pacer.widen(2)
    answered(pacer, 4)
    assert pacer.allowed == 8


def test_after_a_refusal_more_workers_get_more_turns_slowly() -> None:
    pacer, _, _ = limiter(most=4)
    refused(pacer)
    pacer.widen(2)
    assert pacer.allowed == 2
    answered_together(pacer, rounds=20)
    assert pacer.allowed == 8


def test_a_body_has_a_minute_and_what_it_takes_at_the_slowest_pace() -> None:
    assert longest_body_seconds(0) == 60.0
    assert longest_body_seconds(16 * 1024**2) == pytest.approx(60 + 327.68)


def test_it_takes_as_many_good_answers_as_are_allowed_to_allow_one_more() -> None:
    concurrency = Concurrency(most=8, limit=4.0)
    for _ in range(4):
        assert concurrency.allowed == 4
        concurrency = passed(concurrency)
    assert passed(concurrency).allowed == 5


def test_a_refusal_halves_what_all_workers_may_send_and_good_answers_bring_it_back() -> None:
    pacer, clock, log = limiter(most=8)
    refused(pacer)
    assert pacer.allowed == 4
    refused(pacer)
    assert pacer.allowed == 4
    clock.advance(seconds=1)
    refused(pacer)
    assert pacer.allowed == 2
    answered_together(pacer, rounds=20)
    assert pacer.allowed == 8
    assert [one["requests_at_once"] for one in log.of("pace.slowed")] == [4, 2]
    assert len(log.of("pace.recovered")) == 1


@pytest.mark.parametrize("error", [PortError("Timeout"), PortError("AccessDenied"), KeyError()])
def test_other_failures_change_nothing(error: BaseException) -> None:
    pacer, _, _ = limiter(most=8)
    refused(pacer, error)
    assert pacer.allowed == 8


def test_nobody_sends_beyond_the_limit_and_everybody_has_a_turn() -> None:
    pacer, _, _ = limiter(most=2)
    refused(pacer)
    under_way, most_at_once, lock = 0, 0, threading.Lock()

    def send() -> None:
        nonlocal under_way, most_at_once
        with pacer.slot():
            with lock:
                under_way += 1
                most_at_once = max(most_at_once, under_way)
            with lock:
                under_way -= 1

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)
    assert most_at_once <= 2


def test_every_attempt_takes_a_turn_and_none_is_held_while_waiting() -> None:
    pacer, _, _ = limiter(most=4)
    retry_policy = RetryPolicy(
        stopping=threading.Event(),
        rng=Random(0),
        slot=pacer.slot,
        backoff=Backoff(first_wait_seconds=0.001),
    )
    answers: list[Callable[[], str]] = [_refuse, lambda: "good"]

    def call() -> str:
        return answers.pop(0)()

    assert retry_policy(call) == "good"
    assert pacer.allowed == 2
    with pacer.slot(), pacer.slot():
        pass  # both are free again


def _refuse() -> str:
    raise SLOW


@given(
    st.floats(1_000, 1e9),
    st.lists(st.tuples(st.integers(1, 10**7), st.floats(0, 5)), min_size=1, max_size=30),
)
def test_bytes_never_go_out_faster_than_asked(rate: float, takes: list[tuple[int, float]]) -> None:
    clock = FakeClock()
    wire = Bandwidth(rate, clock=clock)
    began, sent = clock.monotonic(), 0
    for size, pause in takes:
        clock.advance(seconds=max(0.0, wire.take(size)()))
        assert sent <= rate * (clock.monotonic() - began) * 1.000001 + 1
        sent += size
        clock.advance(seconds=pause)


def test_the_wire_is_used_to_the_full_while_there_is_something_to_send() -> None:
    clock = FakeClock()
    wire = Bandwidth(1e6, clock=clock)
    began = clock.monotonic()
    for _ in range(1_001):
        clock.advance(seconds=max(0.0, wire.take(100_000)()))
    assert clock.monotonic() - began == pytest.approx(100.0, rel=0.001)


def test_a_small_file_waits_for_what_was_asked_before_and_no_longer() -> None:
    clock = FakeClock()
    wire = Bandwidth(1e6, clock=clock)
    waits = [wire.take(250_000) for _ in range(4)]  # pieces of a large one
    waits.append(wire.take(1_000))
    assert [left() for left in waits] == [0.0, *(pytest.approx(n / 4) for n in range(1, 5))]
    clock.advance(seconds=1.0)
    assert max(left() for left in waits) == pytest.approx(0.0)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(2**23, 2**36))
def test_the_slowest_bandwidth_keeps_every_request_and_every_worker_alive(
    files: int, parts: int, memory_limit: int
) -> None:
    rate = slowest_bandwidth(files, parts, memory_limit)
    assert (files * parts + files + 1) * 256 * 1024 / rate <= 15
    assert memory_limit / rate <= 300
