"""Archives that were made to harm cost time that is bounded, and no memory.

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

import lz4.frame
import pytest
import zstandard

from shipper.core.duplicates import most_members
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
    ".lz4": lambda raw: lz4.frame.compress(raw, content_checksum=True),
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


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_members_that_hold_nothing_come_to_an_end(extension: str) -> None:
    """And so do those that hold a byte each: a thousand, and one for each KiB of the limit."""
    for raw in (b"", b"x"):
        member = PACKERS[extension](raw)
        source = Counting(member * 50_000)
        assert given(source, extension, LIMIT) <= most_members(LIMIT)
        assert source.read_bytes <= most_members(LIMIT) * len(member) + 2 * READ_BYTES
    few = Counting(PACKERS[extension](b"") * 400 + PACKERS[extension](b"x"))
    assert b"".join(content(few, extension, limit_bytes=1)) == b"x"


def test_skippable_frames_come_to_an_end() -> None:
    skippable = (0x184D2A50).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"more"
    for extension in (".zst", ".lz4"):
        body = skippable * 50_000 + PACKERS[extension](b"x")
        assert given(Counting(body), extension, LIMIT) == 0
        few = Counting(skippable * 400 + PACKERS[extension](b"x"))
        assert b"".join(content(few, extension, limit_bytes=1)) == b"x"


def test_blocks_of_zstd_that_hold_nothing_come_to_an_end() -> None:
    """In a single frame, which is walked over before it is read."""
    body = ZSTD_HEADER + EMPTY_RAW_BLOCK * 1_000_000 + LAST_EMPTY_RAW_BLOCK
    source = Counting(body)
    assert given(source, ".zst", LIMIT) == 0
    assert source.read_bytes <= 3 * most_members(LIMIT) + 2 * READ_BYTES
    few = ZSTD_HEADER + EMPTY_RAW_BLOCK * 900 + LAST_EMPTY_RAW_BLOCK
    assert b"".join(content(Counting(few), ".zst", limit_bytes=1)) == b""


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_reader_may_stop_soon_whatever_it_reads(extension: str) -> None:
    """Between two signs of life (a read or a piece) lie 64 KiB of input or 1 MiB of content."""
    source = Counting(bomb(extension))
    pieces = content(source, extension, limit_bytes=BOMB_BYTES)
    for piece in itertools.islice(pieces, 20):
        assert len(piece) <= PIECE_BYTES
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
