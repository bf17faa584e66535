"""The journal's file: its settings, its pages, and who else writes."""

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shipper.journal.journal import Journal
from shipper.ports import PortError
from tests.fakes.claims import claim
from tests.fakes.examples import promise
from tests.fakes.journals import NOW, add

PRAGMAS = ["journal_mode", "synchronous", "foreign_keys"]


def test_a_journal_in_memory_is_never_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(Journal.in_memory()) as journal:
        rows = journal.promise([promise()], now=NOW)
        assert [claim(journal.queue, NOW)] == rows
    assert os.listdir(tmp_path) == []


def test_the_daemon_and_a_command_may_write_at_once(journal: Journal, tmp_path: Path) -> None:
    def write(writer: Journal, first: int) -> None:
        for number in range(first, first + 50):
            writer.origin.adopt("i-1")
            writer.promise([promise(number)], now=NOW)

    with (
        contextlib.closing(Journal.open(str(tmp_path / "journal.db"), now=NOW)) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        for future in [pool.submit(write, journal, 0), pool.submit(write, other, 50)]:
            future.result()
    assert [total.files for total in journal.figures.totals()] == [100]


def test_a_write_is_synced_before_it_returns(journal: Journal) -> None:
    """No test can cut the power; SQLite's word for it is FULL (2), which syncs every commit."""
    settled = [
        journal._database._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS
    ]
    assert settled == ["wal", 2, 1]


def test_what_is_given_back_is_read_again(journal: Journal) -> None:
    row = add(journal, 1)

    def read_bytes() -> int:
        with open("/proc/thread-self/io", "rb") as counters:
            return int(counters.readline().split()[1])

    def cost() -> int:
        before = read_bytes()
        assert journal.shipment(row.id) == row
        return read_bytes() - before

    cost()
    warm = cost()
    assert cost() == warm
    journal.give_back()
    assert cost() >= warm + 4096
    assert cost() == warm


@pytest.mark.parametrize("is_wholly_garbage", [True, False])
def test_who_does_not_hold_the_lock_leaves_a_corrupt_file_where_it_is(
    journal: Journal, path: str, is_wholly_garbage: bool
) -> None:
    journal.promise([promise(number) for number in range(200)], now=NOW)
    journal.close()
    body = Path(path).read_bytes()
    damaged = b"garbage" * 999 if is_wholly_garbage else body[: 4096 * 5] + bytes(len(body))
    Path(path).write_bytes(damaged)
    with pytest.raises(PortError, match="JournalCorrupt") as raised:
        Journal.open(path, now=NOW)
    assert "restart shipper" in raised.value.hint
    assert Path(path).read_bytes() == damaged
    assert [one.name for one in Path(path).parent.glob("*corrupt*")] == []
