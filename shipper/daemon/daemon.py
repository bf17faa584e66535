"""The daemon: every signal of shipper, and the main thread, which alone starts and ends others.

The threads are in ``app.loops``, who they are in ``app.running``, and both are told what to do
from here. A loop that dies ends the process (exit 70), because a daemon with a dead loop says
that all is well while it is not. Signal handlers only put into a ``SimpleQueue``; the main thread
takes everything out of it.

Stopping: loops are asked to stop, parts in flight finish and are journalled, and what is left
shortly before ``GRACE_SECONDS`` are over is abandoned to the journal. A second signal leaves at
once. When the whole machine goes down, the first of these seconds are a drain, live files and all.

Reloading (SIGHUP): a new house is built beside the one at work. If it cannot be, it is refused,
and nothing has happened. Else the old one is asked to stop as above, but with all the time its
parts in flight take; the new one takes over the estate: journal, lock, and what is held.
"""

import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from types import FrameType

from shipper import __version__
from shipper.core.object_keys import InstanceFacts
from shipper.daemon.reload import Refused, changed
from shipper.daemon.workers import Draining, Notice, Workers
from shipper.edges.memory import give_back
from shipper.edges.systemd import Notifier, is_machine_stopping
from shipper.ports import PortError
from shipper.reports.http import Listeners
from shipper.reports.status import headline
from shipper.runtime.exit_codes import EXIT_BUG, EXIT_CONFIGURATION, EXIT_GOOD
from shipper.runtime.loops import Died
from shipper.runtime.wiring import Services

GRACE_SECONDS = 25.0
"""From the signal to the end of the process, at most."""
LEAVING_SECONDS = 1.0
"""Of these, for leaving what has not ended."""
DRAIN_SECONDS = 18.0
"""Of these, for a drain while the machine goes down; the rest is for what is in flight then."""
STALLED_SECONDS = 600.0
"""Longer than a part of the usual size takes at 50 KiB/s."""
TICK_SECONDS = 2.0
"""How often the main thread looks around. On an idle machine waking up is what costs."""
SHORT_TICK_SECONDS = 0.1
"""The same while something is awaited: the first scan, or the end."""
STATUS_SECONDS = 4.0
"""How often the line of `systemctl status` is made, which asks the journal."""
FACTS_SECONDS = 5.0
"""How long a shutdown waits for the first answers of the metadata service."""
HEAD_START_SECONDS = 1.0
"""How long the first scan has the processor to itself, before botocore is loaded for S3."""
EXTENSION_SECONDS = 15.0
"""While something moves, the service manager gives a start, reload or stop so long from then."""


