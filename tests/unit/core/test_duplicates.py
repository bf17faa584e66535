"""What is likely to be a copy, and what a proof may cost: decided without reading a byte."""

import gzip
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.duplicates import (
    Relation,
    Standing,
    is_likely_compressed,
    is_likely_unpacked,
    most_encoded_bytes,
    most_members,
    relation,
    standing_of,
    trailer_from,
)
from shipper.core.types import FileId, RelativePath, Shipment, ShipmentId, State
from tests.fakes.examples import shipment

NS = 1_764_000_000_123_456_789
ORIGINAL = shipment(
    mtime_ns=NS, raw_end=100, state=State.DONE, raw_sha256="sha", raw_crc32=7, promised_at=10.0
)
COPY = shipment(
    id=ShipmentId(2), file_id=FileId(8, 4, "head"), mtime_ns=NS, raw_end=100, promised_at=20.0
)
COMPRESSED, UNPACKED, RESTORED, COPIED = Relation


def named(row: Shipment, path: bytes, **changes: object) -> Shipment:
    return replace(row, path=RelativePath(path), **changes)  # type: ignore[arg-type]  # fields


@pytest.mark.parametrize(
    ("original", "copy", "expected"),
    [
        (b"app.log.1", b"app.log.2.gz", COMPRESSED),
        (b"app.log.1", b"app.log.2.lz4", COMPRESSED),
        (b"app.log.1", b"app.log.2.zip", None),
        (b"app.log.1.gz", b"app.log.1", UNPACKED),
        (b"app.log.1.zip", b"app.log.1", None),
        (b"app.log.1", b"app.log.1", RESTORED),
        (b"app.log.1.gz", b"app.log.3.gz", RESTORED),
        (b"a/app.log.1", b"b/app.log.1", None),
        (b"a/app.log.1", b"b/app.log.1.gz", COMPRESSED),
        (b"a/app.log.1.gz", b"b/app.log.1", UNPACKED),
    ],
)
def test_names_say_what_a_file_may_be(
    original: bytes, copy: bytes, expected: Relation | None
) -> None:
    assert relation(named(ORIGINAL, original), named(COPY, copy)) is expected


@pytest.mark.parametrize(
    ("copy", "off_ns", "expected"),
    [
        (b"app.log.1", 1, None),
        (b"app.log.1.gz", 10**12, COMPRESSED),
        (b"other/app.log.1.gz", 1, None),
    ],
)
def test_of_plain_files_the_nanosecond_decides(
    copy: bytes, off_ns: int, expected: Relation | None
) -> None:
    assert relation(ORIGINAL, named(COPY, copy, mtime_ns=NS + off_ns)) is expected


@pytest.mark.parametrize(("off_ns", "expected"), [(-456_789, UNPACKED), (10**9, None)])
def test_of_an_unpacked_file_the_second_decides(off_ns: int, expected: Relation | None) -> None:
    packed = named(ORIGINAL, b"app.log.1.gz")
    assert relation(packed, replace(COPY, mtime_ns=NS + off_ns)) is expected


@pytest.mark.parametrize(
    "change",
    [{"raw_end": 101}, {"tail_digest": "other"}, {"promised_at": 10.0}, {"mtime_ns": NS - 1}],
)
def test_a_restored_file_is_like_its_original_and_later(change: dict[str, object]) -> None:
    assert relation(ORIGINAL, replace(COPY, **change)) is None  # type: ignore[arg-type]  # fields


def test_a_segment_of_a_compressed_file_is_no_whole_one() -> None:
    packed = named(ORIGINAL, b"app.log.1.gz", raw_start=5)
    assert relation(packed, COPY) is None


@given(raw=st.binary(max_size=300), is_moved=st.booleans(), is_beside=st.booleans())
def test_the_trailer_of_a_compressed_copy_makes_it_likely(
    raw: bytes, is_moved: bool, is_beside: bool
) -> None:
    body = gzip.compress(raw, mtime=0)
    original = replace(ORIGINAL, raw_end=len(raw), raw_crc32=zlib.crc32(raw))
    copy = replace(COPY, raw_end=len(body), mtime_ns=0 if is_moved else NS)
    trailer = trailer_from(body[-8:])
    assert is_likely_compressed([original], copy, trailer, is_beside=is_beside)
    for other in (
        replace(original, raw_crc32=original.raw_crc32 ^ 1),
        replace(original, raw_end=original.raw_end + 1),
    ):
        is_likely = is_likely_compressed([other], copy, trailer, is_beside=is_beside)
        assert is_likely == (is_beside or not is_moved)


def test_without_a_trailer_or_a_time_nothing_is_likely() -> None:
    copy = replace(COPY, mtime_ns=0)
    assert not is_likely_compressed([ORIGINAL], copy, None, is_beside=False)
    assert trailer_from(b"1234567") is None


def test_the_checksum_of_a_log_on_its_way_is_not_known_yet() -> None:
    underway = replace(ORIGINAL, state=State.READY, raw_crc32=0, raw_sha256="")
    trailer = trailer_from((7).to_bytes(4, "little") + (100).to_bytes(4, "little"))
    copy = replace(COPY, mtime_ns=0)
    assert is_likely_compressed([underway], copy, trailer, is_beside=False)


def test_a_file_much_longer_than_its_content_is_no_copy_of_it() -> None:
    """Whatever empty members are in it, they are never read."""
    most = most_encoded_bytes(ORIGINAL.raw_end)
    for size, is_likely in ((most, True), (most + 1, False)):
        copy = replace(COPY, raw_end=size)
        assert is_likely_compressed([ORIGINAL], copy, None, is_beside=True) is is_likely
        packed = named(ORIGINAL, b"app.log.1.gz", raw_end=size)
        assert is_likely_unpacked(packed, replace(COPY, raw_end=100)) is is_likely


def test_the_limits_grow_with_the_content() -> None:
    assert most_members(0) == 1000
    assert most_members(1024**3) == 1000 + 1024**2
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
