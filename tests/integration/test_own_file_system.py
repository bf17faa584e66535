"""Real file systems, whose inode numbers are used again at once and whose flags forbid removal."""

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.machines.instance import Instance
from tests.machines.mounted import mounted

pytestmark = pytest.mark.system
Make = Callable[..., Instance]
NIGHTS = 6


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty file system."""
    with mounted(request.param, tmp_path) as top:
        yield top


def on(disk: Path, machine: Instance) -> Path:
    """Have the machine's logs there; the directory."""
    logs = disk / "logs"
    logs.mkdir(mode=0o755)
    text = machine.config.read_text()
    machine.config.write_text(text.replace(f'"{machine.logs}"', f'"{logs}"'))
    return logs


def made_in(log: Path, inode: int) -> bool:
    """Make an empty file; whether it is in this inode, or in any where that is 0."""
    log.touch()
    if inode and log.stat().st_ino != inode:
        log.unlink()
        return False
    return True


def test_a_new_log_in_a_used_inode_that_begins_and_ends_like_the_old_one_is_shipped(
    instance: Make, disk: Path
) -> None:
    machine = instance()
    log = on(disk, machine) / "app.log.1"
    machine.start()
    line = b"status=fine\n"
    bodies = [line * 2000, line * 1000 + b"status=lost\n" + line * 999]
    inode = 0
    for count, body in enumerate(bodies, 1):
        used_again = partial(made_in, log, inode)
        machine.wait_for(used_again, "the inode number to be used again")
        inode = log.stat().st_ino
        log.write_bytes(body)
        os.utime(log, (0, 1_700_000_000))
        machine.wait_until_shipped(count)
        log.unlink()
    assert sorted(machine.contents()) == sorted(bodies)


def test_every_night_of_a_job_with_the_same_output_is_an_object(
    instance: Make, disk: Path, logrotate: str
) -> None:
    machine = instance()
    logs = on(disk, machine)
    settings = machine.directory / "logrotate.conf"
    settings.write_text(f"{logs}/job.log {{\n rotate 2\n create 0644 root root\n}}\n")
    settings.chmod(0o644)
    machine.start()
    for night in range(1, NIGHTS + 1):
        (logs / "job.log").write_bytes(b"started\nfinished: 0 errors\n")
        state = str(machine.directory / "logrotate.state")
        subprocess.run([logrotate, "-f", "-s", state, str(settings)], check=True)
        machine.wait_until_shipped(night)
    assert len(machine.contents()) == NIGHTS


@pytest.mark.parametrize("flag", ["i", "a"])
def test_a_log_that_its_flags_keep_is_parked_with_a_hint_at_lsattr_and_others_are_removed(
    instance: Make, disk: Path, program: Callable[[str], str], flag: str
) -> None:
    machine = instance(watch='after_upload = "delete"\ndelete_after = "1s"')
    logs, chattr = on(disk, machine), program("chattr")
    kept, other = logs / "audit.log.1", logs / "app.log.1"
    for path in (kept, other):
        path.write_bytes(path.name.encode())
    subprocess.run([chattr, f"+{flag}", str(kept)], check=True)
    try:
        machine.start()
        machine.wait_for(lambda: machine.events("shipment.parked"), "it to be parked")
        [parked] = machine.events("shipment.parked")
        assert "lsattr" in parked["hint"]
        machine.wait_for(lambda: not other.exists(), "the other one to be removed")
        assert kept.exists()
        assert len(machine.contents()) == 2
    finally:
        subprocess.run([chattr, f"-{flag}", str(kept)], check=True)
