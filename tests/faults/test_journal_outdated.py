"""A journal that a development version of shipper wrote is set aside, never read."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from shipper.journal.journal import Journal
from shipper.journal.schema import APPLICATION_ID
from shipper.ports import PortError
from tests.fakes.examples import promise

TABLES = "CREATE TABLE meta (name TEXT); CREATE TABLE shipments (id INTEGER PRIMARY KEY);"
SCRIPTS = {
    "first": f"{TABLES} PRAGMA user_version = 1;",
    "last": f"{TABLES} PRAGMA user_version = 7;",
    "no version": TABLES,
    "no tables": "PRAGMA user_version = 3;",
    "ours, unversioned": f"{TABLES} PRAGMA application_id = {APPLICATION_ID};",
}


@pytest.fixture(params=[*SCRIPTS.values()], ids=[*SCRIPTS])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "journal.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(request.param)
    return path


def test_a_development_journal_is_set_aside_and_an_empty_one_begun(path: Path) -> None:
    before, said = path.read_bytes(), list[tuple[str, str]]()

    def set_aside(aside: str, because: str) -> None:
        assert path.read_bytes() == before, "it is said first"
        said.append((aside, because))

    opened = Journal.open(str(path), now=1000.0, set_aside=set_aside)
    with contextlib.closing(opened) as journal:
        aside = f"{path}.outdated-1000"
        assert said == [(aside, "a development version of shipper wrote it")]
        assert Path(aside).read_bytes() == before
        assert len(journal.promise([promise()], now=1.0)) == 1
    with contextlib.closing(Journal.open(str(path), now=1001.0)) as journal:
        assert len(journal.unfinished(9)) == 1


def test_who_does_not_hold_the_lock_leaves_it_where_it_is(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(PortError, match="JournalTooOld") as raised:
        Journal.open(str(path), now=1.0)
    assert "restart shipper" in raised.value.hint
    with pytest.raises(PortError, match="JournalTooOld"):
        Journal.open_read_only(str(path))
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["journal.db"]
