"""Three lives of a daemon while logrotate is at work, and what came of every line."""

import sys
from collections.abc import Callable
from pathlib import Path

from tests.machines.instance import Instance
from tests.machines.rotation import MATRIX, MORE, TABLE, Account, Rotating
from tests.machines.settling import Settling
from tests.programs import eager

AT_ONCE = 2
"""So many rotations happen while the daemon is down; logrotate keeps what they leave."""


class Life:
    """A daemon and a rotator."""

    def __init__(self, machine: Instance, rotating: Rotating) -> None:
        self.machine = machine
        self.rotating = rotating
        self.kills = 0
        self.settle = Settling(machine, rotating.files).wait

    def wait_for_rotation_of(self, share: float) -> None:
        """Wait until the running logrotate has come to that share of the logs."""
        wanted = share * len(self.rotating.cells)
        self.machine.wait_for(lambda: self.rotating.reached() >= wanted, "a part of the rotation")

    def kill(self) -> None:
        """SIGKILL, and another life from the same journal."""
        self.machine.kill()
        self.machine.start()
        self.kills += 1


def up(life: Life, rotations: int) -> None:
    """The daemon runs all the time, and what it has shipped may grow too old for logrotate."""
    for _ in range(rotations):
        aged = life.rotating.let_age()
        life.rotating.rotate()
        assert not any(path.exists() for path in aged)
        life.settle()


def down(life: Life, rotations: int) -> None:
    """The daemon is stopped while logrotate runs."""
    for done in range(0, rotations, AT_ONCE):
        assert life.machine.stop() == 0
        for _ in range(min(AT_ONCE, rotations - done)):
            life.rotating.rotate()
        life.machine.start()
        life.settle()


def killed(life: Life, rotations: int) -> None:
    """The daemon is killed in the midst of a rotation, and again while it ships its logs."""
    for number in range(rotations):
        running = life.rotating.begin()
        life.wait_for_rotation_of((number + 1) / (rotations + 1))
        life.kill()
        life.rotating.finish(running)
        life.machine.wait_until_shipped(life.machine.files("DONE") + number + 1)
        life.kill()
        life.settle()


LIVES: dict[str, Callable[[Life, int], None]] = {"up": up, "down": down, "killed": killed}


def run(
    instance: Callable[..., Instance],
    logrotate: str,
    directory: Path,
    *,
    life: str,
    rotations: int,
    pace_seconds: float = 0.02,
    live: str = "",
) -> Account:
    """Live that life for so many rotations and one more after the last line; print the table.

    ``live`` are keys of every watch with which live logs go in segments.
    """
    rotating = Rotating(directory, logrotate, MATRIX + MORE, pace_seconds=pace_seconds)
    machine = instance(more=rotating.watches(more=live))
    machine.confined_by = [sys.executable, eager.__file__] if live else []
    lived = Life(machine, rotating)
    with rotating:
        machine.start()
        LIVES[life](lived, rotations)
        rotating.end_writing()
        LIVES[life](lived, 1)
    assert machine.stop() == 0
    objects = machine.moto.objects(machine.bucket)
    account = rotating.account(objects, in_segments=bool(live))
    print(TABLE, account.row(life, machine.files("DUPLICATE"), lived.kills), sep="\n")
    return account
