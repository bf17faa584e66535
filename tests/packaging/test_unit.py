"""The unit: what systemd's own tools say of it, and that the daemon works within its bounds."""

import errno
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.cli.main import COMMANDS
from shipper.config.schema import Uploads
from shipper.core.types import Watch, WatchName
from shipper.daemon.daemon import GRACE_SECONDS, STALLED_SECONDS
from shipper.edges.files.open_file import scan_error
from shipper.runtime.exit_codes import EXIT_CONFIGURATION, EXIT_USAGE
from tests.machines.instance import Instance
from tests.machines.unit import REFUSED, SYSTEMD, USER_ID, Unit

MOST_EXPOSED = 1.5
Program = Callable[[str], str]
Make = Callable[..., Instance]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def run(*arguments: str | Path) -> str:
    """Run a program to its good end; all it printed."""
    found = subprocess.run([*arguments], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout + found.stderr


def test_its_exposure_is_small_enough(program: Program) -> None:
    analyze = program("systemd-analyze")
    said = run(analyze, "security", "--offline=true", SYSTEMD / "shipper.service")
    [level] = re.findall(r"Overall exposure level for shipper.service: ([\d.]+)", said)
    assert float(level) <= MOST_EXPOSED


@pytest.mark.parametrize("drop_ins", [(), ("delete.conf",), ("home.conf", "delete.conf")])
def test_systemd_has_nothing_to_say_against_it(
    program: Program, tmp_path: Path, drop_ins: tuple[str, ...]
) -> None:
    text = (SYSTEMD / "shipper.service").read_text(encoding="utf-8")
    # The program of the unit is not installed where the tests run, and its user does not exist.
    text = text.replace("/opt/shipper/bin/shipper", "/bin/true")
    text = re.sub(r"(?m)^(User|Group)=shipper", r"\1=root", text)
    unit = tmp_path / "shipper.service"
    unit.write_text(text, encoding="utf-8")
    (tmp_path / "shipper.service.d").mkdir()
    for name in drop_ins:
        (tmp_path / "shipper.service.d" / name).write_bytes((SYSTEMD / name).read_bytes())
    assert run(program("systemd-analyze"), "verify", "--man=no", unit) == ""


def test_systemd_keeps_as_many_descriptors_as_are_held() -> None:
    assert int(Unit().value("FileDescriptorStoreMax")) == Uploads().held_files


def test_its_memory_gets_on_no_disk() -> None:
    """In its memory are credentials."""
    assert (Unit().value("MemorySwapMax"), Unit().value("LimitCORE")) == ("0", "0")


def test_its_commands_exist() -> None:
    unit = Unit()
    commands = [
        *unit.settings["ExecStartPre"],
        *unit.settings["ExecStart"],
    ]
    assert {one.split()[1] for one in commands} <= set(COMMANDS)
    assert len(commands) == 2


def test_only_the_daemons_own_exit_code_decides_that_it_is_not_started_again() -> None:
    """systemd compares the main process's alone: a failing check would be repeated for ever."""
    unit = Unit()
    assert unit.words("RestartPreventExitStatus") == [str(EXIT_USAGE), str(EXIT_CONFIGURATION)]
    assert all(one.startswith("-") for one in unit.settings["ExecStartPre"])


def test_what_it_tells_python_is_heard() -> None:
    """Isolated (-I) or without the environment (-E), the interpreter would not read it."""
    assert "PYTHONFAULTHANDLER=1" in Unit().words("Environment")
    installer = (SYSTEMD / "install.sh").read_text(encoding="utf-8")
    assert "'#!/opt/shipper/bin/python -sP'" in installer


def test_it_is_stopped_while_the_bus_can_still_say_that_the_machine_goes_down() -> None:
    assert "dbus.service" in Unit().words("After")


def test_its_times_and_sizes_go_with_the_daemons() -> None:
    unit = Unit()
    assert unit.seconds("TimeoutStopSec") > GRACE_SECONDS
    assert unit.seconds("WatchdogSec") < STALLED_SECONDS
    memory_limit = Uploads().memory_limit_bytes // 2**20
    windows = 128
    idle = 60
    assert unit.mebibytes("MemoryHigh") > idle + memory_limit + windows
    assert unit.mebibytes("MemoryMax") > unit.mebibytes("MemoryHigh")
    assert unit.value("LimitCORE") == "0"


def test_a_command_as_shipper_has_the_capabilities_of_the_daemon() -> None:
    text = (SYSTEMD / "as-shipper").read_text(encoding="utf-8")
    [said] = re.findall(r"^capabilities=-all,(\S+)$", text, re.MULTILINE)
    names = {f"CAP_{name.removeprefix('+').upper()}" for name in said.split(",")}
    unit = Unit()
    assert names == set(unit.words("AmbientCapabilities"))
    assert names == set(unit.words("CapabilityBoundingSet"))
    assert f"umask {unit.value('UMask').removeprefix('0')}\n" in text


@as_root
def test_its_user_and_directories_are_made_before_its_first_start(
    program: Program, tmp_path: Path
) -> None:
    (tmp_path / "etc").mkdir()
    run(program("systemd-sysusers"), f"--root={tmp_path}", SYSTEMD / "shipper.sysusers.conf")
    entry = (tmp_path / "etc/passwd").read_text().splitlines()
    [(user_id, home, shell)] = [
        (fields[2], fields[5], fields[6])
        for fields in (line.split(":") for line in entry)
        if fields[0] == "shipper"
    ]
    assert home == "/var/lib/shipper"
    assert shell.endswith("nologin")
    run(
        program("systemd-tmpfiles"),
        f"--root={tmp_path}",
        "--create",
        SYSTEMD / "shipper.tmpfiles.conf",
    )
    state = (tmp_path / "var/lib/shipper").stat()
    assert (state.st_uid, state.st_mode & 0o7777) == (int(user_id), 0o700)
    assert (tmp_path / "etc/shipper/conf.d").stat().st_uid == 0


@pytest.mark.parametrize(("directory", "is_hidden"), [("/home/a", True), ("/srv/a", False)])
def test_a_directory_that_it_hides_is_told_from_one_that_is_missing(
    directory: str, is_hidden: bool
) -> None:
    assert (Unit().value("ProtectHome"), Unit().value("PrivateTmp")) == ("yes", "yes")
    watch = Watch(name=WatchName("a"), directory=directory)
    error = scan_error(watch, b"", FileNotFoundError(errno.ENOENT, "none"))
    assert ("home.conf" in error.hint) == is_hidden
    assert (SYSTEMD / "home.conf").exists()


def confine(machine: Instance, unit: Unit, program: Program) -> None:
    """Let the machine's daemon be confined as the unit says; its logs are root's and adm's."""
    machine.confined_by = unit.confining(program("systemd-analyze"), machine.directory)
    state = machine.directory / "state"
    state.mkdir(mode=0o700)
    os.chown(state, USER_ID, USER_ID)
    probe = subprocess.run([*machine.confined_by, "/bin/true"], capture_output=True, check=False)
    if probe.returncode == REFUSED:
        pytest.skip("this kernel cannot forbid writable executable memory: nothing is tested")
    assert probe.returncode == 0, probe.stderr
    for path in (*machine.logs.iterdir(), machine.logs):
        os.chown(path, 0, 4)
        path.chmod(0o750 if path.is_dir() else 0o640)


@as_root
def test_the_daemon_ships_the_logs_of_others_within_its_bounds(
    instance: Make, program: Program
) -> None:
    machine = instance()
    bodies = [os.urandom(12 << 20), b"a line\n" * 1000]
    for number, body in enumerate(bodies, 1):
        machine.write(f"app.log.{number}", body)
    confine(machine, Unit(), program)
    daemon = machine.start()
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    assert re.search(rf"^Uid:\s+{USER_ID}\s", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    # Not its own user's: it is not dumpable.
    assert os.stat(f"/proc/{daemon.process.pid}/environ").st_uid == 0
    machine.wait_until_shipped(2)
    assert sorted(machine.contents()) == sorted(bodies)
    promised = machine.events("shipment.promised")
    assert len(promised) == 2
    assert all("read lease granted" in row["sealed_because"] for row in promised)
    assert machine.stop() == 0


@as_root
def test_without_the_drop_in_nothing_is_removed(instance: Make, program: Program) -> None:
    machine = instance(watch='after_upload = "delete"\ndelete_after = "0s"')
    log = machine.write("app.log.1", b"a line\n" * 1000)
    confine(machine, Unit(), program)
    machine.start()
    machine.wait_for(lambda: machine.files("PARKED"), "the removal to be refused")
    assert log.exists()
    assert machine.contents() == [b"a line\n" * 1000]


@as_root
@pytest.mark.parametrize("after_upload", ["delete", "archive"])
def test_the_one_capability_more_of_the_drop_in_is_enough_to_remove(
    instance: Make, program: Program, tmp_path: Path, after_upload: str
) -> None:
    archive = tmp_path / "instance-0" / "logs" / "old"
    more = f'\narchive_directory = "{archive}"' if after_upload == "archive" else ""
    machine = instance(watch=f'after_upload = "{after_upload}"\ndelete_after = "0s"{more}')
    log = machine.write("app.log.1", b"a line\n" * 1000)
    unit = Unit("delete.conf")
    assert (
        len(set(unit.words("CapabilityBoundingSet")) - set(Unit().words("CapabilityBoundingSet")))
        == 1
    )
    confine(machine, unit, program)
    machine.start()
    machine.wait_for(lambda: not log.exists(), "the log to be removed")
    if after_upload == "archive":
        machine.wait_for((archive / "app.log.1").exists, "the log in its archive")
        assert (archive / "app.log.1").read_bytes() == b"a line\n" * 1000
        assert archive.stat().st_mode & 0o7777 == 0o750


def test_a_command_as_shipper_has_the_environment_of_the_daemon(tmp_path: Path) -> None:
    """systemd expands and runs nothing in it, so neither may the shell; and that is root's."""
    environment, ran = tmp_path / "environment", tmp_path / "ran"
    environment.write_text(
        "# proxies=1\n; of the site\n\nno name=1\nno value\n"
        "HTTPS_PROXY=http://user:pa$$word@proxy:3128\n"
        f"NO_PROXY=a, touch {ran}\n"
        f'AWS_CA_BUNDLE="/etc/ssl/my certs.pem"\n'
        f"LAST=$(touch {ran})",
        encoding="utf-8",
    )
    script = (SYSTEMD / "as-shipper").read_text(encoding="utf-8")
    (tmp_path / "as-shipper").write_text(
        script.replace("/etc/shipper/environment", str(environment))
    )
    for name, body in {"id": "echo 0", "setpriv": "exec env"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    found = subprocess.run(
        ["sh", tmp_path / "as-shipper", "true"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = found.stdout.splitlines()
    assert "HTTPS_PROXY=http://user:pa$$word@proxy:3128" in said
    assert f"NO_PROXY=a, touch {ran}" in said
    assert "AWS_CA_BUNDLE=/etc/ssl/my certs.pem" in said
    assert f"LAST=$(touch {ran})" in said
    assert not ran.exists()
    (tmp_path / "id").write_text('#!/bin/sh\n[ "$1" = -u ] && [ $# = 1 ] && echo 0\n')
    refused = subprocess.run(
        ["sh", tmp_path / "as-shipper", "true"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 67
    assert refused.stderr == "as-shipper: there is no user shipper: systemd-sysusers\n"
