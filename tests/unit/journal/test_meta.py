"""When a journal was begun, and what is known of the time before it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shipper.journal.journal import Journal

NOW = 1_764_000_000.25


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


@pytest.fixture
def journal(path: str) -> Iterator[Journal]:
    with closing(Journal.open(path, now=NOW)) as opened:
        yield opened


def test_a_journal_remembers_when_it_was_begun(journal: Journal, path: str) -> None:
    journal.close()
    with closing(Journal.open(path, now=NOW + 99)) as again:
        assert again.origin.born_at() == NOW


def test_one_in_memory_is_born_too() -> None:
    with closing(Journal.in_memory(now=NOW)) as journal:
        assert journal.origin.born_at() == NOW


def test_the_successor_of_a_corrupt_one_is_newly_born(journal: Journal, path: str) -> None:
    journal.close()
    Path(path).write_bytes(b"garbage" * 999)
    with closing(Journal.open(path, now=NOW + 99)) as again:
        assert again.set_aside
        assert again.origin.born_at() == NOW + 99


def test_one_that_is_older_than_births_has_none(journal: Journal, path: str) -> None:
    journal.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM meta")
    with closing(Journal.open(path, now=NOW + 99)) as again:
        assert again.origin.born_at() is None
        again.queue.rebase(5.0)
        assert again.origin.born_at() is None


@pytest.mark.parametrize("seconds", [1e9, -3600.5])
def test_the_birth_moves_with_the_clock(journal: Journal, seconds: float) -> None:
    journal.queue.rebase(seconds)
    assert journal.origin.born_at() == NOW + seconds


def test_an_empty_bucket_is_remembered_for_each_prefix(journal: Journal, path: str) -> None:
    assert not journal.origin.was_empty("logs/app/")
    for _ in range(2):
        journal.origin.found_empty("logs/app/")
    journal.close()
    with closing(Journal.open(path, now=NOW)) as again:
        assert again.origin.was_empty("logs/app/")
        assert not again.origin.was_empty("logs/")
        assert again.origin.instance_id() == ""


def test_a_clone_has_the_birth_of_its_mother(journal: Journal) -> None:
    journal.adopt("i-1")
    journal.adopt("i-2")
    assert journal.origin.born_at() == NOW
