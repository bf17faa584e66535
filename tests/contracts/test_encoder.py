"""What ``ports.Encoder`` promises: frames for every reader; a reader that survives anything."""

import base64
import bz2
import contextlib
import gzip
import hashlib
import itertools
import lzma
import shutil
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.core.parts import longest_encoded
from shipper.core.types import ChecksumAlgorithm, Compression, RelativePath, Watch, WatchName
from shipper.edges.clock import SystemClock
from shipper.edges.decoder import PIECE_BYTES, READ_BYTES, WINDOW_BYTES
from shipper.edges.encoder import FrameEncoder, has_crc64nvme
from shipper.ports import PortError, Source
from tests.fakes.files import FakeFiles

ENCODER = FrameEncoder()
LIMIT = 128 * PIECE_BYTES
CHECK = b"123456789"
"""The input of every catalogue's check value."""

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda raw: gzip.compress(raw, mtime=0),
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
EXTENSIONS = sorted(COMPRESSORS)
LOG = b"".join(b"%d GET /index.html 200\n" % number for number in range(20_000))


def source_of(body: bytes) -> Source:
    files = FakeFiles(SystemClock())
    files.write(b"file", body)
    return files.open(Watch(name=WatchName("w"), directory="/logs"), RelativePath(b"file"))


def decoded(body: bytes, extension: str) -> bytes:
    return b"".join(ENCODER.decoded(source_of(body), extension, limit_bytes=LIMIT))


def refusal(body: bytes, extension: str) -> PortError:
    with pytest.raises(PortError) as caught:
        decoded(body, extension)
    assert caught.value.code == "Undecodable"
    assert caught.value.detail
    return caught.value


def plain(body: bytes, compression: Compression) -> bytes:
    """What a reader that is not ours makes of it."""
    match compression:
        case Compression.ZSTD:
            reader = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True)
            return reader.read()
        case Compression.GZIP:
            return gzip.decompress(body)
        case Compression.NONE:
            return body


@given(
    frames=st.lists(st.binary(max_size=300), max_size=5),
    compression=st.sampled_from(Compression),
    level=st.integers(1, 9),
)
def test_concatenated_frames_are_one_stream_for_every_reader(
    frames: Sequence[bytes], compression: Compression, level: int
) -> None:
    body = b"".join(ENCODER.frame(raw, compression, level) for raw in frames)
    assert plain(body, compression) == b"".join(frames)


def test_a_level_that_only_zstd_knows_is_gzips_highest() -> None:
    """A promise keeps its compression when the watch's changes, and meets the new level."""
    raw = b"a line\n" * 99
    highest = ENCODER.frame(raw, Compression.GZIP, 9)
    assert ENCODER.frame(raw, Compression.GZIP, 19) == highest


@pytest.mark.parametrize("compression", [Compression.ZSTD, Compression.GZIP])
def test_an_empty_frame_is_a_valid_one(compression: Compression) -> None:
    body = ENCODER.frame(b"", compression, 1)
    assert body
    assert plain(body, compression) == b""


def test_the_same_bytes_give_the_same_frame() -> None:
    """Resuming must meet the ETag of the part that was stored; a time in a header would not."""
    for compression in Compression:
        assert ENCODER.frame(LOG, compression, 3) == FrameEncoder().frame(LOG, compression, 3)
    assert ENCODER.frame(LOG, Compression.GZIP, 6)[4:8] == bytes(4)


def test_a_zstd_frame_tells_its_size_and_carries_a_checksum() -> None:
    frame = ENCODER.frame(LOG, Compression.ZSTD, 1)
    parameters = zstandard.get_frame_parameters(frame)
    assert (parameters.content_size, parameters.has_checksum) == (len(LOG), True)


