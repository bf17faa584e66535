"""The daemon: every thread and every signal of shipper is in this module.

Each loop is one thread around a ``step() -> seconds to wait``. A loop that dies ends the process
(exit 70), because a daemon with a dead loop says that all is well while it is not. Signal
handlers only put into a ``SimpleQueue``; the main thread takes everything out of it.

Stopping: loops are asked to stop, parts in flight finish and are journalled, and after
``GRACE_SECONDS`` whatever is left is abandoned to the journal. A second signal leaves at once.
When the whole machine goes down, the first of these seconds are a drain, live files and all.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from socketserver import BaseServer
from types import FrameType

from shipper import __version__
from shipper.app.http import servers_for
from shipper.app.status import Report, headline
from shipper.app.wiring import DRAIN_FACTOR, House, carrier_for
from shipper.core.keys import Place
from shipper.edges.memory import give_back
from shipper.edges.systemd import Notifier, is_machine_stopping
from shipper.edges.watcher import Watcher
from shipper.ports import PortError
from shipper.services.carrier import Carrier

EXIT_GOOD = 0
EXIT_BUG = 70
EXIT_CONFIGURATION = 78
GRACE_SECONDS = 25.0
DRAIN_SECONDS = 18.0
"""Of these, for a drain while the machine goes down; the rest is for what is in flight then."""
LONGEST_WAIT_SECONDS = 30.0
"""A loop comes round at least this often, which is how its thread is known to be alive."""
STALLED_SECONDS = 600.0
"""Longer than a part of the usual size takes at 50 KiB/s."""
TICK_SECONDS = 1.0
HEAD_START_SECONDS = 1.0
"""How long the first scan has the processor to itself, before botocore is loaded for S3."""
SURVEY_SECONDS = 60.0
"""How long a subdirectory without events may go unnoticed."""


@dataclass(frozen=True, slots=True)
class Died:
    """A loop ended with an exception: a bug of ours."""

    loop: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class Draining:
    """A drain has begun."""


Notice = Died | Place | Draining | int
"""What reaches the main thread; an ``int`` is a signal."""


class Loop(threading.Thread):
    """A thread around a step. ``rest`` is how long not even a ring may end the wait."""

    def __init__(
        self,
        name: str,
        step: Callable[[], float],
        *,
        stopping: threading.Event,
        died: Callable[[Died], None],
        rest: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._step = step
        self._stopping = stopping
        self._died = died
        self._rest = rest
        self._rung = threading.Event()
        self.beaten_at = time.monotonic()

    def ring(self) -> None:
        """End the present wait, or the next one."""
        self._rung.set()

    def beat(self) -> None:
        """The loop makes progress (within a long step, too)."""
        self.beaten_at = time.monotonic()

    def run(self) -> None:
        """Step and wait until the daemon stops."""
        try:
            _LOOP.set(self)
            while not self._stopping.is_set():
                self._rung.clear()
                wait = min(self._step(), LONGEST_WAIT_SECONDS)
                self.beat()
                rest = min(wait, self._rest())
                if not self._stopping.wait(rest):
                    self._rung.wait(wait - rest)
        except BaseException as error:  # noqa: BLE001  (a loop's top)
            self._died(Died(self.name, error))


_LOOP: ContextVar[Loop] = ContextVar("loop")
"""Whose step it is, also in a thread that works for it (in a copy of its context)."""


def progress() -> None:
    """The shipment in the hands of the loop whose step this is moves."""
    loop = _LOOP.get(None)
    if loop is not None:
        loop.beat()


class Daemon:
    """The running house."""

    def __init__(
        self, house: House, *, notifier: Notifier, environment: Mapping[str, str]
    ) -> None:
        self._house = house
        self._notifier = notifier
        self._environment = environment
        self._log = house.log
        self._notices: SimpleQueue[Notice | None] = SimpleQueue()
        self._is_ready = False
        self._early_until = time.monotonic() + HEAD_START_SECONDS
        self._shut_out: Place | None = None
        """Where it would send from, were the first scan over, or had the journal's disk room:
        tried again at every tick."""
        self._discovery = self._loop(
            "discovery", self._scan, rest=lambda: house.discovery.rest_seconds
        )
        self._termination = self._loop("termination", house.termination.step)
        names = ("credentials", "assumed-role")
        self._keepers = [
            self._loop(name, keeper.step)
            for name, keeper in zip(names, house.keepers, strict=False)
        ]
        self._loops = [
            self._discovery,
            *self._keepers,
            self._loop("site", house.site.step),
            self._loop("janitor", house.janitor.step),
            self._termination,
        ]
        self._carrier: Carrier | None = None
        self._carriers: list[Loop] = []
        self._helpers: list[Loop] = []
        self._stop_by = float("inf")
        self._watcher = Watcher(
            [
                (watch.name, watch.directory, watch.recursive)
                for watch in house.configuration.watches
            ],
            ring=self._ring_discovery,
            log=house.log,
        )
        self._surveyed_at = -SURVEY_SECONDS
        self._report = Report(house, self._watcher, stalled=self._stalled)
        self._servers: list[BaseServer] = []

    def run(self) -> int:
        """Run until a signal or a bug; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        house = self._house
        self._log.info("daemon.started", version=__version__, pid=os.getpid())
        house.rings.discovery = self._ring_discovery
        house.rings.credentials = self._ring_keepers
        house.rings.refreshed = self._ring_carriers
        house.rings.carriers = self._ring_carriers
        house.rings.known = self._notices.put
        house.rings.draining = lambda: self._notices.put(Draining())
        self._watcher.start()
        self._servers = servers_for(house, self._report, self._environment)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
        for loop in self._loops:
            loop.start()
        code = self._wait_for_the_end()
        self._stop(code)
        return code

    # The main thread.

    def _wait_for_the_end(self) -> int:
        while True:
            match self._notice(TICK_SECONDS if self._is_ready else TICK_SECONDS / 10):
                case None:
                    self._tick()
                case Place() as place if self._is_early():
                    self._shut_out = place
                case Place() as place:
                    if not self._has_opened(place):
                        return EXIT_CONFIGURATION
                case Draining():
                    self._hurry()
                case Died(loop, error):
                    self._log.critical("loop.died", loop=loop, exc_info=error)
                    return EXIT_BUG
                case number:
                    self._log.info("daemon.stopping", signal=signal.Signals(number).name)
                    self._drain()
                    return EXIT_GOOD

    def _is_early(self) -> bool:
        return not self._is_ready and time.monotonic() < self._early_until

    def _notice(self, timeout_seconds: float) -> Notice | None:
        try:
            return self._notices.get(timeout=timeout_seconds)
        except Empty:
            return None

    def _tick(self) -> None:
        if self._shut_out is not None:
            self._notices.put(self._shut_out)
            self._shut_out = None
        if not self._is_ready and self._house.discovery.scans:
            self._is_ready = True
            self._notifier.ready()
            self._log.info(
                "daemon.ready", scan_seconds=round(self._house.discovery.scan_seconds, 3)
            )
        if not self._stalled():
            self._notifier.watchdog()
        with contextlib.suppress(PortError):  # a journal that cannot be read is shown elsewhere
            self._notifier.status(headline(self._report))
        self._watch()

    def _watch(self) -> None:
        """Keep listening, and let scans come more often for what cannot be listened to."""
        self._watcher.retry()
        if time.monotonic() - self._surveyed_at >= SURVEY_SECONDS:
            self._surveyed_at = time.monotonic()
            self._watcher.survey()
            give_back()
        self._house.discovery.is_deaf = self._watcher.is_deaf()

    def _has_opened(self, place: Place) -> bool:
        """False where only another configuration will do."""
        try:
            self._open_for_business(place)
        except PortError as error:
            if error.code != "JournalUnwritable":
                self._log.critical("destination.refused", detail=error.detail, hint=error.hint)
                return False
            self._shut_out = place
        return True

    def _open_for_business(self, place: Place) -> None:
        """The instance is known: build the part that talks to S3, and start its workers."""
        carrier = self._carrier = carrier_for(self._house, place, progress=progress)
        uploads = self._house.configuration.uploads
        self._carriers += [
            self._loop(f"carrier-{number + 1}", carrier.step)
            for number in range(uploads.concurrent_files)
        ]
        # However many huge files are on their way, this one is there for the others.
        small = partial(carrier.step, at_most_bytes=uploads.part_size_bytes)
        self._carriers.append(self._loop("carrier-small", small))
        for loop in self._carriers:
            loop.start()
        self._discovery.ring()
        give_back()  # what loading botocore's models took

    def _hurry(self) -> None:
        """More workers, while a drain lasts: what waits for answers costs no time."""
        if self._carrier is None or self._helpers:
            return
        carrier, termination = self._carrier, self._house.termination
        uploads = self._house.configuration.uploads
        self._house.turns.widen(DRAIN_FACTOR)

        def step() -> float:
            return carrier.step() if termination.is_draining else LONGEST_WAIT_SECONDS

        self._helpers = [
            self._loop(f"carrier-drain-{number + 1}", step)
            for number in range((DRAIN_FACTOR - 1) * uploads.concurrent_files)
        ]
        self._carriers += self._helpers
        for loop in self._helpers:
            loop.start()

    def _drain(self) -> None:
        """If the machine goes down, ship what can be shipped in the time that systemd gives."""
        self._stop_by = time.monotonic() + GRACE_SECONDS
        if self._carrier is None or not is_machine_stopping(self._environment):
            return  # without a place there is nowhere to ship to
        termination = self._house.termination
        until = time.monotonic() + DRAIN_SECONDS + TICK_SECONDS
        termination.shut_down(DRAIN_SECONDS)
        self._termination.ring()
        while not termination.is_shut_down and time.monotonic() < until:
            match self._notice(TICK_SECONDS / 10):
                case Draining():
                    self._hurry()
                case Died() | int() as notice:
                    self._notices.put(notice)  # a second signal, which ``_stop`` heeds
                    return
                case Place() as place:
                    self._shut_out = place
                case _:
                    self._tick()

    def _stop(self, code: int) -> None:
        house = self._house
        self._stop_by = min(self._stop_by, time.monotonic() + GRACE_SECONDS)
        self._notifier.stopping()
        house.stopping.set()
        everyone = [*self._loops, *self._carriers]
        for loop in everyone:
            loop.ring()
        self._watcher.stop()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        if self._all_ended(everyone):
            house.close()
            self._log.info("daemon.stopped")
            return
        left = sorted(loop.name for loop in everyone if loop.is_alive())
        self._log.warning("daemon.left", loops=left)
        os._exit(code)

    def _all_ended(self, everyone: list[Loop]) -> bool:
        """Wait for the loops within the grace time; False at a second signal, too."""
        while any(loop.is_alive() for loop in everyone):
            if time.monotonic() > self._stop_by or isinstance(self._notice(0.05), int):
                return False
        return True

    # Called from other threads.

    def _scan(self) -> float:
        wait = self._house.find()
        if not self._is_ready:
            self._notices.put(None)  # a tick at once
        return wait

    def _loop(
        self, name: str, step: Callable[[], float], rest: Callable[[], float] = lambda: 0.0
    ) -> Loop:
        return Loop(name, step, stopping=self._house.stopping, died=self._notices.put, rest=rest)

    def _signalled(self, number: int, _: FrameType | None) -> None:
        self._notices.put(number)

    def _ring_discovery(self) -> None:
        self._house.discovery.is_rung = True
        self._discovery.ring()

    def _ring_keepers(self) -> None:
        for loop in self._keepers:
            loop.ring()

    def _ring_carriers(self) -> None:
        for loop in self._carriers:
            loop.ring()

    def _stalled(self) -> list[str]:
        """Loops that have not come round for too long."""
        oldest = time.monotonic() - STALLED_SECONDS
        return [loop.name for loop in [*self._loops, *self._carriers] if loop.beaten_at < oldest]
