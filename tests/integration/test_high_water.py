"""Small file systems that a writer fills: what S3 has goes in time, and nothing else ever does."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.machines.here import Here
from tests.machines.instance import Instance
from tests.machines.mounted import mounted

Make = Callable[..., Instance]

SIZE = "32M"
LINE_BYTES = 64
LOG_LINES = 2**14
"""A log of 1 MiB."""
LOGS = 64
"""Twice what the file system has room for."""
UNSHIPPED_LOGS = 2
DELETE = 'after_upload = "delete"\ndelete_after = "1d"'
KEEP = 'after_upload = "keep"'
MARKS = '[disk]\nhigh_water = "60%"\nlow_water = "50%"\n'


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.system) for kind in ("ext4", "tmpfs")]
)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty, small file system."""
    with mounted(request.param, tmp_path, size=SIZE) as top:
        yield top


def on(disk: Path, machine: Instance) -> Path:
    """Have the machine's logs there; the directory."""
    logs = disk / "logs"
    logs.mkdir(mode=0o755)
    text = machine.config.read_text()
    machine.config.write_text(text.replace(f'"{machine.logs}"', f'"{logs}"'))
    return logs


class Application:
    """Writes numbered lines, and has logrotate rotate its log, which it then opens anew."""

    def __init__(self, logs: Path, machine: Instance, logrotate: str) -> None:
        self.log = logs / "app.log"
        self.lines = 0
        settings = machine.directory / "logrotate.conf"
        settings.write_text(f"{self.log} {{\n rotate 1000\n create 0644 root root\n}}\n")
        settings.chmod(0o644)
        state = str(machine.directory / "logrotate.state")
        self._rotate = [logrotate, "-f", "-s", state, str(settings)]

    def write_and_rotate(self) -> None:
        """One log more; fails on a full disk."""
        numbers = range(self.lines, self.lines + LOG_LINES)
        self.lines += LOG_LINES
        with self.log.open("ab") as file:
            file.writelines(b"%0*d\n" % (LINE_BYTES - 1, number) for number in numbers)
        subprocess.run(self._rotate, check=True)


def lines_in(machine: Instance) -> list[int]:
    """The numbers of all lines in the bucket, in order."""
    return sorted(int(line) for body in machine.contents() for line in body.split())


def are_in_s3(machine: Instance, logs: int) -> bool:
    """Whether S3 has acknowledged so many."""
    return machine.files("UPLOADED", "VERIFIED", "DONE") >= logs


@pytest.mark.parametrize(
    ("watch", "more"),
    [(DELETE, MARKS), (KEEP, f"{MARKS}removes_kept = true\n")],
    ids=["delete", "keep"],
)
def test_a_writer_that_fills_its_disk_finds_room_while_s3_has_what_stands_there(
    instance: Make, disk: Path, logrotate: str, watch: str, more: str
) -> None:
    machine = instance(watch=watch, more=more)
    logs = on(disk, machine)
    application = Application(logs, machine, logrotate)
    machine.start()
    for log in range(LOGS):
        application.write_and_rotate()
        machine.wait_for(partial(are_in_s3, machine, log - UNSHIPPED_LOGS), "logs to be in S3")
    machine.wait_for(lambda: machine.events("disk.low_water_reached"), "room")
    machine.wait_for(partial(are_in_s3, machine, LOGS), "all logs to be in S3")
    assert lines_in(machine) == list(range(application.lines))
    assert machine.events("disk.high_water_passed")
    assert machine.events("disk.filled") == []
    standing = [path for path in logs.iterdir() if path.stat().st_size]
    assert len(standing) < LOGS / 2, "nothing went before its time"


def test_what_s3_does_not_have_stays_and_is_said_once_until_s3_has_it(
    instance: Make, disk: Path, logrotate: str
) -> None:
    machine = instance(watch=DELETE, more=MARKS)
    text, later = machine.config.read_text(), machine.bucket.replace("logs", "late", 1)
    machine.config.write_text(text.replace(machine.bucket, later))
    machine.bucket = later
    logs = on(disk, machine)
    application = Application(logs, machine, logrotate)
    machine.start()
    for _ in range(22):
        application.write_and_rotate()
    waits = f"{22 * LOG_LINES * LINE_BYTES} bytes in 22 files wait for S3"
    machine.wait_for(lambda: waits in machine.ask("/healthz"), "the alarm")
    [shown] = (machine.status() or {})["disks"]
    assert shown["filled"]
    assert shown["used_ratio"] > 0.6
    assert f'shipper_disk_unshipped_bytes{{directory="{logs}"}}' in machine.ask("/metrics")
    assert "full; " in machine.run("status", code=1)
    assert len(list(logs.glob("app.log.*"))) == 22
    machine.moto.create_bucket(later)
    machine.run("retry", "--all", code=None)
    machine.wait_for(lambda: machine.events("disk.low_water_reached"), "room")
    machine.wait_for(lambda: not (machine.status() or {})["ailments"], "all to be well")
    assert len(machine.events("disk.filled")) == 1
    assert lines_in(machine) == list(range(application.lines))


