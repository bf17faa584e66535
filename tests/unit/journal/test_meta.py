"""What the journal knows about itself, and who may set it aside."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shipper.journal.journal import Journal
from shipper.ports import PortError
from tests.fakes.examples import promise

NOW = 1_764_000_000.25


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


@pytest.fixture
def journal(path: str) -> Iterator[Journal]:
    with closing(Journal.open(path, now=NOW)) as opened:
        yield opened


def test_the_instance_that_adopted_the_journal_is_remembered(journal: Journal, path: str) -> None:
    assert journal.origin.instance_id() == ""
    journal.adopt("i-1")
    journal.close()
    with closing(Journal.open(path, now=NOW)) as again:
        assert again.origin.instance_id() == "i-1"


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
        Journal.open(path, now=NOW, sets_aside=False)
    assert "restart shipper" in raised.value.hint
    assert Path(path).read_bytes() == damaged
    assert [one.name for one in Path(path).parent.glob("*corrupt*")] == []
