"""What an audit reads of the journal."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import FileId, ObjectKey, State
from shipper.journal import review as reviews
from shipper.journal.journal import Journal
from shipper.journal.review import Review
from shipper.ports import PortError
from tests.fakes.examples import promise
from tests.fakes.journals import DONE, add

PLACES = ["a", "z", "\u00e9", "\u20ac", "\uffff", "\U0001f600", "%F0%9F", "~", " "]
"""In UTF-16 the last but three would come before the fifth."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


@pytest.fixture
def journal(path: str) -> Iterator[Journal]:
    found = Journal.open(path, now=0.0)
    yield found
    found.close()


@pytest.fixture
def review(journal: Journal, path: str) -> Iterator[Review]:
    found = Review.open(path)
    yield found
    found.close()


def test_rows_come_in_the_order_of_their_keys_bytes_whatever_the_page(
    journal: Journal, review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [ObjectKey(f"logs/{name}/x{number}") for name in PLACES for number in range(3)]
    journal.promise([promise(n, key=key) for n, key in enumerate(keys)], now=1.0)
    monkeypatch.setattr(reviews, "PAGE", 2)
    found = [row.key for row in review.by_key()]
    assert found == sorted(keys)
    assert found == sorted(keys, key=lambda key: key.encode())


def test_a_daemon_goes_on_writing_between_two_pages(
    journal: Journal, review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "PAGE", 1)
    for number in (1, 2):
        add(journal, number)
    rows = review.by_key()
    assert next(rows).key == "logs/1.zst"
    add(journal, 3, *DONE)
    (wal,) = journal._database.query("PRAGMA wal_checkpoint(TRUNCATE)")
    assert wal[0] == 0, "the review holds the WAL"
    assert [row.key for row in rows] == ["logs/2.zst", "logs/3.zst"]


def test_a_row_is_found_by_its_key_and_again_by_its_number(
    journal: Journal, review: Review
) -> None:
    before = add(journal, 1)
    row = review.at_key("logs/1.zst")
    assert row is not None
    assert (row.id, row.state, row.etag) == (before.id, State.READY, None)
    journal.record(before, *DONE)
    again = review.again(row)
    assert again is not None
    assert (again.state, again.etag, again.stored_bytes) == (State.DONE, "e", 9)
    assert review.at_key("logs/2.zst") is None
    assert review.again(row._replace(id=99)) is None


def test_the_rows_of_an_inode_come_together(
    journal: Journal, review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    inodes = [2**64 - 1, 5, 7, 5, 2**64 - 1, 5]
    for number, inode in enumerate(inodes):
        one = promise(number, file_id=FileId(inode, 4, "head"), raw_start=number)
        journal.promise([one], now=1.0)
    monkeypatch.setattr(reviews, "PAGE", 2)
    found = [(row.inode, row.raw_start) for row in review.of_inodes()]
    assert found == [(2**64 - 1, 0), (2**64 - 1, 4), (5, 1), (5, 3), (5, 5), (7, 2)]


def test_the_journals_beginning_is_noted_or_else_that_of_its_first_row(
    journal: Journal, review: Review
) -> None:
    assert (review.begins_at(), review.count()) == (None, 0)
    add(journal, 1, at=5.0)
    add(journal, 2, at=9.0)
    assert (review.begins_at(), review.count()) == (5.0, 2)
    journal.manifests.journal_begins("first start", 3.0)
    assert review.begins_at() == 3.0


@pytest.mark.parametrize(
    "statement", [name for name in vars(reviews) if name.startswith("SELECT_")]
)
def test_no_statement_reads_or_sorts_all_shipments(journal: Journal, statement: str) -> None:
    text = getattr(reviews, statement)
    question = f"EXPLAIN QUERY PLAN {text}"
    given = (0,) * text.count("?")
    steps = [row[3] for row in journal._database._connection.execute(question, given)]
    assert [one for one in steps if "SCAN" in one or "TEMP B-TREE" in one] == []
    if statement == "SELECT_BY_KEY":
        assert "sqlite_autoindex_shipments_1 (key>?)" in steps[0]


def test_a_journal_that_is_damaged_meanwhile_is_called_corrupt(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(review._database, "query", damaged)
    with pytest.raises(PortError, match="JournalCorrupt"):
        review.count()


def test_a_changed_bucket_is_remembered_with_its_time(journal: Journal) -> None:
    from shipper.core.destinations import UploadSettings

    origin, settings = journal.of("audit").origin, UploadSettings("/one", {})
    assert origin.moved_at() == 0.0
    origin.begin(settings, 5.0)
    origin.begin(replace(settings, digests={}), 6.0)
    assert origin.moved_at() == 0.0
    origin.begin(replace(settings, bucket="/two"), 7.0)
    assert (origin.moved_at(), journal.origin.moved_at()) == (7.0, 0.0)
