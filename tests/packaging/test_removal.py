"""What removing shipper refuses, says and keeps: the package's scripts, and the installer's.

The scripts run here against a daemon of the tests, with the paths of the system below a directory.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machines.instance import Instance

ROOT = Path(__file__).parents[2]
INSTALLER = ROOT / "systemd" / "install.sh"
NOWHERE = "http://127.0.0.1:1"
Make = Callable[..., Instance]


class Installed:
    """A system below ``root``; its shipper is the tests' own, with the machine's configuration."""

    def __init__(self, root: Path, machine: Instance) -> None:
        self.root = root
        self.machine = machine
        self.state = machine.directory / "state"
        self.asked = root / "asked"
        self.programs = root / "programs"
        for directory in ("etc/shipper", "usr/lib/shipper", "opt/shipper/bin", "programs"):
            (root / directory).mkdir(parents=True)
        self._program(root / "opt/shipper/bin/shipper", f'exec {sys.executable} -m shipper "$@"')
        self._program(self.programs / "as-shipper", 'exec "$@"')
        for name in ("deb-systemd-invoke", "deb-systemd-helper", "systemctl"):
            self._program(self.programs / name, f'echo {name} "$@" >> {self.asked}')
        self._script("systemd/before-removal", root / "usr/lib/shipper/before-removal")

    def run(self, script: str, word: str, code: int = 0) -> str:
        """Run a script of the package; all it said."""
        made = self._script(f"systemd/deb/{script}", self.root / script)
        return self._ran(["sh", str(made), word], code)

    def uninstall(self, code: int = 0) -> str:
        """Run the installer's part, as on a system that runs."""
        text = INSTALLER.read_text(encoding="utf-8")
        function = "uninstall() {" + text.partition("\nuninstall() {")[2].partition("\n}\n")[0]
        stubs = "say() { echo $*; }; has_systemctl() { true; }; has_systemd() { true; }"
        files = "files() { echo 755 x /usr/lib/shipper/before-removal; }"
        script = f"set -eu; root={self.root}; {stubs}; {files}\n{function}\n}}\nuninstall"
        return self._ran(["bash", "-c", script], code)

    def commands(self) -> str:
        """What systemd was told."""
        return self.asked.read_text() if self.asked.exists() else ""

    def _ran(self, command: list[str], code: int) -> str:
        environment = os.environ | self.machine.environment
        environment["PATH"] = f"{self.programs}:{os.environ['PATH']}"
        environment["SHIPPER_CONFIG"] = str(self.machine.config)
        found = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environment
        )
        assert found.returncode == code, found.stdout + found.stderr
        return found.stdout + found.stderr

    def _script(self, name: str, path: Path) -> Path:
        text = (ROOT / name).read_text(encoding="utf-8")
        text = text.replace("/var/lib/shipper", str(self.state))
        for place in ("/usr/lib/shipper", "/usr/bin", "/opt/shipper", "/etc/shipper"):
            text = text.replace(place, f"{self.root}{place}")
        text = text.replace("/run/systemd/system", str(self.root))
        return self._program(path, text.partition("\n")[2])

    def _program(self, path: Path, text: str) -> Path:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path


def without_s3(machine: Instance) -> Instance:
    machine.config.write_text(machine.config.read_text().replace(machine.moto.url, NOWHERE))
    return machine


@pytest.fixture
def holding(instance: Make, tmp_path: Path) -> Installed:
    """Its daemon holds a log that was deleted before it was sent."""
    machine = without_s3(instance())
    log = machine.write("app.log.1", b"nowhere else\n")
    machine.start()
    machine.wait_for(lambda: machine.files("READY"), "the promise")
    log.unlink()
    machine.wait_for(lambda: '"unlinked_bytes": 0' not in machine.ask("/status"), "the held log")
    return Installed(tmp_path / "system", machine)


def test_the_package_is_not_removed_while_the_daemon_holds_deleted_logs(
    holding: Installed,
) -> None:
    said = holding.run("prerm", "remove", code=1)
    assert "bytes of logs that were deleted before they were sent" in said
    assert "systemctl stop shipper" in said
    assert holding.commands() == ""
    assert holding.run("prerm", "upgrade") == ""


def test_install_sh_does_not_uninstall_while_the_daemon_holds_deleted_logs(
    holding: Installed,
) -> None:
    said = holding.uninstall(code=1)
    assert "bytes of logs that were deleted before they were sent" in said
    assert holding.commands() == ""
    assert (holding.root / "opt/shipper/bin/shipper").exists()

    assert holding.machine.stop() == 0  # they are given up
    assert "removed; kept" in holding.uninstall()
    assert "systemctl stop shipper" in holding.commands()
    assert not (holding.root / "opt/shipper").exists()


def test_a_purge_keeps_the_journal_that_names_unsent_logs_and_says_so(
    instance: Make, tmp_path: Path
) -> None:
    machine = without_s3(instance())
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_for(lambda: machine.files("READY"), "the promise")
    installed = Installed(tmp_path / "system", machine)
    said = installed.run("prerm", "remove")
    assert "1 logs were promised and are not in S3" in said
    assert "deb-systemd-invoke stop shipper.service" in installed.commands()
    assert machine.stop() == 0
    said = installed.run("postrm", "purge")
    assert f"deleting {installed.root}/etc/shipper. Kept: {installed.state}" in said
    assert "names 1 logs that are not in S3" in said
    assert (installed.state / "journal.db").exists()
    assert not (installed.root / "etc/shipper").exists()


def test_a_purge_deletes_the_journal_of_what_was_sent_and_says_so(
    instance: Make, tmp_path: Path
) -> None:
    machine = instance()
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_until_shipped(1)
    assert machine.stop() == 0
    installed = Installed(tmp_path / "system", machine)
    assert installed.run("prerm", "remove") == ""
    said = installed.run("postrm", "purge")
    assert "the journal of what was shipped" in said
    assert not installed.state.exists()


@pytest.mark.parametrize(
    ("is_upgrade", "is_active", "told"),
    [
        ("no", "yes", ["enable --quiet shipper", "restart shipper"]),
        ("yes", "yes", ["restart shipper"]),
        ("yes", "no", []),
    ],
)
def test_an_upgrade_enables_and_starts_nothing_that_an_admin_disabled_or_stopped(
    tmp_path: Path, is_upgrade: str, is_active: str, told: list[str]
) -> None:
    text = INSTALLER.read_text(encoding="utf-8")
    function = "start() {" + text.partition("\nstart() {")[2].partition("\n}\n")[0] + "\n}\n"
    script = (
        f"set -eu; is_upgrade={is_upgrade}; is_started=yes\n"
        "say() { :; }; has_systemctl() { true; }; has_systemd() { true; }\n"
        "is_configured() { true; }\n"
        'systemctl() { case $1 in is-enabled) return 1 ;; is-active) [ "$is_active" = yes ] ;; '
        '*) echo "$*" ;; esac; }\n'
    )
    found = subprocess.run(
        ["bash", "-c", f"{script}is_active={is_active}\n{function}start"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == ["daemon-reload", *told]
