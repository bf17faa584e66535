"""File systems with reflinks in an image, for tests that need the real thing."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

IMAGE_BYTES = 320 * 1024**2
"""As small as mkfs.xfs allows; it is sparse."""
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


@contextlib.contextmanager
def mounted(kind: str, directory: Path, *, name: str = "") -> Iterator[Path]:
    """A fresh file system below ``directory``; skips where it cannot be, and says why."""
    image, top = directory / f"{kind}.img", directory / (name or kind)
    top.mkdir()
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    for command in ([f"mkfs.{kind}", "-q", str(image)], ["mount", "-o", "loop", image, top]):
        _run_or_skip(kind, [str(word) for word in command])
    try:
        yield top
    finally:
        subprocess.run(["umount", str(top)], check=True)
        image.unlink()


def _run_or_skip(kind: str, command: list[str]) -> None:
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        why = f"{command[0]} is not installed"
    else:
        ran = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
        if not ran.returncode:
            return
        why = f"{command[0]}: {ran.stderr.strip()}"
    message = f"no {kind} to try real reflinks on: {why}"
    if os.environ.get("SHIPPER_REQUIRE_REFLINKS"):
        pytest.fail(message)
    pytest.skip(message)
