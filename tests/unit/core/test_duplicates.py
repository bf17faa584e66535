"""What is likely to be a copy, and what a proof may cost: decided without reading a byte."""

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.duplicates import (
    Standing,
    bytes_after,
    is_carried_over,
    may_be_compressed,
    may_be_compressed_beside,
    may_be_copied,
    most_encoded_bytes,
    mtime_in_gzip,
    standing_of,
)
from shipper.core.types import FileId, RelativePath, Shipment, ShipmentId, State
from tests.fakes.examples import shipment

NS = 1_764_000_000_123_456_789
ORIGINAL = shipment(mtime_ns=NS, raw_end=100, state=State.DONE, raw_sha256="sha", promised_at=10.0)
COPY = shipment(
    id=ShipmentId(2), file_id=FileId(8, 4, "head"), mtime_ns=NS, raw_end=100, promised_at=20.0
)

DAY_NS = 86_400 * 10**9


def named(row: Shipment, path: bytes, **changes: object) -> Shipment:
    return replace(row, path=RelativePath(path), **changes)  # type: ignore[arg-type]  # fields


GZ = named(COPY, b"app.log.1.gz")


@pytest.mark.parametrize(
    ("original", "copy", "is_likely"),
    [
        (b"app.log.1", b"app.log.2.gz", True),
        (b"app.log.1", b"app.log.2.bz2", True),
        (b"app.log.1", b"app.log.2.lz4", False),
        (b"app.log.1", b"app.log.2.zip", False),
        (b"app.log.1", b"app.log.1", False),
        (b"app.log.1.gz", b"app.log.1", False),
        (b"app.log.1.gz", b"app.log.3.gz", False),
        (b"a/app.log.1", b"b/app.log.1.gz", True),
    ],
)
def test_names_say_what_may_be_a_compressed_copy(
    original: bytes, copy: bytes, is_likely: bool
) -> None:
    assert may_be_compressed(named(ORIGINAL, original), named(COPY, copy), NS) is is_likely


