"""A log in 3,000 segments costs a scan and a pass what a log in one costs."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.identity import digest, file_id, tail_range
from shipper.core.lifecycle import Event, ObjectChecked, ObjectStored, SourceDisposed
from shipper.core.types import (
    HEAD_BYTES,
    AfterUpload,
    Compression,
    ETag,
    ObjectKey,
    Promise,
    RelativePath,
    Shipment,
    State,
    WriterTest,
)
from shipper.journal.schema import shipment_from_row
from tests.machines.world import WATCH, World

SEGMENTS = 3000
LINE = b"a line of so many bytes\n"
LIVE = replace(WATCH, live_interval_seconds=30.0, compression=Compression.NONE)
VM_STEP = 50


def world_of(tmp_path: Path, after_upload: AfterUpload) -> World:
    """A live log of which a journal has all segments, and a daemon that has just started."""
    world = World(tmp_path, watch=replace(LIVE, after_upload=after_upload))
    body = b"".join(b"%06d " % number + LINE for number in range(SEGMENTS))
    world.files.write(b"app.log", body)
    world.files.set_writer(b"app.log", WriterTest.OPEN)
    with_source = world.files.open(world.watch, RelativePath(b"app.log"))
    stat = with_source.stat()
    with_source.close()
    length = len(body) // SEGMENTS
    now = world.clock.now()
    promises = []
    for end in range(length, len(body) + 1, length):
        at, size = tail_range(end)
        promises.append(
            Promise(
                watch=world.watch.name,
                path=RelativePath(b"app.log"),
                file_id=file_id(stat.inode, body[:HEAD_BYTES], stat.generation),
                raw_start=end - length,
                raw_end=end,
                mtime_ns=stat.mtime_ns,
                ctime_ns=stat.ctime_ns,
                tail_digest=digest(body[at : at + size]),
                key=ObjectKey(f"logs/{end}"),
                compression=Compression.NONE,
                sealed_because="live",
                is_live=True,
            )
        )
    rows = world.journal.promise(promises, now=now)
    events: list[tuple[Shipment, list[Event]]] = [
        (
            row,
            [
                ObjectStored(
                    ETag("e"),
                    length,
                    hashlib.sha256(body[row.raw_start : row.raw_end]).hexdigest(),
                ),
                ObjectChecked(now),
                SourceDisposed(now),
            ],
        )
        for row in rows
    ]
    world.journal.record_all(events)
    for row in rows:
        world.store.place(row.key, body[row.raw_start : row.raw_end])
    return world


@pytest.fixture(params=[AfterUpload.KEEP, AfterUpload.DELETE], ids=str)
def world(tmp_path: Path, request: pytest.FixtureRequest) -> World:
    return world_of(tmp_path, request.param)


def cost(
    world: World, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]
) -> tuple[int, int]:
    """How many rows became values, and how many instructions SQLite's machine took."""
    rows, steps = [0], [0]
    real = shipment_from_row

    def counted(row: object) -> object:
        rows[0] += 1
        return real(row)  # type: ignore[arg-type]

    def step() -> int:
        steps[0] += VM_STEP
        return 0

    with monkeypatch.context() as patch:
        patch.setattr("shipper.journal.database.shipment_from_row", counted)
        world.journal._database._connection.set_progress_handler(step, VM_STEP)
        act()
        world.journal._database._connection.set_progress_handler(None, 0)
    return rows[0], steps[0]


def write(world: World) -> None:
    """The log grows, and gets older than the interval."""
    world.files.append(b"app.log", LINE)
    world.look()
    world.clock.advance(seconds=31)


def test_a_pass_reads_the_last_segment_and_one_row(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(world)
    first = cost(world, monkeypatch, world.look)
    assert first[0] >= SEGMENTS, "once in a life all of them are asked for"
    world.carry()
    write(world)
    before = world.files.read_bytes(b"app.log")
    rows, steps = cost(world, monkeypatch, world.look)
    assert rows <= 5
    assert steps < SEGMENTS
    assert world.files.read_bytes(b"app.log") - before < 10 * HEAD_BYTES
    assert len(world.rows(State.READY)) == 1


def test_a_scan_of_a_live_log_asks_for_no_segment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.look()
    rows, steps = cost(world, monkeypatch, world.discovery.step)
    assert rows == 0
    assert steps < SEGMENTS


def test_what_is_on_s3_and_not_removed_yet_costs_a_scan_one_row(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.files.rename(b"app.log", b"app.log.1")
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    for _ in range(4):
        world.discover()
        world.carry()
    rows, steps = cost(world, monkeypatch, world.discovery.step)
    assert rows == 0
    assert steps < SEGMENTS
    world.clock.advance(hours=1)
    world.discover()
    is_kept = world.watch.after_upload is AfterUpload.KEEP
    assert world.files.paths() == ([b"app.log.1"] if is_kept else [])


def test_all_of_it_is_read_once_when_it_is_sealed(tmp_path: Path) -> None:
    world = world_of(tmp_path, AfterUpload.KEEP)
    size = len(world.files.body(b"app.log"))
    world.files.rename(b"app.log", b"app.log.1")
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    for _ in range(4):
        world.discover()
    assert size <= world.files.read_bytes(b"app.log.1") < 2 * size
    assert world.journal.open_logs.of(world.watch.name, b"app.log") == []
    world.restart()
    world.discover()
    assert world.files.read_bytes(b"app.log.1") < 2 * size


def test_one_log_of_a_stem_is_one_open_log_however_many_its_segments(tmp_path: Path) -> None:
    world = world_of(tmp_path, AfterUpload.KEEP)
    assert len(world.journal.open_logs.of(world.watch.name, b"app.log")) == 1