class Daemon:
    """The main thread. ``succeed`` builds a house's successor, or raises ``Refused``."""

    def __init__(
        self,
        services: Services,
        *,
        notifier: Notifier,
        environment: Mapping[str, str],
        succeed: Callable[[Services], Services],
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        self._notifier = notifier
        self._environment = environment
        self._succeed = succeed
        self._stalled_seconds = stalled_seconds
        self._log = services.log
        self._notices: SimpleQueue[Notice] = SimpleQueue()
        self._is_ready = False
        self._is_reload = False
        self._told_at = self._shown_at = self._next_tick_at = 0.0
        self._early_until = time.monotonic() + HEAD_START_SECONDS
        self._shut_out: InstanceFacts | None = None
        """Where it would send from, were the first scan over, or had the journal's disk room:
        tried again at every tick."""
        self._stop_by = float("inf")
        self._running = self._at_work(services)
        self._listeners: Listeners | None = None

    def run(self) -> int:
        """Run until a signal or a bug; the exit code.

        Raises:
            PortError: ``ListenFailed``.
        """
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        for number in signals:
            signal.signal(number, self._signalled)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)  # whoever blocked them before
        self._log.info("daemon.started", version=__version__, pid=os.getpid())
        services = self._running.services
        self._listeners = Listeners(services, self._running.report, self._environment)
        self._running.begin()
        code = self._wait_for_the_end()
        return self._stop(code)

    def _wait_for_the_end(self) -> int:
        while True:
            notice = self._notice(max(0.0, self._next_tick_at - time.monotonic()))
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
                self._running.add_drain_workers()
            case Died() as death:
                self._tell_death(death)
                return EXIT_BUG
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

    def _notice(self, timeout_seconds: float) -> Notice | None:
        try:
            return self._notices.get(timeout=timeout_seconds)
        except Empty:
            return None

    def _tick(self) -> None:
        if self._shut_out is not None:
            self._notices.put(self._shut_out)
            self._shut_out = None
        discovery = self._running.services.discovery
        if not self._is_ready and discovery.scans:
            self._is_ready, self._shown_at = True, 0.0
            self._notifier.ready()
            scan_seconds = round(discovery.scan_seconds, 3)
            if self._is_reload:
                self._log.info("daemon.reloaded", scan_seconds=scan_seconds)
            else:
                self._log.info("daemon.ready", scan_seconds=scan_seconds)
        self._tell_the_manager(is_in_between=not self._is_ready)
        self._running.watch()
        wait = TICK_SECONDS if self._is_ready else SHORT_TICK_SECONDS
        self._next_tick_at = time.monotonic() + wait

    def _tell_the_manager(self, *, is_in_between: bool) -> None:
        """What systemd is to know, once a tick; in between of two states, that it goes on."""
        if time.monotonic() - self._told_at < TICK_SECONDS / 2:
            return
        self._told_at = time.monotonic()
        if not self._running.stalled():
            self._notifier.watchdog()
        if is_in_between and self._running.still_seconds() < EXTENSION_SECONDS:
            self._notifier.extend(EXTENSION_SECONDS)
        if self._told_at - self._shown_at < STATUS_SECONDS:
            return
        self._shown_at = self._told_at
        with contextlib.suppress(PortError):  # a journal that cannot be read is shown elsewhere
            self._notifier.status(headline(self._running.report))

    def _tell_death(self, death: Died) -> None:
        self._log.critical("loop.died", loop=death.loop, exc_info=death.error)

    def _has_opened(self, facts: InstanceFacts) -> bool:
        """False where only another configuration will do."""
        if self._is_early():
            self._shut_out = facts
            return True
        try:
            self._running.open_for_business(facts)
        except PortError as error:
            if error.code != "JournalUnwritable":
                self._log.critical("destination.refused", detail=error.detail, hint=error.hint)
                return False
            self._shut_out = facts
        return True

    # Reloading.

    def _reload(self) -> None:
        """Take up the configuration as it is written now, or say why not and go on."""
        old = self._running.services
        self._notifier.reloading()
        try:
            new = self._successor(old)
        except Refused as refusal:
            self._log.error("reload.refused", problems=list(refusal.problems))
            if not old.termination.is_draining:
                old.counters.refusal = refusal.problems
            if self._is_ready:
                self._notifier.ready()
            return
        differences = changed(old.configuration, new.configuration)
        self._log.info("daemon.reloading", changed=differences)
        self._running.ask_to_stop()
        if not self._is_over(float("inf")) and not self._is_over_for_a_drain():
            new.leave()
            return  # a signal, or a bug, which is in the queue again
        _forget_old_news(self._notices)
        old.leave()
        self._move_in(new)
        del old
        gc.collect()  # what a house is made of refers to itself, and some of it to sockets
        give_back()

    def _is_over_for_a_drain(self) -> bool:
        """The machine goes down during a reload: the new house drains if the old one ends soon."""
        notice = self._notice(0)
        if notice is None:
            return False
        is_shutdown = isinstance(notice, int) and is_machine_stopping(self._environment)
        is_over = is_shutdown and self._is_over(time.monotonic() + FACTS_SECONDS)
        self._notices.put(notice)
        return is_over

    def _successor(self, old: Services) -> Services:
        if old.termination.is_draining:
            raise Refused(("the machine is about to end",))
        new = self._succeed(old)
        assert self._listeners is not None
        try:
            self._listeners.listen(new.configuration.http.listen, new.log)
        except PortError as error:
            new.leave()
            raise Refused((f"{error} (hint: {error.hint})",)) from error
        return new

    def _move_in(self, new: Services) -> None:
        assert self._listeners is not None
        new.take_over()
        new.counters.refusal = ()
        self._log = new.log
        self._is_ready, self._is_reload, self._shut_out = False, True, None
        self._next_tick_at = 0.0
        self._running = self._at_work(new)
        self._listeners.show(new, self._running.report)
        self._running.begin()

    def _at_work(self, services: Services) -> Workers:
        return Workers(services, tell=self._notices.put, stalled_seconds=self._stalled_seconds)

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
        if not is_shutdown or self._running.services.stopping.is_set() or not self._knows_facts():
            return
        termination = self._running.services.termination
        until = time.monotonic() + DRAIN_SECONDS + TICK_SECONDS / 2
        self._running.shut_down(DRAIN_SECONDS)
        while not termination.is_shut_down and time.monotonic() < until:
            self._tell_the_manager(is_in_between=True)
            match self._notice(SHORT_TICK_SECONDS):
                case signal.SIGHUP:
                    pass
                case Draining():
                    self._running.add_drain_workers()
                case Died() | int() as notice:
                    self._notices.put(notice)  # a second signal, which ``_stop`` heeds
                    return
                case _:
                    self._running.watch()

    def _knows_facts(self) -> bool:
        """Whether it is known where to ship to: a machine may go down just after it came up."""
        until, self._early_until = time.monotonic() + FACTS_SECONDS, 0.0
        while not self._running.can_ship and time.monotonic() < until:
            facts, self._shut_out = self._shut_out or self._notice(SHORT_TICK_SECONDS), None
            if isinstance(facts, InstanceFacts):
                self._has_opened(facts)
            elif isinstance(facts, Died | int):
                self._notices.put(facts)  # a second signal, which ``_stop`` heeds
                break
        return self._running.can_ship

    def _stop(self, code: int) -> int:
        self._stop_by = min(self._stop_by, time.monotonic() + GRACE_SECONDS - LEAVING_SECONDS)
        self._notifier.stopping()
        self._running.ask_to_stop()
        assert self._listeners is not None
        self._listeners.close()
        while not self._is_over(self._stop_by):
            match self._notice(0):
                case Died() as death:
                    self._tell_death(death)
                    code = EXIT_BUG
                case signal.SIGHUP:
                    pass
                case _:  # too late, or a second signal
                    self._log.warning("daemon.left", loops=self._running.left())
                    os._exit(code)
        self._running.services.close()
        self._log.info("daemon.stopped")
        return code

    def _is_over(self, until: float) -> bool:
        """Wait for the loops to end. False when it is too late, or when a signal came or a loop
        died, which is in the queue then.

        Another SIGHUP is kept for afterwards.
        """
        again = False
        try:
            while self._running.left():
                if time.monotonic() > until:
                    return False
                self._tell_the_manager(is_in_between=True)
                match self._notice(0.05):
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

    def _signalled(self, number: int, _: FrameType | None) -> None:
        self._notices.put(number)


def _forget_old_news(notices: SimpleQueue[Notice]) -> None:
    """What the house that has ended still had to say; signals are of the process."""
    kept: list[Notice] = []
    with contextlib.suppress(Empty):
        while True:
            notice = notices.get_nowait()
            kept += [notice] if isinstance(notice, Died | int) else []
    for notice in kept:
        notices.put(notice)
