"""What is likely to be a copy, and what a proof may cost: decided without reading a byte."""

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.duplicates import (
    Standing,
    is_content_of,
    is_likely_compressed,
    may_be_compressed,
    may_be_copied,
    most_encoded_bytes,
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


def named(row: Shipment, path: bytes, **changes: object) -> Shipment:
    return replace(row, path=RelativePath(path), **changes)  # type: ignore[arg-type]  # fields


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
    assert may_be_compressed(named(ORIGINAL, original), named(COPY, copy)) is is_likely


@pytest.mark.parametrize(
    ("copy", "off_ns", "is_likely"),
    [(b"app.log.1.gz", 10**12, True), (b"other/app.log.1.gz", 1, False)],
)
def test_in_another_directory_the_nanosecond_decides(
    copy: bytes, off_ns: int, is_likely: bool
) -> None:
    assert may_be_compressed(ORIGINAL, named(COPY, copy, mtime_ns=NS + off_ns)) is is_likely


LIVE = replace(ORIGINAL, path=RelativePath(b"app.log"), is_live=True)


def test_what_copytruncate_made_begins_as_the_live_log() -> None:
    assert may_be_copied(LIVE, COPY)


@pytest.mark.parametrize(
    "change",
    [
        {"raw_end": 101},
        {"tail_digest": "other"},
        {"mtime_ns": NS - 1},
        {"file_id": ORIGINAL.file_id},
        {"id": ORIGINAL.id},
        {"path": RelativePath(b"old/app.log.1")},
        {"path": RelativePath(b"app.log.1.gz")},
    ],
)
def test_what_is_unlike_the_live_log_is_no_copy_of_it(change: dict[str, object]) -> None:
    assert not may_be_copied(LIVE, replace(COPY, **change))  # type: ignore[arg-type]  # fields
    assert not may_be_copied(ORIGINAL, COPY)


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
    assert is_content_of(chain_of_bodies(segments), iter(pieces)) == (other == raw)
