"""A crash at every side effect: of the journal, of the bucket, of the disk."""

import gzip
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import AfterUpload, Compression, State
from shipper.ports import PortError
from tests.machines.world import MIB, WATCH, Crash, Fuse, World, random_log

SMALL = random_log(1, 50_000)
LARGE = random_log(2, 11 * MIB)


def crash_everywhere(
    tmp_path: Path, after_upload: AfterUpload, *bodies: bytes, stored: bool = False
) -> int:
    """Ship the logs, dying at the n-th effect for every n; how many effects there were."""
    names = [b"app.log.%d" % number for number, _ in enumerate(bodies, 1)]
    watch = replace(
        WATCH,
        after_upload=after_upload,
        archive_directory="/logs/archive",
        exclude=("archive/**",),
        compression=Compression.NONE,
    )
    for n in itertools.count(1):
        world = World(tmp_path / str(n), watch=watch, stored=stored)
        for name, body in zip(names, bodies, strict=True):
            world.files.write(name, body)
        fuse = Fuse(at=n)
        world.restart(fuse)
        try:
            world.run(rounds=2)
        except Crash:
            world.restart()
            world.run(rounds=3)
        finally:
            world.stop()
        assert sorted(world.contents()) == sorted(bodies), fuse.burnt_at
        world.restart()
        done = [row.state for row in world.rows() if row.state is not State.SUPERSEDED]
        assert done == [State.DONE] * len(bodies), fuse.burnt_at
        left = {
            AfterUpload.KEEP: names,
            AfterUpload.DELETE: [],
            AfterUpload.ARCHIVE: [b"archive/" + name for name in names],
        }
        assert world.files.paths() == left[after_upload], fuse.burnt_at
        assert world.stored.names() == [], fuse.burnt_at
        world.stop()
        # Whoever dies while a file is dropped has it in its hands; a process would be gone.
        assert world.files.open_sources == fuse.burnt_at.endswith("removed")
        if not fuse.burnt_at:
            return n
    raise AssertionError("unreachable")


@pytest.mark.parametrize("after_upload", list(AfterUpload))
def test_every_crash_point_of_a_small_file_recovers(
    tmp_path: Path, after_upload: AfterUpload
) -> None:
    assert crash_everywhere(tmp_path, after_upload, SMALL) > 6


@pytest.mark.parametrize("after_upload", list(AfterUpload))
def test_every_crash_point_of_small_files_that_are_carried_together_recovers(
    tmp_path: Path, after_upload: AfterUpload
) -> None:
    """Their intents are written together, and so is what came of them."""
    alone = crash_everywhere(tmp_path / "alone", after_upload, SMALL)
    bodies = [random_log(number, 1000) for number in range(3)]
    assert crash_everywhere(tmp_path / "together", after_upload, *bodies) < 3 * alone


def test_every_crash_point_of_a_multipart_upload_recovers(tmp_path: Path) -> None:
    assert crash_everywhere(tmp_path, AfterUpload.KEEP, LARGE) > 16


@pytest.mark.parametrize("after_upload", list(AfterUpload))
def test_every_crash_point_with_a_descriptor_store_recovers(
    tmp_path: Path, after_upload: AfterUpload
) -> None:
    without = crash_everywhere(tmp_path / "without", after_upload, SMALL)
    with_store = crash_everywhere(tmp_path / "with", after_upload, SMALL, stored=True)
    assert with_store == without + 4  # put and removed


@pytest.mark.slow
def test_every_crash_point_of_a_multipart_upload_with_a_descriptor_store_recovers(
    tmp_path: Path,
) -> None:
    assert crash_everywhere(tmp_path, AfterUpload.KEEP, LARGE, stored=True) > 20


def test_a_log_that_is_deleted_once_it_is_stored_is_shipped_whatever_the_crash_point(
    tmp_path: Path,
) -> None:
    """A rotator that keeps nothing, an outage, and a crash at every effect of both lives."""
    for n in itertools.count(1):
        world = World(tmp_path / str(n), stored=True)
        world.files.write(b"app.log.1", SMALL)
        world.discover()
        world.files.delete(b"app.log.1")
        world.store.fail_next("PutObject", PortError("Timeout"))
        fuse = Fuse(at=n)
        world.restart(fuse)
        for _ in range(2):
            try:
                world.run(rounds=2)
                world.housekeeping.step()
            except Crash:
                world.restart()
        world.run(rounds=2)
        assert world.contents() == [SMALL], fuse.burnt_at
        assert [row.state for row in world.rows()] == [State.DONE], fuse.burnt_at
        world.restart()
        assert world.stored.names() == [], fuse.burnt_at
        world.stop()
        if not fuse.burnt_at:
            assert n > 6
            return


def test_what_is_let_go_is_gone_whatever_the_crash_point(tmp_path: Path) -> None:
    for n in itertools.count(1):
        world = World(tmp_path / str(n), stored=True, held_bytes=0)
        world.files.write(b"app.log.1", SMALL)
        world.discover()
        world.files.delete(b"app.log.1")
        fuse = Fuse(at=n)
        world.restart(fuse)
        try:
            world.housekeeping.step()
        except Crash:
            world.restart()
            world.housekeeping.step()
        world.run(rounds=1)
        assert [row.state for row in world.rows()] == [State.GONE], fuse.burnt_at
        assert len(world.log.of("source.vanished")) >= (0 if fuse.burnt_at else 1)
        assert world.stored.names() == [], fuse.burnt_at
        world.stop()
        if not fuse.burnt_at:
            assert n > 4
            return


def test_a_resumed_upload_sends_only_what_was_in_flight(tmp_path: Path) -> None:
    """Dying before or after any effect costs at most one part (this executor sends one)."""
    for n in itertools.count(1):
        world = World(tmp_path / str(n))
        world.files.write(b"app.log.1", LARGE)
        fuse = Fuse(at=n)
        world.restart(fuse)
        try:
            world.run(rounds=2)
        except Crash:
            world.restart()
            world.run(rounds=3)
        parts = [call.part for call in world.store.calls if call.operation == "UploadPart"]
        uploads = world.store.operations().count("CreateMultipartUpload")
        world.stop()
        lost_upload = fuse.burnt_at in ("CreateMultipartUpload.after", "before journal")
        assert uploads <= (2 if lost_upload else 1), fuse.burnt_at
        assert len(parts) - len(set(parts)) <= 1, fuse.burnt_at
        if not fuse.burnt_at:
            return


def test_a_twin_is_recognised_at_every_crash_point(tmp_path: Path) -> None:
    for n in itertools.count(1):
        world = World(tmp_path / str(n))
        world.files.write(b"app.log.1", SMALL)
        world.run(rounds=1)
        fuse = Fuse(at=n)
        world.restart(fuse)
        world.files.write(b"app.log.2.gz", gzip.compress(SMALL))
        world.files.touch(b"app.log.2.gz", world.rows()[0].mtime_ns)
        world.files.delete(b"app.log.1")
        try:
            world.run(rounds=2)
        except Crash:
            world.restart()
            world.run(rounds=3)
        assert world.contents() == [SMALL], fuse.burnt_at
        assert world.row(b"app.log.2.gz").state is State.DUPLICATE
        world.stop()
        if not fuse.burnt_at:
            return
