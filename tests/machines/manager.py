"""systemd's end of the notify socket: what a daemon told it, and when."""

import socket
import threading
import time
from pathlib import Path
from typing import Self


class ServiceManager:
    """Hears until it is left. ``heard`` is every message with its monotonic time."""

    def __init__(self, directory: Path) -> None:
        self.environment = {"NOTIFY_SOCKET": str(directory / "notify")}
        self.heard: list[tuple[float, str]] = []
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

    def times(self, beginning: str) -> list[float]:
        """When messages that begin so came."""
        return [at for at, message in self.heard if message.startswith(beginning)]

    def names(self) -> list[str]:
        """The first names that were assigned, in order, each once in a row."""
        names = [message.partition("=")[0] for _, message in self.heard]
        return [name for name, before in zip(names, ["", *names], strict=False) if name != before]

    def _hear(self) -> None:
        while message := self._socket.recv(4096):
            self.heard.append((time.monotonic(), message.decode()))
