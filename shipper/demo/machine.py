"""Programs that log, and a rotator, for the demo.

Each writer knows the length and the SHA-256 of everything it wrote: the objects in S3 must add up
to that.
"""

import hashlib
import os
import random
import shutil
import string
import subprocess
import threading
from dataclasses import dataclass, field

LOGROTATE_CONFIGURATION = """\
{directory}/*.log {{
    rotate 99
    size 1
    create 0644
    notifempty
    missingok
}}
{directory}/zipped/*.log {{
    rotate 99
    size 1
    create 0644
    notifempty
    missingok
    compress
    delaycompress
}}
"""


class LogWriter(threading.Thread):
    """Appends lines at a steady rate, and reopens its log after a rename."""

    def __init__(self, path: str, *, bytes_per_second: int, seed: int) -> None:
        super().__init__(name=f"writer {path}", daemon=True)
        self.path = path
        self.sha256 = hashlib.sha256()
        self.written_bytes = 0
        self._bytes_per_second = bytes_per_second
        self._rng = random.Random(seed)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Write until ``stop``."""
        descriptor = self._open()
        try:
            while not self._stopping.wait(0.05):
                if not self._is_current(descriptor):
                    os.close(descriptor)
                    descriptor = self._open()
                self._append(descriptor, self._lines(self._bytes_per_second // 20))
        finally:
            os.close(descriptor)

    def stop(self) -> None:
        """Close the log; it can be rotated a last time."""
        self._stopping.set()
        self.join()

    def burst(self, size_bytes: int) -> None:
        """Write a lot at once, through a descriptor of its own; not while the thread runs."""
        descriptor = self._open()
        try:
            while size_bytes > 0:
                block = self._rng.randbytes(49152).hex().encode() + b"\n"
                self._append(descriptor, block)
                size_bytes -= len(block)
        finally:
            os.close(descriptor)

    def _append(self, descriptor: int, block: bytes) -> None:
        view = memoryview(block)
        while view:
            view = view[os.write(descriptor, view) :]
        self.sha256.update(block)
        self.written_bytes += len(block)

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.stat(self.path).st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False

    def _lines(self, size_bytes: int) -> bytes:
        letters = string.ascii_lowercase + string.digits
        lines = []
        while size_bytes > 0:
            word = "".join(self._rng.choices(letters, k=24))
            line = f"request={word} status={self._rng.choice((200, 200, 200, 404, 500))}\n"
            lines.append(line)
            size_bytes -= len(line)
        return "".join(lines).encode()


@dataclass(slots=True)
class Rotator:
    """logrotate where it is installed, else numbered renames like its own."""

    directory: str
    work_directory: str
    rotated_files: int = 0
    _program: str | None = field(default_factory=lambda: shutil.which("logrotate"))

    @property
    def name(self) -> str:
        return "logrotate" if self._program else "renames of its own (logrotate is not installed)"

    def rotate(self) -> None:
        """Rotate every log that is not empty."""
        live = [path for path in self._live_logs() if os.path.getsize(path)]
        if self._program:
            self._run_logrotate(self._program)
        else:
            for path in live:
                _shift(path)
        self.rotated_files += len(live)

    def _live_logs(self) -> list[str]:
        found = []
        for directory in (self.directory, os.path.join(self.directory, "zipped")):
            found += [
                os.path.join(directory, name)
                for name in os.listdir(directory)
                if name.endswith(".log")
            ]
        return found

    def _run_logrotate(self, program: str) -> None:
        configuration = os.path.join(self.work_directory, "logrotate.conf")
        if not os.path.exists(configuration):
            with open(configuration, "w", encoding="utf-8") as file:
                file.write(LOGROTATE_CONFIGURATION.format(directory=self.directory))
            os.chmod(configuration, 0o600)
        state = os.path.join(self.work_directory, "logrotate.state")
        subprocess.run([program, "-s", state, configuration], check=True, timeout=60)


def _shift(path: str) -> None:
    highest = 1
    while os.path.exists(f"{path}.{highest}"):
        highest += 1
    for number in range(highest, 1, -1):
        os.rename(f"{path}.{number - 1}", f"{path}.{number}")
    os.rename(path, f"{path}.1")
