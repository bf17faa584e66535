"""Descriptors that are kept while their shipment waits."""

from pathlib import Path

from shipper.core.types import RelativePath, ShipmentId
from shipper.ports import Source
from shipper.services.held import Held
from tests.fakes.clock import FakeClock
from tests.fakes.files import FakeFiles
from tests.fakes.world import WATCH, World

ONE, TWO = ShipmentId(1), ShipmentId(2)


def opened(files: FakeFiles, body: bytes = b"x" * 10) -> Source:
    files.write(b"a.log.1", body)
    return files.open(WATCH, RelativePath(b"a.log.1"))


def test_a_kept_source_is_lent_again_and_again_until_it_is_dropped() -> None:
    files, held = FakeFiles(FakeClock()), Held()
    held.keep(ONE, opened(files))
    for _ in range(2):
        with held.lend(ONE) as source:
            assert source is not None
            assert source.read(0, 3) == b"xxx"
    held.drop(ONE)
    held.drop(ONE)
    with held.lend(ONE) as source:
        assert source is None
    assert files.open_sources == 0


def test_a_source_that_is_lent_is_still_held_so_that_nobody_opens_another() -> None:
    files, held = FakeFiles(FakeClock()), Held()
    held.keep(ONE, opened(files))
    with held.lend(ONE):
        assert held.has(ONE)
        held.keep(ONE, opened(files))
    held.close()
    assert files.open_sources == 0


def test_the_budget_is_of_files_and_of_bytes() -> None:
    files = FakeFiles(FakeClock())
    few, small = Held(files=1), Held(total_bytes=15)
    for held in (few, small):
        held.keep(ONE, opened(files))
        assert not held.has_room(10)
        held.keep(TWO, opened(files))
        assert (held.has(ONE), held.has(TWO)) == (True, False)
        held.close()
    assert files.open_sources == 0


def test_a_source_that_can_tell_nothing_of_itself_is_kept_all_the_same() -> None:
    files, held = FakeFiles(FakeClock()), Held()
    source = opened(files)
    source.close()
    held.keep(ONE, source)
    assert held.has(ONE)


def test_a_second_source_of_the_same_shipment_is_closed() -> None:
    files, held = FakeFiles(FakeClock()), Held()
    held.keep(ONE, opened(files))
    held.keep(ONE, opened(files))
    assert files.open_sources == 1


def test_an_exhausted_budget_of_held_files_costs_no_shipment(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.discovery._held = Held(files=0)
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
    assert not world.held.has(world.rows()[0].id)
    world.files.deny(b"app.log.1", is_denied=False)
    world.carry()
    assert world.contents() == [b"one\n"]
