"""Whoever reads an object gets the log: several frames in several parts are one stream to all."""

import gzip
import io
import itertools
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import zstandard

from shipper.core.parts import FRAME_BYTES
from shipper.core.types import Compression
from tests.machines.world import WATCH, World

LINES = 9 * FRAME_BYTES // 4 // 70
"""With half of it random, enough for several frames and two parts of 5 MiB."""
SUFFIXES = {Compression.ZSTD: ".zst", Compression.GZIP: ".gz"}
COMMANDS = {
    Compression.ZSTD: [["zstd", "-dcq"]],
    Compression.GZIP: [["zcat"], ["gunzip", "-c"], ["zstd", "-dcq"]],
}
CASES = [
    pytest.param(kind, command, id=f"{kind.value}-{command[0]}")
    for kind, commands in COMMANDS.items()
    for command in commands
]


def table() -> bytes:
    """A log that is a table, too: every number once, beside something random."""
    noise = Random(5)
    rows = (f"{number},{noise.randbytes(60).hex()}\n" for number in range(LINES * 3))
    return b"number,noise\n" + "".join(rows).encode()


def shipped(directory: Path, body: bytes, compression: Compression) -> Path:
    """The object that a log becomes, as a file."""
    world = World(directory / "world", watch=replace(WATCH, compression=compression))
    world.files.write(b"app.log.1", body)
    world.discover()
    world.carry()
    assert world.store.operations().count("UploadPart") > 1
    (stored,) = world.store.objects().values()
    path = directory / f"app.log{SUFFIXES[compression]}"
    path.write_bytes(stored)
    world.stop()
    return path


@pytest.fixture(scope="module")
def body() -> bytes:
    return table()


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> dict[Compression, Path]:
    directory = tmp_path_factory.mktemp("objects")
    return {kind: shipped(directory / kind.value, body, kind) for kind in SUFFIXES}


@pytest.mark.parametrize(("compression", "command"), CASES)
def test_a_command_reads_it(
    objects: dict[Compression, Path],
    body: bytes,
    compression: Compression,
    command: list[str],
    program: Callable[[str], str],
) -> None:
    name, *options = command
    with objects[compression].open("rb") as stored:
        done = subprocess.run(
            [program(name), *options], stdin=stored, check=True, capture_output=True
        )
    assert done.stdout == body
    assert done.stderr == b""


def test_python_reads_it(objects: dict[Compression, Path], body: bytes) -> None:
    with gzip.open(objects[Compression.GZIP]) as stored:
        assert stored.read() == body
    decompressor = zstandard.ZstdDecompressor()
    with objects[Compression.ZSTD].open("rb") as stored:
        reader = decompressor.stream_reader(stored, read_across_frames=True)
        assert reader.read() == body


def test_tar_lists_an_archive_that_was_shipped(
    tmp_path: Path, program: Callable[[str], str]
) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as writing:
        for number in range(6):
            member = tarfile.TarInfo(f"log.{number}")
            member.size = 2 * 1024 * 1024
            writing.addfile(member, io.BytesIO(Random(number).randbytes(member.size)))
    for compression, option in ((Compression.ZSTD, "--zstd"), (Compression.GZIP, "--gzip")):
        directory = tmp_path / compression.value
        path = shipped(directory, archive.getvalue(), compression)
        listing: list[str | Path] = [program("tar"), option, "-tf", path]
        done = subprocess.run(listing, check=True, capture_output=True)
        assert done.stdout.split() == [b"log.%d" % number for number in range(6)]


def rows_by(reader: str, path: Path) -> Iterator[int]:
    """The first column as the library reads it."""
    library = pytest.importorskip(reader, reason=f"pip install {reader} to try it")
    if reader == "pandas":
        return iter(library.read_csv(path)["number"])
    query = f"SELECT number FROM read_csv('{path}')"
    return (row[0] for row in library.sql(query).fetchall())


@pytest.mark.slow
@pytest.mark.parametrize("compression", SUFFIXES)
@pytest.mark.parametrize("reader", ["pandas", "duckdb"])
def test_a_library_for_tables_reads_it(
    objects: dict[Compression, Path], reader: str, compression: Compression
) -> None:
    """Too big to be installed with the tests: whoever has them, tries them (``make soak``)."""
    found = rows_by(reader, objects[compression])
    assert list(itertools.islice(found, LINES * 3 + 1)) == list(range(LINES * 3))
