"""What ``memory_limit`` bounds, measured: every buffer of every file that is on its way."""

import os
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import cast

import pytest

from shipper.core.checksums import full_object_checksum, is_from
from shipper.core.parts import (
    AHEAD_BYTES,
    MAX_PART_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    Gap,
    frames_ahead,
    part_size_for,
)
from shipper.core.types import ChecksumAlgorithm, Compression, Shipment
from shipper.edges.encoder import FrameEncoder
from shipper.edges.files.open_file import FileSource
from shipper.ports import Checksum, PortError, Source
from shipper.services.sending.compressor import Compressor
from shipper.services.sending.memory_budget import ByteBudget
from shipper.services.sending.part_cutter import Part, PartCutter
from shipper.services.sources.reading import SegmentReader
from tests.fakes.examples import shipment
from tests.fakes.store import checksum_of
from tests.machines.world import MIB, InlineExecutor

LIMIT = 48 * MIB
PART = 5 * MIB
FILES = 6
SIZES = [0, 1, 100_000, 4 * MIB, 5 * MIB + 1, 23 * MIB]


no_checksum = partial(FrameEncoder().checksum, ChecksumAlgorithm.NONE)


@contextmanager
def part_cutter(limit: int, cores: int = 2) -> Iterator[tuple[PartCutter, ByteBudget]]:
    ahead = frames_ahead(cores, limit, PART)
    budget = ByteBudget(limit - ahead * AHEAD_BYTES)
    with ThreadPoolExecutor(cores) as executor:
        encoding = Compressor(encoder=FrameEncoder(), executor=executor, ahead=ahead)
        cut = PartCutter(
            encoding=encoding, budget=budget, checksum=no_checksum, is_stopping=lambda: False
        )
        yield cut, budget


def segment(length: int, compression: Compression) -> Shipment:
    return shipment(raw_start=0, raw_end=length, compression=compression)


def sent(part_cutter: PartCutter, budget: ByteBudget, path: Path, segment: Shipment) -> int:
    """Cut a file and let each part go at once; how long all of them were."""
    source, total = FileSource(os.open(path, os.O_RDONLY), "file"), 0
    raw = SegmentReader(source, segment.raw_start, FrameEncoder(), lambda: None)
    for part in part_cutter.parts(raw, Gap(1, None, 0, segment.raw_end), segment, PART, 1):
        total += len(part.body)
        reserved, lent = part.reserved_bytes, part.lent
        del part
        budget.give_back(reserved, lent)
        del lent
    source.close()
    return total


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("compression", Compression)
def test_all_buffers_together_keep_within_the_limit(
    tmp_path: Path, compression: Compression, size: int
) -> None:
    """Bytes that do not compress are the worst: what is made of them is as long as they are.

    A frame more is allowed for: on a crowded machine the threads were seen to meet so that two
    MiB more than the limit stood for a moment.
    """
    path = tmp_path / "file"
    path.write_bytes(Random(1).randbytes(size))
    totals: list[int] = []
    with part_cutter(LIMIT) as (cut, budget):
        tracemalloc.start()
        try:
            threads = [
                threading.Thread(
                    target=lambda: totals.append(
                        sent(cut, budget, path, segment(size, compression))
                    )
                )
                for _ in range(FILES)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(totals) == FILES
        assert budget.is_idle
    assert peak <= LIMIT + 2 * MIB
    assert all(total >= size for total in totals)


class _Watched(FrameEncoder):
    """Knows which frames, and what of their raw bytes, somebody refers to."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[weakref.ref[object]] = []
        self.most = 0

    @property
    def held(self) -> int:
        return len({id(found) for each in self._seen if (found := each()) is not None})

    def frame(self, raw: bytes | memoryview, compression: Compression, level: int) -> bytes:
        self.most = max(self.most, self.held)
        assert isinstance(raw, memoryview)
        made = memoryview(super().frame(raw, compression, level))
        self._seen += [weakref.ref(raw.obj), weakref.ref(made)]
        return cast(bytes, made)


@pytest.mark.parametrize("budget_bytes", [LIMIT, PART], ids=["in memory", "read twice"])
@pytest.mark.parametrize("ahead", [0, 1])
def test_a_file_holds_no_frame_but_those_ahead_while_its_parts_are_on_their_way(
    tmp_path: Path, ahead: int, budget_bytes: int
) -> None:
    """Else every file that waits for memory, of which it has none then, would hold some."""
    path, length, encoder = tmp_path / "file", 7 * 4 * MIB, _Watched()
    path.write_bytes(Random(1).randbytes(length))
    cut = PartCutter(
        encoding=Compressor(encoder=encoder, executor=InlineExecutor(), ahead=ahead),
        budget=ByteBudget(budget_bytes),
        checksum=no_checksum,
        is_stopping=lambda: False,
    )
    source, numbers = FileSource(os.open(path, os.O_RDONLY), "file"), list[int]()
    raw = SegmentReader(source, 0, encoder, lambda: None)
    whole = segment(length, Compression.ZSTD)
    for part in cut.parts(raw, Gap(1, None, 0, length), whole, PART, 1):
        numbers.append(part.number)
        assert encoder.held <= 2 * ahead
        cut.let_go(part)
    assert numbers == [1, 2, 3, 4]
    assert encoder.most <= 2 * ahead + 1  # whose raw bytes lie where earlier ones lay
    source.close()


class _Endless:
    """A source of any length, always the same bytes; and what would make frames of them.

    A dry run is about where is cut: filling 600 GB of memory would take minutes.
    """

    def __init__(self, frame_bytes: int) -> None:
        self._piece = bytes(4 * MIB)
        self._frame = bytes(frame_bytes)

    def read(self, offset: int, length: int) -> bytes:
        return self._piece if length == len(self._piece) else self._piece[:length]

    def frame(self, raw: bytes, compression: Compression, level: int) -> bytes:
        return self._frame


def passed_over(raw: SegmentReader, part: memoryview, checksum: Checksum) -> None:
    """What stands for the reading of a part: nobody looks at what is in it."""
    raw.at += len(part)


class _Counted:
    """S3's limits, and the checksum of the whole by arithmetic: of zeros all parts are alike."""

    def __init__(self) -> None:
        self.crcs: dict[int, str] = {}
        self.sent: list[tuple[str, int]] = []
        self.at = 0

    def take(self, part: Part) -> None:
        size = len(part.body)
        if size not in self.crcs:
            self.crcs[size] = checksum_of(part.body, ChecksumAlgorithm.CRC32)
        self.sent.append((self.crcs[size], size))
        assert (part.number, part.raw_start) == (len(self.sent), self.at)
        self.at = part.raw_end

    def require_an_object(self, raw_bytes: int) -> None:
        sizes = [size for _, size in self.sent]
        assert self.at == raw_bytes
        assert len(sizes) <= MAX_PARTS
        assert all(MIN_PART_BYTES <= size <= MAX_PART_BYTES for size in sizes[:-1])
        assert sizes[-1] <= MAX_PART_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0, 40, 100])
