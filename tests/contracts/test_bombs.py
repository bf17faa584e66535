"""Archives that were made to harm cost no memory, and can be ended at any time.

A bomb holds ``BOMB_BYTES`` of zeros; a hollow file has members, frames or blocks of nothing.
"""

import bz2
import gzip
import itertools
import lzma
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import zstandard

from shipper.core.types import FileStat, RelativePath, Watch, WatchName
from shipper.edges.clock import SystemClock
from shipper.edges.decoder import PIECE_BYTES, READ_BYTES, content
from shipper.ports import PortError, Readable
from tests.fakes.files import FakeFiles

MEMBER_BYTES = 16 * PIECE_BYTES
BOMB_BYTES = 16 * MEMBER_BYTES
LIMIT = 2 * PIECE_BYTES
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda raw: gzip.compress(raw, mtime=0),
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
EXTENSIONS = sorted(PACKERS)
EMPTY_RAW_BLOCK = bytes(3)
LAST_EMPTY_RAW_BLOCK = b"\x01\0\0"
ZSTD_HEADER = b"\x28\xb5\x2f\xfd\x00\x58"


@cache
def bomb(extension: str) -> bytes:
    return PACKERS[extension](bytes(MEMBER_BYTES)) * (BOMB_BYTES // MEMBER_BYTES)


class Counting:
    """A source that counts how often and how much is read of it."""

    def __init__(self, body: bytes) -> None:
        files = FakeFiles(SystemClock())
        files.write(b"file", body)
        watch = Watch(name=WatchName("w"), directory="/logs")
        self._source: Readable = files.open(watch, RelativePath(b"file"))
        self.reads = 0
        self.read_bytes = 0

    def stat(self) -> FileStat:
        return self._source.stat()

    def read(self, offset: int, length: int) -> bytes:
        piece = self._source.read(offset, length)
        self.reads += 1
        self.read_bytes += len(piece)
        return piece


def given(source: Readable, extension: str, limit_bytes: int) -> int:
    """How much content was given before the file was found to hold too much."""
    pieces: list[int] = []
    with pytest.raises(PortError, match="ContentTooLong"):
        pieces.extend(map(len, content(source, extension, limit_bytes=limit_bytes)))
    return sum(pieces)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_no_more_is_given_than_the_limit_allows(extension: str) -> None:
    source = Counting(bomb(extension))
    assert given(source, extension, LIMIT) <= LIMIT
    exactly = Counting(PACKERS[extension](bytes(LIMIT)))
    assert sum(map(len, content(exactly, extension, limit_bytes=LIMIT))) == LIMIT
    assert given(Counting(PACKERS[extension](bytes(LIMIT))), extension, LIMIT - 1) < LIMIT


SKIPPABLE = (0x184D2A50).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"more"
HOLLOW = {
    **{f"empty {name}": (pack(b"") * 50_000, name) for name, pack in PACKERS.items()},
    **{f"nearly empty {name}": (pack(b"x") * 50_000, name) for name, pack in PACKERS.items()},
    "skippable frames": (SKIPPABLE * 50_000 + PACKERS[".zst"](b"x"), ".zst"),
    "empty blocks": (ZSTD_HEADER + EMPTY_RAW_BLOCK * 300_000 + LAST_EMPTY_RAW_BLOCK, ".zst"),
}


class TimeIsUp(Exception):
    """What a caller raises whose time is over."""


@pytest.mark.parametrize("ticks", [1, 7])
@pytest.mark.parametrize("kind", HOLLOW)
def test_a_file_that_holds_nothing_is_read_no_further_than_its_reader_wants(
    kind: str, ticks: int
) -> None:
    """Between two ticks lie at most ``READ_BYTES`` of the file, whatever is in it."""
    body, extension = HOLLOW[kind]
    source, left = Counting(body), [ticks]

    def tick() -> None:
        if not left[0]:
            raise TimeIsUp
        left[0] -= 1

    with pytest.raises(TimeIsUp):
        list(content(source, extension, limit_bytes=LIMIT, tick=tick))
    assert source.read_bytes <= ticks * READ_BYTES


@pytest.mark.parametrize("kind", HOLLOW)
def test_a_file_that_holds_nothing_is_read_once_or_twice(kind: str) -> None:
    """zstd's frames are walked over before they are read."""
    body, extension = HOLLOW[kind]
    source = Counting(body)
    assert sum(map(len, content(source, extension, limit_bytes=LIMIT))) <= 50_000
    assert source.read_bytes <= 2 * len(body) + 2 * READ_BYTES


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_reader_may_stop_soon_whatever_it_reads(extension: str) -> None:
    """Between two ticks lie 64 KiB of input and 1 MiB of content."""
    source, ticks = Counting(bomb(extension)), list[None]()
    pieces = content(source, extension, limit_bytes=BOMB_BYTES, tick=lambda: ticks.append(None))
    for number, piece in enumerate(itertools.islice(pieces, 20), start=1):
        assert len(piece) <= PIECE_BYTES
        assert len(ticks) >= number + source.reads
    assert source.read_bytes <= (source.reads + 1) * READ_BYTES


@pytest.mark.system
def test_bombs_of_every_kind_cost_no_memory(tmp_path: Path) -> None:
    """The high-water mark of a process that reads them all to the end."""
    for extension in EXTENSIONS:
        (tmp_path / f"bomb{extension}").write_bytes(bomb(extension))
    program = f"""
import os
from shipper.edges.decoder import content
from shipper.edges.files.open_file import FileSource

def peak():
    status = open("/proc/self/status").read()  # not getrusage: that remembers the parent's, too
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

before = peak()
for extension in {EXTENSIONS!r}:
    source = FileSource(os.open("{tmp_path}/bomb" + extension, os.O_RDONLY), extension)
    total = sum(map(len, content(source, extension, limit_bytes={BOMB_BYTES})))
    assert total == {BOMB_BYTES}, (extension, total)
print(peak() - before)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(answer.stdout) < 48 * PIECE_BYTES
