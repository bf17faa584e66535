"""What is known of an object, and whether it is selected."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.archived import ArchivedObject
from shipper.core.archived_segments import (
    ArchivedSegment,
    Selection,
    iso,
    segment_from_entry,
    segment_from_key,
    segment_from_metadata,
)
from shipper.core.manifests import ObjectEntry
from shipper.core.object_keys import InstanceFacts, object_metadata
from shipper.core.stored_keys import StoredKey
from shipper.core.types import ETag, FileId, ObjectKey, RelativePath
from tests.fakes.examples import shipment

STORED = ArchivedObject(ObjectKey("logs/a.zst"), 100, ETag("e"), 0.0)
TOLD = StoredKey("app", "i-1", b"", b"app.log", 1000.0, 1001.0, 5, "")
METADATA = {
    "source-path": "/var/log/app.log.1",
    "source-inode": "7",
    "source-mtime": "1764000000.123456789",
    "raw-start": "0",
    "raw-end": "100",
    "instance-id": "i-1",
}
ENTRY = ObjectEntry(
    key="logs/a.zst",
    size=100,
    etag="e",
    checksum="",
    sha256="ab",
    compression="zstd",
    watch="web",
    path="/var/log/o%64d.log.1",
    inode=9,
    generation="g",
    raw_start=5,
    raw_end=10,
    mtime_ns=7,
    first_sent="",
    last_sent="",
    sealed="",
)


def by_key(**changes: Any) -> ArchivedSegment:
    found = segment_from_key("bucket", STORED, replace(TOLD, **changes), "named")
    assert found is not None
    return found


def by_metadata(**changes: str) -> ArchivedSegment | None:
    named = {name.replace("_", "-"): text for name, text in changes.items()}
    return segment_from_metadata("bucket", STORED, METADATA | named, "app")


@given(
    st.lists(
        st.binary(min_size=1, max_size=30).filter(lambda one: not {0, 47} & {*one}),
        min_size=1,
        max_size=3,
    ).map(b"/".join),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
        lambda text: text not in (".", "..")
    ),
    st.integers(-(10**20), 10**20),
    st.integers(0, 2**50),
)
def test_what_is_written_onto_an_object_is_read_from_it(
    path: bytes, instance: str, mtime_ns: int, start: int
) -> None:
    one = shipment(
        path=RelativePath(path),
        mtime_ns=mtime_ns,
        raw_start=start,
        raw_end=start + 7,
        file_id=FileId(5, 4, "head"),
    )
    metadata = object_metadata(one, "/var/log", InstanceFacts("", instance))

    found = segment_from_metadata("bucket", STORED, metadata)

    assert found is not None
    assert found.path == b"/var/log/" + path
    assert (found.raw_start, found.raw_end, found.raw_bytes) == (start, start + 7, 7)
    assert (found.mtime_ns, found.inode) == (mtime_ns, 5)
    assert found.label == "s3://bucket/logs/a.zst"


@pytest.mark.parametrize(
    "change",
    [
        {"source_path": ""},
        {"instance_id": ""},
        {"source_mtime": "soon"},
        {"source_mtime": "1764000000"},
        {"raw_start": "-1"},
        {"raw_start": "101"},
        {"raw_end": "9" * 30},
        {"source_inode": "\u0667"},
    ],
)
def test_metadata_that_make_no_sense_are_nobody_s(change: dict[str, str]) -> None:
    assert by_metadata(**change) is None


@given(st.dictionaries(st.sampled_from([*METADATA]), st.text(max_size=30)))
def test_no_metadata_break_the_reader(metadata: dict[str, str]) -> None:
    segment_from_metadata("bucket", STORED, METADATA | metadata)


def test_a_key_must_tell_when_of_whom_and_what() -> None:
    for change in ({"since_at": None}, {"instance": ""}, {"stem": b""}):
        assert segment_from_key("bucket", STORED, replace(TOLD, **change), "named") is None
    assert by_key().watch == "app"
    assert by_key(watch="").watch == "named"


def test_a_manifest_tells_all_of_it() -> None:
    found = segment_from_entry(by_key(), ENTRY)

    assert (found.path, found.stem, found.told_by) == (
        b"/var/log/odd.log.1",
        b"odd.log",
        "manifest",
    )
    assert (found.watch, found.inode, found.generation) == ("web", 9, "g")
    assert (found.raw_start, found.raw_end, found.sha256) == (5, 10, "ab")


def packed(key: str, path: str, size: int = 100, compression: str = "") -> ArchivedSegment:
    stored = replace(STORED, key=ObjectKey(key), size_bytes=size)
    found = segment_from_metadata("bucket", stored, METADATA | {"source-path": path})
    assert found is not None
    return replace(found, compression=compression)


@pytest.mark.parametrize(
    ("segment", "is_packed", "own"),
    [
        (packed("a.gz", "/a.log.1.gz"), True, ""),
        (packed("a.gz", "/a.log.1.gz", compression="none"), True, ""),
        (packed("a.gz", "/a.log.1.gz", size=99), False, ".gz"),
        (packed("a.gz", "/a.log.1.gz", compression="gzip"), False, ".gz"),
        (packed("a.zst", "/a.log.1.gz", size=50), False, ".zst"),
        (packed("a.zst", "/a.log.1", compression="zstd"), False, ".zst"),
        (packed("a", "/a.log.1", compression="none"), False, ""),
        (packed("a", "/a.log.1"), False, ""),
        (packed("a.lz4", "/a.log.1.lz4"), True, ""),
    ],
)
def test_it_is_known_who_compressed(segment: ArchivedSegment, is_packed: bool, own: str) -> None:
    assert (segment.is_packed, segment.own_compression) == (is_packed, own)


def test_the_second_that_a_key_tells_may_be_any_part_of_it() -> None:
    assert Selection(since_at=1000.9).takes(by_key())
    assert not Selection(since_at=1001.0).takes(by_key())
    assert Selection(until_at=1000.1).takes(by_key())
    assert not Selection(until_at=1000.0).takes(by_key())
    exact = replace(by_key(), told_by="metadata", mtime_ns=1_000_500_000_000)
    assert not Selection(since_at=1000.6).takes(exact)
    assert not Selection(until_at=1000.5).takes(exact)
    assert Selection(since_at=1000.5, until_at=1000.6).takes(exact)


def test_names_are_of_the_stem_or_the_file_or_with_a_slash_of_the_path() -> None:
    found = by_metadata()
    assert found is not None
    for name in ("app.log", "app.*", "app.log.1", "/var/log/app*", "var/**/app.log.1"):
        assert Selection(name=name).takes(found), name
    for name in ("app", "log", "/var/log/app", "/log/app*", "*/app*"):
        assert not Selection(name=name).takes(found), name


def test_instance_and_watch_must_be_the_same() -> None:
    assert Selection(instance="i-1", watch="app").takes(by_key())
    assert not Selection(instance="i-2").takes(by_key())
    assert not Selection(watch="web").takes(by_key())


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (1_764_000_000_123_456_789, "2025-11-24T16:00:00.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (2**90, "9999-12-31T23:59:59.899Z"),
    ],
)
def test_times_are_written_in_utc(ns: int, text: str) -> None:
    assert iso(ns) == text


def test_a_key_of_another_watch_is_left_out_and_one_without_a_watch_is_open() -> None:
    assert not Selection(watch="web").takes(by_key())
    unknown = replace(by_key(), watch="")
    assert Selection(watch="web").takes(unknown)
    assert not Selection(watch="web").is_decided(unknown)
    assert Selection(watch="web").is_decided(replace(unknown, told_by="metadata"))
    assert not Selection(watch="web").takes(replace(unknown, told_by="metadata"))
