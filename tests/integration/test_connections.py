"""What comes before an answer, or instead of one, on both ways to S3."""

import pytest
from shipper.edges.s3.connections import MOST_INTERIM

from shipper.core.types import ETag, ObjectKey, StoredObject, UploadId
from shipper.edges.s3.store import SMALL_BODY_BYTES, S3Store
from shipper.ports import PortError
from tests.fakes.servers import ScriptedServer, http_answer, kept_open
from tests.integration.test_store_answers import CHECKSUM, GREETING, error_answer, put, store_at

KEPT = kept_open(http_answer(200, x_amz_request_id="R", ETag='"e"', x_amz_checksum_crc32=CHECKSUM))
OTHER = KEPT.replace(b'"e"', b'"another"')
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
LARGE = bytes(SMALL_BODY_BYTES + 1)


def put_large(store: S3Store) -> tuple[str, str]:
    return store.upload_part(ObjectKey("key"), UploadId("u"), 1, LARGE, checksum=CHECKSUM)


@pytest.mark.parametrize("is_direct", [True, False])
def test_interim_answers_are_passed_over(is_direct: bool) -> None:
    with ScriptedServer(HINTS + GREETING, HINTS + KEPT, 2 * HINTS + OTHER, HINTS + KEPT) as server:
        store = store_at(server.url, is_direct=is_direct)
        store.probe()
        assert put(store) == StoredObject(ETag("e"), confirmed=True)
        assert put(store) == StoredObject(ETag("another"), confirmed=True)
        assert put_large(store) == ("e", CHECKSUM)


@pytest.mark.parametrize("is_direct", [True, False])
def test_interim_answers_without_end_are_no_answer(is_direct: bool) -> None:
    with ScriptedServer(GREETING, MOST_INTERIM * HINTS + KEPT, KEPT) as server:
        store = store_at(server.url, is_direct=is_direct)
        store.probe()
        with pytest.raises(PortError, match="Unreachable"):
            put(store)
        assert put(store) == StoredObject(ETag("e"), confirmed=True)


@pytest.mark.parametrize(
    "cut", [b"HTTP/1.1 100", b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 100 Continue\r\nA: b"]
)
@pytest.mark.parametrize("is_direct", [True, False])
def test_a_connection_that_ends_within_the_continue_is_an_error(
    is_direct: bool, cut: bytes
) -> None:
    with (
        ScriptedServer(Cut(cut), refuses_early=True) as server,
        pytest.raises(PortError, match="Unreachable"),
    ):
        put_large(store_at(server.url, is_direct=is_direct))


class Cut(bytes):
    """An answer after which the connection is closed."""

    def __contains__(self, other: object) -> bool:
        return other == b"Connection: close"


@pytest.mark.parametrize("is_direct", [True, False])
def test_nothing_follows_a_body_that_was_refused(is_direct: bool) -> None:
    """The server may still wait for it, and take the next request for its beginning."""
    refused = kept_open(error_answer("SlowDown", status=503))
    with ScriptedServer(refused, KEPT, refuses_early=True) as server:
        store = store_at(server.url, is_direct=is_direct)
        with pytest.raises(PortError, match="SlowDown"):
            put_large(store)
        pool = store._client._endpoint.http_session._manager.connection_from_url(server.url)
        assert all(each is None or each.sock is None for each in pool.pool.queue)
        assert put(store) == StoredObject(ETag("e"), confirmed=True)
