"""Copies on a real disk, made by the programs that make them."""

import os
import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.machines.here import Here
from tests.machines.instance import Instance

Make = Callable[..., Instance]
BODY = b"a line of a log\n" * 5000


def test_ship_settles_copies_in_the_same_round(instance: Make, here: Here) -> None:
    """Both were found at once, and the copy had to wait for its original."""
    machine = instance()
    machine.write("app.log.1", BODY)
    subprocess.run(["gzip", "-k", machine.logs / "app.log.1"], check=True)
    assert "2 shipped, 0 left" in here.run(machine, "ship")
    assert machine.contents() == [BODY]


@pytest.mark.parametrize("program", ["gzip", "lz4"])
def test_a_log_goes_through_all_its_forms_as_one_object(
    instance: Make, here: Here, program: str
) -> None:
    """Compressed by its program, restored beside it from a backup, and both under new names."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    machine = instance()
    machine.write("app.log.1", BODY)
    backup = machine.logs.parent / "backup"
    subprocess.run(["cp", "-p", machine.logs / "app.log.1", backup], check=True)
    assert "1 shipped, 0 left" in here.run(machine, "ship")
    names = ["app.log.1", "app.log.1.lz4"] if program == "lz4" else ["app.log.1"]
    subprocess.run([program, "-q", *names], cwd=machine.logs, check=True)
    (machine.logs / "app.log.1").unlink(missing_ok=True)  # lz4 keeps it
    assert "1 shipped, 0 left" in here.run(machine, "ship")
    subprocess.run(["cp", "-p", backup, machine.logs / "app.log.3"], check=True)
    assert "0 left" in here.run(machine, "ship")  # where the old inode is used again, it is known
    assert machine.contents() == [BODY]


def test_a_copy_with_another_time_is_another_log(instance: Make, here: Here) -> None:
    machine = instance()
    machine.write("app.log.1", BODY)
    here.run(machine, "ship")
    (machine.logs / "app.log.1").rename(machine.logs.parent / "backup")
    subprocess.run(
        ["cp", "-p", machine.logs.parent / "backup", machine.logs / "app.log.1"], check=True
    )
    status = (machine.logs / "app.log.1").stat()
    os.utime(machine.logs / "app.log.1", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert "1 shipped, 0 left" in here.run(machine, "ship")
    assert machine.contents() == [BODY, BODY]
