"""systemd's end of the notify socket: what a daemon told it, when, and what it gave to be kept."""

import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Self

MOST_DESCRIPTORS = 256
_PASSING = """
import os, sys
names, command = sys.argv[1].split(":"), sys.argv[2:]
for number, name in enumerate(names):
    opened = os.open(f"/proc/{name.partition('=')[2]}", os.O_RDONLY)
    assert opened == 3 + number
    os.set_inheritable(opened, True)
os.environ |= {
    "LISTEN_PID": str(os.getpid()),
    "LISTEN_FDS": str(len(names)),
    "LISTEN_FDNAMES": ":".join(name.partition("=")[0] for name in names),
}
os.execvp(command[0], command)
"""


class ServiceManager:
    """Hears until it is left. ``heard`` is every message with its monotonic time.

    ``stored`` is its descriptor store; ``_lock`` guards it.
    """

    def __init__(self, directory: Path) -> None:
        self.environment = {"NOTIFY_SOCKET": str(directory / "notify")}
        self.heard: list[tuple[float, str]] = []
        self.stored: dict[str, int] = {}
        self._lock = threading.Lock()
        self._settled: list[threading.Event] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.environment["NOTIFY_SOCKET"])
        self._thread = threading.Thread(target=self._hear)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.environment["NOTIFY_SOCKET"])
        self._thread.join()
        self._socket.close()
        for descriptor in self.stored.values():
            os.close(descriptor)

    def times(self, beginning: str) -> list[float]:
        """When messages that begin so came."""
        return [at for at, message in self.heard if message.startswith(beginning)]

    def names(self) -> list[str]:
        """The first names that were assigned, in order, each once in a row."""
        names = [message.partition("=")[0] for _, message in self.heard]
        return [name for name, before in zip(names, ["", *names], strict=False) if name != before]

    def settle(self) -> None:
        """Wait until everything that was sent so far has been heard."""
        heard = threading.Event()
        self._settled.append(heard)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            asking.sendto(b"BARRIER=1", self.environment["NOTIFY_SOCKET"])
        assert heard.wait(30)

    def passing(self) -> list[str]:
        """The command that becomes another, which is started with what is stored."""
        with self._lock:
            own = f"{os.getpid()}/fd"
            names = [f"{name}={own}/{number}" for name, number in self.stored.items()]
        return [sys.executable, "-c", _PASSING, ":".join(names)] if names else []

    def _hear(self) -> None:
        while True:
            message, descriptors, _, _ = socket.recv_fds(self._socket, 4096, MOST_DESCRIPTORS)
            if not message:
                return
            if message == b"BARRIER=1":
                self._settled.pop(0).set()
                continue
            text = message.decode()
            assigned = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
            with self._lock:
                if "FDSTORE" in assigned:
                    [self.stored[assigned["FDNAME"]]] = descriptors
                elif "FDSTOREREMOVE" in assigned and assigned["FDNAME"] in self.stored:
                    os.close(self.stored.pop(assigned["FDNAME"]))
            self.heard.append((time.monotonic(), text))
