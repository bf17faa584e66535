"""What keeps promised files while their shipment waits."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import AfterUpload, FileId, RelativePath, Shipment, ShipmentId, State
from shipper.ports import PortError, Source
from shipper.services.sources.held_files import HeldFiles
from tests.fakes.clock import FakeClock
from tests.fakes.clones import FakeClones, held_by
from tests.fakes.examples import shipment as a_ready_shipment
from tests.fakes.files import FakeFiles
from tests.machines.world import WATCH, World


class Shelf:
    """Promised files, the n-th oldest under the number n, and what holds them."""

    def __init__(self, held: HeldFiles) -> None:
        self.held = held
        self.files = FakeFiles(FakeClock())

    def promised(self, number: int, body: bytes = b"x" * 10) -> Shipment:
        path = b"%d.log.1" % number
        stat = self.files.write(path, body)
        self.files.touch(path, number)
        return a_shipment(number, path, stat.inode)

    def opened(self, shipment: Shipment) -> Source:
        return self.files.open(WATCH, shipment.path)

    def keep(self, *numbers: int) -> None:
        for number in numbers:
            shipment = self.promised(number)
            self.held.keep(shipment, self.opened(shipment))


def a_shipment(number: int, path: bytes, inode: int) -> Shipment:
    return a_ready_shipment(
        id=ShipmentId(number),
        path=RelativePath(path),
        file_id=FileId(inode, 4, "head"),
        mtime_ns=number,
    )


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(held_by(files=3))


def test_a_kept_source_is_lent_again_and_again_until_it_is_dropped(shelf: Shelf) -> None:
    one = shelf.promised(1)
    shelf.held.keep(one, shelf.opened(one))
    for _ in range(2):
        with shelf.held.lend(one) as source:
            assert source is not None
            assert source.read(0, 3) == b"xxx"
    shelf.held.drop(one.id)
    shelf.held.drop(one.id)
    with shelf.held.lend(one) as source:
        assert source is None
    assert shelf.files.open_sources == 0


def test_a_source_that_is_dropped_while_it_is_lent_is_closed_when_it_is_given_back(
    shelf: Shelf,
) -> None:
    """A descriptor closed under a reader would be another file's by its next read."""
    one = shelf.promised(1)
    shelf.held.keep(one, shelf.opened(one))
    with shelf.held.lend(one) as source, shelf.held.lend(one) as again:
        assert source is again
        assert source is not None
        shelf.held.drop(one.id)
        assert not shelf.held.has(one)
        assert source.read(0, 3) == b"xxx"
    assert shelf.files.open_sources == 0


