"""Space is freed in good time, the oldest first, and never by what S3 has not confirmed."""

from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import AfterUpload, Compression, State
from shipper.ports import PortError
from shipper.services.housekeeping import Housekeeping
from tests.machines.world import WATCH, World

HOUR = 3600.0


def deleting(tmp_path: Path, *, delete_after_seconds: float = 600.0) -> World:
    watch = replace(
        WATCH,
        compression=Compression.NONE,
        after_upload=AfterUpload.DELETE,
        delete_after_seconds=delete_after_seconds,
    )
    return World(tmp_path, watch=watch)


def put(world: World, name: bytes, *, hours_old: float = 0.0) -> None:
    """A log that was last written so long ago."""
    world.files.write(name, name)
    world.files.touch(name, int((world.clock.now() - hours_old * HOUR) * 1e9))


def removals(world: World) -> list[bytes]:
    """From now on, the names in the order in which they go."""
    gone: list[bytes] = []
    names = set(world.files.paths())

    def see(effect: str) -> None:
        if effect == "after remove":
            gone.extend(sorted(names - {*world.files.paths(), *gone}))

    world.files.effect = see
    return gone


def housekeeping(world: World) -> Housekeeping:
    """One that has seen the clocks as they are."""
    one = Housekeeping(
        watches=[],
        files=world.files,
        journal=world.journal,
        held=world.held,
        held_budget=world.held_budget,
        clock=world.clock,
        longest_wait_seconds=world.watch.delete_after_seconds,
        roots=world.roots,
        bugs=world.bugs,
        log=world.log,
    )
    one.step()
    return one


def test_logs_that_are_found_together_go_the_oldest_first(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    for name, hours in ((b"a.log.1", 2), (b"b.log.1", 9), (b"c.log.1", 5), (b"d.log.1", 1)):
        put(world, name, hours_old=hours)
    gone = removals(world)
    world.run(rounds=2)
    assert gone == [b"b.log.1", b"c.log.1", b"a.log.1", b"d.log.1"]
    shipped = [call.key for call in world.store.calls if call.operation == "PutObject"]
    assert [key.split("/")[2][0] for key in shipped] == ["b", "c", "a", "d"]


def test_after_an_outage_logs_go_in_the_order_of_their_rotation(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    world.store.outage = PortError("Unreachable")
    for number in (3, 1, 2):
        put(world, b"app.log.%d" % number)
        world.discover()
        world.carry()
        world.clock.advance(hours=3)
    world.store.outage = None
    gone = removals(world)
    world.journal.queue.make_due(world.clock.now())
    world.clock.advance(hours=1)
    world.run(rounds=2)
    assert gone == [b"app.log.3", b"app.log.1", b"app.log.2"]


def test_removals_do_not_wait_for_a_backlog_of_uploads(tmp_path: Path) -> None:
    world = deleting(tmp_path, delete_after_seconds=60.0)
    for number in range(20):
        put(world, b"app.log.%02d" % number, hours_old=20 - number)
    world.discover()
    while world.store.operations().count("PutObject") < 5:
        world.carrier.step()
    world.clock.advance(minutes=2)
    gone = removals(world)
    while world.store.operations().count("PutObject") < 10:
        world.carrier.step()
    assert gone == [b"app.log.%02d" % number for number in range(len(gone))]
    assert len(gone) >= 4, "one for every upload, and not after the last of them"


@pytest.mark.parametrize("answer", ["missing", "another size", "another ETag", "no answer"])
def test_nothing_goes_that_s3_does_not_confirm(tmp_path: Path, answer: str) -> None:
    world = deleting(tmp_path)
    put(world, b"app.log.1")
    world.discover()

    def lose(effect: str) -> None:
        if effect != "PutObject.after":
            return
        key = world.rows()[0].key
        if answer == "no answer":
            world.store.outage = PortError("Unreachable")
            return
        world.store.remove(key)
        if answer != "missing":
            world.store.place(key, b"app.log.2" if answer == "another ETag" else b"app")

    world.store.effect = lose
    for _ in range(10):
        world.carry()
        world.clock.advance(hours=1)
        world.discovery.step()
        assert world.rows()[0].state is not State.VERIFIED
        assert world.files.body(b"app.log.1") == b"app.log.1"


def test_a_restart_neither_forgets_nor_shortens_the_delay(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    put(world, b"app.log.1")
    world.discover()
    world.carry()
    for _ in range(3):
        world.clock.advance(minutes=3)
        world.restart()
        world.journal.queue.make_due(world.clock.now())  # as every start does
        world.carry()
        assert world.files.paths() == [b"app.log.1"]
    world.clock.advance(minutes=1)
    world.restart()
    world.carry()
    assert world.files.paths() == []


@pytest.mark.parametrize("hours", [-30.0, 30.0], ids=["back", "forward"])
def test_a_clock_that_is_set_neither_hastens_nor_delays_a_removal(
    tmp_path: Path, hours: float
) -> None:
    world = deleting(tmp_path)
    put(world, b"app.log.1")
    world.discover()
    world.carry()
    keeper = housekeeping(world)
    world.clock.set_wall(world.clock.now() + hours * HOUR)
    keeper.step()
    world.clock.advance(minutes=9)
    world.carry()
    assert world.files.paths() == [b"app.log.1"]
    world.clock.advance(minutes=2)
    world.carry()
    assert world.files.paths() == []


def test_a_clock_set_back_while_nobody_ran_delays_a_removal_once_more_at_most(
    tmp_path: Path,
) -> None:
    world = deleting(tmp_path)
    put(world, b"app.log.1")
    world.discover()
    world.carry()
    world.clock.set_wall(world.clock.now() - 30 * HOUR)
    world.restart()
    housekeeping(world)
    latest = max(600.0, world.journal.queue.next_due_at() or 0.0) - world.clock.now()
    assert 0 < latest <= 600.0
    world.clock.advance(minutes=11)
    world.carry()
    assert world.files.paths() == []
