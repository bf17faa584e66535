"""A rotator deletes the oldest in an outage: nothing is lost within the budget, all is said."""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.types import ShipmentId, State
from shipper.ports import PortError
from shipper.services.sources.held_budget import HeldBudget, beyond_budget
from shipper.services.sources.held_files import LastCopy
from tests.fakes.claims import claim
from tests.machines.world import WATCH, World

KIB = 1024
COPIES = st.builds(
    LastCopy,
    shipment_id=st.integers(1, 10**6).map(ShipmentId),
    mtime_ns=st.integers(-(10**6), 10**6),
    size_bytes=st.integers(1, 1000),
)
MANY = st.lists(COPIES, max_size=20, unique_by=lambda copy: copy.shipment_id)


def copy(number: int, size_bytes: int) -> LastCopy:
    """The n-th oldest."""
    return LastCopy(ShipmentId(number), number, size_bytes)


def beyond(copies: list[LastCopy], budget_bytes: int) -> list[int]:
    return [copy.shipment_id for copy in beyond_budget(copies, budget_bytes)]


def test_the_newest_are_let_go_first() -> None:
    assert beyond([copy(3, 10), copy(1, 10), copy(2, 10)], 20) == [3]


def test_a_file_that_is_too_large_does_not_cost_the_small_ones() -> None:
    assert beyond([copy(1, 1000), copy(2, 10), copy(3, 10)], 20) == [1]


@given(MANY, st.integers(0, 3000))
def test_what_is_kept_is_within_the_budget_and_nothing_else_would_fit(
    copies: list[LastCopy], budget_bytes: int
) -> None:
    let_go = beyond_budget(copies, budget_bytes)
    left = budget_bytes - sum(one.size_bytes for one in copies if one not in let_go)
    assert left >= 0
    assert all(one.size_bytes > left for one in let_go)


@given(MANY, st.integers(0, 3000))
def test_which_are_let_go_does_not_depend_on_the_order_of_asking(
    copies: list[LastCopy], budget_bytes: int
) -> None:
    assert beyond_budget(copies, budget_bytes) == beyond_budget(copies[::-1], budget_bytes)


def rotate(world: World, body: bytes, *, keep: int) -> None:
    """As logrotate with ``rotate N``: shift, create, and delete what is one too many."""
    names = [b"app.log.%d" % number for number in range(1, keep + 2)]
    for older, newer in reversed(list(zip(names[1:], names, strict=False))):
        if newer in world.files.paths():
            world.files.rename(newer, older)
    world.files.write(names[0], body)
    if names[-1] in world.files.paths():
        world.files.delete(names[-1])
    world.discover()
    world.housekeeping.step()


def an_outage(
    world: World, rotations: int, *, keep: int = 1, is_tried: bool = True
) -> list[bytes]:
    """Rotate while nothing can be sent; what was written.

    Of what was tried, S3 has to be asked before it is called gone.
    """
    world.store.outage = PortError("Unreachable")
    bodies = [bytes([65 + number]) * KIB for number in range(rotations)]
    for body in bodies:
        rotate(world, body, keep=keep)
        if is_tried:
            world.carry()
        world.clock.advance(minutes=5)
    return bodies


def end_of_outage(world: World) -> None:
    world.store.outage = None
    world.clock.advance(minutes=10)
    world.run(rounds=2)


@pytest.mark.parametrize("stored", [False, True])
def test_a_rotator_that_keeps_one_file_loses_nothing_in_an_outage(
    tmp_path: Path, stored: bool
) -> None:
    world = World(tmp_path, stored=stored)
    bodies = an_outage(world, rotations=8)
    assert world.held.unlinked_bytes == 7 * KIB
    assert world.files.open_sources == (16 if stored else 8)
    end_of_outage(world)
    assert sorted(world.contents()) == bodies
    assert "held.let_go" not in world.log.events
    world.housekeeping.step()
    assert (world.held.unlinked_bytes, world.files.open_sources) == (0, 0)
    assert world.stored.names() == []


@pytest.mark.parametrize("stored", [False, True])
def test_what_is_beyond_the_budget_is_gone_at_once_and_the_newest_of_it(
    tmp_path: Path, stored: bool
) -> None:
    world = World(tmp_path, held_bytes=3 * KIB, stored=stored)
    bodies = an_outage(world, rotations=8, is_tried=False)
    gone = world.rows(State.GONE)
    assert len(gone) == 4
    assert [fields["shipment"] for fields in world.log.of("held.let_go")] == [
        row.id for row in gone
    ]
    assert {(level, event) for level, event, _ in world.log.records if "let_go" in event} == {
        ("error", "held.let_go")
    }
    vanished = world.log.of("source.vanished")
    assert [(fields["shipment"], fields["state"]) for fields in vanished] == [
        (row.id, "GONE") for row in gone
    ]
    assert world.held.unlinked_bytes <= 4 * KIB
    end_of_outage(world)
    assert sorted(world.contents()) == bodies[:3] + bodies[7:]
    assert (
        sum(total.files for total in world.journal.figures.totals() if total.state is State.GONE)
        == 4
    )


