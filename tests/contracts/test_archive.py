"""What every ``Archive`` does: the fake in memory, and BucketArchive in front of moto."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from shipper.core.destinations import Destination
from shipper.core.types import ObjectKey
from shipper.edges.s3.archive import PIECE_BYTES, BucketArchive
from shipper.ports import Archive, PortError
from tests.fakes.archive import FakeArchive, Kept
from tests.fakes.servers import Moto

ODD = "logs/a b+c%25é&\x01<.log"
Made = Callable[[Mapping[str, Kept]], Archive]
_numbers = itertools.count()


@pytest.fixture(params=["fake", "moto"])
def archive(
    request: pytest.FixtureRequest, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Made]:
    with ExitStack() as stack:

        def make(objects: Mapping[str, Kept]) -> Archive:
            if request.param == "fake":
                return FakeArchive(objects)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
            bucket = f"archive-{request.node.name.partition('[')[0]}".replace("_", "-")[:50]
            bucket = f"{bucket}-{next(_numbers)}".lower()
            moto.create_bucket(bucket)
            for key, kept in objects.items():
                more: dict[str, Any] = {"StorageClass": kept.storage_class}
                moto.client("s3").put_object(
                    Bucket=bucket, Key=key, Body=kept.body, Metadata=kept.metadata, **more
                )
            where = Destination(bucket, endpoint_url=moto.url)
            return stack.enter_context(BucketArchive(where))

        yield make


def test_objects_are_listed_in_the_order_of_their_bytes_with_what_is_known_of_them(
    archive: Made,
) -> None:
    keys = ["logs/B", "logs/a", "logs/a/1", "logs/a0", ODD, "other"]
    found = archive({key: Kept(key.encode()) for key in keys})

    listed = list(found.listed("logs/"))

    assert [one.key for one in listed] == sorted(keys[:5], key=str.encode)
    assert [one.size_bytes for one in listed] == [len(one.key.encode()) for one in listed]
    assert {one.storage_class for one in listed} == {"STANDARD"}
    assert all(len(one.etag) == 32 for one in listed)


def test_a_listing_begins_behind_a_key(archive: Made) -> None:
    found = archive({f"logs/{n}": Kept(b"") for n in range(5)})

    assert [one.key for one in found.listed("logs/", after="logs/2")] == ["logs/3", "logs/4"]
    assert list(found.listed("nothing/")) == []


def test_a_listing_goes_on_over_its_pages(archive: Made) -> None:
    keys = [f"logs/{n:04}" for n in range(1003)]
    found = archive({key: Kept(b"") for key in keys})

    assert [one.key for one in found.listed("logs/")] == keys


def test_directories_are_what_stands_before_the_next_slash(archive: Made) -> None:
    found = archive({key: Kept(b"") for key in ("a/b/c", "a/b/d", "a/e/", "a/f", "a//g", "b/x")})

    assert list(found.directories("a/")) == ["a//", "a/b/", "a/e/"]
    assert list(found.directories("")) == ["a/", "b/"]


def test_an_object_is_read_from_any_byte_on_in_pieces(archive: Made) -> None:
    body = bytes(range(256)) * 9000
    found = archive({ODD: Kept(body), "empty": Kept(b"")})

    pieces = list(found.read(ObjectKey(ODD)))

    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert b"".join(found.read(ObjectKey(ODD), start=1_000_001)) == body[1_000_001:]
    assert list(found.read(ObjectKey(ODD), start=len(body))) == []
    assert list(found.read(ObjectKey("empty"))) == []


def test_the_metadata_are_those_that_were_written(archive: Made) -> None:
    found = archive({"a": Kept(b"", {"source-path": "/x%20y", "raw-start": "0"})})

    assert dict(found.metadata(ObjectKey("a"))) == {"source-path": "/x%20y", "raw-start": "0"}


def test_an_object_that_is_not_there_is_no_such_key(archive: Made) -> None:
    found = archive({"a": Kept(b"")})

    for call in (lambda: list(found.read(ObjectKey("b"))), lambda: found.metadata(ObjectKey("b"))):
        with pytest.raises(PortError, match=r"NoSuchKey.*b"):
            call()


def test_an_archived_object_is_listed_as_such_and_must_be_restored_before_it_is_read(
    archive: Made,
) -> None:
    found = archive({"old": Kept(b"old", storage_class="DEEP_ARCHIVE")})

    assert [one.storage_class for one in found.listed("old")] == ["DEEP_ARCHIVE"]
    with pytest.raises(PortError, match="InvalidObjectState") as caught:
        list(found.read(ObjectKey("old")))
    assert "aws s3api restore-object" in caught.value.hint
