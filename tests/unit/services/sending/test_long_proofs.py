"""A proof that takes long runs behind uploads, one at a time, and ends when it is told to."""

import bz2
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shipper.core.types import State
from shipper.ports import PortError, Readable
from shipper.services.sending import duplicates as twins_module
from tests.machines.world import World

BODY = b"a line of a log\n" * 5000
OTHER = b"a line of another log\n" * 100


class Stepping:
    """A decoder that says when it gives a piece."""

    def __init__(self, world: World, meanwhile: Callable[[], None]) -> None:
        self._decoded = world.carrier._duplicates._encoder.decoded
        self._meanwhile = meanwhile

    def decoded(self, source: Readable, extension: str, *, limit_bytes: int) -> Iterator[bytes]:
        """Small pieces, and what happens in the world before each."""
        for piece in self._decoded(source, extension, limit_bytes=limit_bytes):
            for at in range(0, len(piece), 10_000):
                self._meanwhile()
                yield piece[at : at + 10_000]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Every proof is a long one, and there are two copies to prove."""
    world = World(tmp_path)
    world.at_once_bytes = 0
    world.restart()
    for number in (1, 2):
        world.files.write(b"app.log.%d" % number, BODY * number)
    world.run(rounds=1)
    mtime_ns = world.rows()[0].mtime_ns
    for number in (1, 2):
        world.files.write(b"app.log.%d.bz2" % number, bz2.compress(BODY * number))
        world.files.touch(b"app.log.%d.bz2" % number, mtime_ns)
        world.files.delete(b"app.log.%d" % number)
    world.discover()
    return world


def during(world: World, happens: Callable[[], None]) -> None:
    """Let something happen before every piece."""
    stepping: Any = Stepping(world, happens)
    world.carrier._duplicates._encoder = stepping


def no_twin(world: World) -> None:
    """A file that looks like a copy of both logs and is none of either."""
    world.files.write(b"app.log.3.bz2", bz2.compress(BODY[:-1] + b"!"))
    world.files.touch(b"app.log.3.bz2", world.rows()[0].mtime_ns)
    world.carry()
    world.discover()


def test_uploads_that_fall_due_go_first(world: World) -> None:
    """With a single worker, too."""
    order: list[str] = []

    def a_log_is_rotated() -> None:
        if not order:
            order.append("rotated")
            world.files.write(b"web.log.1", OTHER)
            world.discover()
        elif world.row(b"web.log.1").state is State.DONE and "shipped" not in order:
            order.append("shipped")
            order.append(world.row(b"app.log.1.bz2").state)

    during(world, a_log_is_rotated)
    world.carry()
    assert order == ["rotated", "shipped", State.READY]
    assert world.row(b"app.log.1.bz2").state is State.DUPLICATE


def test_a_second_long_proof_waits_for_its_turn(world: World) -> None:
    waiting: list[tuple[str, str, int]] = []

    def another_worker_comes() -> None:
        world.carrier.step()
        row = world.row(b"app.log.2.bz2")
        waiting.append((row.state, row.code, row.attempts))

    during(world, another_worker_comes)
    world.carrier.step()
    assert waiting[0] == (State.READY, "TwinUndecided", 0)
    world.clock.advance(seconds=twins_module.TURN_SECONDS)
    world.carry()
    assert {row.state for row in world.rows()} == {State.DONE, State.DUPLICATE}


def test_a_proof_ends_when_the_daemon_stops(world: World) -> None:
    during(world, world.stopping.set)
    world.carrier.step()
    assert world.row(b"app.log.1.bz2").state is State.READY
    assert world.log.of("shipment.interrupted")
    world.stopping.clear()
    world.restart()
    world.carry()
    assert world.row(b"app.log.1.bz2").state is State.DUPLICATE


def test_no_long_proof_is_tried_while_the_gate_is_shut(world: World) -> None:
    """The one shipment that is let through is to find out whether writes pass."""
    world.gate.shut(PortError("AccessDenied"), generation=world.generation)
    world.clock.advance(minutes=1)
    world.carrier.step()
    assert world.row(b"app.log.1.bz2").code == "TwinUndecided"
    assert world.gate.reason() is not None


def test_a_refuted_pair_is_not_tried_again(world: World) -> None:
    tried: list[None] = []
    no_twin(world)
    during(world, lambda: tried.append(None))
    world.store.outage = PortError("SlowDown")
    world.run(rounds=3)
    once = len(tried)
    assert once > 0
    world.run(rounds=3)
    assert len(tried) == once


def test_refuted_pairs_are_forgotten_some_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twins_module, "REMEMBERED", 1)
    no_twin(world)
    world.carry()
    assert len(world.carrier._duplicates._refuted) == 1
    assert world.row(b"app.log.3.bz2").state is State.DONE
