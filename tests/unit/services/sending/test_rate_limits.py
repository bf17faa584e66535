"""How many requests are under way at once, and how fast bytes go out."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.backoff import Backoff
from shipper.core.concurrency import (
    FEWEST,
    Concurrency,
    in_flight_within,
    longest_body_seconds,
    passed,
    slowed,
    slowest_bandwidth,
)
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.services.sending.rate_limits import Bandwidth, ConcurrencyLimiter
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.tasks import Interleaved
from tests.fakes.clock import FakeClock
from tests.fakes.log import RecordingLog
from tests.fakes.tasks import finished, run

SLOW = PortError("SlowDown", status=503)


def limiter(most: int = 8) -> tuple[ConcurrencyLimiter, FakeClock, RecordingLog]:
    clock, log = FakeClock(), RecordingLog()
    return ConcurrencyLimiter(most=most, clock=clock, log=log), clock, log


class Requests:
    """Small requests, as many at once as may be; each is answered ``seconds`` after it began."""

    def __init__(self, pacer: ConcurrencyLimiter, clock: FakeClock) -> None:
        self._pacer = pacer
        self._clock = clock
        self._open: deque[Future[None]] = deque()
        self.tasks = Interleaved(
            journal=Journal.in_memory(), clock=clock, is_stopping=bool, nudge=lambda: None
        )

    def answer(self, times: int, seconds: float = 0.1, error: PortError | None = None) -> int:
        """Make so many requests; how many were under way at once at most."""
        most = 0
        for _ in range(times):
            self.tasks.begin(self._task(error))
        self.tasks.run()
        while self._open:
            most = max(most, len(self._open))
            self._clock.advance(seconds=seconds)
            for future in [self._open.popleft() for _ in range(len(self._open))]:
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
            self.tasks.run()
        assert self.tasks.count == 0
        return most

    def _begin(self) -> Future[None]:
        future: Future[None] = Future()
        self._open.append(future)
        return future

    async def _task(self, error: PortError | None) -> None:
        try:
            await self._pacer.request(self._begin, is_small=True)
        except PortError:
            assert error is not None


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


def test_at_first_every_good_answer_allows_one_more() -> None:
    pacer, clock, log = limiter(most=64)
    assert Requests(pacer, clock).answer(16) == 16
    assert Requests(pacer, clock).answer(200) == 64
    assert pacer.allowed == 64
    assert log.of("requests.restored") == [], "it was never refused anything"


def test_what_is_not_used_allows_no_more() -> None:
    pacer, clock, _ = limiter(most=64)
    for _ in range(100):
        Requests(pacer, clock).answer(3)
    assert pacer.allowed == 16


def test_after_a_refusal_there_are_slowly_more_again() -> None:
    pacer, clock, _ = limiter(most=8)
    refused(pacer)
    assert pacer.allowed == 4
    for _ in range(2):
        Requests(pacer, clock).answer(4)
        assert pacer.allowed == 4
    Requests(pacer, clock).answer(4)
    assert pacer.allowed == 5


def test_answers_that_come_late_let_the_limit_sink_to_a_few_and_no_further() -> None:
    pacer, clock, _ = limiter(most=64)
    requests = Requests(pacer, clock)
    requests.answer(400)
    assert pacer.allowed == 64
    seen = []
    for seconds in (1.1, 2.2, 4.4, 8.8, 17.6, 35.2, 70.4, 140.8, 281.6, 563.2, 1126.4, 2252.8):
        requests.answer(pacer.allowed, seconds=seconds)
        seen.append(pacer.allowed)
    assert seen == sorted(seen, reverse=True)
    assert seen[-2:] == [FEWEST, FEWEST]


def test_what_always_takes_long_is_usual_and_not_late() -> None:
    pacer, clock, _ = limiter(most=64)
    Requests(pacer, clock).answer(2000, seconds=3.0)
    assert pacer.allowed == 64


def test_a_body_has_a_minute_and_what_it_takes_at_the_slowest_pace() -> None:
    assert longest_body_seconds(0) == 60.0
    assert longest_body_seconds(16 * 1024**2) == pytest.approx(60 + 327.68)


def test_it_takes_as_many_good_answers_as_are_allowed_to_allow_one_more() -> None:
    concurrency = Concurrency(most=8, limit=4.0, is_first_rise=False)
    for _ in range(4):
        assert concurrency.allowed == 4
        concurrency = passed(concurrency, 0.0)
    assert passed(concurrency, 0.0).allowed == 5


def test_a_refusal_halves_what_all_workers_may_send_and_good_answers_bring_it_back() -> None:
    pacer, clock, log = limiter(most=8)
    refused(pacer)
    assert pacer.allowed == 4
    refused(pacer)
    assert pacer.allowed == 4
    clock.advance(seconds=1)
    refused(pacer)
    assert pacer.allowed == 2
    Requests(pacer, clock).answer(100)
    assert pacer.allowed == 8
    reduced = [(one["requests_at_once"], one["code"]) for one in log.of("requests.reduced")]
    assert reduced == [(4, "SlowDown"), (2, "SlowDown")]
    assert len(log.of("requests.restored")) == 1


@pytest.mark.parametrize(
    "error",
    [
        PortError("Timeout"),
        PortError("InternalError", status=500),
        PortError("Http502", status=502),
        PortError("ServiceUnavailable", status=503),
    ],
)
def test_errors_and_silence_of_a_strained_server_count_as_refusals(error: PortError) -> None:
    pacer, _, _ = limiter(most=8)
    refused(pacer, error)
    assert pacer.allowed == 4


@pytest.mark.parametrize(
    "error",
    [PortError("AccessDenied"), PortError("NotImplemented", status=501), KeyError()],
)
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
        with lock:
            under_way += 1
            most_at_once = max(most_at_once, under_way)
        with lock:
            under_way -= 1

    threads = [
        threading.Thread(target=lambda: run(pacer.request(lambda: finished(send))))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)
    assert most_at_once <= 2


def test_every_attempt_takes_a_turn_and_none_is_held_while_waiting() -> None:
    pacer, clock, _ = limiter(most=4)
    retry_policy = RetryPolicy(
        stopping=threading.Event(),
        rng=Random(0),
        in_turn=pacer.request,
        backoff=Backoff(first_wait_seconds=0.001),
    )
    answers: list[Callable[[], str]] = [_refuse, lambda: "good"]
    assert run(retry_policy(lambda: finished(answers.pop(0)))) == "good"
    assert pacer.allowed == 2
    assert Requests(pacer, clock).answer(4) == 2, "both are free again"


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


@given(st.integers(1, 1024), st.integers(2**23, 2**36))
def test_the_slowest_bandwidth_keeps_every_request_and_every_worker_alive(
    max_in_flight: int, memory_limit: int
) -> None:
    rate = slowest_bandwidth(memory_limit)
    assert memory_limit / rate <= 300
    most = in_flight_within(max_in_flight, memory_limit, rate)
    assert 1 <= most <= max_in_flight
    assert most * 256 * 1024 / rate <= 15


def test_connections_take_an_eighth_of_the_memory() -> None:
    assert in_flight_within(64, 128 * 1024**2, 0.0) == 64
    assert in_flight_within(64, 24 * 1024**2, 0.0) == 19
