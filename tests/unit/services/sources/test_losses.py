"""A lost log is told from one whose bytes another file has."""

import bz2
import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.core.lifecycle import SourceChanged, SourceVanished
from shipper.core.types import Compression, State
from shipper.edges.encoder import FrameEncoder
from shipper.ports import PortError
from shipper.services.sources.losses import MOVED_ATTEMPTS, Losses
from tests.machines.world import WATCH, World

BODY = b"a line of the log\n" * 1000
RAW = replace(WATCH, compression=Compression.NONE)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A promised log that nobody holds."""
    world = World(tmp_path, watch=RAW, held_files=0)
    world.files.write(b"app.log.1", BODY)
    world.discover()
    return world


def ended(world: World) -> State:
    world.carry()
    return world.row(b"app.log.1").state


@pytest.mark.parametrize("content", [b"", b"x" * len(BODY), BODY[:-1], b"other\n"])
def test_what_was_emptied_or_overwritten_in_place_is_lost(world: World, content: bytes) -> None:
    world.files.write(b"app.log.1", content)
    assert ended(world) is State.GONE
    (line,) = world.log.of("source.vanished")
    assert (line["path"], line["code"]) == ("app.log.1", "SourceChanged")


def test_what_was_unlinked_is_lost_until_it_is_acknowledged(world: World) -> None:
    world.files.delete(b"app.log.1")
    assert ended(world) is State.GONE
    (row,) = world.journal.lost(10)
    assert world.journal.figures.lost_files() == {"app": 1}
    assert world.journal.acknowledge(row.id + 1) == []
    assert [one.id for one in world.journal.acknowledge(row.id)] == [row.id]
    assert world.journal.lost(10) == []
    assert world.journal.acknowledge() == []


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        (b"app.log.2.gz", gzip.compress(BODY, mtime=0)),
        (b"app.log.2.bz2", bz2.compress(BODY)),
        (b"app.log.2", BODY),
    ],
)
def test_what_another_file_of_its_mtime_has_is_superseded_by_it(
    world: World, name: bytes, encoded: bytes
) -> None:
    stat = world.files.write(name, encoded)
    world.journal.touched([(world.rows()[0].id, stat.mtime_ns, 0)])
    world.files.delete(b"app.log.1")
    assert ended(world) is State.SUPERSEDED
    assert world.log.of("source.vanished") == []
    (line,) = world.log.of("source.superseded")
    assert line["by"] == name.decode()


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        (b"app.log.2.gz", gzip.compress(BODY + b"more\n", mtime=0)),
        (b"app.log.2.gz", gzip.compress(b"x" * len(BODY), mtime=0)),
        (b"app.log.2.gz", b"no gzip, and long enough for a trailer"),
        (b"app.log.2.bz2", bz2.compress(BODY + b"more\n")),
        (b"app.log.2.bz2", b"no bzip2"),
        (b"app.log.2", BODY[:100]),
        (b"app.log.2", b"x" + BODY[1:]),
        (b"elsewhere.log.2", BODY),
    ],
)
def test_what_no_other_file_has_is_lost(world: World, name: bytes, encoded: bytes) -> None:
    stat = world.files.write(name, encoded)
    world.journal.touched([(world.rows()[0].id, stat.mtime_ns, 0)])
    world.files.delete(b"app.log.1")
    assert ended(world) is State.GONE


def test_an_equal_log_of_another_day_is_not_this_one(world: World) -> None:
    world.clock.advance(hours=24)
    world.files.write(b"app.log.2", BODY)
    world.files.delete(b"app.log.1")
    assert ended(world) is State.GONE


def test_an_older_equal_log_is_not_this_one(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW, held_files=0)
    world.files.write(b"app.log.2", BODY)
    world.discover()
    world.files.write(b"app.log.1", BODY)
    world.discover()
    newest = world.rows()[-1]
    world.journal.touched([(newest.id, world.rows()[0].mtime_ns, 0)])
    world.files.delete(b"app.log.1")
    world.carry()
    assert world.row(b"app.log.1").state is State.GONE


def test_a_lost_log_that_is_put_back_is_shipped_and_lost_no_more(world: World) -> None:
    world.files.delete(b"app.log.1")
    assert ended(world) is State.GONE
    (row,) = world.journal.lost(1)
    world.clock.advance(hours=1)
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    assert [one.id for one in world.journal.bring_back(world.clock.now(), row.id)] in (
        [row.id],
        [],
    )
    world.run(rounds=1)
    assert world.contents() == [BODY]
    assert world.journal.lost(1) == []


def test_nothing_is_called_lost_while_a_directory_cannot_be_read(world: World) -> None:
    world.files.write(b"app.log.1", b"")
    scan = world.files.scan
    world.files.scan = lambda *_: iter([PortError("Unreadable", "EIO")])  # type: ignore[method-assign]
    assert ended(world) is State.READY
    world.files.scan = scan  # type: ignore[method-assign]
    world.clock.advance(minutes=10)
    assert ended(world) is State.GONE


def test_another_gzip_file_beside_it_is_no_copy(world: World) -> None:
    stat = world.files.write(b"app.log.2.gz", gzip.compress(BODY + b"more\n", mtime=0))
    world.journal.touched([(world.rows()[0].id, stat.mtime_ns, stat.ctime_ns)])
    world.files.delete(b"app.log.1")
    assert ended(world) is State.GONE


def test_what_decodes_slowly_is_not_shown_to_have_it(world: World) -> None:
    stat = world.files.write(b"app.log.2.bz2", bz2.compress(BODY))
    world.journal.touched([(world.rows()[0].id, stat.mtime_ns, stat.ctime_ns)])
    world.files.delete(b"app.log.1")
    decoded = FrameEncoder().decoded

    class Slow(FrameEncoder):
        def decoded(self, *given: Any, **named: Any) -> Iterator[bytes]:
            for piece in decoded(*given, **named):
                world.clock.advance(minutes=1)
                yield piece

    losses = Losses(
        files=world.files,
        journal=world.journal,
        encoder=Slow(),
        clock=world.clock,
        tick=lambda: None,
    )
    event = losses.event(world.rows()[0], RAW, PortError("SourceVanished"))
    assert isinstance(event, SourceVanished)


def test_a_log_that_is_found_again_under_another_name_is_looked_for_later(world: World) -> None:
    world.files.rename(b"app.log.1", b"app.log.2")
    with pytest.raises(PortError, match="Unreadable"):
        world.losses.event(world.rows()[0], RAW, PortError("SourceVanished"))


def test_a_log_that_moves_all_the_time_is_not_lost(world: World) -> None:
    world.files.rename(b"app.log.1", b"app.log.2")
    often = replace(world.rows()[0], attempts=MOVED_ATTEMPTS)
    event = world.losses.event(often, RAW, PortError("SourceVanished"))
    assert event == SourceChanged(world.clock.now(), "app.log.2")


def test_a_copy_that_cannot_be_read_proves_neither(world: World) -> None:
    stat = world.files.write(b"app.log.2.bz2", bz2.compress(BODY))
    world.journal.touched([(world.rows()[0].id, stat.mtime_ns, 0)])
    world.files.delete(b"app.log.1")
    world.files.fail_reads(b"app.log.2.bz2", PortError("Unreadable", "EIO"))
    assert ended(world) is State.READY


@pytest.mark.parametrize("is_beside", [True, False])
def test_a_live_log_that_went_is_lost_unless_its_copy_goes_on(
    tmp_path: Path, is_beside: bool
) -> None:
    world = World(tmp_path, watch=RAW, held_files=0)
    world.files.write(b"app.log", BODY)
    assert world.facts is not None
    world.live.promise(world.facts, whole=True)
    if is_beside:
        world.files.write(b"app.log.1.gz", gzip.compress(BODY + b"more\n", mtime=0))
        world.files.write(b"app.log", b"")
    else:
        world.files.delete(b"app.log")
    world.carry()
    ends = State.SUPERSEDED if is_beside else State.GONE
    assert world.row(b"app.log").state is ends


HEAD, TAIL = b"banner\n" * 700, b"heartbeat ok\n" * 400
MINE, OTHERS = HEAD + b"A" * 5000 + TAIL, HEAD + b"B" * 5000 + TAIL
"""Of one length, and only their middles differ."""


@pytest.mark.parametrize("name", [b"t2/app.log.1", b"t2/app.log.1.gz", b"old/app.log.1.gz"])
def test_a_log_of_another_directory_hides_no_loss(tmp_path: Path, name: bytes) -> None:
    world = World(tmp_path, watch=RAW, held_files=0)
    world.files.write(b"t1/app.log.1", MINE)
    world.discover()
    is_gz = name.endswith(b".gz")
    world.files.write(name, gzip.compress(OTHERS, mtime=0) if is_gz else OTHERS)
    world.files.touch(name, world.rows()[0].mtime_ns)
    world.files.delete(b"t1/app.log.1")
    world.carry()
    assert world.row(b"t1/app.log.1").state is State.GONE
    assert world.journal.figures.lost_files() == {"app": 1}


def test_every_night_that_was_lost_in_an_outage_is_told(tmp_path: Path) -> None:
    """The same output each night, one rotation kept, and the inode number used again."""
    world = World(tmp_path, watch=RAW, held_files=0)
    world.files._reuses_inodes = True
    world.store.outage = PortError("ServiceUnavailable", status=503)
    world.files.write(b"app.log", BODY)
    for _ in range(6):
        if b"app.log.1" in world.files.paths():
            world.files.delete(b"app.log.1")
        world.files.rename(b"app.log", b"app.log.1")
        world.files.write(b"app.log", b"")
        world.discover()
        world.clock.advance(hours=24)
        world.files.append(b"app.log", BODY)
    world.store.outage = None
    world.gate.passed()
    world.run()
    lost = len(world.log.of("source.vanished"))
    assert (lost, len(world.contents())) == (5, 1)
    assert world.log.of("source.superseded") == []


@pytest.mark.parametrize("body", [MINE, OTHERS])
@pytest.mark.parametrize("name", [b"app.log.2", b"app.log.2.gz"])
def test_where_the_journal_knows_its_digest_only_every_byte_supersedes_it(
    tmp_path: Path, body: bytes, name: bytes
) -> None:
    """The write was about to go out when the machine went down."""
    world = World(tmp_path, watch=RAW, held_files=0)
    world.files.write(b"app.log.1", MINE)
    world.discover()
    world.store.fail_next("PutObject", PortError("Unreachable"))
    world.carry()
    assert world.rows()[0].raw_sha256
    world.files.write(name, gzip.compress(body, mtime=0) if name.endswith(b".gz") else body)
    world.files.touch(name, world.rows()[0].mtime_ns)
    world.files.delete(b"app.log.1")
    for _ in range(4):
        world.clock.advance(minutes=15)
        world.carry()
    ends = State.SUPERSEDED if body is MINE else State.GONE
    assert world.rows()[0].state is ends


def test_a_live_log_that_was_emptied_is_lost_though_the_next_says_the_same(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW, held_files=0)
    world.store.outage = PortError("ServiceUnavailable", status=503)
    world.files.write(b"app.log", BODY)
    world.go_live(whole=True)
    world.carry()
    for path in (b"app.log", b"app.log.1"):
        world.clock.advance(hours=24)
        world.files.delete(b"app.log")
        world.files.write(b"app.log", BODY)
        world.files.rename(b"app.log", path)
        if path == b"app.log":
            world.go_live(whole=True)
    world.files.write(b"app.log", b"")
    world.discover()
    world.store.outage = None
    world.gate.passed()
    world.run(rounds=2)
    assert world.rows()[0].state is State.GONE
    assert world.log.of("source.superseded") == []


def test_what_was_rewritten_while_it_was_read_is_lost_though_it_begins_and_ends_as_before(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, watch=RAW, held_files=0)
    world.files.write(b"app.log.1", MINE)
    world.discover()
    world.clock.advance(seconds=1)
    read = world.files.open

    def rewritten(*given: Any) -> Any:
        source = read(*given)
        read_into = source.read_into

        def read_then_rewrite(*given: Any) -> int:
            found = read_into(*given)
            world.files.write(b"app.log.1", OTHERS)
            return int(found)

        source.read_into = read_then_rewrite  # type: ignore[assignment]  # as it is called
        return source

    world.files.open = rewritten  # type: ignore[method-assign, assignment]  # somebody writes meanwhile
    world.carry()
    world.files.open = read  # type: ignore[method-assign]
    assert world.rows()[0].state is State.GONE
    world.run(rounds=1)
    assert world.contents() == [OTHERS]
