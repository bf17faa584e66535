"""The journal's file: killed writers, damaged pages, full disks, other readers."""

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from shipper.core.lifecycle import ObjectStored, Rejected, UploadOpened
from shipper.core.types import (
    ETag,
    Receipt,
    RelativePath,
    Shipment,
    ShipmentId,
    State,
    Total,
    UploadId,
    WatchName,
)
from shipper.journal import schema as journal_schema
from shipper.journal.database import SetAside
from shipper.journal.journal import Journal
from shipper.ports import PortError
from tests.fakes.claims import claim
from tests.fakes.examples import promise

NOW = 1000.0
ROOT = Path(__file__).parents[2]
PAGE = 4096
ORDER = [State.READY, State.UPLOADING, State.UPLOADED, State.VERIFIED, State.DONE]
LIFE = """
import itertools, sys
from shipper.core.lifecycle import ObjectChecked, ObjectStored, SourceDisposed, UploadOpened
from shipper.core.types import Receipt
from shipper.journal.journal import Journal
from tests.fakes.examples import promise

journal = Journal.open(sys.argv[1], now=1.0)
for number in itertools.count(int(sys.argv[2])):
    (shipment,) = journal.promise([promise(number)], now=1.0)
    print(shipment.id, shipment.state, 0, flush=True)
    shipment = journal.record(shipment, UploadOpened("u", 5))
    print(shipment.id, shipment.state, 0, flush=True)
    journal.receive(shipment, Receipt(1, 0, 100, 9, "e", "checksum"))
    print(shipment.id, shipment.state, 1, flush=True)
    for event in (ObjectStored("e", 9, "sha"), ObjectChecked(1.0), SourceDisposed(1.0)):
        shipment = journal.record(shipment, event)
        print(shipment.id, shipment.state, 0, flush=True)
"""
FULL = """
import os, resource, sys
from shipper.journal.journal import Journal
from shipper.ports import PortError
from tests.fakes.examples import promise

path, limit = sys.argv[1], int(sys.argv[2])
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
try:
    journal = Journal.open(path, now=1000.0, set_aside=lambda *_: print("aside"))
    for number in range(10_000):
        (shipment,) = journal.promise([promise(number)], now=1.0)
        print(shipment.id)
except PortError as error:
    print(error.code)
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


@contextlib.contextmanager
def opened(path: str, set_aside: SetAside | None = None) -> Iterator[Journal]:
    """Without ``set_aside``, an unusable file raises."""
    with contextlib.closing(Journal.open(path, now=NOW, set_aside=set_aside)) as journal:
        yield journal


def fill(path: str, count: int = 200) -> list[Shipment]:
    with opened(path) as journal:
        return journal.promise([promise(n) for n in range(count)], now=NOW)


def child(program: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def checked(path: str) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA quick_check").fetchone()[0])


def dump(path: str) -> list[str]:
    """Everything that is in the file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def names(path: str) -> set[str]:
    return set(os.listdir(os.path.dirname(path)))


# Killed.


def life_until_killed(path: str, first: int, random: Random) -> list[tuple[int, State, int]]:
    """What a writer said it had written before it was killed at some moment."""
    with child(LIFE, path, first) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(random.randint(1, 60))]
        writer.kill()
        lines += writer.stdout.readlines()
    assert writer.returncode == -9
    whole = [line.split() for line in lines if line.endswith("\n")]
    return [(int(number), State(state), int(receipts)) for number, state, receipts in whole]


def test_whatever_a_killed_writer_had_returned_is_in_the_journal(path: str) -> None:
    random, said = Random(), dict[int, tuple[State, int]]()
    for life in range(10):
        lines = life_until_killed(path, 100_000 * life, random)
        said |= {number: (state, receipts) for number, state, receipts in lines}
        with opened(path) as journal:
            for number, (state, receipts) in said.items():
                row = journal.shipment(number)
                assert row is not None
                assert ORDER.index(row.state) - ORDER.index(state) in (0, 1)
                assert row.state is not state or len(journal.receipts(row)) >= receipts
            rows = journal.unfinished(99)
            assert sum(total.files for total in journal.figures.totals()) - len(said) in range(11)
            claimed = [row for _ in rows if (row := claim(journal.queue, NOW)) is not None]
            assert sorted(claimed, key=lambda row: row.id) == rows
        assert checked(path) == "ok"
    assert len(said) > 10