def test_descriptors_that_are_lent_and_dropped_by_many_are_never_closed_under_a_reader() -> None:
    shelf = Shelf(held_by(files=3))
    one = shelf.promised(1)
    failures: list[BaseException] = []

    def borrow() -> None:
        try:
            for _ in range(300):
                with shelf.held.lend(one) as source:
                    assert source is None or source.read(0, 3) == b"xxx"
        except BaseException as error:  # noqa: BLE001  (a thread's top)
            failures.append(error)

    readers = [threading.Thread(target=borrow) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(300):
        shelf.held.keep(one, shelf.opened(one))
        shelf.held.drop(one.id)
    for reader in readers:
        reader.join()
    assert failures == []


def test_a_second_source_of_the_same_shipment_is_closed(shelf: Shelf) -> None:
    one = shelf.promised(1)
    for _ in range(2):
        shelf.held.keep(one, shelf.opened(one))
    assert not shelf.held.wants(one)
    assert shelf.files.open_sources == 1


def test_a_number_that_is_used_again_is_not_taken_for_the_file_that_had_it(shelf: Shelf) -> None:
    one = shelf.promised(1)
    shelf.held.keep(one, shelf.opened(one))
    other = replace(shelf.promised(2), id=one.id)
    assert not shelf.held.has(other)
    with shelf.held.lend(other) as source:
        assert source is None
    shelf.held.keep(other, shelf.opened(other))
    assert shelf.held.has(other)
    assert not shelf.held.has(one)
    assert shelf.files.open_sources == 1


def test_the_oldest_are_held_whatever_the_order_in_which_they_are_found(shelf: Shelf) -> None:
    shelf.keep(5, 3, 4)
    assert not shelf.held.wants(shelf.promised(6))
    assert shelf.held.wants(shelf.promised(1))
    shelf.keep(6, 1, 2)
    assert sorted(shelf.held.shipments()) == [1, 2, 3]
    assert shelf.files.open_sources == 3


def test_what_has_lost_its_name_is_displaced_by_nothing(shelf: Shelf) -> None:
    shelf.keep(3, 4, 5)
    shelf.files.delete(b"5.log.1")
    shelf.keep(2)
    assert sorted(shelf.held.shipments()) == [2, 3, 5]
    shelf.files.delete(b"2.log.1")
    shelf.files.delete(b"3.log.1")
    shelf.keep(1)
    assert sorted(shelf.held.shipments()) == [2, 3, 5]
    assert not shelf.held.wants(shelf.promised(1))
    assert shelf.files.open_sources == 3
    shelf.held.close()
    assert shelf.files.open_sources == 0


def test_a_source_that_can_tell_nothing_of_itself_is_kept_and_not_displaced(shelf: Shelf) -> None:
    for number in (3, 4, 5):
        shipment = shelf.promised(number)
        source = shelf.opened(shipment)
        source.close()
        shelf.held.keep(shipment, source)
    shelf.keep(1)
    assert sorted(shelf.held.shipments()) == [3, 4, 5]
    assert shelf.held.last_copies() == []


def test_only_what_has_no_name_counts_and_only_when_it_is_measured(shelf: Shelf) -> None:
    shelf.keep(1, 2)
    assert shelf.held.last_copies() == []
    shelf.files.delete(b"2.log.1")
    assert shelf.held.unlinked_bytes == 0
    assert [(copy.shipment_id, copy.size_bytes) for copy in shelf.held.last_copies()] == [(2, 10)]
    assert shelf.held.unlinked_bytes == 10
    assert shelf.held.counts() == (2, 0)


def test_what_is_dropped_while_it_is_measured_costs_nothing(shelf: Shelf) -> None:
    shelf.keep(1)
    holding = shelf.held._holdings[ShipmentId(1)]
    shelf.held.drop(ShipmentId(1))
    assert shelf.held._last_bytes(holding) == 0
    assert not shelf.held._is_last(holding)


def test_an_exhausted_budget_of_held_files_costs_no_shipment(tmp_path: Path) -> None:
    world = World(tmp_path, held_files=0)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.discovery.step()
    assert world.files.open_sources == 0
    world.run(rounds=1)
    assert world.contents() == [b"one\n"]


def test_a_waiting_file_is_held_again_after_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.restart()
    world.discovery.step()
    world.files.delete(b"app.log.1")
    world.carry()
    assert world.contents() == [b"one\n"]


def test_a_file_that_cannot_be_held_again_is_shipped_by_its_name(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.restart()
    world.files.deny(b"app.log.1")
    world.discovery.step()
    assert not world.held.has(world.rows()[0])
    world.files.deny(b"app.log.1", is_denied=False)
    world.files.fail_reads(b"app.log.1", PortError("Unreadable", "EIO"))
    world.discovery.step()
    assert world.files.open_sources == 0
    world.files.fail_reads(b"app.log.1", None)
    world.carry()
    assert world.contents() == [b"one\n"]


def test_a_name_that_leads_elsewhere_by_now_is_not_held(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.restart()
    open_ = world.files.open

    def shift(*arguments: object) -> Source:
        world.files.rename(b"app.log.1", b"app.log.2")
        world.files.write(b"app.log.1", b"two\n")
        world.files.open = open_  # type: ignore[method-assign]  # once
        return open_(*arguments)  # type: ignore[arg-type]  # as they came

    world.files.open = shift  # type: ignore[method-assign, assignment]  # a rotator at work
    world.discovery.step()
    assert not world.held.has(world.rows()[0])
    world.run(rounds=2)
    assert sorted(world.contents()) == [b"one\n", b"two\n"]
    assert {row.state for row in world.rows()} == {State.DONE}


def test_what_is_parked_is_held_until_an_operator_has_come(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.store.fail_next("PutObject", PortError("KeyTooLongError"))
    world.carry()
    assert world.rows()[0].state is State.PARKED
    assert world.held.has(world.rows()[0])
    world.restart()
    world.discovery.step()
    assert world.held.has(world.rows()[0])


def test_what_s3_was_seen_to_have_is_not_held_while_its_removal_waits(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(WATCH, after_upload=AfterUpload.DELETE))
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.carry()
    assert world.rows()[0].state is State.VERIFIED
    assert world.files.open_sources == 0


def test_clones_stay_when_everything_is_closed() -> None:
    clones = FakeClones()
    shelf = Shelf(held_by(clones))
    clones.refusal = PortError("CloneFailed", "quota")
    shelf.keep(1)
    assert shelf.held.counts() == (1, 0)
    shelf.held.close()
    assert shelf.files.open_sources == 0


@pytest.mark.parametrize(
    ("quiet_seconds", "shipped"),
    [(0, [b"one\n"]), (60, [b"one\n", b"two\n"])],
    ids=["still growing", "promised again"],
)
def test_a_file_that_grew_while_nothing_ran_is_held_all_the_same(
    tmp_path: Path, quiet_seconds: int, shipped: list[bytes]
) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.files.append(b"app.log.1", b"two\n")
    world.restart()
    world.discovery.step()
    world.clock.advance(seconds=quiet_seconds)
    world.discovery.step()
    world.files.delete(b"app.log.1")
    world.run()
    assert sorted(world.contents()) == shipped
    assert world.rows(State.GONE) == []
    assert world.files.open_sources == 0


def test_another_file_under_the_same_inode_is_not_held_for_the_first(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.restart()
    world.files.write(b"app.log.1", b"another\n")
    world.discovery.step()
    assert not world.held.shipments()
    world.files.fail_reads(b"app.log.1", PortError("Unreadable"))
    world.discovery.step()
    assert not world.held.shipments()
    assert world.files.open_sources == 0


def test_what_is_held_stays_so_under_another_configuration() -> None:
    shelf, stricter = Shelf(held_by(files=3)), held_by(files=1)
    shelf.keep(1, 2)
    shelf.held.change(
        cloning=stricter._cloning,
        is_named=stricter._is_named,
        files=1,
    )
    assert shelf.held.counts() == (2, 0)
    assert not shelf.held.wants(shelf.promised(3)), "there is less room than is taken"