def test_kept_files_are_kept_on_a_full_disk_and_the_alarm_says_that_nothing_waits(
    instance: Make, disk: Path, logrotate: str
) -> None:
    machine = instance(watch=KEEP, more=MARKS)
    logs = on(disk, machine)
    application = Application(logs, machine, logrotate)
    machine.start()
    for _ in range(22):
        application.write_and_rotate()
    machine.wait_until_shipped(22)
    machine.wait_for(
        lambda: any("0 bytes in 0" in said for said in (machine.status() or {})["ailments"]),
        "the alarm",
    )
    assert len(list(logs.glob("app.log.*"))) == 22
    assert "no watch lets anything be removed" in machine.run("check", "--offline", code=None)


def fill(path: Path) -> None:
    """Take all that is left of the disk, as root may."""
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 512):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_disk_that_is_full_to_the_last_byte_is_relieved_although_the_journal_is_on_it(
    instance: Make, disk: Path, *, is_restarted: bool
) -> None:
    machine = instance(watch=DELETE, more=MARKS)
    logs, state = on(disk, machine), disk / "state"
    text = machine.config.read_text()
    machine.config.write_text(text.replace(f'"{machine.directory}/state"', f'"{state}"'))
    (machine.directory / "state").symlink_to(state)
    for number in range(1, 11):
        (logs / f"app.log.{number}").write_bytes(os.urandom(2**20))
    machine.start()
    machine.wait_for(lambda: machine.files("VERIFIED") == 10, "all logs to be in S3")
    reserve = state / "reserve"
    machine.wait_for(lambda: reserve.exists() and reserve.stat().st_size, "the reserve")
    if is_restarted:
        machine.stop()
    fill(disk / "filler")
    if is_restarted:
        machine.start()
    machine.wait_for(lambda: not list(logs.iterdir()), "all logs to go")
    (disk / "filler").unlink()
    machine.wait_for(reserve.exists, "the reserve")
    machine.wait_for(lambda: not (machine.status() or {})["ailments"], "all to be well")


TINY = '[disk]\nhigh_water = "0.0002%"\nlow_water = "0.0001%"\n'
"""Marks that the disk of any test is above."""


def test_a_file_goes_before_its_time_and_then_the_alarm_says_that_nothing_is_left(
    instance: Make, here: Here
) -> None:
    machine = instance(watch=DELETE, more=TINY)
    log = machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_for(lambda: not log.exists(), "the log to go")
    assert machine.contents() == [b"a line\n"]
    machine.wait_for(
        lambda: "nothing that S3 has confirmed" in machine.ask("/healthz"), "the alarm"
    )
    assert "what S3 has is removed early" in here.run(machine, "status", code=1)
    assert f'shipper_disk_used_ratio{{directory="{machine.logs}"}}' in machine.ask("/metrics")
    assert len(machine.events("disk.filled")) == 1
    assert machine.stop() == 0


def test_a_disk_below_its_high_water_loses_nothing(instance: Make) -> None:
    machine = instance(watch=DELETE, more='[disk]\nhigh_water = "99.9999%"\n')
    log = machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_for(lambda: machine.files("VERIFIED"), "the log to be in S3")
    [shown] = (machine.status() or {})["disks"]
    assert not shown["removes_early"]
    assert machine.stop() == 0
    assert log.exists()


@pytest.mark.parametrize(
    ("watch", "more", "says"),
    [
        (DELETE, TINY, "ok    disk of"),
        (KEEP, TINY, "WARN  disk of"),
        (KEEP, f"{TINY}removes_kept = true\n", "ok    disk of"),
        (f'{KEEP}\n[[watch]]\nname = "gone"\ndirectory = "/nowhere/here"', TINY, "WARN  disk of"),
    ],
    ids=["delete", "keep", "kept are removed", "no directory"],
)
def test_check_says_how_full_a_disk_is_and_whether_anything_may_go(
    instance: Make, here: Here, watch: str, more: str, says: str
) -> None:
    machine = instance(watch=watch, more=more)
    said = here.run(machine, "check", "--offline", code=None)
    assert f"{says} {machine.logs}: " in said
    assert "% full, kept at 0.0001 to 0.0002 %" in said
    assert said.count("disk of") == 1


@pytest.mark.parametrize(
    ("watch", "more", "says"),
    [
        (DELETE, TINY, "deleted (sooner if its disk is 0.0002 % full) 86400 s after"),
        (DELETE, "", "deleted 86400 s after"),
        (KEEP, TINY, "kept"),
        (KEEP, f"{TINY}removes_kept = true\n", "kept, unless its disk is 0.0002 % full and"),
    ],
)
def test_explain_says_when_a_file_may_go_before_its_time(
    instance: Make, here: Here, watch: str, more: str, says: str
) -> None:
    machine = instance(watch=watch, more=more)
    path = machine.write("app.log.1", b"a line\n")
    told = here.json(machine, "explain", str(path), code=1)["afterwards"]
    assert str(told).startswith(says)
    assert (says == "kept") <= (told == "kept")
