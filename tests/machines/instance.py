"""An instance for end-to-end tests: real directories, a real daemon, real HTTP on loopback.

The metadata service runs in the test's process, S3 is moto's server, the daemon is a child with
a process id that a test may kill.
"""

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from shipper.core.types import RoleCredentials
from shipper.demo.children import Child
from shipper.journal.journal import Journal
from shipper.mock.imds import Facts, Keys, MockImds
from shipper.ports import PortError
from shipper.reports.http import fetch
from tests.fakes.servers import REGION, Moto
from tests.machines.waiting import LONGEST_SECONDS, comes_true
from tests.machines.world import decoded

BUCKET = "logs-bucket"
SETTLE_SECONDS = 0.3
INSTANCE_ID = "i-0aaaabbbbccccdddd"


class Instance:
    """One machine below ``directory``."""

    def __init__(
        self,
        directory: Path,
        moto: Moto,
        imds: MockImds,
        *,
        watch: str = "",
        more: str = "",
        bucket: str = BUCKET,
    ) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.logs.mkdir(parents=True)
        self.moto = moto
        self.imds = imds
        self.bucket = bucket
        self.config = directory / "shipper.toml"
        self.daemon: Child | None = None
        self.more_environment: dict[str, str] = {}
        self.confined_by: list[str] = []
        """The command that becomes the daemon; empty for one without bounds."""
        self._lives = 0
        self.config.write_text(
            f'state_directory = "{directory}/state"\n'
            f'[destination]\nbucket = "{bucket}"\nendpoint_url = "{moto.url}"\n'
            'addressing_style = "path"\n'
            f'[[watch]]\nname = "app"\ndirectory = "{self.logs}"\nsettle = "{SETTLE_SECONDS}s"\n'
            f"{watch}\n"
            f'[scan]\ninterval = "1s"\n[log]\nlevel = "debug"\nformat = "json"\n{more}'
        )

    @property
    def environment(self) -> dict[str, str]:
        """What the daemon and the commands need to find the metadata service."""
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.imds.url} | self.more_environment

    def write(self, name: str | bytes, body: bytes) -> Path:
        """Put a log there, complete, at once."""
        path = os.path.join(os.fsencode(self.logs), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(body)
        return Path(os.fsdecode(path))

    def start(self) -> Child:
        """Start the daemon and wait until it answers."""
        self._lives += 1
        output = self.directory / f"daemon-{self._lives}.log"
        arguments = ["shipper", "run", "--config", str(self.config)]
        self.daemon = Child(
            arguments, str(output), environment=self.environment, before=self.confined_by
        )
        self.wait_for(lambda: self.status() is not None, "the daemon to answer")
        return self.daemon

    def kill(self) -> None:
        """kill -9."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon = None

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.daemon is not None
        daemon, self.daemon = self.daemon, None
        return daemon.stop()

    def wait_until_stopped(self) -> int:
        """The exit code of a daemon that was asked to stop already: a second signal is another."""
        assert self.daemon is not None
        daemon, self.daemon = self.daemon, None
        return daemon.process.wait(LONGEST_SECONDS)

    def end(self) -> None:
        """Leave nothing running."""
        if self.daemon is not None:
            self.kill()

    def run(self, *arguments: str, code: int | None = 0) -> str:
        """Run a command to its end; its stdout and stderr together."""
        output = self.directory / f"command-{time.monotonic_ns()}.txt"
        command = ["shipper", arguments[0], "--config", str(self.config), *arguments[1:]]
        child = Child(command, str(output), environment=self.environment)
        found = child.process.wait(LONGEST_SECONDS)
        text = output.read_text()
        assert code is None or found == code, text
        return text

    def status(self) -> dict[str, Any] | None:
        """The running daemon's own status."""
        try:
            document: dict[str, Any] = json.loads(self.ask("/status"))
        except (OSError, ValueError, HTTPException):
            return None
        return document

    def ask(self, target: str) -> str:
        """GET over the daemon's socket."""
        return fetch(str(self.directory / "state" / "shipper.sock"), target)

    @contextlib.contextmanager
    def journal(self) -> Iterator[Journal | None]:
        """The journal, to look at."""
        try:
            journal = Journal.open_read_only(str(self.directory / "state" / "journal.db"))
        except PortError:
            yield None
            return
        try:
            yield journal
        finally:
            journal.close()

    def files(self, *states: str) -> int:
        """How many shipments are in these states."""
        with self.journal() as journal:
            totals = journal.figures.totals() if journal is not None else []
        return sum(total.files for total in totals if total.state.value in states)

    def wait_until_shipped(self, files: int, seconds: float = LONGEST_SECONDS) -> None:
        """Wait until so many shipments are done."""
        self.wait_for(lambda: self.files("DONE") >= files, f"{files} files to be shipped", seconds)

    def wait_for(
        self, is_so: Callable[[], object], what: str, seconds: float = LONGEST_SECONDS
    ) -> None:
        """Poll until it is so, and as long as the daemon lives."""

        def ask() -> object:
            has_ended = self.daemon is not None and self.daemon.process.poll() is not None
            found = is_so()
            if has_ended and not found:
                raise AssertionError("\n".join(["the daemon ended:", *self._last_lines(30)]))
            return found

        if not comes_true(ask, seconds, pause=self._pause):
            says = json.dumps(self.status())
            waited = f"waited in vain, for {seconds:.0f} s, for {what}"
            raise AssertionError("\n".join([waited, *self._last_lines(20), says]))

    def _last_lines(self, count: int) -> list[str]:
        return self.daemon.lines()[-count:] if self.daemon is not None else []

    def _pause(self) -> None:
        """At most as long as the daemon lives."""
        if self.daemon is None:
            threading.Event().wait(0.02)
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.daemon.process.wait(0.02)

    def contents(self) -> list[bytes]:
        """Every object, decoded."""
        objects = self.moto.objects(self.bucket)
        return [decoded(key, body) for key, body in objects.items()]

    def log_text(self) -> str:
        """All that every daemon of this instance logged."""
        texts = [path.read_text(errors="replace") for path in self.directory.glob("daemon-*.log")]
        return "".join(texts)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log records of one event."""
        lines = [json.loads(line) for line in self.log_text().splitlines() if f'"{name}"' in line]
        return [line for line in lines if line["event"] == name]


def keys_of(credentials: RoleCredentials) -> Keys:
    """Real credentials for the mocked service to hand out."""
    return Keys(
        credentials.access_key_id, credentials.secret_access_key, credentials.session_token
    )


def facts(**changes: Any) -> Facts:
    """The mocked instance of these tests."""
    return Facts(instance_id=INSTANCE_ID, region=REGION, **changes)
