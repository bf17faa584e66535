"""An empty journal on disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.journal.journal import Journal
from tests.fakes.journals import NOW


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


@pytest.fixture
def journal(path: str) -> Iterator[Journal]:
    journal = Journal.open(path, now=NOW)
    yield journal
    journal.close()
