"""What the main thread tells systemd, once more as long as it was not told."""

import contextlib
import time

from shipper.daemon.workers import Workers
from shipper.edges.systemd import Notifier, SystemdStore
from shipper.ports import PortError
from shipper.reports.status import headline

TELLING_SECONDS = 1.0
"""What is told at every tick is told at most so often."""
STATUS_SECONDS = 4.0
"""How often the line of `systemctl status` is made, which asks the journal."""
EXTENSION_SECONDS = 15.0
"""While something moves, the service manager gives a start, reload or stop so long from then."""


class ServiceManager:
    """systemd, as the main thread knows it."""

    def __init__(self, notifier: Notifier, store: SystemdStore, workers: Workers) -> None:
        self._notifier = notifier
        self._store = store
        self._workers = workers
        self._owes_ready = False
        self._told_at = self._shown_at = 0.0

    def ready(self) -> None:
        """The first scan is done, or a reload is over."""
        self._shown_at = 0.0
        self._owes_ready = self._notifier.has_manager and not self._notifier.ready()

    def reloading(self) -> None:
        """Another configuration is being taken up."""
        self._owes_ready = False
        self._notifier.reloading()

    def stopping(self) -> None:
        """The daemon is about to end."""
        self._owes_ready = False
        self._notifier.stopping()

    def tell(self, *, is_in_between: bool) -> None:
        """What it is to know, once a tick; in between of two states, that it goes on."""
        if time.monotonic() - self._told_at < TELLING_SECONDS:
            return
        self._told_at = time.monotonic()
        if self._owes_ready:
            self.ready()
        if self._owes_ready:
            return  # it hears nothing, and each try takes a second
        if not self._workers.stalled():
            self._notifier.watchdog()
        if is_in_between and self._workers.still_seconds() < EXTENSION_SECONDS:
            self._notifier.extend(EXTENSION_SECONDS)
        self._store.flush()
        if self._told_at - self._shown_at < STATUS_SECONDS:
            return
        self._shown_at = self._told_at
        report = self._workers.report
        with contextlib.suppress(PortError):  # a journal that cannot be read is shown elsewhere
            line = report.services.bugs.contained(lambda: headline(report), str, told="systemd")
            self._notifier.status(line)
