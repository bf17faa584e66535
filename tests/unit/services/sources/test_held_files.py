"""What keeps promised files while their shipment waits."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.lifecycle import SourceVanished
from shipper.core.types import (
    AfterUpload,
    ETag,
    FileId,
    RelativePath,
    Shipment,
    ShipmentId,
    State,
)
from shipper.edges.files.open_file import FileSource
from shipper.journal.journal import Journal
from shipper.ports import PortError, Source
from shipper.services.sources.held_files import (
    HeldFiles,
    affordable_files,
    needs_source,
    stored_name,
)
from tests.fakes.clock import FakeClock
from tests.fakes.descriptor_store import FakeDescriptorStore, held_by
from tests.fakes.examples import shipment as a_ready_shipment
from tests.fakes.files import FakeFiles
from tests.fakes.log import RecordingLog
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


def test_what_is_dropped_the_store_forgets() -> None:
    store = FakeDescriptorStore()
    shelf = Shelf(held_by(store, files=3))
    shelf.keep(3, 4, 5)
    shelf.files.delete(b"5.log.1")
    shelf.keep(2)
    for shipment_id in shelf.held.shipments():
        shelf.held.drop(shipment_id)
    assert (shelf.held.shipments(), store.names(), shelf.files.open_sources) == ([], [], 0)


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


# What the descriptor store gives back at the next start.


def stored(tmp_path: Path, body: bytes = b"one\n", **world: object) -> World:
    """A promised file that its rotator has deleted; it is in the descriptor store."""
    made = World(tmp_path, stored=True, **world)  # type: ignore[arg-type]  # by name
    made.files.write(b"app.log.1", body)
    made.discover()
    made.files.delete(b"app.log.1")
    assert len(made.stored.names()) == 1
    return made


def test_a_deleted_file_is_held_again_after_a_restart_and_shipped(tmp_path: Path) -> None:
    world = stored(tmp_path)
    world.restart()
    (row,) = world.rows()
    assert world.held.has(row)
    world.run(rounds=1)
    assert world.contents() == [b"one\n"]
    assert (world.stored.names(), world.files.open_sources) == ([], 0)
    assert world.log.of("held.unclaimed") == []


def test_what_is_held_when_the_daemon_stops_stays_in_the_store(tmp_path: Path) -> None:
    world = stored(tmp_path)
    names = world.stored.names()
    world.stop()
    assert world.stored.names() == names
    world.start()
    assert world.stored.names() == names


def test_what_was_held_is_held_again_even_where_fewer_may_be(tmp_path: Path) -> None:
    world = stored(tmp_path)
    world.files.write(b"app.log.2", b"two\n")
    world.discover()
    world.held_files = 1
    world.restart()
    assert len(world.held.shipments()) == 2
    world.files.write(b"app.log.3", b"three\n")
    world.discover()
    assert len(world.held.shipments()) == 2, "there is less room than is taken"


def test_what_finished_meanwhile_is_closed_without_a_word(tmp_path: Path) -> None:
    world = stored(tmp_path)
    (row,) = world.rows()
    world.journal.record(row, SourceVanished(world.clock.now()))
    world.restart()
    assert (world.stored.names(), world.files.open_sources) == ([], 0)
    assert world.log.of("held.unclaimed") == []


def test_a_deleted_file_whose_journal_was_lost_is_closed_loudly(tmp_path: Path) -> None:
    world = stored(tmp_path)
    (name,) = world.stored.names()
    world.lose_journal()
    assert (world.stored.names(), world.files.open_sources) == ([], 0)
    [said] = world.log.of("held.unclaimed")
    assert (said["name"], said["code"], said["size_bytes"]) == (name, "JournalLost", 4)


class Stale(FakeDescriptorStore):
    """Keeps one descriptor that fstat(2) refuses."""

    def kept(self) -> Iterator[tuple[str, Source]]:
        yield "one", FileSource(-1, "one")


def test_a_stored_file_that_cannot_be_asked_is_closed_and_said() -> None:
    """ESTALE, of a network's file; it ended every start."""
    log, held = RecordingLog(), held_by(Stale())
    held.restore(Journal.in_memory(), log)
    assert held.shipments() == []
    [said] = log.of("held.unclaimed")
    assert (said["name"], said["code"], said["size_bytes"]) == ("one", "JournalLost", 0)
    assert "cannot be told" in said["hint"]


