"""A daemon on a file system that others serve: here FUSE, which any kernel and any machine has.

A lease tells of this machine's writers, and of no others. So nothing is removed without
``after_upload_unproven``, and the longer quiet time decides what is sealed.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.core.sealing import UNPROVEN_QUIET_SECONDS
from tests.machines.instance import Instance
from tests.machines.mounted import served

Make = Callable[..., Instance]
pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
PATIENCE_SECONDS = 4 * UNPROVEN_QUIET_SECONDS
DELETED = 'after_upload = "delete"\ndelete_after = "0s"'


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    directory = tmp_path / "served"
    directory.mkdir()
    return directory


@pytest.mark.lengthy
@pytest.mark.parametrize("setting", ["", "after_upload_unproven = true"])
def test_a_closed_log_is_shipped_a_log_held_open_is_not_and_neither_is_removed_unproven(
    instance: Make, backing: Path, setting: str
) -> None:
    machine = instance(watch=f"{DELETED}\n{setting}")
    with served(backing, machine.logs):
        closed = machine.write("closed.log.1", b"a line\n")
        written = machine.write("open.log.1", b"and more\n")
        empty = machine.write("empty.log.1", b"")
        with written.open("ab") as writer:
            machine.start()
            machine.wait_for(machine.contents, "the closed log", PATIENCE_SECONDS)
            machine.wait_for(
                lambda: not closed.exists() or "WriterUnproven" in machine.ask("/healthz"),
                "what becomes of it",
            )
            assert machine.contents() == [b"a line\n"]
            assert "open for writing" in machine.run("explain", str(written), code=None)
            assert (closed.exists(), written.exists()) == (not setting, True)
            writer.write(b"the end\n")
        machine.wait_for(
            lambda: len(machine.contents()) == 2, "the log that was open", PATIENCE_SECONDS
        )
        assert sorted(machine.contents()) == [b"a line\n", b"and more\nthe end\n"]
        assert empty.exists() or setting
        promised = machine.events("shipment.promised")
        assert all("cannot be told" in row["sealed_because"] for row in promised)
        assert machine.stop() == 0


def test_a_server_that_dies_makes_no_log_vanish_and_is_no_other_file_system_when_it_is_back(
    instance: Make, backing: Path
) -> None:
    machine = instance()
    with served(backing, machine.logs) as server:
        machine.write("app.log.1", b"a line\n")
        machine.start()
        machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")
        server.kill()
        machine.wait_for(lambda: "watch app:" in machine.ask("/healthz"), "the ailment")
    machine.wait_for(lambda: "watch app:" in machine.ask("/healthz"), "the empty mount point")
    assert machine.files("GONE") == 0
    with served(backing, machine.logs):
        machine.wait_for(machine.contents, "the log", PATIENCE_SECONDS)
        assert machine.ask("/healthz") == "ok\n"
        assert machine.files("GONE") == 0
        assert machine.events("source.vanished") == []
        assert machine.stop() == 0
    assert machine.contents() == [b"a line\n"]
