"""The daemon: every signal of shipper, and the main thread, which alone starts and ends others.

The threads are in ``runtime.loops``, who they are in ``daemon.workers``. A loop that dies ends the
process (exit 70), because a daemon with a dead loop says that all is well while it is not.

Signals and what other threads have to say come as ``notices``; the main thread alone takes them.

Stopping: loops are asked to stop, parts in flight finish and are journalled, and what is left
shortly before ``GRACE_SECONDS`` are over is abandoned to the journal. A second signal leaves at
once. When the whole machine goes down, the first of these seconds are a drain, live files and all.

Reloading (SIGHUP): a configuration that cannot be taken up is refused, and nothing has happened.
Else the loops stop as above, and the program on disk is executed anew in this process. It receives
the lock and what is held, and, as pending, the signals that nobody has handled; no other process
can take the lock in between. Where a part in flight outlasts ``GRACE_SECONDS``, the process ends
with 1 instead, and systemd starts another with what is held.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NoReturn

from shipper import __version__
from shipper.config.load import Configuration
from shipper.core.object_keys import InstanceFacts
from shipper.daemon.notices import Notices, make_pending
from shipper.daemon.reload import Refused, changes, hand_over
from shipper.daemon.service_manager import ServiceManager
from shipper.daemon.workers import Draining, Notice, Workers
from shipper.edges.systemd import Notifier, is_machine_stopping
from shipper.ports import PortError
from shipper.reports.http import Listeners
from shipper.runtime.exit_codes import EXIT_BUG, EXIT_CONFIGURATION, EXIT_GOOD, EXIT_WRONG
from shipper.runtime.loops import Died
from shipper.runtime.services import Services
from shipper.runtime.wiring_store import load_store

GRACE_SECONDS = 25.0
"""From the signal to the end of the process, at most."""
LEAVING_SECONDS = 1.0
"""Of these, for leaving what has not ended."""
DRAIN_SECONDS = 18.0
"""Of these, for a drain while the machine goes down; the rest is for what is in flight then."""
STALLED_SECONDS = 600.0
"""Longer than a part of the usual size takes at 50 KiB/s."""
LAST_HEARTBEAT_SECONDS = 3.0
"""Of these, for saying in the bucket that the daemon has stopped."""
TICK_SECONDS = 2.0
"""How often the main thread looks around. On an idle machine waking up is what costs."""
SHORT_TICK_SECONDS = 0.1
"""The same while something is awaited: the first scan, or the end."""
FACTS_SECONDS = 5.0
"""How long a shutdown waits for the first answers of the metadata service."""
HEAD_START_SECONDS = 1.0
"""How long the first scan has the processor to itself, before botocore is loaded for S3; unless
something waits to be sent."""


class Daemon:
    """The main thread.

    ``load`` reads the configuration as it is written now. ``rehearse`` says why the program on
    disk would not start, and ``execute`` replaces this one by it, with these descriptors by name;
    it raises ``OSError`` where it cannot.
    """

    def __init__(
        self,
        services: Services,
        *,
        notifier: Notifier,
        environment: Mapping[str, str],
        load: Callable[[], Configuration],
        rehearse: Callable[[], str],
        execute: Callable[[Mapping[str, int]], NoReturn],
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        self._services = services
        self._environment = environment
        self._load = load
        self._rehearse = rehearse
        self._execute = execute
        self._log = services.log
        self._notices = Notices()
        self._is_ready = False
        self._next_tick_at = 0.0
        self._early_until = time.monotonic() + HEAD_START_SECONDS
        self._shut_out: InstanceFacts | None = None
        """Where it would send from, were the first scan over, or had the journal's disk room:
        tried again at every tick."""
        self._stop_by = float("inf")
        self._died = ""
        """The first loop that did."""
        self._workers = Workers(services, tell=self._notices.put, stalled_seconds=stalled_seconds)
        store = services.ports.descriptor_store
        self._manager = ServiceManager(notifier, store, self._workers)
        self._listeners: Listeners | None = None

    def run(self) -> int:
        """Run until a signal or a bug; the exit code.

        Raises:
            PortError: ``ListenFailed``.
        """
        with self._notices.listening():
            if not self._services.is_reloaded:
                self._log.info("daemon.started", version=__version__, pid=os.getpid())
            self._listeners = Listeners(self._services, self._workers.report, self._environment)
            self._workers.begin()
            if not self._services.is_idle():
                self._early_until = 0.0
                load_store()  # while the metadata service is asked
            return self._stop(self._wait_for_the_end())

    def _wait_for_the_end(self) -> int:
        while True:
            notice = self._notices.next(max(0.0, self._next_tick_at - time.monotonic()))
            code = self._handled(notice)
            if code is not None:
                return code
            if time.monotonic() >= self._next_tick_at:  # also while notice follows notice
                self._tick()

    def _handled(self, notice: Notice | None) -> int | None:
        """The exit code if that was the end."""
        match notice:
            case InstanceFacts() as facts:
                return None if self._has_opened(facts) else EXIT_CONFIGURATION
            case Draining():
                self._workers.add_drain_workers()
            case Died() as death:
                return self._has_died(death)
            case signal.SIGHUP:
                self._reload()
            case int(number):
                self._drain(number)
                return EXIT_GOOD
            case _:  # the first scan is over, or it is time
                self._next_tick_at = 0.0
        return None

    def _is_early(self) -> bool:
        return not self._is_ready and time.monotonic() < self._early_until

    def _tick(self) -> None:
        if self._shut_out is not None:
            self._notices.put(self._shut_out)
            self._shut_out = None
        discovery = self._services.discovery
        if not self._is_ready and discovery.scans:
            self._is_ready = True
            self._manager.ready()
            scan_seconds = round(discovery.scan_seconds, 3)
            if self._services.is_reloaded:
                self._log.info("daemon.reloaded", version=__version__, scan_seconds=scan_seconds)
            else:
                self._log.info("daemon.ready", scan_seconds=scan_seconds)
        self._manager.tell(is_in_between=not self._is_ready)
        self._workers.watch()
        assert self._listeners is not None
        self._listeners.sample(self._services)
        wait = TICK_SECONDS if self._is_ready else SHORT_TICK_SECONDS
        self._next_tick_at = time.monotonic() + wait

    def _has_opened(self, facts: InstanceFacts) -> bool:
        """False where only another configuration will do."""
        if self._is_early():
            self._shut_out = facts
            return True
        try:
            self._workers.open_for_business(facts)
        except PortError as error:
            if error.code != "JournalUnwritable":
                self._log.critical("destination.refused", detail=error.detail, hint=error.hint)
                return False
            self._shut_out = facts
        return True

    # Reloading.

    def _reload(self) -> None:
        """Take up the configuration as it is written now, or say why not and go on."""
        self._manager.reloading()
        assert self._listeners is not None
        listen = partial(self._listeners.listen, log=self._log)
        try:
            changed = changes(
                self._services, self._load, self._environment, listen, self._rehearse
            )
        except Refused as refusal:
            self._log.error("reload.refused", problems=list(refusal.problems))
            if not self._services.termination.is_draining:
                self._services.counters.refusal = refusal.problems
            if self._is_ready:
                self._manager.ready()
            return
        self._log.info("daemon.reloading", changed=changed)
        until = time.monotonic() + GRACE_SECONDS
        self._workers.ask_to_stop(until)
        if not self._is_over(until):
            if time.monotonic() > until:
                self._leave(EXIT_WRONG)  # systemd starts another, with what is held
            if not self._is_over_for_a_drain():
                return  # a signal, or a bug, which is in the queue again
        waiting = self._notices.left_over()
        death = next((notice for notice in waiting if isinstance(notice, Died)), None)
        if death is not None:
            self._notices.put(death)
            return
        make_pending(waiting)
        hand_over(self._services, self._listeners, self._execute)

    def _is_over_for_a_drain(self) -> bool:
        """Whether the machine goes down during the reload, and the loops end soon: the next
        program drains. These loops cannot, for they have stopped."""
        notice = self._notices.next(0)
        if notice is None:
            return False
        is_shutdown = isinstance(notice, int) and is_machine_stopping(self._environment)
        is_over = is_shutdown and self._is_over(time.monotonic() + FACTS_SECONDS)
        self._notices.put(notice)
        return is_over

    # Stopping.

    def _drain(self, number: int) -> None:
        """If the machine goes down, ship what can be shipped in the time that systemd gives."""
        self._stop_by = time.monotonic() + GRACE_SECONDS - LEAVING_SECONDS
        is_shutdown = is_machine_stopping(self._environment)
        self._log.info(
            "daemon.stopping",
            signal=signal.Signals(number).name,
            because="shutdown" if is_shutdown else "signal",
        )
        if not is_shutdown or self._services.stopping.is_set() or not self._knows_facts():
            return
        termination = self._services.termination
        until = time.monotonic() + DRAIN_SECONDS + TICK_SECONDS / 2
        self._workers.shut_down(DRAIN_SECONDS)
        while not termination.is_shut_down and time.monotonic() < until:
            self._manager.tell(is_in_between=True)
            match self._notices.next(SHORT_TICK_SECONDS):
                case signal.SIGHUP:
                    pass
                case Draining():
                    self._workers.add_drain_workers()
                case Died() | int() as notice:
                    self._notices.put(notice)  # a second signal, which ``_stop`` heeds
                    return
                case _:
                    self._workers.watch()

    def _knows_facts(self) -> bool:
        """Whether it is known where to ship to: a machine may go down just after it came up."""
        until, self._early_until = time.monotonic() + FACTS_SECONDS, 0.0
        while not self._workers.can_ship and time.monotonic() < until:
            facts, self._shut_out = self._shut_out or self._notices.next(SHORT_TICK_SECONDS), None
            if isinstance(facts, InstanceFacts):
                self._has_opened(facts)
            elif isinstance(facts, Died | int) and facts != signal.SIGHUP:
                self._notices.put(facts)  # a second signal, which ``_stop`` heeds
                break
        return self._workers.can_ship

    def _stop(self, code: int) -> int:
        self._stop_by = min(self._stop_by, time.monotonic() + GRACE_SECONDS - LEAVING_SECONDS)
        self._manager.stopping()
        self._workers.ask_to_stop(self._stop_by)
        assert self._listeners is not None
        self._listeners.close()
        while not self._is_over(self._stop_by):
            match self._notices.next(0):
                case Died() as death:
                    code = self._has_died(death)
                case signal.SIGHUP:
                    pass
                case _:  # too late, or a second signal
                    self._leave(code)
        if code in (EXIT_GOOD, EXIT_BUG):
            self._write_last_heartbeat()
        self._services.close()
        self._log.info("daemon.stopped")
        return code

    def _has_died(self, death: Died) -> int:
        self._log.critical("loop.died", loop=death.loop, exc_info=death.error)
        self._died = self._died or death.loop
        return EXIT_BUG

    def _write_last_heartbeat(self) -> None:
        """Say in the bucket that nobody ships here, or of what it died, if S3 takes it soon."""
        heartbeats, termination = self._services.heartbeats, self._services.termination
        if heartbeats is None:
            return
        last = partial(
            heartbeats.step_last,
            has_drained=termination.has_drained,
            is_final=termination.is_final,
            died=self._died,
        )
        until = min(self._stop_by, time.monotonic() + LAST_HEARTBEAT_SECONDS)
        while not last() and time.monotonic() < until:
            if self._notices.next(0.05) not in (None, signal.SIGHUP):
                return  # a second signal

    def _leave(self, code: int) -> NoReturn:
        self._log.warning("daemon.left", loops=self._workers.left())
        os._exit(code)

    def _is_over(self, until: float) -> bool:
        """Wait for the loops to end. False when it is too late, or when a signal came or a loop
        died, which is in the queue then.

        Another SIGHUP is kept for afterwards.
        """
        again = False
        try:
            while self._workers.left():
                if time.monotonic() > until:
                    return False
                self._manager.tell(is_in_between=True)
                match self._notices.next(0.05):
                    case signal.SIGHUP:
                        again = True
                    case Died() | int() as notice:
                        self._notices.put(notice)
                        return False
                    case _:
                        pass
            return True
        finally:
            if again:
                self._notices.put(signal.SIGHUP)
