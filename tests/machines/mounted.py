"""File systems of a test's own: an image, made and mounted by loop; root only."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines.needs import program_path
from tests.machines.waiting import wait_for

SIZES = {"ext4": "256M", "xfs": "320M"}
"""mkfs.xfs makes none below 300 MB."""


@contextlib.contextmanager
def mounted(kind: str, directory: Path, *, size: str = "") -> Iterator[Path]:
    """An empty file system of this kind, mounted below ``directory`` until the end."""
    mount, size = program_path("mount"), size or SIZES[kind]
    make = "" if kind == "tmpfs" else program_path(f"mkfs.{kind}")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    image, top = directory / f"{kind}.img", directory / kind
    top.mkdir()
    source = ["-t", kind, "-o", f"size={size}", kind]
    if make:
        with image.open("wb") as file:
            file.truncate(int(size.removesuffix("M")) << 20)
        subprocess.run([make, "-q", str(image)], check=True, stdin=subprocess.DEVNULL)
        source = ["-o", "loop", str(image)]
    subprocess.run([mount, *source, str(top)], check=True)
    try:
        yield top
    finally:
        subprocess.run([program_path("umount"), "--lazy", str(top)], check=True)


@contextlib.contextmanager
def served(source: Path, top: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``source`` at ``top`` by FUSE, as a file server would have it; the server's process."""
    program = program_path("bindfs")
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    with subprocess.Popen([program, "-f", source, top], stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: server.poll() is not None or os.path.ismount(top), "the mount")
            yield server
        finally:
            server.terminate()  # it unmounts; where it was killed, nobody has
            server.wait()
            subprocess.run(
                [program_path("umount"), "--lazy", top], check=False, stderr=subprocess.DEVNULL
            )
