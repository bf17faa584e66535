"""Where the pieces meet: each of these once lost, doubled or stopped something."""

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.core.lifecycle import CheckRetried
from shipper.core.types import AfterUpload, Compression, ETag, Receipt, Shipment, State
from shipper.ports import PortError, Source
from tests.machines.world import WATCH, World, random_log

DELETING = replace(WATCH, after_upload=AfterUpload.DELETE, delete_after_seconds=600.0)
DAY_NS = 86_400 * 10**9
LARGE = random_log(7, 12 * 1024**2)


def rewritten(body: bytes) -> bytes:
    """As long, with the same first and last bytes, and another middle."""
    return body[:8000] + b"X" * 4000 + body[12000:]


def test_a_log_cut_and_written_anew_to_its_first_length_ends_no_loop(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING)
    world.files.write(b"app.log.1", random_log(1, 5000))
    world.discover()
    world.carry()
    world.clock.advance(seconds=60)
    world.files.append(b"app.log.1", random_log(2, 4000))
    world.discover()
    world.carry()
    world.clock.advance(seconds=60)
    world.files.write(b"app.log.1", random_log(3, 5000))
    world.discover()
    world.carry()
    world.clock.advance(minutes=15)
    world.carry()
    assert random_log(3, 5000) in world.contents()
    assert world.rows(State.READY) == world.rows(State.VERIFIED) == []


def test_what_was_rewritten_while_its_removal_was_parked_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, body = World(tmp_path, watch=DELETING), random_log(1, 20_000)
    world.files.write(b"app.log.1", body)
    world.discover()
    world.carry()

    def denied(*_: Any) -> bool:
        raise PortError("RemoveDenied")

    with monkeypatch.context() as patch:
        patch.setattr(world.files, "remove", denied)
        world.clock.advance(minutes=15)
        world.carry()
        parked = world.row(b"app.log.1")
        assert parked.state is State.PARKED
        world.files.write(b"app.log.1", rewritten(body))
        world.discover()
        world.discover()
    world.journal.record(parked, CheckRetried(world.clock.now()))
    world.run()
    assert rewritten(body) in world.contents() or world.files.paths() == [b"app.log.1"]


def test_the_archive_of_an_equal_log_of_another_day_is_shipped(tmp_path: Path) -> None:
    """Day one was shipped plain; then nobody ran for two rotations that compressed."""
    world = World(tmp_path)
    world.files.write(b"job.log.1", b"backup done\n")
    world.run()
    first_ns = world.row(b"job.log.1").mtime_ns
    world.clock.advance(hours=24)
    world.files.delete(b"job.log.1")
    for name, mtime_ns in ((b"job.log.3.gz", first_ns), (b"job.log.2.gz", first_ns + DAY_NS)):
        world.files.write(name, gzip.compress(b"backup done\n", mtime=0))
        world.files.touch(name, mtime_ns)
    world.restart()
    world.run()
    assert len(world.contents()) == 2


def test_a_copy_of_a_copy_names_the_object_that_is_there(tmp_path: Path) -> None:
    world, body = World(tmp_path), random_log(1, 20_000)
    world.files.write(b"app.log.1", body)
    world.run()
    mtime_ns = world.row(b"app.log.1").mtime_ns
    for name, copy in ((b"app.log.1", body), (b"app.log.1.gz", gzip.compress(body, mtime=0))):
        world.files.delete(b"app.log.1")
        world.files.write(name, copy)
        world.files.touch(name, mtime_ns)
        world.run()
    copies = world.rows(State.DUPLICATE)
    assert len(copies) == 2
    assert {row.detail for row in copies} == set(world.store.objects())


def test_a_scan_that_fails_closes_nothing_that_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    world.files.write(b"a.log.1", random_log(1, 5000))
    world.clock.advance(seconds=1)
    world.files.write(b"b.log.1", random_log(2, 5000))
    keep, kept = world.held.keep, []

    def fails_second(shipment: Shipment, source: Source) -> None:
        kept.append(shipment)
        if len(kept) == 2:
            raise PortError("JournalUnwritable")
        keep(shipment, source)

    monkeypatch.setattr(world.held, "keep", fails_second)
    world.discover()
    world.run()
    assert len(world.contents()) == 2


def test_a_disowned_log_dated_1970_is_shipped(tmp_path: Path) -> None:
    world, body = World(tmp_path, watch=DELETING), random_log(1, 20_000)
    world.files.write(b"app.log.1", body)
    world.discover()
    world.carry()
    world.files.write(b"app.log.1", rewritten(body))
    world.files.touch(b"app.log.1", 0)
    world.clock.advance(minutes=15)
    world.carry()
    world.run()
    assert rewritten(body) in world.contents()


def test_a_good_archive_is_shipped_though_its_log_can_never_be_read(tmp_path: Path) -> None:
    world, body = World(tmp_path), random_log(1, 20_000)
    world.files.write(b"app.log.1", body)
    world.discover()
    mtime_ns = world.row(b"app.log.1").mtime_ns
    world.files.fail_reads(b"app.log.1", PortError("Unreadable", "Input/output error"))
    world.files.write(b"app.log.1.gz", gzip.compress(body, mtime=0))
    world.files.touch(b"app.log.1.gz", mtime_ns)
    for _ in range(20):
        world.run()
    assert world.contents() == [body]
    assert [key.endswith(".gz") for key in world.store.objects()] == [True]


def test_a_restored_log_is_shipped_though_the_first_can_never_be_read(tmp_path: Path) -> None:
    world, body = World(tmp_path), random_log(1, 20_000)
    world.files.write(b"app.log.1", body)
    world.run()
    mtime_ns = world.row(b"app.log.1").mtime_ns
    world.files.fail_reads(b"app.log.1", PortError("Unreadable", "Input/output error"))
    world.files.write(b"app.log.2", body)
    world.files.touch(b"app.log.2", mtime_ns)
    for _ in range(20):
        world.run()
    assert world.contents() == [body, body]


def test_receipts_of_another_checksum_begin_the_upload_anew(tmp_path: Path) -> None:
    world, body = World(tmp_path, watch=replace(WATCH, compression=Compression.NONE)), LARGE
    world.files.write(b"app.log.1", body)
    world.discover()
    for _ in range(2):
        world.store.fail_next("UploadPart", PortError("Timeout"))
    world.carry()
    (row,) = world.rows(State.UPLOADING)
    world.journal.receive(row, Receipt(1, 0, 5 * 1024**2, 5 * 1024**2, ETag("e"), "A" * 44))
    world.run(rounds=3)
    assert world.contents() == [body]
    assert world.store.operations().count("CreateMultipartUpload") == 2
