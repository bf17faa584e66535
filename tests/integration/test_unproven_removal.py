"""Nothing is removed that a process may write to, where the kernel does not tell shipper of it."""

import fcntl
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.lifecycle import SETTLED
from shipper.core.types import AfterUpload, RelativePath, State
from shipper.edges.files.directory_files import DirectoryFiles, renameat2
from shipper.ports import PortError
from tests.machines.hostile import HostileWorld, hostile_watch
from tests.machines.machine import NOBODY, public_directory, unprivileged, writing_child
from tests.machines.world import WATCH

VERBS = pytest.mark.parametrize("after", [AfterUpload.DELETE, AfterUpload.ARCHIVE])
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of another's")


def world_below(top: Path, after: AfterUpload, *, unproven: bool = False) -> HostileWorld:
    for name in ("logs", "archive", "state"):
        (top / name).mkdir(exist_ok=True)
        os.chown(top / name, NOBODY, NOBODY)
    watch = replace(hostile_watch(top, after), after_upload_unproven=unproven)
    return HostileWorld(top / "state", watch=watch)


@AS_ROOT
@VERBS
def test_files_that_root_writes_to_outlive_a_shipper_that_may_not_ask(after: AfterUpload) -> None:
    """It may remove them, for the directory is its own, and sees neither lease nor descriptor."""
    with public_directory() as top:
        world = world_below(top, after)
        logs = top / "logs"
        (logs / "app.log.1").write_bytes(b"one\n")
        (logs / "app.log.2").touch()
        inodes = [(logs / name).stat().st_ino for name in ("app.log.1", "app.log.2")]
        with writing_child(logs / "app.log.1"), writing_child(logs / "app.log.2"):
            with unprivileged():
                for _ in range(3):
                    world.run(rounds=2)
            assert [(logs / name).stat().st_ino for name in ("app.log.1", "app.log.2")] == inodes
        (row,) = world.rows()
        assert (row.state, row.code) == (State.VERIFIED, "WriterUnproven")
        assert world.discovery.unremoved_files == 2
        assert len(world.log.of("file.not_removed")) == 1
        world.stop()


@AS_ROOT
@VERBS
def test_an_operator_who_says_so_has_them_removed_unproven(after: AfterUpload) -> None:
    with public_directory() as top:
        world = world_below(top, after, unproven=True)
        (top / "logs" / "app.log.1").write_bytes(b"one\n")
        (top / "logs" / "app.log.2").touch()
        with unprivileged():
            world.run(rounds=3)
        assert [row.state in SETTLED for row in world.rows()] == [True]
        assert list((top / "logs").iterdir()) == []
        world.stop()


class Before:
    """``renameat2``, with a writer that is done just before the name goes."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def __call__(self, directory: int, name: bytes, to: int, new_name: bytes) -> None:
        act, self._act = self._act, lambda: None
        act()
        renameat2(directory, name, to, new_name)


@pytest.mark.parametrize("verb", ["remove", "archive"])
def test_a_writer_that_comes_and_goes_before_the_name_is_gone_is_noticed(
    tmp_path: Path, verb: str
) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "app.log.1"
    log.write_bytes(b"shipped")
    watch = replace(WATCH, directory=str(log.parent), archive_directory=str(tmp_path / "archive"))

    def write() -> None:
        with log.open("ab") as file:
            file.write(b", and more")

    files = DirectoryFiles(rename=Before(write))
    with pytest.raises(PortError, match="written to"):
        getattr(files, verb)(watch, RelativePath(b"app.log.1"), lambda source: True)
    assert log.read_bytes() == b"shipped, and more"


def test_bytes_that_a_writer_leaves_while_it_is_asked_about_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is done just before the kernel answers: what it wrote must still be compared."""
    log = tmp_path / "app.log.1"
    log.write_bytes(b"shipped")
    leases, ask = [], fcntl.fcntl

    def asked(descriptor: int, command: int, argument: int = 0) -> int:
        if (command, argument) == (fcntl.F_SETLEASE, fcntl.F_RDLCK):
            leases.append(descriptor)
            if len(leases) == 2:  # the name is gone by now
                with open(f"/proc/self/fd/{descriptor}", "ab") as file:
                    file.write(b", and more")
        return ask(descriptor, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", asked)
    watch = replace(WATCH, directory=str(tmp_path))
    with pytest.raises(PortError, match="written to"):
        DirectoryFiles().remove(watch, RelativePath(b"app.log.1"), lambda source: True)
    assert log.read_bytes() == b"shipped, and more"
    assert len(leases) == 2
