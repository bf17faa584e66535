"""Telling systemd: readiness, status, watchdog, stopping (sd_notify(3)); and asking it one thing.

Without ``$NOTIFY_SOCKET`` nothing happens. A message that cannot be delivered is dropped: systemd
will notice a missing watchdog by itself, which is the point of one.
"""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Mapping

PATIENCE_SECONDS = 1.0
"""How long a message waits for a service manager that is busy."""


NOLOGIN = "/run/nologin"
"""There while users are kept out because the machine goes down, pam_nologin(8)."""
_ASKING_SECONDS = 2.0


def is_machine_stopping(environment: Mapping[str, str], nologin: str = NOLOGIN) -> bool:
    """Whether the whole machine is going down, and not only this service. May take 2 s.

    systemd's manager is ``stopping`` from the moment that a job for ``shutdown.target`` is
    queued, which is before any service is asked to stop (systemctl(1), is-system-running). Where
    it cannot be asked, because the bus is gone already, the file tells that keeps users out.
    """
    try:
        asked = subprocess.run(
            ["systemctl", "is-system-running"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_ASKING_SECONDS,
            check=False,
        )
        state = asked.stdout.decode("utf-8", "replace").strip()
    except (OSError, subprocess.TimeoutExpired):
        state = ""
    if state in _TOLD_STATES:
        return state == "stopping"
    return os.path.exists(nologin)


_TOLD_STATES = frozenset(
    {"initializing", "starting", "running", "degraded", "maintenance", "stopping"}
)


class Notifier:
    """Sends datagrams to the service manager. Never raises."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._status = ""
        self.watchdog_interval_seconds = _watchdog_seconds(environment)
        """How often systemd wants to hear ``watchdog``; 0 when it does not."""

    def ready(self) -> None:
        """The journal is open and the first scan is done."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Another configuration is being taken up; ``ready`` follows, whatever comes of it."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def extend(self, seconds: float) -> None:
        """What is going on, a start, reload or stop, is not over for so long; never less than it
        had anyway."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def stopping(self) -> None:
        """The daemon is about to end."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """All loops make progress."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; sent only when it is a new one."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + text.replace("\n", " "))

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError, ValueError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.settimeout(PATIENCE_SECONDS)
            # Without this, a wait for a full queue is none: the kernel calls the socket writable.
            sender.connect(self._address)
            sender.send(message.encode("utf-8", "replace"))


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """sd_watchdog_enabled(3): microseconds, and only for the process that is named."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if is_ours and microseconds.isdecimal() else 0.0
