"""Real programs that write logs, each a child on loopback with a configuration of its own."""

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from shipper.demo.children import free_port

ROOT = Path(__file__).parents[2]

NGINX = """
daemon off;
user root root;
worker_processes 2;
pid {work}/nginx.pid;
error_log {logs}/error.log;
events {{ }}
http {{
    access_log {logs}/access.log;
    server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} }}
}}
"""
"""The workers stay root as the test is, because only it may enter pytest's directories."""

RSYSLOG = """
global(workDirectory="{work}" localHostname="here" net.enableDNS="off")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="{work}/port")
template(name="bare" type="string" string="%msg%\\n")
*.* action(type="omfile" template="bare" file="{logs}/syslog")
mail.* action(type="omfile" template="bare" file="{logs}/mail.log")
user.* action(type="omfile" template="bare" file="{logs}/user.log")
"""
"""Left to itself it asks a name server for its own name at each HUP, before it opens logs anew."""

HANDLER = """
import logging, sys
from logging.handlers import RotatingFileHandler, TimedRotatingFileHandler
path = sys.argv[2]
handler = {
    "sized": lambda: RotatingFileHandler(path, maxBytes=2000, backupCount=500),
    "timed": lambda: TimedRotatingFileHandler(path, when="S", backupCount=500),
}[sys.argv[1]]()
for line in sys.stdin:
    handler.emit(logging.makeLogRecord({"msg": line.rstrip()}))
handler.close()
"""
"""Python's ``sized`` or ``timed`` handler; logs the lines of its stdin."""


class Counting(threading.Thread):
    """Says 0, 1, 2 and so on, as fast as the pace allows, until it is told to stop."""

    def __init__(self, say: Callable[[int], None], *, pace_seconds: float = 0.004) -> None:
        super().__init__(name="counting")
        self._say = say
        self._pace_seconds = pace_seconds
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self.count = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Say every number once."""
        try:
            while not self._stopped.wait(self._pace_seconds):
                self._say(self.count)
                self.count += 1
        except OSError as error:
            self._failure = error

    def stop(self) -> int:
        """Say no more; how many numbers were said.

        Raises:
            OSError: saying one of them failed.
        """
        self._stopped.set()
        self.join()
        if self._failure is not None:
            raise self._failure
        return self.count


@contextlib.contextmanager
def child(*arguments: str, said: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A program with a pipe to its stdin; what it says goes into a file. Ended on leaving."""
    with said.open("wb") as output:
        running = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=output, stderr=output, bufsize=0, cwd=ROOT
        )
    with running:
        try:
            yield running
        finally:
            running.terminate()


class Nginx:
    """An nginx that logs a request for every number."""

    def __init__(self, program: str, work: Path, logs: Path) -> None:
        self.pid_file = work / "nginx.pid"
        self._port = free_port()
        configuration = work / "nginx.conf"
        configuration.write_text(NGINX.format(work=work, logs=logs, port=self._port))
        self.arguments = (program, "-e", "stderr", "-c", str(configuration))

    def is_up(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return self.pid_file.exists()
        return False

    def ask(self, number: int) -> None:
        """GET ``/line-NUMBER``, on a connection of its own, and take the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", f"/line-{number:07d}")
            assert connection.getresponse().status == 204
        finally:
            connection.close()


class Rsyslog:
    """An rsyslogd that listens on loopback."""

    def __init__(self, program: str, work: Path, logs: Path) -> None:
        self.pid_file = work / "rsyslog.pid"
        self._port_file = work / "port"
        self._connection: socket.socket | None = None
        configuration = work / "rsyslog.conf"
        configuration.write_text(RSYSLOG.format(work=work, logs=logs))
        self.arguments = (program, "-n", "-f", str(configuration), "-i", str(self.pid_file))

    def is_up(self) -> bool:
        """Whether it listens."""
        return self.pid_file.exists() and self._port_file.exists()

    def say(self, number: int) -> None:
        """Send the line with that number; every other one is mail."""
        if self._connection is None:
            address = ("127.0.0.1", int(self._port_file.read_text()))
            self._connection = socket.create_connection(address, 10)
        priority = 14 if number % 2 else 22
        message = f"<{priority}>Nov 25 12:00:00 here app: line {number:07d}\n"
        self._connection.sendall(message.encode())

    def hang_up(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()


def python_handler(kind: str, path: Path) -> tuple[str, ...]:
    """The command that logs its stdin through one of Python's handlers."""
    return sys.executable, "-c", HANDLER, kind, str(path)
