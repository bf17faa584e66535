"""systemd's side: notifications (sd_notify(3)), the descriptor store, and one question to it.

Without ``$NOTIFY_SOCKET`` nothing is sent. A notification that cannot be delivered is dropped:
systemd notices a missing watchdog by itself.

A descriptor is given to systemd with ``FDSTORE=1`` and a name. systemd keeps it until
``FDSTOREREMOVE=1`` names it or the unit is stopped for good, and passes it to the next start,
after a crash and a restart too. By sd_listen_fds(3) it is one of those from 3 upward, counted in
``LISTEN_FDS`` and named in ``LISTEN_FDNAMES``. ``execute_anew`` passes them on in the same way.
"""

import contextlib
import fcntl
import os
import re
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import NoReturn

from shipper.edges.files.open_file import FileSource
from shipper.ports import Source

LONGEST_SECONDS = 1.0
"""How long a message waits for a service manager that is busy."""
SILENT_SECONDS = 60.0
FIRST = 3
"""The first descriptor that is passed on, SD_LISTEN_FDS_START."""
_COUNT = re.compile(r"[0-9]{1,6}")
UNITS_MOST = 256
"""The unit's FileDescriptorStoreMax=."""
_UNTOLD = "untold."
"""Before the name of what a program passes on that systemd does not have."""


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

    @property
    def has_manager(self) -> bool:
        """Whether there is anybody to notify."""
        return bool(self._address)

    def ready(self) -> bool:
        """The journal is open and the first scan is done; whether that was delivered."""
        return self.send("READY=1")

    def reloading(self) -> None:
        """Another configuration is being taken up; ``ready`` follows, whatever comes of it."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def extend(self, seconds: float) -> None:
        """What is going on, a start, reload or stop, is not over for so long; never less than it
        had anyway."""
        self.send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def stopping(self) -> None:
        """The daemon is about to end."""
        self.send("STOPPING=1")

    def watchdog(self) -> None:
        """All loops make progress."""
        self.send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; sent only when it is a new one."""
        if text != self._status and self.send("STATUS=" + text.replace("\n", " ")):
            self._status = text

    def send(self, message: str, descriptors: Sequence[int] = ()) -> bool:
        """Send assignments, with copies of the descriptors; whether they were delivered."""
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(LONGEST_SECONDS)
                # Unconnected, the socket is called writable while systemd's queue is full.
                sender.connect(self._address)
                socket.send_fds(sender, [message.encode("utf-8", "replace")], list(descriptors))
        except (OSError, ValueError):
            return False
        return True


class SystemdStore:
    """``ports.DescriptorStore`` in systemd; ``received`` is what this start was given.

    systemd keeps at most ``most``, and what was offered beyond is lost to it. So the rest waits,
    in the order in which it was put, until another is removed. ``_lock`` guards the tables. What
    systemd could not be told is told with the next change, by ``flush``, or by the next program.
    """

    def __init__(
        self,
        notifier: Notifier,
        received: Mapping[str, int] | None = None,
        *,
        most: int = UNITS_MOST,
    ) -> None:
        self._notifier = notifier
        self.most = most
        self._received: dict[str, int] = {}
        self._lock = threading.Lock()
        self._sources: dict[str, FileSource] = {}
        self._stored: set[str] = set()
        """The names that systemd has."""
        self._untold: dict[str, None] = {}
        """Names in the order of their last change."""
        self._silent_until = 0.0
        for given, descriptor in (received or {}).items():
            name = given.removeprefix(_UNTOLD)
            self._received[name] = descriptor
            if name == given:
                self._stored.add(name)
            else:
                self._untold[name] = None

    def kept(self) -> Iterator[tuple[str, Source]]:
        """Each name and descriptor that an earlier start left; asked once."""
        for name, descriptor in self._received.items():
            source = self._sources[name] = FileSource(descriptor, name)
            yield name, source

    def put(self, name: str, source: Source) -> None:
        """Keep a descriptor of the open file under an unused name."""
        assert isinstance(source, FileSource)  # on one machine there are no others
        with self._lock:
            self._sources[name] = source
            self._tell(name)

    def remove(self, name: str) -> None:
        """Let go of the descriptor; idempotent."""
        with self._lock:
            self._sources.pop(name, None)
            self._tell(name)

    @property
    def is_holding(self) -> bool:
        """Whether anything is kept."""
        return bool(self._sources)

    def descriptors(self) -> dict[str, int]:
        """All that is kept, for ``execute_anew``."""
        with self._lock:
            return {
                _UNTOLD + name if name in self._untold else name: source.fileno()
                for name, source in self._sources.items()
            }

    def flush(self) -> None:
        """Tell systemd what it could not be told so far."""
        with self._lock:
            self._tell()

    def _tell(self, *changed: str) -> None:
        """Tell systemd what changed. One that does not answer costs one wait a minute."""
        if not self._notifier.has_manager:
            return
        self._untold |= dict.fromkeys(changed)
        while time.monotonic() >= self._silent_until:
            name = self._next_untold()
            if name is None:
                return
            source = self._sources.get(name)
            if source is None:
                is_told = self._notifier.send(f"FDSTOREREMOVE=1\nFDNAME={name}")
            else:
                # FDPOLL=0: systemd need not watch for hang-ups, which a file never has.
                message = f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0"
                is_told = self._notifier.send(message, [source.fileno()])
            if not is_told:
                self._silent_until = time.monotonic() + SILENT_SECONDS
                return
            del self._untold[name]
            if source is None:
                self._stored.discard(name)
            else:
                self._stored.add(name)

    def _next_untold(self) -> str | None:
        has_room = len(self._stored) < self.most
        waiting = (name for name in self._untold if has_room or name not in self._sources)
        return next(waiting, None)


