"""A listing page by page: what is asked for, and what is understood of the answers."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from shipper.core.archived import ArchivedObject
from shipper.core.destinations import Destination
from shipper.core.types import ETag, ObjectKey
from shipper.edges.s3.store import S3Store
from shipper.ports import PortError
from tests.fakes.s3_stores import s3_store
from tests.fakes.servers import Moto, ScriptedServer, http_answer

AT = datetime(2026, 11, 29, 12, 30, 15, tzinfo=UTC).timestamp()


def store_at(url: str, bucket: str = "bucket") -> S3Store:
    destination = Destination(bucket, endpoint_url=url, addressing_style="path")
    return s3_store(destination=destination)


def page(*entries: str, more: str = "") -> bytes:
    contents = "".join(f"<Contents>{one}</Contents>" for one in entries)
    body = f"<ListBucketResult><Name>bucket</Name><EncodingType>url</EncodingType>{more}{contents}"
    return http_answer(200, f"{body}</ListBucketResult>", x_amz_request_id="R")


def entry(key: str, *more: str) -> str:
    return f"<Key>{key}</Key><Size>7</Size>{''.join(more)}"


def modified(text: str) -> str:
    return f"<LastModified>{text}</LastModified>"


@pytest.mark.parametrize(
    "text",
    ["2026-11-29T12:30:15.000Z", "2026-11-29T12:30:15Z", "Sun, 29 Nov 2026 12:30:15 GMT"],
)
def test_a_page_says_what_there_is_and_whether_there_is_more(text: str) -> None:
    tag, kind = "<ETag>&quot;e&quot;</ETag>", "<StorageClass>GLACIER</StorageClass>"
    answer = page(
        entry("logs/a+b%25F6.zst", modified(text), tag, kind),
        entry("logs/c"),
        more="<IsTruncated>true</IsTruncated>",
    )
    with ScriptedServer(answer, page()) as server:
        store = store_at(server.url)
        assert store.objects("logs/").result() == (
            [
                ArchivedObject(ObjectKey("logs/a b%F6.zst"), 7, ETag("e"), AT, "GLACIER"),
                ArchivedObject(ObjectKey("logs/c"), 7, ETag(""), 0.0, "STANDARD"),
            ],
            True,
        )
        assert store.objects("logs/", after="logs/c d").result() == ([], False)
        store.close()
    first, second = (parse_qs(urlsplit(one.target).query) for one in server.requests)
    assert "start-after" not in first
    assert second["start-after"] == ["logs/c d"]
    assert second["prefix"] == ["logs/"]


@pytest.mark.parametrize("text", ["yesterday", "", "99999-01-01T00:00:00Z"])
def test_a_time_that_is_none_is_no_answer_of_s3(text: str) -> None:
    with ScriptedServer(page(entry("logs/a", modified(text)))) as server:
        store = store_at(server.url)
        with pytest.raises(PortError, match="NotS3"):
            store.objects("logs/").result()
        store.close()


def test_a_real_server_lists_in_the_order_of_bytes(moto: Moto) -> None:
    moto.create_bucket("listed")
    keys = ["logs/\u00e9", "logs/\uffff", "logs/\U0001f600", "logs/a b+c%20", "logs/Z", "logs/~"]
    for key in keys:
        moto.client("s3").put_object(Bucket="listed", Key=key, Body=b"x")
    store = store_at(moto.url, "listed")
    found, is_more = store.objects("logs/").result()
    assert [one.key for one in found] == sorted(keys)
    assert not is_more
    rest, _ = store.objects("logs/", after="logs/~").result()
    assert [one.key for one in rest] == sorted(keys)[-3:]
    store.close()
