"""When a file is compared with what was shipped, and for how long."""

import bz2
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shipper.core.types import State
from shipper.journal.queue import ANY_SIZE
from shipper.ports import Encoder, PortError, Readable
from shipper.services.sending import duplicates
from shipper.services.sending.proofs import (
    AT_ONCE_BYTES,
    PROOF_SECONDS,
    URGENT_PROOF_SECONDS,
    WAIT_SECONDS,
)
from tests.machines.world import MIB, World

BODY = b"a line of a log\n" * 5000
LONG = b"a line of a log\n" * (AT_ONCE_BYTES // 16 + 1)


class Counting:
    """An encoder that counts how often its decoder was begun."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.begun = 0

    def decoded(
        self, source: Readable, extension: str, *, limit_bytes: int, tick: Callable[[], None]
    ) -> Iterator[bytes]:
        self.begun += 1
        return self._encoder.decoded(source, extension, limit_bytes=limit_bytes, tick=tick)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def slow(world: World, happens: Callable[[], None]) -> Counting:
    """Let something happen before every read and after every piece."""
    duplicates = world.carrier.services.duplicates
    tick, encoder = duplicates.proofs.tick, Counting(duplicates.encoder)

    def slowed() -> None:
        happens()
        tick()

    duplicates.proofs.tick = slowed
    counting: Any = encoder
    duplicates.encoder = counting
    return encoder


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def copied(world: World) -> World:
    """A log that was shipped, and its copy, promised."""
    stat = world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    world.files.delete(b"app.log.1")
    world.files.write(b"app.log.2.bz2", bz2.compress(BODY))
    world.files.touch(b"app.log.2.bz2", stat.mtime_ns)
    world.discover()
    return world


@pytest.mark.parametrize("is_urgent", [False, True])
def test_a_proof_beyond_its_time_is_none_and_the_file_is_shipped(
    copied: World, is_urgent: bool
) -> None:
    copied.is_urgent = is_urgent
    seconds = URGENT_PROOF_SECONDS if is_urgent else PROOF_SECONDS
    slow(copied, lambda: copied.clock.advance(seconds=seconds))
    copied.carry()
    assert copied.row(b"app.log.2.bz2").state is State.DONE
    assert copied.store.objects()[copied.row(b"app.log.2.bz2").key] == bz2.compress(BODY)
    (warning,) = copied.log.of("duplicate.unproven")
    assert (warning["code"], warning["hint"]) == ("ProofTooLong", "it is shipped as it is")
    assert copied.log.of("archive.undecodable") == []


def test_a_proof_within_its_time_is_one(copied: World) -> None:
    slow(copied, lambda: copied.clock.advance(seconds=PROOF_SECONDS / 20))
    copied.carry()
    assert copied.row(b"app.log.2.bz2").state is State.DUPLICATE


def test_a_proof_that_took_too_long_is_not_tried_again(copied: World) -> None:
    encoder = slow(copied, lambda: copied.clock.advance(seconds=PROOF_SECONDS))
    copied.store.outage = PortError("SlowDown")
    copied.run(rounds=3)
    assert encoder.begun == 1


def test_a_proof_ends_when_the_daemon_stops(copied: World) -> None:
    slow(copied, copied.stopping.set)
    copied.carrier.step()
    assert copied.row(b"app.log.2.bz2").state is State.READY
    assert copied.log.of("shipment.interrupted")
    copied.stopping.clear()
    copied.restart()
    copied.carry()
    assert copied.row(b"app.log.2.bz2").state is State.DUPLICATE


def no_copy(world: World, name: bytes) -> None:
    """A file that looks like a copy of the log and is none."""
    world.files.write(name, bz2.compress(BODY[:-1] + b"!"))
    world.files.touch(name, world.rows()[0].mtime_ns)
    world.discover()


@pytest.fixture
def alone(world: World) -> World:
    """A log that was shipped, and is gone."""
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    world.files.delete(b"app.log.1")
    return world


def test_a_refuted_pair_is_not_tried_again(alone: World) -> None:
    no_copy(alone, b"app.log.3.bz2")
    encoder = slow(alone, lambda: None)
    alone.store.outage = PortError("SlowDown")
    alone.run(rounds=3)
    assert encoder.begun == 1


def test_pairs_are_forgotten_some_time(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "REMEMBERED", 1)
    no_copy(alone, b"app.log.3.bz2")
    no_copy(alone, b"app.log.4.bz2")
    alone.carry()
    assert len(alone.carrier.services.duplicates._refuted) == 1
    assert alone.row(b"app.log.4.bz2").state is State.DONE


# Whose turn it is.


@pytest.fixture
def archives(world: World) -> World:
    """Two long logs that were shipped, and their archives, promised."""
    names = (b"one", b"two")
    stats = [world.files.write(name + b".log.1", name + LONG) for name in names]
    world.run(rounds=1)
    for name, stat in zip(names, stats, strict=True):
        world.files.delete(name + b".log.1")
        world.files.write(name + b".log.2.gz", gzip.compress(name + LONG, 1))
        world.files.touch(name + b".log.2.gz", stat.mtime_ns)
    world.discover()
    assert len(world.rows(State.READY)) == 2
    world.store.calls.clear()
    return world


def add_log(world: World, name: bytes = b"new.log.1") -> None:
    world.files.write(name, b"a new line\n")
    world.discover()


def is_put_off(world: World, path: bytes) -> bool:
    """It waits, and that costs it no attempt."""
    row = world.row(path)
    assert row.due_at is not None
    wait = row.due_at - world.clock.now()
    is_waiting = (row.state, row.code) == (State.READY, "DuplicateUndecided")
    return is_waiting and row.attempts == 0 and 0 < wait <= WAIT_SECONDS


def test_one_long_proof_goes_on_at_a_time_and_others_carry_what_is_due(archives: World) -> None:
    waits: list[float] = []

    def meanwhile() -> None:
        """What another worker does during the first proof."""
        if encoder.begun == 1 and not waits:
            waits.append(archives.carrier.step())
            assert is_put_off(archives, b"two.log.2.gz")
            add_log(archives)
            waits.append(archives.carrier.step())
            assert archives.row(b"new.log.1").state is State.DONE

    encoder = slow(archives, meanwhile)
    archives.carrier.step()
    assert waits == [0.0, 0.0]
    assert archives.row(b"one.log.2.gz").state is State.DUPLICATE
    archives.clock.advance(seconds=WAIT_SECONDS)
    archives.carry()
    assert archives.row(b"two.log.2.gz").state is State.DUPLICATE
    assert encoder.begun == 2


def test_a_short_proof_goes_on_beside_a_long_one(archives: World) -> None:
    stat = archives.files.write(b"app.log.1", BODY)
    archives.discover()

    def meanwhile() -> None:
        """Another worker sends the log, and proves the archive that its rotator makes."""
        if encoder.begun > 1 or archives.files.paths().count(b"app.log.1.gz"):
            return
        archives.files.write(b"app.log.1.gz", gzip.compress(BODY))
        archives.files.touch(b"app.log.1.gz", stat.mtime_ns)
        archives.carry()
        archives.discover()
        archives.carry()
        assert archives.row(b"app.log.1.gz").state is State.DUPLICATE

    encoder = slow(archives, meanwhile)
    archives.carrier.step()
    assert archives.row(b"app.log.1.gz").state is State.DUPLICATE


def test_the_worker_for_small_files_begins_no_long_proof(archives: World) -> None:
    encoder = slow(archives, lambda: None)
    archives.small.step()
    assert is_put_off(archives, b"one.log.2.gz")
    assert encoder.begun == 0
    archives.clock.advance(seconds=WAIT_SECONDS)
    archives.carry()
    assert len(archives.rows(State.DUPLICATE)) == 2


def test_no_long_proof_is_begun_on_trial_and_the_gate_opens_with_the_first_write(
    archives: World,
) -> None:
    archives.gate.shut(PortError("AccessDenied"), generation=0)
    archives.clock.advance(seconds=60)
    encoder = slow(archives, lambda: archives.clock.advance(seconds=PROOF_SECONDS / 2))
    archives.carrier.step()
    assert is_put_off(archives, b"two.log.2.gz")
    add_log(archives)
    archives.clock.advance(seconds=60)
    began = archives.clock.monotonic()
    while archives.gate.reason() is not None:
        archives.clock.advance(seconds=archives.carrier.step())
        archives.clock.advance(seconds=1)
        assert archives.clock.monotonic() < began + 10
    assert encoder.begun == 0
    assert archives.row(b"new.log.1").state is State.DONE


def test_what_else_is_due_in_a_drain_goes_before_long_proofs(archives: World) -> None:
    archives.is_urgent = True
    archives.files.write(b"now.log", b"the last line\n" * MIB)
    archives.go_live(whole=True)
    encoder = slow(archives, lambda: archives.clock.advance(seconds=0.1))
    for _ in range(3):
        archives.carrier.step()
    assert archives.row(b"now.log").state is State.DONE
    assert encoder.begun == 0
    archives.clock.advance(seconds=WAIT_SECONDS)
    archives.carry()
    archives.clock.advance(seconds=WAIT_SECONDS)
    archives.carry()
    assert len(archives.rows(State.DUPLICATE)) == 2


def test_a_long_proof_gives_way_when_a_drain_begins_and_something_is_due(archives: World) -> None:
    began: list[float] = []

    def notice() -> None:
        if not began:
            archives.is_urgent = True
            began.append(archives.clock.monotonic())
        archives.clock.advance(seconds=1)

    slow(archives, notice)
    archives.carrier.step()
    assert archives.clock.monotonic() - began[0] == 1
    assert is_put_off(archives, b"one.log.2.gz")
    assert archives.log.of("duplicate.unproven") == []


@pytest.mark.parametrize("body", [BODY, LONG], ids=["short", "long"])
def test_a_proof_has_seconds_left_when_a_drain_begins(world: World, body: bytes) -> None:
    stat = world.files.write(b"app.log.1", body)
    world.run(rounds=1)
    world.files.delete(b"app.log.1")
    world.files.write(b"app.log.2.gz", gzip.compress(body, 1))
    world.files.touch(b"app.log.2.gz", stat.mtime_ns)
    world.discover()
    began: list[float] = []

    def notice() -> None:
        world.is_urgent = True
        began.append(world.clock.monotonic())
        world.clock.advance(seconds=URGENT_PROOF_SECONDS / 2)

    slow(world, notice)
    world.carrier.step()
    assert len(began) == 3
    assert world.row(b"app.log.2.gz").state is State.DONE
    assert len(world.log.of("duplicate.unproven")) == 1


# The copy of a log that was shipped live.


@pytest.fixture
def truncated(world: World) -> World:
    """A long log that was shipped live, and copytruncate's copy of it, promised."""
    world.files.write(b"app.log", LONG)
    world.go_live(whole=True)
    world.carry()
    world.files.write(b"app.log.1", LONG)
    world.files.write(b"app.log", b"")
    world.discover()
    return world


def test_the_proof_of_a_copy_of_a_live_log_has_no_longer(truncated: World) -> None:
    frames: list[None] = []

    def passes() -> None:
        frames.append(None)
        truncated.clock.advance(seconds=PROOF_SECONDS / 4)

    slow(truncated, passes)
    truncated.store.outage = PortError("SlowDown")
    truncated.run(rounds=3)
    assert len(frames) == 4
    (warning,) = truncated.log.of("duplicate.unproven")
    assert warning["path"] == "app.log.1"
    truncated.store.outage = None
    truncated.run(rounds=1)
    assert truncated.contents() == [LONG, LONG]


def test_the_copy_of_a_live_log_waits_its_turn(truncated: World) -> None:
    ((row,), _) = truncated.carrier.claim(ANY_SIZE, 1, truncated.clock.now())
    truncated.carrier.run(truncated.carrier.carried(row, is_brief=True))
    assert is_put_off(truncated, b"app.log.1")
    truncated.clock.advance(seconds=WAIT_SECONDS)
    truncated.carry()
    assert truncated.row(b"app.log.1").state is State.DUPLICATE


def test_an_unreadable_copy_of_a_live_log_is_tried_again(truncated: World) -> None:
    truncated.files.fail_reads(b"app.log.1", PortError("Unreadable", "EIO"))
    truncated.carry()
    assert truncated.row(b"app.log.1").code == "Unreadable"
    truncated.files.fail_reads(b"app.log.1", None)
    truncated.run(rounds=1)
    assert truncated.row(b"app.log.1").state is State.DUPLICATE
