"""A journal's row that names another place leads nowhere: not to read, and not to remove."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import AfterUpload
from tests.machines.hostile import SECRET, HostileWorld, hostile_watch, prepared, standing

PATHS = {
    "above": b"../outside/app.log.1",
    "above in the middle": b"sub/../../outside/app.log.1",
    "absolute": b"/etc/passwd",
    "absolute, to the secret": b"TOP/outside/app.log.1",
    "empty": b"",
    "an empty part": b"sub//app.log.1",
    "a dot": b"./app.log.1",
    "a zero byte": b"app.log.1\0/../../outside/app.log.1",
    "through a link": b"link/app.log.1",
    "a link": b"linked.log.1",
    "set aside, above": b".shipper-aside.../outside/app.log.1",
    "set aside": b"../.shipper-aside.outside/app.log.1",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HostileWorld]:
    prepared(tmp_path)
    (tmp_path / "state").mkdir()
    watch = replace(hostile_watch(tmp_path, AfterUpload.DELETE), delete_after_seconds=60.0)
    (tmp_path / "logs" / "app.log.1").write_bytes(b"a log\n")
    (tmp_path / "logs" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "logs" / "linked.log.1").symlink_to(tmp_path / "outside" / "app.log.1")
    one = HostileWorld(tmp_path / "state", watch=watch)
    one.discover()
    yield one
    one.stop()


def poison(world: HostileWorld, path: bytes, top: Path) -> None:
    """Write it into every row, as nobody but root could; a new life reads it."""
    world.stop()
    with closing(sqlite3.connect(top / "state" / "journal.db")) as connection:
        with connection:
            changed = connection.execute(
                "UPDATE shipments SET path = ?", (path.replace(b"TOP", os.fsencode(top)),)
            )
        assert changed.rowcount == 1
    world.start()


@pytest.mark.parametrize("name", PATHS)
def test_a_poisoned_row_still_ships_its_own_file_and_no_other(
    world: HostileWorld, tmp_path: Path, name: str
) -> None:
    before = standing(tmp_path)
    poison(world, PATHS[name], tmp_path)
    world.carry()
    assert list(world.store.objects().values()) == [b"a log\n"]
    assert (tmp_path / "logs" / "app.log.1").exists()
    assert standing(tmp_path) == before


@pytest.mark.parametrize("after", [AfterUpload.DELETE, AfterUpload.ARCHIVE])
@pytest.mark.parametrize("name", PATHS)
def test_a_poisoned_row_still_removes_its_own_file_and_no_other(
    world: HostileWorld, tmp_path: Path, name: str, after: AfterUpload
) -> None:
    world.watch = replace(world.watch, after_upload=after)
    world.restart()
    world.carry()
    before = standing(tmp_path)
    poison(world, PATHS[name], tmp_path)
    world.clock.advance(minutes=2)
    world.carry()
    assert not (tmp_path / "logs" / "app.log.1").exists()
    assert standing(tmp_path) == before
    archived = [path for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in archived] == [b"a log\n"] * (after == "archive")
    assert SECRET not in world.store.objects().values()
