"""The state directory, and what of it depends on the machine."""

import contextlib
import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.config.load import load
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.runtime.state_directory import (
    RESERVE_BYTES,
    Reserve,
    locked,
    opened_held,
    opened_journal,
)
from tests.fakes.log import RecordingLog
from tests.machines.world import World


@pytest.mark.parametrize(("wanted", "limit", "held"), [(256, 1024, 256), (900, 1024, 552)])
def test_descriptors_are_held_within_the_limit_of_open_files_and_a_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int, limit: int, held: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, 524_288))
    config = tmp_path / "shipper.toml"
    config.write_text(
        '[destination]\nbucket = "logs"\n[[watch]]\ndirectory = "/logs"\n'
        f"[uploads]\nheld_files = {wanted}\n"
    )
    configuration = load(str(config), {"STATE_DIRECTORY": str(tmp_path)})
    log, world = RecordingLog(), World(tmp_path)
    opened = opened_held(configuration, world.stored, world.journal, world.bugs, log)
    assert opened._files == held
    warned = log.of("held.limited")
    assert [(each["held_files"], each["hint"]) for each in warned] == (
        [(552, "LimitNOFILE=1372, or lower uploads.held_files")] if held < wanted else []
    )


def test_a_journal_that_is_set_aside_is_told_even_where_no_other_can_be_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, log = tmp_path / "journal.db", RecordingLog()
    path.write_bytes(b"garbage" * 999)
    (tmp_path / "journal.db.corrupt-1000" / "taken").mkdir(parents=True)
    with pytest.raises(PortError, match="JournalUnwritable"):
        opened_journal(str(tmp_path), locked(str(tmp_path)), 1000.0, log)
    (line,) = log.of("journal.set_aside")
    assert line["path"] == f"{path}.corrupt-1000"
    assert line["hint"].startswith("it was corrupt; ")


def started(directory: Path) -> tuple[int, list[str]]:
    """A start and a clean end: the number of starts, and the events that it logged."""
    log, lock = RecordingLog(), locked(str(directory))
    with contextlib.closing(opened_journal(str(directory), lock, 1000.0, log)) as journal:
        starts = journal.origin.starts()
    os.close(lock)
    return starts, log.events


def deleted(directory: Path) -> None:
    (directory / "journal.db").unlink()


def emptied(directory: Path) -> None:
    (directory / "journal.db").write_bytes(b"")


def begun_by_another(directory: Path) -> None:
    """As ``shipper retry`` makes one of an empty file."""
    deleted(directory)
    Journal.open(str(directory / "journal.db"), now=1000.0).close()


def restored(directory: Path) -> None:
    """A copy of the time before the last start."""
    body = (directory / "journal.db").read_bytes()
    started(directory)
    (directory / "journal.db").write_bytes(body)


@pytest.mark.parametrize("lose", [deleted, emptied, begun_by_another, restored])
def test_a_journal_that_lost_rows_is_told_once(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    assert [started(tmp_path), started(tmp_path)] == [(1, []), (2, [])]
    lose(tmp_path)
    known = int((tmp_path / "lock").read_text())
    assert started(tmp_path) == (known + 1, ["journal.lost"])
    assert started(tmp_path) == (known + 2, [])


@pytest.mark.parametrize("body", [b"garbage" * 999, bytes(8192)], ids=["garbage", "zeros"])
def test_a_journal_that_was_set_aside_is_not_told_as_lost_too(tmp_path: Path, body: bytes) -> None:
    started(tmp_path)
    (tmp_path / "journal.db").write_bytes(body)
    assert started(tmp_path) == (2, ["journal.set_aside"])
    assert started(tmp_path) == (3, [])


def test_a_clone_knows_of_the_starts_of_its_image(tmp_path: Path) -> None:
    started(tmp_path / "image")
    shutil.copytree(tmp_path / "image", tmp_path / "clone")
    assert started(tmp_path / "clone") == (2, [])


@pytest.mark.parametrize("body", [b"", bytes(9), b"seven", b"-3", b"9" * 99, b"\xff"])
def test_a_lock_file_says_anything_and_shipper_starts(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "lock").write_bytes(body)
    starts, _ = started(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{starts}\n"


def test_a_number_that_cannot_be_written_keeps_nobody_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        assert started(tmp_path) == (1, [])
    assert started(tmp_path) == (2, [])


def test_the_lock_of_the_program_before_a_reload_is_this_ones(tmp_path: Path) -> None:
    lock = locked(str(tmp_path))
    with pytest.raises(PortError, match="AlreadyRunning"):
        locked(str(tmp_path))
    assert locked(str(tmp_path), lock) == lock
    with pytest.raises(PortError, match="AlreadyRunning"):
        locked(str(tmp_path))
    os.close(lock)


def test_a_lock_of_another_state_directory_is_closed(tmp_path: Path) -> None:
    other = locked(str(tmp_path / "other"))
    lock = locked(str(tmp_path / "state"), other)
    assert os.readlink(f"/proc/self/fd/{lock}") == str(tmp_path / "state/lock")
    os.close(locked(str(tmp_path / "other")))
    os.close(lock)


def test_a_reserve_takes_its_bytes_once_and_is_given_up_once(tmp_path: Path) -> None:
    reserve, path = Reserve(str(tmp_path)), tmp_path / "reserve"
    for _ in range(2):
        reserve.keep()
        assert path.stat().st_blocks * 512 >= RESERVE_BYTES == path.stat().st_size
    assert reserve.give_up()
    assert not path.exists()
    assert not reserve.give_up()


def test_a_reserve_for_which_there_is_no_room_is_no_reason_to_stop(tmp_path: Path) -> None:
    reserve = Reserve(str(tmp_path / "missing"))
    reserve.keep()
    assert not reserve.give_up()