def store_limit(environment: Mapping[str, str]) -> int:
    """How many descriptors systemd keeps: $FDSTORE, which it sets from 254 on."""
    told = environment.get("FDSTORE", "")
    return int(told) if _COUNT.fullmatch(told) else UNITS_MOST


def received_descriptors(environment: MutableMapping[str, str]) -> dict[str, int]:
    """The regular files that this process was started with, by name, closed on exec from now on.

    The variables are removed, so that no child takes them for its own. Call it before anything
    else is opened. What else was passed is closed. Where another process was meant, nothing is
    taken or closed, but no child inherits it.
    """
    count, pid, listed = (
        environment.pop(name, "") for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
    )
    if not _COUNT.fullmatch(count):
        return {}
    names = listed.split(":") if listed else []
    found: dict[str, int] = {}
    for number in range(min(int(count), resource.getrlimit(resource.RLIMIT_NOFILE)[0])):
        descriptor = FIRST + number
        name = names[number] if number < len(names) else ""
        with contextlib.suppress(OSError):  # of one that is not open
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            os.set_inheritable(descriptor, False)
            if pid != str(os.getpid()):
                continue
            if name and is_file and name not in found:
                found[name] = descriptor
            else:
                os.close(descriptor)
    return found


def foreign_receiver(environment: Mapping[str, str]) -> str:
    """The process that descriptors were passed to, where it is not this one; else empty."""
    pid = environment.get("LISTEN_PID", "")
    return "" if pid == str(os.getpid()) else pid


def execute_anew(descriptors: Mapping[str, int], environment: Mapping[str, str]) -> NoReturn:
    """Replace this program by the one that is on disk now, with the same arguments and process id.

    It receives these descriptors, and blocked signals stay pending for it. No other thread may
    use a descriptor any more, for those from 3 upward are overwritten, also when this fails.

    Raises:
        OSError: the program cannot be executed.
    """
    _line_up(list(descriptors.values()))
    listening = {
        "LISTEN_FDS": str(len(descriptors)),
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDNAMES": ":".join(descriptors),
    }
    arguments = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, {**environment, **listening})  # noqa: S606  (no shell)


def _line_up(descriptors: list[int]) -> None:
    """Give these descriptors the numbers from ``FIRST`` upward, inheritable; one at a time, since
    there may be room for no second copy of all."""
    at = {descriptor: index for index, descriptor in enumerate(descriptors)}
    for index, target in enumerate(range(FIRST, FIRST + len(descriptors))):
        descriptor = descriptors[index]
        if descriptor == target:
            os.set_inheritable(target, True)
            continue
        if target in at:  # one whose turn comes later is there
            moved = fcntl.fcntl(target, fcntl.F_DUPFD_CLOEXEC, FIRST + len(descriptors))
            descriptors[at[target]] = moved
            at[moved] = at.pop(target)
        os.dup2(descriptor, target)
        os.close(descriptor)
        at.pop(descriptor, None)


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """sd_watchdog_enabled(3): microseconds, and only for the process that is named."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    is_ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(microseconds) / 1e6 if is_ours and microseconds.isdecimal() else 0.0
