"""A machine that boots systemd: a container of systemd-nspawn, on a disk whose power can be cut.

It shares the host's network, so it finds servers on the host's loopback. Its disk is an ext4
image. A power cut freezes every process, shuts the file system down without writing what is
still in memory (ioctl ``EXT4_IOC_SHUTDOWN``, the one that xfstests uses), and kills the
processes: what nobody has synced is lost, as it would be.
"""

import contextlib
import fcntl
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machines.trees import Program, debian

DISK_BYTES = 3 * 1024**3
"""It is sparse."""
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "init-system-helpers", "logrotate")
LONGEST_SECONDS = 90.0
REBOOT = 133
"""What systemd-nspawn ends with when its system wants to be booted again (--keep-unit)."""

_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING = struct.pack("I", 2)


class Machine:
    """One container below ``directory``; ``end`` leaves nothing of it."""

    def __init__(self, directory: Path, program: Program) -> None:
        self.root = directory / "root"
        self._nspawn = program("systemd-nspawn")
        self._console = directory / "console.log"
        self._disk = directory / "disk.img"
        self._group = _unified_groups() / f"shipper-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0
        self.root.mkdir()
        with self._disk.open("wb") as image:
            image.truncate(DISK_BYTES)
        run([program("mkfs.ext4"), "-q", "-F", self._disk])
        self._mount()
        try:
            debian(self.root, program, *PACKAGES)
            self.sync()
            self._probe()
        except BaseException:
            self.end()
            raise

    def boot(self) -> float:
        """Switch it on; how many seconds until it is up."""
        started = time.monotonic()
        self._group.mkdir()
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                [*self._grouped(), *self._command(), "--boot", "--console=pipe"],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self.wait_for(self._is_up, "systemd to be up")
        return time.monotonic() - started

    def run(self, *command: str | Path, code: int | None = 0) -> str:
        """Run a command in it; all it said."""
        inside = ["nsenter", "--target", str(self._init), "--all", *command]
        return run(inside, code=code)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit; of the manager where it has no name."""
        return self.run(
            "systemctl", "show", "--value", "--property", name, *filter(None, [unit])
        ).strip()

    def ends(self) -> int:
        """Wait until it has switched itself off; what systemd-nspawn ended with."""
        assert self._process is not None
        code = self._process.wait(LONGEST_SECONDS)
        self._process = None
        self._ungroup()
        return code

    def cut_power(self) -> None:
        """Everything stops at once, and what is not on the disk is lost."""
        assert self._process is not None
        (self._group / "cgroup.freeze").write_text("1")
        frozen = self._group / "cgroup.events"
        self.wait_for(lambda: "frozen 1" in frozen.read_text(), "everything to stand still")
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _WITHOUT_FLUSHING)
        finally:
            os.close(descriptor)
        self._kill()
        self._unmount()
        self._mount()

    def sync(self) -> None:
        """Let everything written so far be on the disk."""
        run(["sync", "--file-system", self.root])

    def end(self) -> None:
        """Leave no process, no mount and no control group."""
        if self._process is not None:
            self._kill()
        self._unmount()
        self._disk.unlink()

    def wait_for(self, is_so: Callable[[], object], what: str) -> None:
        """Poll until it is so."""
        deadline = time.monotonic() + LONGEST_SECONDS
        while not is_so():
            has_ended = self._process is not None and self._process.poll() is not None
            if has_ended or time.monotonic() > deadline:
                console = self._console.read_text(errors="replace").splitlines()[-20:]
                raise AssertionError("\n".join([f"waited in vain for {what}", *console]))
            threading.Event().wait(0.02)

    def _grouped(self) -> list[str]:
        """The command that becomes another in a control group of its own: it can be frozen."""
        return ["sh", "-c", f'echo $$ > "{self._group}/cgroup.procs" && exec "$@"', "sh"]

    def _command(self) -> list[str | Path]:
        # It is not registered, for the host need not have a systemd itself.
        return [self._nspawn, "--quiet", "--register=no", "--keep-unit", "--directory", self.root]

    def _probe(self) -> None:
        tried = subprocess.run(
            [*self._command(), "true"], env=_environment(), capture_output=True, check=False
        )
        if tried.returncode:
            pytest.skip(f"systemd-nspawn does not work here: {tried.stderr.decode().strip()}")

    def _is_up(self) -> bool:
        if not self._has_init():
            return False
        return self.run("systemctl", "is-system-running", code=None).strip() in _UP

    def _has_init(self) -> bool:
        """Whether systemd-nspawn has a child that is process 1 of its own; not so its helpers."""
        assert self._process is not None
        pid = self._process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                lines = Path(f"/proc/{child}/status").read_text().splitlines()
                numbers = next(line.split()[1:] for line in lines if line.startswith("NSpid:"))
                if numbers[1:] == ["1"]:
                    self._init = int(child)
                    return True
        return False

    def _kill(self) -> None:
        assert self._process is not None
        (self._group / "cgroup.kill").write_text("1")
        self._process.wait(LONGEST_SECONDS)
        self._process = None
        self._ungroup()

    def _ungroup(self) -> None:
        populated = self._group / "cgroup.events"
        self.wait_for(lambda: "populated 0" in populated.read_text(), "every process to end")
        for group in sorted(self._group.rglob("*/"), reverse=True):
            group.rmdir()
        self._group.rmdir()

    def _mount(self) -> None:
        tried = subprocess.run(
            ["mount", "-o", "loop", self._disk, self.root], capture_output=True, check=False
        )
        if tried.returncode:
            pytest.skip(f"no disk for a container: {tried.stderr.decode().strip()}")

    def _unmount(self) -> None:
        run(["umount", self.root])


_UP = ("running", "degraded")


def _environment() -> dict[str, str]:
    return os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}


def _unified_groups() -> Path:
    """Where the second version of control groups is mounted."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    for line in lines:
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    pytest.skip("no cgroup2 is mounted, which a container with systemd needs")


def run(command: list[str | Path], *, code: int | None = 0) -> str:
    found = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert code is None or found.returncode == code, f"{command}: {found.stdout}"
    return found.stdout
