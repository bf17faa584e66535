"""What a survey of a fleet lists and reads."""

from collections.abc import Iterator
from dataclasses import replace

from shipper.archive.fleet import survey
from shipper.core.heartbeats import Heartbeat, encoded
from shipper.core.types import ObjectKey
from tests.fakes.archive import FakeArchive, Kept

NOW = 1_764_000_000.0
PLAIN = Heartbeat(1, "i-1", "", "ill", "1", "", 3600.0, "")
KEY = "logs/_fleet/instance=i-1/heartbeat.json"


def test_what_was_replaced_by_something_endless_is_not_read_to_its_end() -> None:
    class Endless(FakeArchive):
        pieces = 0

        def read(self, key: ObjectKey, *, start: int = 0) -> Iterator[bytes]:
            while True:
                self.pieces += 1
                yield b"x" * 1000

    archive = Endless({KEY: Kept(encoded(PLAIN), modified_at=NOW)})
    found = survey(archive, "logs/", interval_seconds=3600.0, now=NOW)
    (one,) = found.standings
    assert (one.word, archive.pieces) == ("unreadable", 17)
    assert "bytes" in one.problem


def test_only_what_is_below_the_prefix_is_asked_for() -> None:
    archive = FakeArchive(
        {
            KEY: Kept(encoded(replace(PLAIN, state="well")), modified_at=NOW),
            "logs/app/instance=i-1/heartbeat.json": b"a log",
            "other/_fleet/instance=i-2/heartbeat.json": Kept(encoded(PLAIN), modified_at=NOW),
        }
    )
    found = survey(archive, "logs/", interval_seconds=3600.0, now=NOW)
    assert [one.instance for one in found.standings] == ["i-1"]
    assert archive.asked == [("list", "logs/_fleet/")]
    assert (found.needy, found.others, found.unexpected) == (0, 0, None)
