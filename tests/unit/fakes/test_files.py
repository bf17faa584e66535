"""What the fake directories can do beyond ``ports.Files``, for the tests that stand on it."""

import pytest

from shipper.core.types import Entry, RelativePath, Watch, WatchName
from shipper.ports import PortError
from tests.fakes.clock import FakeClock
from tests.fakes.files import FakeFiles

WATCH = Watch(name=WatchName("app"), directory="/logs")


def test_it_reports_its_open_sources() -> None:
    """What lets other tests say that nothing was left open."""
    fake = FakeFiles(FakeClock())
    fake.write(b"app.log.1", b"x")
    source = fake.open(WATCH, RelativePath(b"app.log.1"))
    assert (fake.opens, fake.open_sources) == (1, 1)
    source.close()
    assert fake.open_sources == 0


def test_an_inode_is_used_again_only_when_nothing_leads_to_it() -> None:
    fake = FakeFiles(FakeClock(), reuses_inodes=True)
    first = fake.write(b"app.log.1", b"x").inode
    source = fake.open(WATCH, RelativePath(b"app.log.1"))
    fake.delete(b"app.log.1")
    assert fake.write(b"a.log", b"x").inode != first
    source.close()
    assert fake.write(b"b.log", b"x").inode == first


def test_a_side_effect_is_announced_before_and_after() -> None:
    seen: list[tuple[str, list[bytes]]] = []
    fake = FakeFiles(FakeClock())
    fake.effect = lambda name: seen.append((name, fake.paths()))
    fake.write(b"app.log.1", b"x")
    fake.remove(WATCH, RelativePath(b"app.log.1"), lambda source: True)
    assert seen == [("before remove", [b"app.log.1"]), ("after remove", [])]


def test_a_denied_file_is_unreadable_until_it_is_allowed() -> None:
    fake = FakeFiles(FakeClock())
    fake.write(b"app.log.1", b"x")
    fake.deny(b"app.log.1")
    with pytest.raises(PortError, match="SourceUnreadable"):
        fake.open(WATCH, RelativePath(b"app.log.1"))
    fake.deny(b"app.log.1", is_denied=False)
    fake.open(WATCH, RelativePath(b"app.log.1")).close()


def test_a_failing_scan_hides_what_is_below_and_says_so() -> None:
    fake = FakeFiles(FakeClock())
    fake.write(b"app.log.1", b"x")
    fake.write(b"sub/app.log.1", b"x")
    broken = PortError("DirectoryUnreadable", "sub")
    fake.fail_scan(b"sub", broken)
    found = list(fake.scan(WATCH, lambda path, _: True))
    assert [entry for entry in found if isinstance(entry, PortError)] == [broken]
    assert [entry.path for entry in found if isinstance(entry, Entry)] == [b"app.log.1"]
    fake.fail_scan(b"sub")
    assert len(list(fake.scan(WATCH, lambda path, _: True))) == 2


def test_times_are_the_clocks() -> None:
    clock = FakeClock()
    fake = FakeFiles(clock)
    fake.write(b"app.log.1", b"x")
    clock.advance(seconds=10)
    fake.rename(b"app.log.1", b"app.log.2")
    (entry,) = fake.scan(WATCH, lambda path, _: True)
    assert isinstance(entry, Entry)
    assert entry.stat.ctime_ns - entry.stat.mtime_ns == 10 * 10**9
