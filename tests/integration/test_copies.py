"""Copies on a real disk, made by the programs that make them."""

import os
import subprocess
from collections.abc import Callable

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


def test_ship_compares_all_of_a_log_that_grew_before_it_ends(instance: Make, here: Here) -> None:
    """A daemon would leave the rest of it to its next scans."""
    machine = instance()
    log, live = machine.write("app.log.1", BODY * 200), machine.write("app.log", BODY * 300)
    assert "2 shipped, 0 left" in here.run(machine, "ship", "--live")
    for each in (log, live):
        with each.open("ab") as writer:
            writer.write(b"what was written since\n")
    assert "2 shipped, 0 left" in here.run(machine, "ship", "--live")
    assert machine.contents().count(b"what was written since\n") == 2
