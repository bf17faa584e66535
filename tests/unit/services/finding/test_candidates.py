"""Sealing decides: a writer that keeps the renamed log open is waited for, and no longer."""

from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import HEAD_BYTES, Shipment, State, WriterTest
from shipper.ports import PortError
from shipper.services.finding.candidate import Decision
from tests.machines.world import FACTS, WATCH, World

LOG = b"app.log.1"
HOUR_SECONDS = 3600.0
INTERVAL_SECONDS = 30.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An hour in which a quiet log is held open, and the daemon did as its waits say."""
    made = World(tmp_path)
    made.files.write(LOG, b"the last line but one\n")
    made.files.set_writer(LOG, WriterTest.OPEN)
    began = made.clock.monotonic()
    while made.clock.monotonic() < began + HOUR_SECONDS:
        wait = made.discovery.step()
        assert WATCH.settle_seconds <= wait <= INTERVAL_SECONDS
        made.clock.advance(seconds=wait)
    return made


def test_a_log_that_is_held_open_for_an_hour_is_not_promised_and_seldom_asked_about(
    world: World,
) -> None:
    assert world.rows() == []
    assert world.discovery.waiting_files == 1
    assert world.discovery.scans < 2 * HOUR_SECONDS / INTERVAL_SECONDS


def test_a_nudge_at_its_closing_seals_it_in_the_same_scan(world: World) -> None:
    world.files.set_writer(LOG, WriterTest.NONE)
    world.discovery.step()
    [row] = world.rows(State.READY)
    assert row.sealed_because.startswith("quiet for 36")
    assert row.sealed_because.endswith("no writer (read lease granted)")


def test_a_last_line_at_its_closing_costs_one_settle_time(world: World) -> None:
    world.files.append(LOG, b"the last line\n")
    world.files.set_writer(LOG, WriterTest.NONE)
    wait = world.discovery.step()
    assert world.rows() == []
    assert wait == WATCH.settle_seconds
    world.clock.advance(seconds=wait)
    world.discovery.step()
    [row] = world.rows(State.READY)
    assert row.raw_end == len(b"the last line but one\nthe last line\n")


def test_an_mtime_that_is_set_back_at_the_end_fools_nobody(world: World) -> None:
    """As logrotate's compressor does: to that of the log it has compressed."""
    world.files.append(LOG, b"the last line\n")
    world.files.touch(LOG, mtime_ns=1)
    world.files.set_writer(LOG, WriterTest.NONE)
    world.discovery.step()
    assert world.rows() == []


def test_without_a_nudge_the_next_scan_finds_it_closed(world: World) -> None:
    wait = world.discovery.step()
    world.files.set_writer(LOG, WriterTest.NONE)
    world.clock.advance(seconds=wait)
    world.discovery.step()
    assert len(world.rows(State.READY)) == 1


