"""Small files: many on their way at once, in one thread."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.core.concurrency import FIRST_LIMIT, SMALL_BYTES
from shipper.core.types import AfterUpload, Compression, State
from shipper.ports import ObjectStore, PortError
from tests.fakes.pending_store import PendingStore
from tests.fakes.store import FakeStore
from tests.machines.world import MIB, WATCH, World, random_log

RAW = replace(WATCH, compression=Compression.NONE)


def pending(directory: Path, files: int, size_bytes: int = 100, **how: Any) -> tuple[World, Any]:
    """So many small files that were promised, and a bucket that waits to be told."""
    stores: list[PendingStore] = []

    def through(bucket: FakeStore) -> ObjectStore:
        stores.append(PendingStore(bucket))
        return stores[-1]

    world = World(directory, watch=RAW, through=through, **how)
    for number in range(files):
        world.files.write(b"app-%03d.log.1" % number, random_log(number, size_bytes))
    world.discover()
    return world, lambda: stores[-1]


def finish(world: World, store: Callable[[], PendingStore], rng: Random | None = None) -> None:
    for _ in range(1000):
        world.small.step()
        if not store().pending:
            break
        store().answer(rng)
    assert world.small.is_idle


def test_as_many_are_on_their_way_as_s3_takes_and_no_more(tmp_path: Path) -> None:
    world, store = pending(tmp_path, 200)
    world.small.step()
    assert len(store().pending) == FIRST_LIMIT
    finish(world, store)
    assert store().most == 64
    assert len(world.rows(State.DONE)) == 200
    assert world.is_empty_handed()


def test_what_is_on_its_way_has_room_in_the_memory_for_small_files(tmp_path: Path) -> None:
    world, store = pending(tmp_path, 30, size_bytes=MIB // 2)
    world.memory_limit_bytes = 16 * MIB
    world.restart()
    assert world.small.others.small_bytes == 4 * MIB // 16
    world.memory_limit_bytes = 32 * MIB
    world.restart()
    assert world.small.others.small_bytes == MIB // 2
    world.small.step()
    assert 2 <= len(store().pending) < FIRST_LIMIT
    finish(world, store)
    assert store().most * MIB // 2 <= world.small_budget.total_bytes * 10 / 16
    assert len(world.rows(State.DONE)) == 30
    assert world.is_empty_handed()


def test_others_have_what_is_larger_and_what_takes_long_to_compare(tmp_path: Path) -> None:
    world, store = pending(tmp_path, 1, size_bytes=SMALL_BYTES + 1)
    world.files.write(b"small.log.1", b"hello\n")
    world.discover()
    world.small.step()
    assert len(store().pending) == 1
    store().answer()
    assert world.small.step() > 0
    assert [row.path for row in world.rows(State.DONE)] == [b"small.log.1"]
    ((large,), _) = world.carrier.claim(world.small.others, 9, world.clock.now())
    assert large.raw_bytes == SMALL_BYTES + 1


def test_a_stop_lets_what_is_on_its_way_end_and_gives_the_others_back(tmp_path: Path) -> None:
    world, store = pending(tmp_path, 40, size_bytes=MIB // 2)
    world.memory_limit_bytes = 32 * MIB
    world.restart()
    world.small.step()
    under_way = len(store().pending)
    world.stopping.set()
    while store().pending:
        store().answer()
    world.small.finish()
    assert world.small.is_idle
    assert len(world.rows(State.DONE)) == under_way
    claimed, _ = world.carrier.claim(world.small.others, 99, world.clock.now())
    assert claimed == []
    world.stopping.clear()
    finish(world, store)
    assert len(world.rows(State.DONE)) == 40


def test_a_stop_in_the_middle_of_a_step_ends_it(tmp_path: Path) -> None:
    """What would begin now would end at once, and be due again."""
    world, _ = pending(tmp_path, 100)
    read = world.files.open

    def stopped_by(*arguments: Any) -> Any:
        world.stopping.set()
        return read(*arguments)

    world.restart()
    world.files.open = stopped_by  # type: ignore[assignment, method-assign]
    world.small.step()
    world.small.finish()
    assert world.small.is_idle
    assert len(world.log.of("shipment.interrupted")) <= FIRST_LIMIT + 64


def test_large_files_are_removed_by_the_others(tmp_path: Path) -> None:
    """The whole of it may have to be read before that."""
    world = World(tmp_path, watch=replace(RAW, after_upload=AfterUpload.DELETE))
    world.files.write(b"app.log.1", random_log(1, SMALL_BYTES + 1))
    world.discover()
    world.carry()
    world.clock.advance(minutes=15)
    world.small.step()
    assert world.rows(State.VERIFIED)
    world.carry()
    assert world.files.paths() == []


def test_a_stop_waits_for_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, store = pending(tmp_path, 3)
    world.small.step()
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        store().answer()

    monkeypatch.setattr(world.small.tasks, "wait", wait)
    world.small.finish()
    assert len(waits) == 3
    assert len(world.rows(State.DONE)) == 3


def test_at_a_shut_gate_one_is_tried_and_the_others_follow_when_it_passes(tmp_path: Path) -> None:
    world, store = pending(tmp_path, 20)
    world.store.outage = PortError("NoSuchBucket", status=404)
    finish(world, store)
    assert world.gate.reason() is not None
    world.store.outage = None
    world.clock.advance(minutes=1)
    world.small.step()
    assert len(store().pending) == 1
    store().answer()
    world.clock.advance(minutes=1)
    world.small.step()
    assert len(store().pending) == FIRST_LIMIT
    finish(world, store)
    world.clock.advance(minutes=15)
    finish(world, store)
    assert len(world.rows(State.DONE)) == 20
    assert [row.attempts for row in world.rows()] == [0] * 20


def test_slow_down_leaves_fewer_on_their_way_and_costs_no_file(tmp_path: Path) -> None:
    world, store = pending(tmp_path, 100)
    world.small.step()
    world.store.fail_next("PutObject", PortError("SlowDown", status=503))
    store().answer()
    world.small.step()
    assert world.limiter.allowed == FIRST_LIMIT // 2
    for _ in range(3):
        finish(world, store)
        world.clock.advance(minutes=15)
    assert len(world.rows(State.DONE)) == 100


def test_removals_of_many_files_wait_for_their_listings_together(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(RAW, after_upload=AfterUpload.DELETE))
    for number in range(50):
        world.files.write(b"app-%03d.log.1" % number, b"%d\n" % number)
    world.discover()
    world.small.step()
    world.clock.advance(minutes=15)
    world.small.step()
    assert world.files.paths() == []
    assert len(world.rows(State.DONE)) == 50


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_in_whatever_order_answers_come_or_are_lost_every_file_is_stored_once(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = Random(seed)
    world, store = pending(tmp_path_factory.mktemp("world"), rng.randint(1, 40))
    for _ in range(rng.randint(0, 60)):
        world.small.step()
        match rng.randrange(8):
            case 0:
                store().lose(rng)
                world.restart()
            case 1:
                failing = rng.choice(["SlowDown", "Timeout", "AccessDenied", "ExpiredToken"])
                lost = rng.random() < 0.5
                world.store.fail_next("PutObject", PortError(failing), after_effect=lost)
            case 2:
                world.clock.advance(seconds=rng.random() * 100)
            case _:
                if store().pending:
                    store().answer(rng)
    for _ in range(10):
        finish(world, store, rng)
        world.clock.advance(minutes=15)
    assert {row.state for row in world.rows()} == {State.DONE}
    assert sorted(world.contents()) == sorted(
        random_log(number, 100) for number in range(len(world.rows()))
    )
    world.stop()
