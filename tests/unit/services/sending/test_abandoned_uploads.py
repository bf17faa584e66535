"""An upload that is given up is aborted once, at once, if the role may."""

from pathlib import Path

import pytest

from shipper.core.types import Compression, State
from shipper.ports import PortError
from tests.machines.world import MIB, World, random_log

LARGE = random_log(7, 11 * MIB)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An upload that S3 has in part."""
    world = World(tmp_path)
    world.files.write(b"app.log.1", LARGE)
    world.discover()
    world.store.fail_next("CompleteMultipartUpload", PortError("Timeout"))
    world.carry()
    assert [row.state for row in world.rows()] == [State.UPLOADING]
    return world


def aborts(world: World) -> int:
    return world.store.operations().count("AbortMultipartUpload")


def test_an_upload_whose_log_vanished_is_aborted_by_the_worker_that_noticed(world: World) -> None:
    world.files.delete(b"app.log.1")
    world.restart()
    world.run(rounds=1)
    assert [row.state for row in world.rows()] == [State.GONE]
    assert (aborts(world), world.store.unfinished_uploads()) == (1, [])


def test_an_upload_whose_log_changed_is_aborted(world: World) -> None:
    world.clock.advance(seconds=1)
    world.files.write(b"app.log.1", b"other\n")
    world.run(rounds=2)
    assert (aborts(world), world.store.unfinished_uploads()) == (1, [])
    assert world.contents() == [b"other\n"]


def test_an_upload_that_goes_on_is_left_alone(world: World) -> None:
    world.run(rounds=1)
    assert aborts(world) == 0
    assert world.contents() == [LARGE]


@pytest.mark.parametrize(
    ("refusal", "lines"),
    [
        (PortError("AccessDenied", status=403), 1),
        (PortError("Unreachable", "no route"), 1),
        (PortError("NoSuchUpload", status=404), 0),
    ],
    ids=lambda one: getattr(one, "code", None),
)
def test_what_cannot_be_aborted_is_said_once_and_forgotten(
    world: World, refusal: PortError, lines: int
) -> None:
    world.files.delete(b"app.log.1")
    world.restart()
    world.store.fail_next("AbortMultipartUpload", refusal)
    world.run(rounds=10)
    assert aborts(world) == 1
    assert [line["code"] for line in world.log.of("upload.orphaned")] == [refusal.code] * lines
    assert world.gate.reason() is None


def test_the_upload_of_a_log_that_s3_has_already_is_aborted(world: World) -> None:
    """The journal was lost: every part was sent again, and Complete found the key taken."""
    world.run(rounds=1)
    world.lose_journal()
    world.run(rounds=1)
    assert [row.state for row in world.rows()] == [State.DONE]
    assert (aborts(world), world.store.unfinished_uploads()) == (1, [])
    assert world.watch.compression is Compression.ZSTD


def test_a_copied_disk_never_aborts_the_uploads_of_the_original(world: World) -> None:
    world.journal.origin.adopt("i-first")
    assert world.journal.origin.adopt("i-daughter")
    world.restart()
    world.files.delete(b"app.log.1")
    world.run(rounds=1)
    assert aborts(world) == 0
    assert len(world.store.unfinished_uploads()) == 1
