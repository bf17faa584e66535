"""Files that are longer than memory, or than anything that S3 holds; and holes."""

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from shipper.core.parts import MAX_OBJECT_BYTES
from shipper.core.types import AfterUpload, ChecksumAlgorithm, Compression, RelativePath, State
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.ports import PortError
from tests.faults.test_bugs import far
from tests.machines.hostile import HostileWorld, hostile_watch
from tests.machines.world import MIB, WATCH, World, random_log

__all__ = ["far"]
LITTLE = 9 * MIB
"""No part of 5 MiB and a frame has room in it."""
BODY = b"a line of a log\n" * 300_000 + random_log(7, 23 * MIB)


def world_with_little_memory(tmp_path: Path, compression: Compression, **store: Any) -> World:
    world = World(tmp_path, watch=replace(WATCH, compression=compression), **store)
    world.memory_limit_bytes = LITTLE
    world.restart()
    world.files.write(b"app.log.1", BODY)
    world.discover()
    return world


@pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm))
@pytest.mark.parametrize("compression", list(Compression))
def test_a_part_that_has_no_room_in_memory_is_read_twice_and_arrives_whole(
    tmp_path: Path, compression: Compression, algorithm: ChecksumAlgorithm
) -> None:
    world = world_with_little_memory(tmp_path, compression, algorithm=algorithm)
    world.carry()
    assert world.contents() == [BODY]
    assert world.store.operations().count("UploadPart") >= 3
    assert world.is_empty_handed()


@pytest.mark.parametrize("compression", list(Compression))
def test_an_upload_of_such_parts_is_resumed_where_it_was(
    tmp_path: Path, compression: Compression
) -> None:
    world = world_with_little_memory(tmp_path, compression)
    world.store.fail_next("UploadPart", PortError("SlowDown", status=503))
    world.run(rounds=3)
    assert world.contents() == [BODY]
    assert {row.state for row in world.rows()} == {State.DONE}
    assert world.store.operations().count("CreateMultipartUpload") == 1


@pytest.mark.parametrize("compression", list(Compression))
def test_a_file_that_is_cut_short_meanwhile_gives_its_memory_back(
    tmp_path: Path, compression: Compression
) -> None:
    world = world_with_little_memory(tmp_path, compression)

    def cut_short(effect: str) -> None:
        if effect == "CreateMultipartUpload.after":
            world.files.write(b"app.log.1", BODY[:1000])

    world.store.effect = cut_short
    world.carry()
    assert world.is_empty_handed()
    assert world.contents() in ([], [BODY[:1000]])


@pytest.mark.parametrize("kind", ["app.log.1", "app.log.2.gz"])
def test_a_file_that_s3_cannot_hold_is_refused_and_the_others_are_shipped(
    far: Path,
    tmp_path: Path,
    kind: str,
) -> None:
    world = HostileWorld(tmp_path / "state", watch=hostile_watch(far, AfterUpload.KEEP))
    for name, size in ((kind, MAX_OBJECT_BYTES + 1), ("app.log.3", 7 * 2**60)):
        with (far / "logs" / name).open("wb") as file:
            file.truncate(size)
    (far / "logs" / "good.log.1").write_bytes(b"good\n")
    world.run(rounds=2)
    problems = [one.problem.code for one in world.discovery.problems if one.problem is not None]
    assert problems == ["TooLarge", "TooLarge"]
    assert [row.path for row in world.rows()] == [b"good.log.1"]
    assert world.contents() == [b"good\n"]
    (far / "logs" / "huge.log").touch()
    os.truncate(far / "logs" / "huge.log", 7 * 2**60)
    assert world.facts is not None
    world.live.promise(world.facts, whole=True)
    assert len(world.rows()) == 1
    world.stop()


@pytest.fixture
def sparse(tmp_path: Path) -> tuple[Path, bytes]:
    """Two holes around and behind some data."""
    path, data = tmp_path / "app.log.1", Random(1).randbytes(2 * MIB)
    with path.open("wb") as file:
        file.seek(16 * MIB)
        file.write(data)
        file.truncate(40 * MIB + 5)
    return path, path.read_bytes()


def test_a_hole_is_read_as_zeros_and_nothing_is_read_for_it(sparse: tuple[Path, bytes]) -> None:
    path, whole = sparse
    watch = replace(WATCH, directory=str(path.parent))
    with closing(DirectoryFiles().open(watch, RelativePath(b"app.log.1"))) as source:
        for at, length in ((0, 4 * MIB), (20 * MIB, 30 * MIB), (15 * MIB, 4 * MIB), (2**40, MIB)):
            assert source.read(at, length) == whole[at : at + length]
            buffer = bytearray(b"x" * length)
            found = source.read_into(at, memoryview(buffer))
            assert buffer[:found] == whole[at : at + length]
        before = read_bytes()
        for at in (0, 4 * MIB, 8 * MIB, 20 * MIB, 24 * MIB):
            source.read(at, 4 * MIB)
        assert read_bytes() - before < MIB


def read_bytes() -> int:
    """What this process has read so far, from wherever (proc(5))."""
    return int(Path("/proc/self/io").read_text().split()[1])