def test_what_was_tried_is_gone_once_s3_was_asked_for_it(tmp_path: Path) -> None:
    world = World(tmp_path, held_bytes=3 * KIB)
    bodies = an_outage(world, rotations=8)
    assert world.rows(State.GONE) == []
    assert len(world.log.of("held.let_go")) == 4
    end_of_outage(world)
    world.run(rounds=2)
    assert sorted(world.contents()) == bodies[:3] + bodies[7:]
    assert len(world.rows(State.GONE)) == len(world.log.of("source.vanished")) == 4


def test_more_files_than_may_be_held_are_the_oldest(tmp_path: Path) -> None:
    world = World(tmp_path, held_files=3)
    world.store.outage = PortError("Unreachable")
    for number in (5, 2, 4, 1, 3):
        path = b"app.log.%d" % number
        world.files.write(path, b"%d\n" % number)
        world.files.touch(path, 10**18 - number)
    world.discover()
    assert world.files.open_sources == 3
    held = [row.path for row in world.rows() if world.held.has(row)]
    assert sorted(held) == [b"app.log.3", b"app.log.4", b"app.log.5"]
    for number in (5, 4, 3):
        world.files.delete(b"app.log.%d" % number)
    end_of_outage(world)
    assert sorted(world.contents()) == [b"1\n", b"2\n", b"3\n", b"4\n", b"5\n"]


def test_a_file_that_was_never_held_is_gone_when_it_is_tried(tmp_path: Path) -> None:
    world = World(tmp_path, held_files=0)
    an_outage(world, rotations=3)
    end_of_outage(world)
    assert len(world.rows(State.GONE)) == 2
    assert len(world.log.of("source.vanished")) == 2


def test_what_a_worker_has_in_its_hands_is_not_let_go(tmp_path: Path) -> None:
    world = World(tmp_path, held_bytes=0)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    row = claim(world.journal.queue, world.clock.now())
    assert row is not None
    world.files.delete(b"app.log.1")
    world.housekeeping.step()
    assert world.held.has(row)
    world.journal.queue.release(row.id)
    world.carry()
    assert world.contents() == [b"one\n"]


def test_what_is_parked_is_let_go_loudly_and_stays_parked(tmp_path: Path) -> None:
    world = World(tmp_path, held_bytes=0)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.store.fail_next("PutObject", PortError("KeyTooLongError"))
    world.carry()
    world.files.delete(b"app.log.1")
    world.housekeeping.step()
    (row,) = world.rows(State.PARKED)
    assert not world.held.has(row)
    assert [fields["code"] for fields in world.log.of("held.let_go")] == ["SourceVanished"]
    assert world.log.of("source.vanished") == []


def test_a_watch_that_is_gone_from_the_configuration_decides_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, held_bytes=0)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.files.delete(b"app.log.1")
    held_budget = HeldBudget(
        held=world.held,
        journal=world.journal,
        lookup=world.lookup,
        losses=world.losses,
        watches={},
        clock=world.clock,
        budget_bytes=0,
        bugs=world.bugs,
        log=world.log,
    )
    held_budget.enforce()
    assert [fields["code"] for fields in world.log.of("held.let_go")] == ["WatchRemoved"]
    assert world.rows()[0].state is State.READY


def test_a_file_that_is_found_by_its_name_is_let_go_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every file system tells the number of names right."""
    world = World(tmp_path, held_bytes=0)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    (row,) = world.rows()
    monkeypatch.setattr(world.held, "last_copies", lambda: [LastCopy(row.id, 0, 4)])
    world.housekeeping.step()
    assert not world.held.has(row)
    assert world.log.of("held.let_go") == []
    assert world.rows() == [row]


def test_a_full_journal_does_not_keep_the_disk_full(tmp_path: Path) -> None:
    world = World(tmp_path, held_bytes=0)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.files.delete(b"app.log.1")

    def full_disk(_: str) -> None:
        raise PortError("JournalUnwritable", "database or disk is full")

    world.journal.effect = full_disk
    world.housekeeping.step()
    assert world.files.open_sources == 0
    assert len(world.log.of("held.let_go")) == 1
    world.journal.effect = lambda name: None
    world.carry()
    assert [row.state for row in world.rows()] == [State.GONE]


def test_a_compressed_watch_is_held_like_any_other(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(WATCH, settle_seconds=1.0))
    bodies = an_outage(world, rotations=4)
    end_of_outage(world)
    assert sorted(world.contents()) == bodies


def test_a_log_that_is_let_go_and_stands_compressed_beside_it_is_not_lost(tmp_path: Path) -> None:
    body = b"a line of the log\n" * 1000
    world = World(tmp_path, held_bytes=KIB)
    world.files.write(b"app.log.1", body)
    world.discover()
    (row,) = world.rows()
    stat = world.files.write(b"app.log.2.gz", gzip.compress(body, mtime=0))
    world.journal.touched([(row.id, stat.mtime_ns, stat.ctime_ns)])
    world.files.delete(b"app.log.1")
    world.held_budget.enforce()
    assert world.rows()[0].state is State.SUPERSEDED
    assert world.log.of("source.vanished") == []
