"""Small Debian systems in a directory, for tests that boot one or build an image on one.

debootstrap makes them, of this machine's release and from this machine's own sources. It takes a
minute; where ``$SHIPPER_TREES`` names a directory they are kept there, and copied.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SECONDS = 900.0
Program = Callable[[str], str]


def debian(target: Path, program: Program, *packages: str) -> None:
    """A minimal system with these packages, in the empty directory ``target``.

    Skips, and says why, where none can be made.
    """
    if os.geteuid() != 0:
        pytest.skip("only root makes a system to boot")
    command = [program("debootstrap"), "--variant=minbase", f"--include={','.join(packages)}"]
    kept = os.environ.get("SHIPPER_TREES")
    if not kept:
        _made(command, target)
        return
    source = Path(kept) / "-".join((_release(), *packages))
    if not source.exists():
        partial = source.with_suffix(".partial")
        partial.mkdir(parents=True)
        _made(command, partial)
        partial.rename(source)
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True, timeout=SECONDS)


def _made(command: list[str], target: Path) -> None:
    release = _release()
    made = subprocess.run(
        [*command, release, str(target), _mirror(release)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"debootstrap made no system: {made.stdout.strip().splitlines()[-1]}")


def _release() -> str:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    named = dict(line.split("=", 1) for line in lines if "=" in line)
    return named.get("VERSION_CODENAME", "").strip('"')


def _mirror(release: str) -> str:
    """Where this machine has its packages from."""
    wanted = ("Created-By: Packages", "Component: main", f"Release: {release}")
    form = "$(REPO_URI) $(ORIGIN)"
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", form, *wanted],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    found = [words[0] for words in map(str.split, said.splitlines()) if words[1:] == ["Debian"]]
    if not found:
        pytest.skip(f"apt knows no Debian mirror for '{release}' (apt-get update makes it known)")
    return found[0]
