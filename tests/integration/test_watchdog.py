"""What systemd hears of a daemon whose work hangs: nothing, until it moves again."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.fakes.servers import Answer, Moto, ScriptedServer
from tests.fakes.slow_store import SlowStore
from tests.machines.inside import Inside
from tests.machines.instance import Instance
from tests.machines.manager import ServiceManager
from tests.machines.waiting import wait_for

Make = Callable[..., Instance]
STALLED_SECONDS = 2.0
TICK_SECONDS = 0.5
SILENCE_SECONDS = 3.0
"""Six times as long as between two words to the watchdog."""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that waits beats every 30 s; here that would look like a stall."""
    monkeypatch.setattr("shipper.runtime.loops.LONGEST_WAIT_SECONDS", 0.2)
    monkeypatch.setattr("shipper.daemon.daemon.TICK_SECONDS", TICK_SECONDS)


@contextmanager
def observing(observe: Callable[[], None]) -> Iterator[list[BaseException]]:
    """Observes from a thread while the daemon has this one, and ends it; what went wrong."""
    wrong: list[BaseException] = []

    def watch() -> None:
        try:
            observe()
        except BaseException as error:  # noqa: BLE001  (raised by the test)
            wrong.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch)
    thread.start()
    yield wrong
    thread.join()


def is_silent(manager: ServiceManager) -> bool:
    times = manager.times("WATCHDOG")
    return bool(times) and times[-1] < time.monotonic() - SILENCE_SECONDS


def run(inside: Inside, manager: ServiceManager, observe: Callable[[], None]) -> None:
    daemon = inside.daemon(manager.environment, stalled_seconds=STALLED_SECONDS)
    with observing(observe) as wrong:
        assert daemon.run() == 0
    assert wrong == []


@pytest.mark.usefixtures("handlers")
def test_a_scan_that_hangs_is_not_covered_up(instance: Make, tmp_path: Path) -> None:
    machine: Instance = instance()
    inside, hangs, goes_on = Inside(machine), threading.Event(), threading.Event()
    step = inside.services.discovery.step

    def hanging() -> float:
        if hangs.is_set():
            goes_on.wait(90)
        return step()

    inside.services.discovery.step = hanging  # type: ignore[method-assign]  # a disk that hangs
    with ServiceManager(tmp_path) as manager:

        def observe() -> None:
            wait_for(lambda: manager.times("READY"), "the daemon to be ready")
            try:
                hangs.set()
                wait_for(
                    lambda: (
                        is_silent(manager)
                        and "loop discovery makes no progress" in machine.ask("/healthz")
                    ),
                    "the silence, and its reason",
                )
                silent_at = time.monotonic()
            finally:
                goes_on.set()
            wait_for(lambda: manager.times("WATCHDOG")[-1] > silent_at, "its word again")

        run(inside, manager, observe)


@pytest.mark.usefixtures("handlers")
def test_an_upload_that_hangs_is_not_covered_up_although_time_passes(
    instance: Make, tmp_path: Path
) -> None:
    machine: Instance = instance()
    with ScriptedServer(*[Answer.NEVER] * 4) as silent, ServiceManager(tmp_path) as manager:
        text = machine.config.read_text().replace(machine.moto.url, silent.url)
        machine.config.write_text(text)
        machine.write("app.log.1", b"waits for an answer\n")

        def observe() -> None:
            try:
                wait_for(lambda: silent.requests, "the upload to hang")
                wait_for(
                    lambda: is_silent(manager) and "loop carrier-" in machine.ask("/healthz"),
                    "the silence, and its reason",
                )
            finally:
                silent._stopped.set()

        run(Inside(machine), manager, observe)
        assert machine.files("READY") == 1


@pytest.mark.usefixtures("handlers")
def test_notices_do_not_keep_it_silent(instance: Make, tmp_path: Path) -> None:
    machine: Instance = instance()
    inside, refused = Inside(machine), "reload.refused"
    with ServiceManager(tmp_path) as manager:

        def observe() -> None:
            wait_for(lambda: manager.times("READY"), "the daemon to be ready")
            machine.config.write_text("")
            ready_at, number = time.monotonic(), 0

            def words() -> int:
                return len([at for at in manager.times("WATCHDOG") if at > ready_at])

            while number <= 20 or words() <= 5:
                assert time.monotonic() < ready_at + 60, "notices keep it silent"
                number += 1
                os.kill(os.getpid(), signal.SIGHUP)
                wait_for(lambda: len(inside.events(refused)) >= number, "a refusal")  # noqa: B023

        run(inside, manager, observe)


@pytest.mark.usefixtures("handlers")
def test_an_upload_that_moves_is_no_stall_however_long_it_takes(
    instance: Make, moto: Moto, tmp_path: Path
) -> None:
    machine: Instance = instance(
        watch='compression = "none"', more='[uploads]\nbandwidth_limit = "512KiB/s"\n'
    )
    machine.write("app.log.1", os.urandom(6 * 2**20))
    with ServiceManager(tmp_path) as manager:

        def observe() -> None:
            wait_for(lambda: machine.files("DONE"), "the upload")
            times = manager.times("WATCHDOG")
            lasted = times[-1] - times[0]
            assert lasted > 4 * STALLED_SECONDS
            assert max(b - a for a, b in pairwise(times)) < lasted / 2, "it was taken for a stall"

        run(Inside(machine), manager, observe)


def test_a_start_and_a_stop_that_take_long_ask_for_the_time(
    instance: Make, moto: Moto, tmp_path: Path
) -> None:
    with ServiceManager(tmp_path) as manager, SlowStore(moto) as store:
        machine = instance(moto=store.moto)
        machine.more_environment |= manager.environment
        for number in range(2000):
            machine.write(f"{number}.log.1", b"")
        daemon = machine.start()
        machine.wait_for(lambda: manager.times("READY"), "the daemon to be ready")
        ready_at = manager.times("READY")[0]
        assert manager.times("EXTEND_TIMEOUT_USEC=")[0] < ready_at
        store.hold()
        machine.write("app.log.1", os.urandom(2**20))
        assert store.is_holding.wait(60)
        daemon.process.send_signal(signal.SIGTERM)
        machine.wait_for(lambda: manager.times("STOPPING"), "the stop to begin")
        stopping_at = manager.times("STOPPING")[0]
        machine.wait_for(
            lambda: manager.times("EXTEND_TIMEOUT_USEC=")[-1] > stopping_at, "more time"
        )
        store.let_go()
        assert machine.stop() == 0