def test_a_sparse_file_of_600_gb_is_cut_within_the_limits(
    ratio: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run of the real cutting, with nothing digested; a ratio of 0 is no compression."""
    length = 600 * 10**9 + 1
    monkeypatch.setattr(SegmentReader, "digest", lambda raw, frame: None)
    monkeypatch.setattr(SegmentReader, "fill", passed_over)
    endless = _Endless(4 * MIB // max(ratio, 1))
    encoder = cast(FrameEncoder, endless)
    encoding = Compressor(encoder=encoder, executor=InlineExecutor(), ahead=2)
    budget = ByteBudget(512 * MIB)
    other = budget.lend(1, 0)[0]  # while another file is under way, buffers are kept
    cut = PartCutter(
        encoding=encoding, budget=budget, checksum=no_checksum, is_stopping=lambda: False
    )
    whole = segment(length, Compression.ZSTD if ratio else Compression.NONE)
    raw = SegmentReader(cast(Source, endless), 0, encoder, lambda: None)
    part_size, counted = part_size_for(length, 16 * MIB), _Counted()
    for part in cut.parts(raw, Gap(1, None, 0, length), whole, part_size, 1):
        counted.take(part)
        budget.give_back(part.reserved_bytes, part.lent)
    counted.require_an_object(length)
    whole_crc = full_object_checksum(ChecksumAlgorithm.CRC32, counted.sent)
    assert is_from(ChecksumAlgorithm.CRC32, whole_crc)
    budget.give_back(other)
    assert budget.is_idle


@pytest.mark.parametrize("step", [1, 3])
def test_a_stopped_cut_gives_everything_back(tmp_path: Path, step: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(Random(1).randbytes(23 * MIB))
    with part_cutter(LIMIT) as (cut, budget):
        whole = segment(23 * MIB, Compression.ZSTD)
        source = FileSource(os.open(path, os.O_RDONLY), "file")
        raw = SegmentReader(source, 0, FrameEncoder(), lambda: None)
        parts = cut.parts(raw, Gap(1, None, 0, 23 * MIB), whole, PART, 1)
        for _ in range(step):
            budget.give_back(next(parts).reserved_bytes)
        parts.close()
        source.close()
        assert budget.is_idle


@pytest.mark.parametrize("compression", Compression)
def test_a_file_that_ends_too_early_gives_everything_back(
    tmp_path: Path, compression: Compression
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    with part_cutter(LIMIT) as (cut, budget):
        with pytest.raises(PortError, match="SourceChanged"):
            sent(cut, budget, path, segment(23 * MIB, compression))
        assert budget.is_idle
