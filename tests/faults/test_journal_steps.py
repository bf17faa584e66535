"""A journal of any earlier schema is brought up to the present one, and keeps what it knows."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from shipper.journal import schema as journal_schema
from shipper.journal.journal import Journal
from tests.fakes.examples import promise


def begun_at(path: Path, version: int) -> None:
    """A journal as the shipper of that schema left it, with one finished shipment."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for step in journal_schema._STEPS[:version]:
            connection.executescript(step)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute(
            "INSERT INTO shipments (id, watch, path, stem, inode, head_length, head_digest,"
            " raw_start, raw_end, mtime_ns, tail_digest, key, compression, sealed_because,"
            " promised_at, state, due_at, attempts, upload_id, part_size, etag, stored_bytes,"
            " raw_sha256, raw_crc32, code, detail, finished_at)"
            " VALUES (1, 'app', x'61', x'61', 7, 4, 'head', 0, 100, 5,"
            " 'tail', 'logs/old.zst', 'zstd', 'quiet', 1.0, 'READY', 1.0, 0, NULL, 0, NULL, 0,"
            " '', 0, '', '', NULL)"
        )
        connection.execute("UPDATE shipments SET state = 'DONE', due_at = NULL, finished_at = 2.0")
        connection.commit()


@pytest.mark.parametrize("version", range(1, journal_schema.SCHEMA_VERSION + 1))
def test_a_journal_of_an_earlier_schema_keeps_what_it_knows(tmp_path: Path, version: int) -> None:
    path = tmp_path / "journal.db"
    begun_at(path, version)
    for _ in range(2):
        with contextlib.closing(Journal.open(str(path), now=9.0)) as journal:
            assert journal.set_aside == ""
            (known,) = journal.known(promise().watch, 7)
            assert known.key == "logs/old.zst"
            assert [total.files for total in journal.totals()] == [1]
    with contextlib.closing(Journal.open(str(path), now=9.0)) as journal:
        journal.promise([promise(2)], now=9.0)
        assert journal.claim(9.0) is not None
