"""A loop beats while bytes flow on its behalf, in whatever thread; and not as time passes."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from shipper.journal.journal import Journal
from shipper.ports import Stopping
from shipper.runtime.loops import Died, Loop, progress
from shipper.services.sending.memory_budget import ByteBudget
from shipper.services.sending.rate_limits import ConcurrencyLimiter
from shipper.services.sending.tasks import Blocking
from tests.fakes.clock import FakeClock
from tests.fakes.log import RecordingLog


def test_a_part_that_is_sent_by_another_thread_beats_for_the_loop_it_belongs_to() -> None:
    stopping, beats = threading.Event(), []
    with ThreadPoolExecutor(1) as executor:

        def step() -> float:
            for works in (progress, lambda: None):
                loop.beaten_at = 0.0
                executor.submit(copy_context().run, works).result(10)
                beats.append(loop.beaten_at > 0)
            executor.submit(progress).result(10)  # for nobody
            beats.append(loop.beaten_at > 0)
            stopping.set()
            return 0.0

        loop = Loop("carrier", step, stopping=stopping, died=lambda died: beats.append(False))
        loop.start()
        loop.join(10)
    assert beats == [True, False, False]


def looped(step: Callable[[], float], **options: Any) -> tuple[Loop, threading.Event]:
    stopping = threading.Event()
    loop = Loop("discovery", step, stopping=stopping, died=lambda died: None, **options)
    return loop, stopping


def test_a_loop_that_waits_for_longer_beats_without_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shipper.runtime.loops.LONGEST_WAIT_SECONDS", 0.01)
    steps: list[float] = []
    waiting = threading.Event()

    def step() -> float:
        steps.append(loop.beaten_at)
        waiting.set()
        return 600.0

    loop, stopping = looped(step, longest_wait_seconds=float("inf"))
    loop.start()
    assert waiting.wait(10)
    beaten_at = loop.beaten_at
    for _ in range(1000):
        if loop.beaten_at > beaten_at + 0.05:
            break
        loop.join(0.01)
    assert loop.beaten_at > beaten_at + 0.05
    assert len(steps) == 1
    stopping.set()
    loop.nudge()
    loop.join(10)
    assert not loop.is_alive()


def test_a_loop_steps_at_least_every_longest_wait() -> None:
    steps: list[int] = []

    def step() -> float:
        steps.append(1)
        if len(steps) == 3:
            stopping.set()
        return 600.0

    loop, stopping = looped(step, longest_wait_seconds=0.01)
    loop.start()
    loop.join(10)
    assert len(steps) == 3


def test_a_ring_waits_until_the_loop_has_rested_and_what_is_urgent_does_not() -> None:
    steps = SimpleQueue[int]()

    def step() -> float:
        steps.put(1)
        return 600.0

    loop, stopping = looped(step, rest=lambda: 600.0)
    loop.start()
    steps.get(timeout=10)
    loop.nudge()
    with pytest.raises(Empty):
        steps.get(timeout=0.05)
    loop.nudge_now()
    steps.get(timeout=10)
    stopping.set()
    loop.nudge_now()
    loop.join(10)
    assert not loop.is_alive()


def test_a_step_that_is_told_to_stop_ends_its_loop_and_is_no_bug() -> None:
    died: list[Died] = []

    def step() -> float:
        raise Stopping

    loop = Loop("housekeeping", step, stopping=threading.Event(), died=died.append)
    loop.start()
    loop.join(10)
    assert not loop.is_alive()
    assert died == []


def test_whoever_waits_for_memory_or_for_a_turn_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shipper.services.sending.memory_budget.MEANWHILE_SECONDS", 0.01)
    monkeypatch.setattr("shipper.services.sending.tasks.MEANWHILE_SECONDS", 0.01)
    beats = SimpleQueue[str]()
    budget = ByteBudget(10, meanwhile=lambda: beats.put("memory"))
    limiter = ConcurrencyLimiter(most=1, clock=FakeClock(), log=RecordingLog())
    blocking = Blocking(
        journal=Journal.in_memory(),
        wait=threading.Event().wait,
        moved=lambda: beats.put("a turn"),
    )
    answer: Future[None] = Future()
    taken = budget.lend(10, 0)[0]
    with ThreadPoolExecutor(3) as executor:
        executor.submit(budget.lend, 10, 0)
        for _ in range(2):
            executor.submit(blocking.run, limiter.request(lambda: answer))
        heard = set[str]()
        while len(heard) < 2:
            heard.add(beats.get(timeout=60))
        answer.set_result(None)
        budget.give_back(taken)
    assert heard == {"memory", "a turn"}
