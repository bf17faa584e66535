"""Child processes of the demo: an S3 server, the metadata service, the daemon."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

START_SECONDS = 30.0
STOP_SECONDS = 30.0


class Child:
    """A process with its output in a file; ended by its own id."""

    def __init__(
        self,
        arguments: list[str],
        output: str,
        *,
        environment: dict[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        """``before`` is a command that becomes the module's, as setpriv does."""
        self.output = output
        with open(output, "ab") as stream:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [*before, sys.executable, "-m", *arguments],
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                env=clean_environment() | (environment or {}),
                start_new_session=True,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def lines(self) -> list[str]:
        with open(self.output, encoding="utf-8", errors="replace") as stream:
            return stream.read().splitlines()


def clean_environment() -> dict[str, str]:
    """This process's own, without anything that configures AWS tools or proxies."""
    names = ("AWS_", "SHIPPER_", "NOTIFY_", "RUNTIME_DIR", "STATE_DIR", "HTTP_PROXY", "http_proxy")
    return {name: value for name, value in os.environ.items() if not name.startswith(names)}


def start_s3(directory: str) -> tuple[Child, str]:
    """moto's server on a free loopback port, and its URL; ``RuntimeError`` if it fails."""
    port = free_port()
    arguments = ["moto.server", "-H", "127.0.0.1", "-p", str(port)]
    child = Child(arguments, os.path.join(directory, "s3.log"))

    def url() -> str:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return f"http://127.0.0.1:{port}"
        return ""

    return child, _started(child, "moto's server", url)


def start_imds(directory: str, *options: str) -> tuple[Child, str]:
    """``shipper mock-imds`` on a free loopback port, and its URL; ``RuntimeError`` if it fails."""
    arguments = ["shipper", "mock-imds", "--listen", "127.0.0.1:0", *options]
    child = Child(arguments, os.path.join(directory, "imds.log"))

    def url() -> str:
        said = "export AWS_EC2_METADATA_SERVICE_ENDPOINT="
        return next((line[len(said) :] for line in child.lines() if line.startswith(said)), "")

    return child, _started(child, "the metadata service", url)


def _started(child: Child, name: str, url: Callable[[], str]) -> str:
    """The URL, once there is one."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.process.poll() is None:
        if found := url():
            return found
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(0.05)
    child.kill()
    raise RuntimeError("\n".join([f"{name} did not start:", *child.lines()[-5:]]))


def parts_sent(s3: Child) -> Counter[tuple[str, str]]:
    """UploadPart requests by (key, part number), as the S3 server logged them."""
    request = re.compile(r'"PUT (\S+)\?(?:\S*&)?partNumber=(\d+)')
    counted: Counter[tuple[str, str]] = Counter()
    for line in s3.lines():
        if found := request.search(line):
            counted[found[1], found[2]] += 1
    return counted


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