def test_in_another_directory_the_nanosecond_decides() -> None:
    moved = named(GZ, b"other/app.log.1.gz")
    assert may_be_compressed(ORIGINAL, moved, NS)
    assert not may_be_compressed(ORIGINAL, moved, NS + 1)
    assert not may_be_compressed(ORIGINAL, moved, NS // 10**9 * 10**9)


LIVE = replace(ORIGINAL, path=RelativePath(b"app.log"), is_live=True)


def test_what_copytruncate_made_begins_as_the_live_log() -> None:
    assert may_be_copied(LIVE, COPY, NS)


@pytest.mark.parametrize(("born_ns", "is_likely"), [(NS - 1, False), (NS + 1, True), (0, True)])
def test_a_file_that_was_created_before_the_live_log_was_written_is_no_copy_of_it(
    born_ns: int, is_likely: bool
) -> None:
    assert may_be_copied(LIVE, COPY, born_ns) is is_likely


@pytest.mark.parametrize(
    "change",
    [
        {"raw_end": 101},
        {"tail_digest": "other"},
        {"mtime_ns": NS - 1},
        {"file_id": ORIGINAL.file_id},
        {"id": ORIGINAL.id},
        {"path": RelativePath(b"app.log.1.gz")},
    ],
)
def test_what_is_unlike_the_live_log_is_no_copy_of_it(change: dict[str, object]) -> None:
    assert not may_be_copied(LIVE, replace(COPY, **change), NS)  # type: ignore[arg-type]  # fields
    assert not may_be_copied(ORIGINAL, COPY, NS)


@pytest.mark.parametrize(
    ("copy_ns", "is_it"),
    [
        (NS, True),
        (NS // 1000 * 1000, True),
        (NS + 238, True),  # a float
        (NS // 10**6 * 10**6, True),
        (NS // 10**9 * 10**9, True),
        (NS + 10**6, False),
        (NS // 10**9 * 10**9 + 1, False),
        (NS + DAY_NS, False),
        (NS // 10**9 * 10**9 + DAY_NS, False),
        (0, False),
    ],
)
def test_a_compressor_keeps_the_mtime_whole_or_cut(copy_ns: int, is_it: bool) -> None:
    assert is_carried_over(NS, copy_ns) is is_it
    assert may_be_compressed(ORIGINAL, GZ, copy_ns) is is_it


@pytest.mark.parametrize(
    ("path", "off_ns", "is_it"),
    [
        (b"app.log.1.gz", 0, True),
        (b"app.log.1.gz", -1, False),
        (b"app.log.1.gz", 10**10 - 10**6, True),
        (b"app.log.1.gz", 10**10 + 10**6, False),
        (b"app.log.1.bz2", 1, True),
        (b"app.log.1.zip", 1, False),
        (b"app.log.2.gz", 1, False),
        (b"old/app.log.1.gz", 1, False),
    ],
)
def test_what_was_begun_beside_a_log_before_that_was_found_may_be_of_it(
    path: bytes, off_ns: int, is_it: bool
) -> None:
    original = replace(ORIGINAL, promised_at=NS / 1e9 + 10)
    copy = named(COPY, path, mtime_ns=NS + 10**12)
    assert may_be_compressed_beside(original, copy, NS + off_ns) is is_it


@given(st.integers(0, 2**63), st.integers(0, 2**63))
def test_mtimes_of_two_seconds_are_never_carried_over(one: int, other: int) -> None:
    if abs(one - other) >= 10**9:
        assert not is_carried_over(one, other)


@given(mtime=st.integers(0, 2**32 - 1), raw=st.binary(max_size=99))
def test_gzip_tells_the_mtime_of_its_content_or_none(mtime: int, raw: bytes) -> None:
    packed = gzip.compress(raw, mtime=mtime)
    assert mtime_in_gzip(packed[:8]) == mtime * 10**9
    assert mtime_in_gzip(packed[:7]) == 0
    assert mtime_in_gzip(b"\x1f\x8c" + packed[2:8]) == 0


def test_a_file_much_longer_than_its_content_is_no_copy_of_it() -> None:
    """Whatever empty members are in it, they are never read."""
    most = most_encoded_bytes(ORIGINAL.raw_end)
    for size, is_likely in ((most, True), (most + 1, False)):
        assert may_be_compressed(ORIGINAL, replace(GZ, raw_end=size), NS) is is_likely


def test_the_limit_grows_with_the_content() -> None:
    assert most_encoded_bytes(10) == 1024**2 + 20


@pytest.mark.parametrize("state", list(State))
def test_only_what_s3_is_known_to_have_is_stored(state: State) -> None:
    stored = {State.VERIFIED, State.DONE, State.DUPLICATE}
    undecided = {State.READY, State.UPLOADING, State.UPLOADED}
    expected = (
        Standing.STORED
        if state in stored
        else Standing.UNDECIDED
        if state in undecided
        else Standing.ABSENT
    )
    row = replace(ORIGINAL, state=state, code="ObjectMissing")
    assert standing_of([row]) is expected
    assert standing_of([ORIGINAL, row]) is expected
    assert standing_of([replace(row, raw_sha256="")]) is not Standing.STORED


def test_a_log_whose_removal_failed_is_stored() -> None:
    parked = replace(ORIGINAL, state=State.PARKED, code="RemoveDenied")
    assert standing_of([parked]) is Standing.STORED
    assert standing_of([replace(parked, code="SourceUnreadable")]) is Standing.ABSENT


RAW = st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=5)


def chain_of_bodies(bodies: Sequence[bytes]) -> list[Shipment]:
    chain, at = [], 0
    for body in bodies:
        sha256 = hashlib.sha256(body).hexdigest()
        chain.append(shipment(raw_start=at, raw_end=at + len(body), raw_sha256=sha256))
        at += len(body)
    return chain


@given(segments=RAW, cut=st.integers(1, 7), change=st.integers(-9, 9))
def test_pieces_of_any_size_are_the_log_or_are_not(
    segments: list[bytes], cut: int, change: int
) -> None:
    raw = b"".join(segments)
    other = raw[:change] if change < 0 else raw + bytes(change)
    pieces = [other[at : at + cut] for at in range(0, len(other), cut)]
    more = len(other) - len(raw) if other.startswith(raw) else None
    assert bytes_after(chain_of_bodies(segments), iter(pieces)) == more