def test_a_number_that_a_new_journal_uses_again_brings_back_no_other_file(tmp_path: Path) -> None:
    world = stored(tmp_path)
    (row,) = world.rows()
    other = FakeDescriptorStore()
    for name, source in world.stored.kept():
        other.put(name, source)
        source.close()
    world.lose_journal()
    world.files.write(b"app.log.1", b"of the new journal\n")
    world.discover()
    assert [new.id for new in world.rows()] == [row.id]
    for name, source in other.kept():
        world.stored.put(name, source)
        source.close()
    world.restart()
    assert world.held.has(world.rows()[0])
    assert [said["code"] for said in world.log.of("held.unclaimed")] == ["JournalLost"] * 2
    world.run(rounds=1)
    assert world.contents() == [b"of the new journal\n"]


def test_a_file_with_a_name_whose_journal_was_lost_is_found_by_it(tmp_path: Path) -> None:
    world = World(tmp_path, stored=True)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.lose_journal()
    assert world.log.of("held.unclaimed") == []
    world.run(rounds=1)
    assert world.contents() == [b"one\n"]


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_file_that_was_written_anew_is_not_held_again(tmp_path: Path, is_deleted: bool) -> None:
    world = World(tmp_path, stored=True)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.files.write(b"app.log.1", b"two\n")
    if is_deleted:
        world.files.delete(b"app.log.1")
    world.restart()
    assert (world.held.shipments(), world.stored.names()) == ([], [])
    codes = [said["code"] for said in world.log.of("held.unclaimed")]
    assert codes == (["SourceChanged"] if is_deleted else [])


def test_a_file_that_cannot_be_read_just_now_is_held_again(tmp_path: Path) -> None:
    world = World(tmp_path, stored=True)
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.files.fail_reads(b"app.log.1", PortError("Unreadable", "EIO"))
    world.restart()
    assert len(world.held.shipments()) == 1
    world.files.fail_reads(b"app.log.1", None)
    world.files.delete(b"app.log.1")
    world.run(rounds=1)
    assert world.contents() == [b"one\n"]


@pytest.mark.parametrize(
    "name", ["", "17", "stored", "shipment-1", "shipment--1-x", "shipment-\u0661-0123456789abcdef"]
)
def test_what_bears_another_name_is_closed(tmp_path: Path, name: str) -> None:
    world = stored(tmp_path)
    ((_, source),) = world.stored.kept()
    world.stored.put(name, source)
    source.close()
    world.restart()
    assert len(world.held.shipments()) == len(world.stored.names()) == 1
    assert [said["name"] for said in world.log.of("held.unclaimed")] == [name]


def test_the_stored_name_tells_whose_it_is_and_of_which_file() -> None:
    one = a_ready_shipment(id=ShipmentId(17))
    assert stored_name(one).startswith("shipment-17-")
    later = replace(one, mtime_ns=5, attempts=3, path=RelativePath(b"x"))
    assert stored_name(later) == stored_name(one)
    others = [
        replace(one, file_id=FileId(8, 4, "head")),
        replace(one, raw_end=101),
        replace(one, tail_digest="other"),
    ]
    assert len({stored_name(each) for each in [one, *others]}) == 4


# What needs a source, and how many may be held.


@pytest.mark.parametrize(
    ("wanted", "limit", "found"), [(256, 1024, 256), (900, 1024, 724), (9, 100, 0), (9, -1, 9)]
)
def test_descriptors_are_held_as_the_limit_of_open_files_allows(
    wanted: int, limit: int, found: int
) -> None:
    assert affordable_files(wanted, limit=limit, reserved=300) == found


@pytest.mark.parametrize("state", list(State))
def test_a_source_is_needed_until_a_listing_has_shown_the_object(state: State) -> None:
    unsent = state in (State.READY, State.UPLOADING, State.UPLOADED, State.PARKED)
    assert needs_source(a_ready_shipment(state=state)) is unsent


def test_a_parked_shipment_that_s3_has_needs_no_source() -> None:
    assert not needs_source(a_ready_shipment(state=State.PARKED, etag=ETag("")))
