"""The state directory, and what of it depends on the machine."""

import os
import resource
from pathlib import Path

import pytest

from shipper.config.load import load
from shipper.ports import PortError
from shipper.runtime.state_directory import locked, opened_held, opened_journal
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
    opened = opened_held(configuration, world.stored, world.journal, log)
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
        opened_journal(str(tmp_path), 1000.0, log)
    (line,) = log.of("journal.set_aside")
    assert line["path"] == f"{path}.corrupt-1000"
    assert line["hint"].startswith("it was corrupt; ")


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
