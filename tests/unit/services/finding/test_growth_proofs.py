"""A comparison with what was shipped holds up no other log, however long it takes."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import AfterUpload, RelativePath, State, WriterTest
from shipper.ports import PortError
from shipper.services.finding.growth_proofs import FIRST_BYTES, MOST_BYTES, GrowthProofs
from shipper.services.sources.reading import PIECE_BYTES
from tests.fakes.examples import promise
from tests.machines.world import MIB, WATCH, World, random_log

HUGE = b"huge.log.1"
BODY = random_log(1, 20_000)
MORE = b"what was written since\n"
SCAN_BYTES = 1000
SCANS = len(BODY) // SCAN_BYTES


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A shipped log that grew, and of which a scan may read a twentieth."""
    world = World(tmp_path)
    world.scan_bytes = SCAN_BYTES
    world.restart()
    world.files.write(HUGE, BODY)
    world.run(rounds=1)
    grow(world)
    return world


def grow(world: World, path: bytes = HUGE) -> None:
    world.clock.advance(minutes=1)
    world.files.append(path, MORE)


def scans_until_promised(world: World, path: bytes, rows: int) -> int:
    """How many scans it takes until so many shipments of the path are promised."""
    for scans in range(1, 200):
        world.clock.advance(seconds=WATCH.settle_seconds)
        world.discovery.step()
        if len(world.journal.at_path(WATCH.name, RelativePath(path))) >= rows:
            return scans
    raise AssertionError("it is never promised")