def test_where_nobody_can_tell_the_writers_a_minute_of_quiet_seals_and_says_so(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.files.write(LOG, b"on a network file system\n")
    world.files.set_writer(LOG, WriterTest.UNKNOWN)
    waited = 0.0
    while not world.rows():
        assert waited < 60.0 + INTERVAL_SECONDS
        wait = world.discovery.step()
        world.clock.advance(seconds=wait)
        waited += wait
    [row] = world.rows(State.READY)
    assert row.sealed_because == "quiet for 60.0 s, a writer cannot be told"


def test_a_log_that_grows_is_read_again_only_when_its_next_segment_is_due(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(LOG, b"a line\n" * 100_000)
    world.run(rounds=1)
    for _ in range(2):
        world.clock.advance(minutes=3)
        world.files.append(LOG, b"more\n")
        world.discover()
        world.carry()
    world.clock.advance(seconds=10)
    world.files.append(LOG, b"more\n")
    world.discover()
    before = world.files.read_bytes(LOG)
    world.discovery.step()
    assert world.files.read_bytes(LOG) - before < 2 * HEAD_BYTES + 1
    world.clock.advance(hours=1)
    world.run(rounds=2)
    assert sum(map(len, world.contents())) == len(world.files.body(LOG))


def test_a_log_that_s3_has_may_get_a_second_name(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(LOG, b"a line\n")
    world.run(rounds=2)
    world.files.link(LOG, b"/backup/app.log.1")
    world.clock.advance(minutes=1)
    world.run(rounds=2)
    assert world.discovery.refusals == {}
    world.files.write(b"other.log.1", b"another line\n")
    world.files.link(b"other.log.1", b"/backup/other.log.1")
    world.run(rounds=2)
    assert list(world.discovery.refusals) == [("app", "HardLinked")]


def test_a_shipped_log_that_may_not_be_read_any_more_is_told(tmp_path: Path) -> None:
    """Its new ctime asks for a look at its generation, which only an open file tells."""
    world = World(tmp_path)
    world.files.write(LOG, b"a line\n")
    world.run(rounds=2)
    world.clock.advance(minutes=1)
    world.files.touch(LOG, world.row(LOG).mtime_ns)
    world.files.deny(LOG)
    world.discover()
    assert [watch for watch, _ in world.discovery.refusals] == ["app"]
    world.files.deny(LOG, is_denied=False)
    world.discover()
    assert world.discovery.refusals == {}
    assert world.contents() == [b"a line\n"]


OLD = replace(WATCH, ignore_older_seconds=86_400.0)


def aged(world: World, path: bytes, body: bytes) -> None:
    world.files.write(path, body)
    world.files.touch(path, mtime_ns=int((world.clock.now() - 10 * 86_400) * 1e9))


def test_what_was_promised_before_goes_on_however_old_it_is(tmp_path: Path) -> None:
    world = World(tmp_path, watch=OLD)
    world.files.write(LOG, b"the first lines\n")
    world.run(rounds=3)
    world.clock.advance(seconds=5 * 86_400)
    world.discovery.step()
    assert world.discovery.left_alone[WATCH.name].older == 0
    world.files.append(LOG, b"more\n")
    world.files.touch(LOG, mtime_ns=int((world.clock.now() - 2 * 86_400) * 1e9))
    world.run(rounds=3)
    assert sorted(world.contents()) == [b"more\n", b"the first lines\n"]


def test_an_old_file_under_a_number_that_was_another_files_is_old(tmp_path: Path) -> None:
    """A restore keeps mtimes, and the inode number was a shipped log's."""
    world = World(tmp_path, watch=OLD)
    world.files.write(LOG, b"shipped\n")
    world.run(rounds=3)
    aged(world, LOG, b"written in its place, and dated back\n")
    for _ in range(3):
        world.discovery.step()
        world.clock.advance(seconds=60)
    assert world.contents() == [b"shipped\n"]
    assert world.discovery.left_alone[WATCH.name].older == 1
    assert [one.decision for one in world.candidates.plan([OLD])] == [Decision.OLD]


def test_what_was_not_too_old_when_it_was_first_seen_is_shipped_however_long_it_waits(
    tmp_path: Path,
) -> None:
    """Also where its mtime is set back meanwhile, or its directory cannot be read at a scan."""
    world = World(tmp_path, watch=OLD)
    for name in (LOG, b"app.log.2.gz", b"sub/app.log.1"):
        world.files.write(name, b"held\n" * len(name))
        world.files.set_writer(name, WriterTest.OPEN)
    world.discovery.step()
    world.files.touch(LOG, mtime_ns=int((world.clock.now() - 40 * 86_400) * 1e9))
    for error in (None, PortError("DirectoryUnreadable"), None):
        world.clock.advance(seconds=2 * 86_400)
        world.files.fail_scan(b"sub", error)
        world.discovery.step()
    assert world.discovery.left_alone[WATCH.name].older == 0
    assert world.discovery.waiting_files == 3
    for name in (LOG, b"app.log.2.gz", b"sub/app.log.1"):
        world.files.set_writer(name, WriterTest.NONE)
    world.run(rounds=3)
    assert len(world.rows(State.DONE)) == 3


def test_the_last_pass_of_a_drain_takes_what_waited_until_it_was_old(tmp_path: Path) -> None:
    world = World(tmp_path, watch=OLD)
    world.files.write(LOG, b"held\n")
    world.files.set_writer(LOG, WriterTest.OPEN)
    world.discovery.step()
    world.clock.advance(seconds=2 * 86_400)
    world.discovery.step()
    world.live.promise(FACTS, whole=True)
    assert [row.path for row in world.rows()] == [LOG]


def test_a_refusal_lasts_however_old_its_file_becomes_until_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(OLD, max_size_bytes=3))
    world.files.write(LOG, b"large\n")
    for _ in range(3):
        world.discovery.step()
        world.clock.advance(seconds=2 * 86_400)
    assert [code for _, code in world.discovery.refusals] == ["AboveMaxSize"]
    world.restart()
    world.discovery.step()
    assert world.discovery.refusals == {}
    assert world.discovery.left_alone[WATCH.name].older == 1


def test_a_bug_while_it_is_promised_does_not_make_a_file_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, watch=OLD)
    world.files.write(LOG, b"a line\n")
    world.discovery.step()

    def broken(*_: object, **__: object) -> list[Shipment]:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(world.journal, "promise", broken)
        for _ in range(2):
            world.clock.advance(seconds=2 * 86_400)
            world.discovery.step()
    assert [code for _, code in world.discovery.refusals] == ["Bug"]
    world.discovery.step()
    assert [row.path for row in world.rows()] == [LOG]


def test_an_mtime_of_the_future_is_not_old(tmp_path: Path) -> None:
    world = World(tmp_path, watch=OLD)
    world.files.write(LOG, b"of tomorrow\n")
    world.files.touch(LOG, mtime_ns=int((world.clock.now() + 86_400) * 1e9))
    world.run(rounds=3)
    assert world.contents() == [b"of tomorrow\n"]


def test_the_last_pass_of_a_drain_leaves_old_rotated_files_alone_and_no_live_one(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, watch=OLD)
    aged(world, LOG, b"old and rotated\n")
    aged(world, b"app.log", b"old and live\n")
    world.run(rounds=3)
    world.live.promise(FACTS, whole=True)
    world.run(rounds=3)
    assert world.contents() == [b"old and live\n"]


def test_what_is_shipped_already_may_be_larger_than_max_size(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(LOG, b"more than ten bytes\n")
    world.run(rounds=3)
    small = replace(WATCH, max_size_bytes=10)
    [one] = world.candidates.plan([small])
    assert one.decision is Decision.SHIPPED
    world.files.write(b"app.log.2", b"more than ten, too\n")
    found = {one.path: one.decision for one in world.candidates.plan([small])}
    assert found == {LOG: Decision.SHIPPED, b"app.log.2": Decision.REFUSED}
