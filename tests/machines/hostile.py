"""A log directory whose owner is hostile, and the secrets beside it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shipper.core.types import AfterUpload, Compression, Watch
from shipper.edges.files.directory_files import DirectoryFiles
from tests.machines.world import WATCH, World
from tests.programs import attacker

SECRET = b"root:$6$secret\n" * 4
INNOCENT = b"innocent "
PIPE_BYTES = 4096
"""The kernel's smallest: no attack is further ahead of who is attacked."""


@dataclass(slots=True)
class Attacker:
    """The running program; how many changes it made is known when it has ended."""

    output: int
    changes: int = 0
    _heard_bytes: int = 0

    def tries(self) -> int:
        """How many times it has tried to change something; ask often, or it is held back."""
        with suppress(BlockingIOError):
            self._heard_bytes += len(os.read(self.output, PIPE_BYTES))
        return self._heard_bytes // len(attacker.SAID) * attacker.FEW


@contextmanager
def attacked(attack: str, top: Path) -> Iterator[Attacker]:
    """While it lasts, the attack goes on in another process."""
    program = [sys.executable, attacker.__file__, attack, str(top)]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, bufsize=0, pipesize=PIPE_BYTES
    ) as child:
        assert child.stdout is not None
        one = Attacker(child.stdout.fileno())
        try:
            assert child.stdout.readline() == b"ready\n"
            os.set_blocking(one.output, False)
            yield one
        finally:
            os.set_blocking(one.output, True)
            child.terminate()
            said = child.stdout.read().rstrip().rpartition(b"\n")[2]
            one.changes = int(said) if said.isdigit() else -1
    assert child.returncode == 0


def prepared(top: Path, *, crowd: int = 0) -> None:
    """``top`` as ``attacker`` expects it."""
    for name in ("logs", "outside", "archive"):
        (top / name).mkdir()
    for name in ("app.log.1", "app.log.2", "other.log.1"):
        (top / "outside" / name).write_bytes(SECRET)
    if crowd:
        (top / "logs" / "crowd").mkdir()
        for number in range(crowd):
            os.mknod(top / "logs" / "crowd" / f"{number}")


def standing(top: Path) -> dict[str, tuple[int, ...] | bytes]:
    """Everything outside of the watch that must not change. Names and links are no one's loss."""
    found: dict[str, tuple[int, ...] | bytes] = {
        name: (os.lstat(top / name).st_ino,)
        for name in os.listdir(top)
        if name not in ("logs", "link", "archive", "state")
    }
    for secret in sorted((top / "outside").rglob("*")):
        status = secret.lstat()
        kept = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid)
        found[str(secret)] = kept
        found[f"{secret}: bytes"] = secret.read_bytes()
    return found


def hostile_watch(top: Path, after_upload: AfterUpload, *, archive: str = "archive") -> Watch:
    """The watch of ``top``'s logs: as they are, and removed at once."""
    return replace(
        WATCH,
        directory=str(top / "logs"),
        archive_directory=str(top / archive),
        after_upload=after_upload,
        compression=Compression.NONE,
        delete_after_seconds=0.0,
    )


class HostileWorld(World):
    """The services on a real directory; the bucket and the time are fakes."""

    def __init__(self, directory: Path, *, watch: Watch, **store: Any) -> None:
        super().__init__(directory, watch=watch, **store)
        self.files = DirectoryFiles()  # type: ignore[assignment]  # the fake has more to it
        self.restart()