def test_frames_are_made_in_many_threads_at_once() -> None:
    expected = ENCODER.frame(LOG, Compression.ZSTD, 1)
    found: list[bytes] = []

    def encode() -> None:
        found.extend(ENCODER.frame(LOG, Compression.ZSTD, 1) for _ in range(10))

    threads = [threading.Thread(target=encode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 80


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (ChecksumAlgorithm.CRC32, (0xCBF43926).to_bytes(4, "big")),
        (ChecksumAlgorithm.CRC64NVME, (0xAE8B14860A799888).to_bytes(8, "big")),
        (ChecksumAlgorithm.SHA256, hashlib.sha256(CHECK).digest()),
    ],
)
def test_a_checksum_is_base64_of_the_big_endian_value(
    algorithm: ChecksumAlgorithm, expected: bytes
) -> None:
    """Check values: https://reveng.sourceforge.io/crc-catalogue/all.htm"""
    if algorithm is ChecksumAlgorithm.CRC64NVME and not has_crc64nvme():
        pytest.skip("needs the crt extra")
    split: list[bytes | memoryview] = [CHECK[:4], memoryview(bytearray(CHECK))[4:]]
    for pieces in ([CHECK], split):
        checksum = ENCODER.checksum(algorithm)
        for piece in pieces:
            checksum.add(piece)
        assert checksum.value() == base64.b64encode(expected).decode()


def test_no_checksum_is_empty() -> None:
    checksum = ENCODER.checksum(ChecksumAlgorithm.NONE)
    checksum.add(CHECK)
    assert checksum.value() == ""


@given(st.binary())
def test_a_crc32_is_that_of_zlib(body: bytes) -> None:
    assert ENCODER.crc32(body) == zlib.crc32(body)


def test_a_missing_runtime_library_is_said_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "awscrt.checksums", None)
    assert not has_crc64nvme()
    with pytest.raises(PortError) as caught:
        ENCODER.checksum(ChecksumAlgorithm.CRC64NVME)
    assert (caught.value.code, bool(caught.value.hint)) == ("AlgorithmUnavailable", True)


def test_a_checksum_library_is_imported_only_when_it_is_used() -> None:
    program = "import sys, shipper.edges.encoder; print('awscrt' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert answer.stdout == b"False\n"


@pytest.mark.parametrize("extension", EXTENSIONS)
@settings(deadline=None)
@given(members=st.lists(st.binary(max_size=2000), min_size=1, max_size=4))
def test_what_was_compressed_is_decoded(extension: str, members: Sequence[bytes]) -> None:
    body = b"".join(COMPRESSORS[extension](raw) for raw in members)
    assert decoded(body, extension) == b"".join(members)


