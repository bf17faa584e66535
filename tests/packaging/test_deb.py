"""The Debian package: installed, upgraded, removed and purged in a system of its own."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import shipper

ROOT = Path(__file__).parents[2]
RELEASE = "bookworm"
INCLUDED = "python3,systemd,init-system-helpers"
WANTED = "/etc/systemd/system/multi-user.target.wants/shipper.service"
Program = Callable[[str], str]


def run(*command: str | Path, code: int = 0, seconds: float = 900) -> str:
    """Run a program; all it said."""
    found = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, cwd=ROOT
    )
    assert found.returncode == code, found.stdout + found.stderr
    return found.stdout + found.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a system to install into")
def test_the_package_is_installed_upgraded_removed_and_purged(
    program: Program, tmp_path: Path
) -> None:
    run(program("make"), "deb")
    [package] = (ROOT / "dist").glob(f"shipper_{shipper.__version__}_*.deb")
    packed = run(program("dpkg-deb"), "--contents", package)
    for name in ("man/man1/shipper.1.gz", "bash-completion/completions/shipper"):
        assert f" ./usr/share/{name}\n" in packed
    system = tmp_path / "system"
    debootstrap = program("debootstrap")
    run(debootstrap, "--variant=minbase", f"--include={INCLUDED}", RELEASE, system)
    (system / "package.deb").write_bytes(package.read_bytes())

    def inside(script: str, code: int = 0) -> str:
        # Its own mounts and processes: nothing is left when the shell ends.
        mounted = f"mount -t proc proc /proc && {script}"
        space = ("unshare", "--mount", "--pid", "--fork", "chroot", system)
        return run(*space, "sh", "-euc", mounted, code=code)

    said = inside("dpkg --install /package.deb")
    assert "is not started: name a bucket" in said
    assert not os.path.lexists(f"{system}{WANTED}")
    assert inside("shipper --version") == f"shipper {shipper.__version__}\n"
    inside("as-shipper shipper check --offline", code=78)
    assert "shipper shipper 700" in inside("stat --format='%U %G %a' /var/lib/shipper")

    configuration = system / "etc/shipper/shipper.toml"
    text = '[destination]\nbucket = "b-1"\n[[watch]]\ndirectory = "/var/log"\n'
    configuration.write_text(text)
    inside("dpkg --install /package.deb")
    assert os.path.lexists(f"{system}{WANTED}")
    assert configuration.read_text() == text
    assert "ok    watch log" in inside("as-shipper shipper check --offline")
    assert "unfinished: 0" in inside("/usr/lib/shipper/before-snapshot")

    # What has run and was disabled stays so.
    inside("systemctl disable shipper; touch /var/lib/shipper/journal.db")
    inside("dpkg --install /package.deb")
    assert not os.path.lexists(f"{system}{WANTED}")
    inside("rm /var/lib/shipper/journal.db")

    inside("dpkg --remove shipper")
    assert not (system / "opt/shipper").exists()
    assert configuration.read_text() == text
    assert "deleting /etc/shipper and /var/lib/shipper" in inside("dpkg --purge shipper")
    assert not (system / "etc/shipper").exists()
    assert not (system / "var/lib/shipper").exists()
    assert not os.path.lexists(f"{system}{WANTED}")
