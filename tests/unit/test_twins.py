"""The compressed copy of a shipped log is recognised, and only by proof."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lz4.frame
import pytest
import zstandard

from shipper.core.types import AfterUpload, State
from shipper.ports import PortError
from shipper.services.twins import _chains
from tests.fakes.examples import shipment
from tests.fakes.world import WATCH, World

BODY = b"a line of a log\n" * 5000


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def compress(world: World, body: bytes = BODY, *, name: bytes = b"app.log.2.gz") -> None:
    """What logrotate does: the copy gets the original's mtime, and the original goes."""
    mtime_ns = next(iter(world.files.scan(world.watch, lambda path: True))).stat.mtime_ns  # type: ignore[union-attr]
    encoders: dict[bytes, Callable[[bytes], bytes]] = {
        b"gz": gzip.compress,
        b"xz": lzma.compress,
        b"bz2": bz2.compress,
        b"zst": zstandard.ZstdCompressor().compress,
        b"lz4": lz4.frame.compress,
    }
    world.files.write(name, encoders[name.rpartition(b".")[2]](body))
    world.files.touch(name, mtime_ns)
    world.files.delete(b"app.log.1")


@pytest.mark.parametrize("extension", [b"gz", b"xz", b"bz2", b"zst", b"lz4"])
def test_a_compressed_copy_makes_no_second_object(world: World, extension: bytes) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    compress(world, name=b"app.log.2." + extension)
    world.run(rounds=2)
    assert world.contents() == [BODY]
    assert world.row(b"app.log.2." + extension).state is State.DUPLICATE


def test_other_content_with_the_same_name_is_shipped_as_it_is(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    compress(world, BODY[:-1] + b"!")
    world.run(rounds=1)
    assert sorted(world.contents()) == sorted([BODY, BODY[:-1] + b"!"])


def test_a_copy_of_a_log_in_segments_is_recognised(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    world.files.append(b"app.log.1", b"more\n")
    world.run(rounds=1)
    compress(world, BODY + b"more\n")
    world.run(rounds=1)
    assert len(world.contents()) == 2
    assert world.row(b"app.log.2.gz").state is State.DUPLICATE


def test_a_copy_with_more_in_it_than_was_shipped_is_no_twin(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    compress(world, BODY + b"unshipped\n", name=b"app.log.2.xz")
    world.run(rounds=1)
    assert len(world.contents()) == 2
    assert lzma.decompress(world.contents()[1]) == BODY + b"unshipped\n"


def test_a_copy_with_less_in_it_is_no_twin(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    compress(world, BODY[:100], name=b"app.log.2.xz")
    world.run(rounds=1)
    assert len(world.contents()) == 2


def test_a_copy_waits_for_its_original_to_be_shipped(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.discover()
    world.store.fail_next("PutObject", PortError("SlowDown", retry_after=60.0))
    world.carry()
    compress(world)
    world.discover()
    world.carry()
    assert world.row(b"app.log.2.gz").code == "TwinUndecided"
    assert world.row(b"app.log.2.gz").attempts == 0
    world.run(rounds=2)
    assert world.contents() == [BODY]
    assert world.row(b"app.log.2.gz").state is State.DUPLICATE


def test_a_copy_of_a_log_that_was_lost_is_shipped_itself(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.discover()
    compress(world)
    world.restart()
    world.run(rounds=2)
    assert world.contents() == [BODY]
    assert sorted(row.state for row in world.rows()) == [State.DONE, State.GONE]


def test_what_cannot_be_decoded_is_shipped_as_it_is(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    damaged = bytearray(gzip.compress(BODY))
    damaged[40] ^= 0xFF
    world.files.write(b"app.log.2.gz", bytes(damaged))
    world.run(rounds=1)
    assert bytes(damaged) in world.store.objects().values()


@pytest.mark.parametrize("body", [b"", b"short", gzip.compress(b"other", mtime=0)])
def test_a_gz_that_cannot_be_the_twin_is_not_read_as_one(world: World, body: bytes) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    world.files.write(b"app.log.2.gz", body)
    world.run(rounds=1)
    assert len(world.rows()) == (2 if body else 1)


def test_an_unreadable_copy_is_tried_again(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    compress(world, name=b"app.log.2.xz")
    world.discover()
    row = world.row(b"app.log.2.xz")
    with world.held.lend(row) as source:
        assert source is not None
        decoder = world.carrier._twins._encoder
        world.files.fail_reads(b"app.log.2.xz", PortError("Unreadable", "EIO"))
        with pytest.raises(PortError, match="Unreadable"):
            list(decoder.decoded(source, ".xz", limit_bytes=10**6))
        with pytest.raises(PortError, match="Unreadable"):
            world.carrier._twins.find(row, source)
    world.files.fail_reads(b"app.log.2.xz", None)
    world.run(rounds=1)
    assert world.row(b"app.log.2.xz").state is State.DUPLICATE


def test_a_proven_twin_is_deleted_like_its_original(tmp_path: Path) -> None:
    watch = replace(WATCH, after_upload=AfterUpload.DELETE, delete_after_seconds=3600.0)
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log.1", BODY)
    world.discover()
    world.carry()
    compress(world)
    world.discover()
    world.carry()
    assert world.row(b"app.log.2.gz").state is State.DUPLICATE
    world.discover()
    assert world.files.paths() == [b"app.log.2.gz"]
    world.clock.advance(hours=2)
    world.discover()
    assert world.files.paths() == []


def test_a_second_log_that_reuses_the_inode_does_not_confuse_the_chain(world: World) -> None:
    world.files._reuses_inodes = True
    for body in (BODY, BODY[::-1]):
        world.files.write(b"app.log.1", body)
        world.run(rounds=1)
        if body is BODY:
            world.files.delete(b"app.log.1")
    compress(world, BODY[::-1])
    world.run(rounds=1)
    assert len(world.contents()) == 2


def test_a_hole_in_what_was_shipped_makes_no_chain() -> None:
    first = shipment(raw_start=0, raw_end=10)
    behind_a_hole = shipment(raw_start=15, raw_end=20)
    assert list(_chains([behind_a_hole])) == []
    assert list(_chains([first, behind_a_hole])) == [[first]]