def test_other_logs_are_shipped_while_a_huge_log_that_grew_is_compared(world: World) -> None:
    for number in range(SCANS // 2 - 1):
        world.files.write(b"other-%d.log.1" % number, b"other %d\n" % number)
        world.discover()
        assert world.discovery.is_comparing
        assert len(world.journal.at_path(WATCH.name, RelativePath(HUGE))) == 1
        world.carry()
        assert world.contents().count(b"other %d\n" % number) == 1
    world.run(rounds=2)
    assert not world.discovery.is_comparing
    assert {BODY, MORE} < {*world.contents()}
    assert len(world.contents()) == SCANS // 2 + 1


def test_the_next_scan_goes_on_at_once(world: World) -> None:
    world.discover()
    assert world.discovery.step() == world.discovery.rest_seconds
    (one,) = [one for one in world.candidates.plan([WATCH]) if one.path == HUGE]
    assert one.because == "it is being compared with what was shipped"


def test_a_crash_between_two_scans_only_repeats(world: World) -> None:
    for _ in range(5):
        world.discover()
    world.restart()
    assert scans_until_promised(world, HUGE, rows=2) >= SCANS
    world.carry()
    assert sorted(world.contents(), key=len) == [MORE, BODY]


def test_a_file_that_changes_between_two_scans_is_compared_from_its_beginning(
    world: World,
) -> None:
    """What was read of it before says nothing."""
    for _ in range(8):
        world.discover()
    body = world.files.body(HUGE)
    changed = body[:4096] + bytes(10) + body[4106:]
    world.files.write(HUGE, changed)
    scans_until_promised(world, HUGE, rows=2)
    world.carry()
    assert sorted(world.contents(), key=len) == [BODY, changed]


def test_the_file_that_has_least_left_goes_first(world: World) -> None:
    for number in range(4):
        world.files.write(b"a-%d.log.1" % number, random_log(number, 20_000))
    world.files.write(b"small.log.1", BODY[:500])
    world.run(rounds=1)
    for number in range(4):
        grow(world, b"a-%d.log.1" % number)
    world.discover()
    grow(world, b"small.log.1")
    assert scans_until_promised(world, b"small.log.1", rows=2) <= 3


def test_a_file_that_is_gone_takes_nothing_from_the_others(world: World) -> None:
    world.files.write(b"gone.log.1", BODY[:15_000])
    world.run(rounds=2)
    grow(world, b"gone.log.1")
    world.discover()
    world.files.delete(b"gone.log.1")
    assert scans_until_promised(world, HUGE, rows=2) <= SCANS + 3


def test_a_pass_over_live_files_goes_on_with_a_huge_one_after_the_others(tmp_path: Path) -> None:
    world = World(tmp_path)
    lines = b"a line of twenty b.\n" * 1000
    world.files.write(b"huge.log", lines)
    world.go_live()
    world.carry()
    world.live._proofs = GrowthProofs(world.clock, scan_bytes=SCAN_BYTES, is_live=True)
    grow(world, b"huge.log")
    world.files.write(b"small.log", b"small\n")
    world.live.wanted = True
    for scans in range(1, 100):
        world.live.step()
        grow(world, b"huge.log")  # its writer goes on
        world.files.write(b"small.log", b"small\n" * (scans + 1))
        assert world.row(b"small.log").raw_end == len(b"small\n"), "once in a pass"
        if world.live.wanted is None:
            break
        assert world.live.is_comparing
    assert scans == len(lines) // SCAN_BYTES
    assert world.live.promised == 2
    assert not world.live.is_comparing
    world.carry()
    assert len(world.rows(State.DONE)) == 3


def test_the_comparison_of_a_log_that_came_whole_holds_up_no_other_log(tmp_path: Path) -> None:
    """A log that was shipped live is compared once it is rotated, and is removed then."""
    world = World(tmp_path, watch=replace(WATCH, after_upload=AfterUpload.DELETE))
    lines = b"a line of twenty b.\n" * 1000
    world.files.write(b"app.log", lines)
    world.files.set_writer(b"app.log", WriterTest.OPEN)
    for _ in range(2):
        world.go_live()
        world.carry()
        grow(world, b"app.log")
    world.files.write(b"app.log", world.files.body(b"app.log")[: -len(MORE)])
    world.scan_bytes = SCAN_BYTES
    world.restart()
    world.clock.advance(minutes=1)
    world.files.set_writer(b"app.log", WriterTest.NONE)
    world.files.rename(b"app.log", b"app.log.1")
    world.clock.advance(minutes=20)
    world.files.write(b"other.log.1", b"other\n")
    world.discover()
    world.carry()
    assert b"other\n" in world.contents()
    compared = 0
    for _ in range(100):
        world.clock.advance(seconds=WATCH.settle_seconds)
        world.discovery.step()
        compared += world.discovery.is_comparing
        world.carry()
    assert compared > 0.8 * len(lines) / SCAN_BYTES
    world.clock.advance(hours=1)
    world.carry()
    assert b"app.log.1" not in world.files.paths()
    assert world.log.of("file.not_removed") == []


@pytest.mark.parametrize(("mib_per_second", "most"), [(1, PIECE_BYTES), (10**6, MOST_BYTES)])
def test_a_scan_reads_as_much_as_the_disk_gives_in_a_moment(
    tmp_path: Path, mib_per_second: float, most: int
) -> None:
    world = World(tmp_path)
    world.files.write(HUGE, bytes(300 * MIB))
    (row,) = world.journal.promise([promise(raw_end=300 * MIB)], now=0.0)
    row = replace(row, state=State.DONE, raw_sha256="another's")
    proofs = GrowthProofs(world.clock)
    lengths: list[int] = []
    with closing(world.files.open(WATCH, RelativePath(HUGE))) as source:
        read = source.read

        def slowly(offset: int, length: int) -> bytes:
            world.clock.advance(seconds=length / MIB / mib_per_second)
            lengths.append(length)
            return read(offset, length)

        source.read = slowly  # type: ignore[method-assign]
        for expected in (FIRST_BYTES, most):
            lengths.clear()
            proofs.begin()
            with pytest.raises(PortError, match="ComparisonPending"):
                proofs.has_bytes_of(source, [row])
            assert sum(lengths) == expected