@pytest.mark.parametrize(
    ("program", "extension"),
    [("gzip", ".gz"), ("zstd", ".zst"), ("xz", ".xz"), ("bzip2", ".bz2")],
)
def test_what_the_usual_programs_write_is_decoded(
    tmp_path: Path, program: str, extension: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    (tmp_path / "log").write_bytes(LOG)
    with (tmp_path / "log").open("rb") as log:
        answer = subprocess.run([program, "-c"], stdin=log, capture_output=True, check=True)
    assert decoded(answer.stdout, extension) == LOG
    assert decoded(answer.stdout * 2, extension) == LOG * 2


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_what_needs_many_reads_is_decoded_in_bounded_pieces(extension: str) -> None:
    raw = Random(1).randbytes(3 * READ_BYTES + 7) + LOG + bytes(2 * PIECE_BYTES + 1)
    pieces = list(
        ENCODER.decoded(source_of(COMPRESSORS[extension](raw)), extension, limit_bytes=LIMIT)
    )
    assert b"".join(pieces) == raw
    assert max(map(len, pieces)) <= PIECE_BYTES


@pytest.mark.parametrize(
    ("compression", "extension"), [(Compression.GZIP, ".gz"), (Compression.ZSTD, ".zst")]
)
def test_our_own_frames_are_decoded(compression: Compression, extension: str) -> None:
    frames = [LOG[at : at + 100_000] for at in range(0, len(LOG), 100_000)]
    body = b"".join(ENCODER.frame(raw, compression, 1) for raw in frames)
    assert decoded(body, extension) == LOG


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_file_that_was_cut_short_is_undecodable(extension: str) -> None:
    body = COMPRESSORS[extension](b"a log line\n" * 30)
    for length in range(1, len(body)):
        refusal(body[:length], extension)
        refusal(body + body[:length], extension)
    refusal(b"", extension)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_file_that_was_damaged_never_passes_for_another(extension: str) -> None:
    """Some bytes of a header mean nothing; all others are noticed."""
    raw = Random(2).randbytes(500)
    body = COMPRESSORS[extension](raw)
    noticed = 0
    for at in range(len(body)):
        damaged = body[:at] + bytes([body[at] ^ 0x55]) + body[at + 1 :]
        with contextlib.suppress(PortError):
            assert decoded(damaged, extension) == raw
            continue
        noticed += 1
    assert noticed > 500


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_garbage_behind_the_end_is_undecodable(extension: str) -> None:
    body = COMPRESSORS[extension](b"a log line\n")
    refusal(body + b"garbage", extension)
    refusal(body + bytes(10) + b"garbage", extension)


@pytest.mark.parametrize("extension", [".gz", ".xz", ".bz2"])
def test_zeros_may_fill_up_the_end_and_hide_nothing(extension: str) -> None:
    """What stood behind the zeros would be lost with a file that was taken for a duplicate."""
    body = COMPRESSORS[extension](b"a log line\n")
    assert decoded(body + bytes(512), extension) == b"a log line\n"
    assert decoded(body + bytes(2 * READ_BYTES), extension) == b"a log line\n"
    refusal(body + bytes(512) + body, extension)
    refusal(body + bytes(2 * READ_BYTES - len(body)) + body, extension)


def test_a_skippable_zstd_frame_is_skipped() -> None:
    """pzstd and seekable zstd write them; RFC 8878, section 3.1.2."""
    skippable = (0x184D2A57).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"hello"
    body = COMPRESSORS[".zst"](b"a log line\n")
    assert decoded(skippable + body + skippable + body, ".zst") == b"a log line\n" * 2
    refusal(body + skippable[:-1], ".zst")
    refusal(body + skippable[:6], ".zst")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_file_that_expands_a_thousandfold_costs_no_memory(extension: str) -> None:
    body = COMPRESSORS[extension](bytes(64 * PIECE_BYTES))
    pieces = ENCODER.decoded(source_of(body), extension, limit_bytes=LIMIT)
    total = 0
    tracemalloc.start()
    for piece in pieces:
        total += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 64 * PIECE_BYTES
    assert peak < 32 * PIECE_BYTES


def test_a_window_that_would_cost_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = compressor.compress(b"a log line\n") + compressor.flush()
    assert zstandard.get_frame_parameters(body).window_size > WINDOW_BYTES
    refusal(body, ".zst")
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": WINDOW_BYTES, "mode": lzma.MODE_FAST}]
    refusal(lzma.compress(b"a log line\n", filters=filters), ".xz")


@pytest.mark.parametrize("extension", [".lz4", ".zip", ".Z", ""])
def test_other_formats_are_undecodable(extension: str) -> None:
    assert (extension or "no extension") in refusal(b"body", extension).detail


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_failing_read_is_not_taken_for_damage(extension: str) -> None:
    files = FakeFiles(SystemClock())
    files.write(b"file", COMPRESSORS[extension](b"a log line\n"))
    files.fail_reads(b"file", PortError("Unreadable", "the disk"))
    source = files.open(Watch(name=WatchName("w"), directory="/logs"), RelativePath(b"file"))
    with pytest.raises(PortError) as caught:
        list(ENCODER.decoded(source, extension, limit_bytes=LIMIT))
    assert caught.value.code == "Unreadable"


@pytest.mark.parametrize("compression", [Compression.ZSTD, Compression.GZIP])
@pytest.mark.parametrize("level", range(1, 10))
def test_no_frame_is_longer_than_a_buffer_allows(compression: Compression, level: int) -> None:
    """Bytes that deflate's fixed code writes in nine bits are the worst."""
    random = Random(level)
    for lowest, length in itertools.product((0, 144), (0, 1, 5000, 1024**2)):
        raw = bytes(random.choices(range(lowest, 256), k=length))
        assert len(FrameEncoder().frame(raw, compression, level)) <= longest_encoded(length)
