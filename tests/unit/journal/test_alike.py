"""What the journal knows that may have the same content as a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.core.types import RelativePath, ShipmentId, WatchName
from shipper.journal.journal import Journal
from shipper.journal.statements import ALIKE_FOUND
from tests.fakes.examples import promise, shipment

NOW = 1_764_000_000.0
SECOND = 1_764_000_000 * 10**9
COPY = shipment(id=ShipmentId(99), path=RelativePath(b"app.log-20261123.gz"))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(str(tmp_path / "journal.db"), now=NOW)
    yield journal
    journal.close()


def test_what_may_be_alike_has_the_stem_and_the_second_or_the_size(journal: Journal) -> None:
    rows = journal.promise(
        [
            promise(1, mtime_ns=SECOND),
            promise(2, mtime_ns=SECOND + 10**9 - 1),
            promise(3, mtime_ns=SECOND + 10**9),
            promise(4, mtime_ns=1, raw_end=2**32 + 7),
            promise(5, path=RelativePath(b"web.log.1")),
            promise(6, watch=WatchName("other")),
        ],
        now=NOW,
    )
    assert journal.alike(COPY, content_size=None) == [rows[1], rows[0]]
    assert journal.alike(COPY, content_size=7) == [rows[3], rows[1], rows[0]]
    assert journal.alike(rows[0], content_size=None) == [rows[1]]


def test_of_other_directories_only_the_same_mtime_is_alike(journal: Journal) -> None:
    """A thousand logs of one name may be rotated within one second."""
    rows = journal.promise(
        [
            promise(n, path=RelativePath(b"%d/app.log.1" % n), mtime_ns=SECOND + n)
            for n in range(1, 1001)
        ],
        now=NOW,
    )
    copy = shipment(
        id=ShipmentId(9999), path=RelativePath(b"7/app.log.1.zst"), mtime_ns=SECOND + 900
    )
    assert journal.alike(copy, content_size=None) == [rows[899], rows[6]]
    assert journal.alike(copy, content_size=rows[0].raw_end) == [rows[899], rows[6]]


def test_only_so_many_are_found_newest_first(journal: Journal) -> None:
    rows = journal.promise([promise(n) for n in range(1, 200)], now=NOW)
    found = journal.alike(COPY, content_size=None)
    assert found == rows[: -ALIKE_FOUND - 1 : -1]


def test_a_shipment_is_claimed_until_it_is_given_back(journal: Journal) -> None:
    (row,) = journal.promise([promise(1)], now=NOW)
    assert not journal.queue.is_claimed(row.id)
    journal.queue.claim(NOW)
    assert journal.queue.is_claimed(row.id)
    journal.queue.release(row.id)
    assert not journal.queue.is_claimed(row.id)