def test_a_journal_whose_maker_was_killed_is_made_anew(path: str) -> None:
    """The tables come in one transaction: before it, there is an empty file in WAL mode."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    with opened(path) as journal:
        assert len(journal.promise([promise()], now=NOW)) == 1


def test_a_killed_writers_journal_can_be_looked_at_without_writing(path: str) -> None:
    said = life_until_killed(path, 1, Random())
    assert os.path.getsize(f"{path}-wal")
    with contextlib.closing(Journal.open_read_only(path)) as journal:
        assert all(journal.shipment(number) for number, _, _ in said)


# Damaged.


def assert_set_aside(path: str, body: bytes) -> None:
    aside, said = f"{path}.corrupt-1000", list[tuple[str, str]]()
    with opened(path, lambda *each: said.append(each)) as journal:
        assert said == [(aside, "it was corrupt")]
        assert Path(aside).read_bytes() == body
        assert journal.figures.totals() == []
        assert len(journal.promise([promise()], now=NOW)) == 1
    with opened(path) as journal:
        assert journal.figures.totals() == [Total(WatchName("app"), State.READY, 1, 100, 0)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: b"garbage",
        lambda body: Random(1).randbytes(len(body)),
        lambda body: body[:100],
        lambda body: body[:PAGE],
        lambda body: body[: len(body) // 2],
        lambda body: body[:-PAGE],
        lambda body: body[:-1],
        lambda body: body + b"\0",
        lambda body: bytes(100) + body[100:],
    ],
    ids=["short", "random", "100 bytes", "page", "half", "-page", "-1", "+1", "no header"],
)
def test_a_damaged_journal_is_set_aside_and_a_new_one_begun(
    path: str, damage: Callable[[bytes], bytes]
) -> None:
    fill(path)
    damaged = damage(Path(path).read_bytes())
    Path(path).write_bytes(damaged)
    assert_set_aside(path, damaged)


def test_a_journal_with_any_page_lost_is_set_aside(tmp_path: Path) -> None:
    fill(str(tmp_path / "whole.db"), 100)
    whole = (tmp_path / "whole.db").read_bytes()
    pages = range(0, len(whole), PAGE)
    assert len(pages) > 9
    for start in pages:
        path = tmp_path / str(start) / "journal.db"
        path.parent.mkdir()
        damaged = whole[:start] + bytes(PAGE) + whole[start + PAGE :]
        path.write_bytes(damaged)
        assert_set_aside(str(path), damaged)


def test_a_damaged_journal_keeps_its_wal_beside_it(path: str) -> None:
    life_until_killed(path, 1, Random())
    wal = Path(f"{path}-wal").read_bytes()
    with open(path, "r+b") as file:
        file.write(b"x" * PAGE)
        file.truncate()
    os.truncate(f"{path}-wal", 1000)  # no frame is left that could mend it
    aside = f"{path}.corrupt-1000"
    with opened(path, lambda *_: None):
        pass
    assert names(path) >= {os.path.basename(aside + suffix) for suffix in ("", "-wal", "-shm")}
    assert Path(f"{aside}-wal").read_bytes() == wal[:1000]


@pytest.mark.parametrize("is_there", [True, False], ids=["empty", "gone"])
def test_a_wal_whose_main_file_is_gone_or_empty_is_set_aside(path: str, is_there: bool) -> None:
    """SQLite takes it for a new journal, and deletes the WAL."""
    life_until_killed(path, 1, Random())
    wal = Path(f"{path}-wal").read_bytes()
    assert wal
    os.truncate(path, 0) if is_there else os.remove(path)
    for open_it in (partial(Journal.open, now=NOW), Journal.open_read_only):
        with pytest.raises(PortError, match="JournalCorrupt"):
            open_it(path)
    said: list[tuple[str, str]] = []
    with opened(path, lambda *each: said.append(each)) as journal:
        assert journal.figures.totals() == []
    aside = f"{path}.corrupt-1000"
    assert said == [(aside, "it was gone or empty, and its WAL was not")]
    assert Path(f"{aside}-wal").read_bytes() == wal
    assert os.path.exists(aside) == is_there


def test_who_dies_as_soon_as_it_is_said_has_moved_nothing_and_says_it_again(path: str) -> None:
    """Who dies after the first move leaves a WAL without a main file, or nothing unsaid."""
    Path(path).write_bytes(b"garbage" * 999)

    def die(aside: str, because: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), opened(path, die):
        pass
    assert names(path) == {"journal.db"}
    assert_set_aside(path, b"garbage" * 999)


def test_a_last_page_that_only_the_wal_holds_whole_is_no_damage(path: str) -> None:
    """A full disk may stop a checkpoint within a page; the WAL still has it."""
    rows = fill(path)
    with opened(path) as journal, contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM totals").fetchall()
        journal.moved((row.id, RelativePath(b"m" * 99)) for row in rows)
        copies = {suffix: Path(path + suffix).read_bytes() for suffix in ("", "-wal")}
    for suffix, body in copies.items():
        Path(f"{path}-copy{suffix}").write_bytes(body if suffix else body[:-1])
    with opened(f"{path}-copy") as journal:
        assert [row.path for row in journal.unfinished(999)] == [b"m" * 99] * len(rows)


def test_a_damaged_journal_that_cannot_be_moved_is_the_operators(path: str) -> None:
    Path(path).write_bytes(b"garbage" * 999)
    os.makedirs(f"{path}.corrupt-1000/taken")
    with pytest.raises(PortError, match="JournalUnwritable") as raised:
        Journal.open(path, now=NOW, set_aside=lambda *_: None)
    assert path in raised.value.detail
    assert raised.value.hint
    assert Path(path).read_bytes() == b"garbage" * 999


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_newer_shippers_journal_is_not_touched(path: str, mode: str) -> None:
    fill(path, 3)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {journal_schema.SCHEMA_VERSION + 1}")
        connection.execute(f"PRAGMA journal_mode = {mode}")
    os.chmod(path, 0o640)
    before = (Path(path).read_bytes(), os.stat(path).st_mtime_ns, os.stat(path).st_mode)
    with pytest.raises(PortError, match="JournalTooNew") as raised:
        Journal.open(path, now=NOW)
    assert raised.value.hint
    assert (Path(path).read_bytes(), os.stat(path).st_mtime_ns, os.stat(path).st_mode) == before
    assert names(path) == {"journal.db"}


@pytest.mark.parametrize(("step", "code"), [(-1, "JournalTooOld"), (1, "JournalTooNew")])
def test_who_only_looks_says_of_which_shipper_the_journal_is(
    path: str, step: int, code: str
) -> None:
    fill(path, 3)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {journal_schema.SCHEMA_VERSION + step}")
    with pytest.raises(PortError, match=code) as raised:
        Journal.open_read_only(path)
    assert raised.value.hint


# Full.

LONG_ETAG = ETag("e" * 99_999)
WRITES: dict[str, Callable[[Journal, Shipment], Any]] = {
    "promise": lambda journal, _: journal.promise([promise(n) for n in range(500)], now=NOW),
    "record": lambda journal, row: journal.record(row, Rejected("KeyTaken", "x" * 99_999)),
    "receive": lambda journal, row: journal.receive(row, Receipt(1, 0, 9, 9, LONG_ETAG, "")),
    "adopt": lambda journal, _: journal.origin.adopt("i" * 99_999),
    "moved": lambda journal, row: journal.moved([(row.id, RelativePath(b"p" * 99_999))]),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_full_disk_changes_nothing_and_passes(
    path: str, write: Callable[[Journal, Shipment], Any]
) -> None:
    with opened(path) as journal:
        journal.origin.adopt("i-1")
        (row,) = journal.promise([promise()], now=NOW)
        row = journal.record(row, UploadOpened(UploadId("u"), 5))
        before = dump(path)
        limit = journal._database._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._database._connection.execute(f"PRAGMA max_page_count = {limit}")
        with pytest.raises(PortError, match=r"JournalUnwritable: .*full") as raised:
            write(journal, row)
        assert raised.value.hint
        assert dump(path) == before
        assert journal.shipment(row.id) == row
        journal._database._connection.execute("PRAGMA max_page_count = 99999")
        write(journal, row)
        assert dump(path) != before


def test_a_disk_that_fills_up_while_writing_loses_nothing_that_was_returned(path: str) -> None:
    with child(FULL, path, 1_000_000) as writer:
        said = writer.communicate()[0].split()
    assert said[-1] == "JournalUnwritable"
    assert len(said) > 10
    assert checked(path) == "ok"
    with opened(path) as journal:
        assert [str(row.id) for row in journal.unfinished(9999)] == said[:-1]
        assert len(journal.promise([promise(99_999)], now=NOW)) == 1


@pytest.mark.parametrize("before", [None, b"garbage" * 999], ids=["none", "corrupt"])
def test_no_journal_is_begun_on_a_full_disk(path: str, before: bytes | None) -> None:
    if before is not None:
        Path(path).write_bytes(before)
    with child(FULL, path, 0) as writer:
        said = writer.communicate()[0].split()
    assert said == ["aside", "JournalUnwritable"][before is None :]
    with opened(path) as journal:
        assert journal.figures.totals() == []


@pytest.mark.parametrize("below", ["file/journal.db", "absent/journal.db", "."])
def test_a_path_where_no_file_can_be_is_unwritable(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PortError, match="JournalUnwritable") as raised:
        Journal.open(str(tmp_path / below), now=NOW)
    assert str(tmp_path) in raised.value.detail
    assert os.listdir(tmp_path) == ["file"]


# Others.


def test_nobody_else_may_read_the_journal_nor_its_wal(path: str) -> None:
    before = os.umask(0o022)
    try:
        with opened(path) as journal:
            journal.promise([promise()], now=NOW)
            modes = [os.stat(path + suffix).st_mode for suffix in ("", "-wal", "-shm")]
    finally:
        os.umask(before)
    assert [stat.S_IMODE(mode) for mode in modes] == [0o600] * 3


def test_a_reader_sees_what_is_written_and_never_waits_for_the_writer(path: str) -> None:
    (row,) = fill(path, 1)
    with opened(path) as writer, contextlib.closing(Journal.open_read_only(path)) as reader:
        assert reader.shipment(row.id) == row
        stored = writer.record(row, ObjectStored(ETag("e"), 9, "sha"))
        assert reader.shipment(row.id) == stored
        with writer._database.transaction() as run:
            run("DELETE FROM shipments", ())
            assert reader.shipment(row.id) == stored
            with contextlib.closing(Journal.open_read_only(path)) as second:
                assert [total.state for total in second.figures.totals()] == [State.UPLOADED]
        assert reader.figures.totals() == []


def test_a_reader_cannot_write(path: str) -> None:
    fill(path, 1)
    with contextlib.closing(Journal.open_read_only(path)) as reader:
        with pytest.raises(PortError, match=r"JournalUnwritable: .*readonly"):
            reader.touched([(ShipmentId(1), 7, 7)])
        assert len(reader.unfinished(9)) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [(None, "NoJournal"), (b"", "NoJournal"), (b"garbage" * 999, "JournalCorrupt")],
    ids=["absent", "empty", "garbage"],
)
def test_without_a_journal_there_is_nothing_to_look_at(
    path: str, body: bytes | None, code: str
) -> None:
    if body is not None:
        Path(path).write_bytes(body)
    before = names(path)
    with pytest.raises(PortError, match=code) as raised:
        Journal.open_read_only(path)
    assert path in raised.value.detail
    assert raised.value.hint
    assert names(path) == before


@pytest.mark.parametrize("name", ["plain", "a?b#c%20d", "caf\udce9", "it's *"])
def test_the_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    path = f"/{tmp_path}/{name}/journal.db"
    os.makedirs(os.path.dirname(path))
    before = sorted(os.listdir(tmp_path))
    rows = fill(path, 2)
    with contextlib.closing(Journal.open_read_only(path)) as journal:
        assert journal.unfinished(9) == rows
    assert sorted(os.listdir(tmp_path)) == before


def test_a_read_that_fails_is_told_as_a_journals(path: str) -> None:
    (row,) = fill(path, 1)
    with opened(path) as journal:
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE receipts")
        with pytest.raises(PortError, match="JournalUnwritable: no such table"):
            journal.receipts(row)
