"""The benchmark's server, as a child with several processes."""

import http.client
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.machines.waiting import wait_for
from tests.performance.__main__ import Sink, sink_in
from tests.performance.sink import TURN_READS

RECORD_BYTES = 16 * 1024


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with sink_in(tmp_path) as running:
        yield running


def client(sink: Sink) -> http.client.HTTPSConnection:
    """A connection of its own."""
    trusted = ssl.create_default_context(cafile=str(sink.bundle))
    at = urlsplit(sink.url)
    return http.client.HTTPSConnection(at.hostname or "", at.port, timeout=30, context=trusted)


def put(sink: Sink, target: str, body: bytes) -> int:
    """Send one object; the status."""
    with closing(client(sink)) as connection:
        connection.request("PUT", target, body)
        return connection.getresponse().status


def test_what_all_processes_got_is_one_report_and_then_forgotten(sink: Sink) -> None:
    size = TURN_READS * RECORD_BYTES
    sizes = [0, 1, RECORD_BYTES, size - 1, size, size + 1, 2 * size]
    for number, length in enumerate(sizes):
        assert put(sink, f"/bucket/key-{number}", bytes(length)) == 200
    assert sink.report() == ({"PutObject": len(sizes)}, sum(sizes))
    assert sink.report() == ({}, 0)
    assert len(sink.cpu_seconds()) == len(sink.pids)


def test_a_body_in_chunks_is_counted_without_its_frame(sink: Sink) -> None:
    with closing(client(sink)) as connection:
        pieces = iter([b"a" * 70_000, b"b" * 30_000])
        connection.request("PUT", "/bucket/key", pieces, encode_chunked=True)
        assert connection.getresponse().status == 200
    assert sink.report() == ({"PutObject": 1}, 100_000)


def test_an_upload_may_come_over_several_processes(sink: Sink) -> None:
    for number in (1, 2, 3):
        assert put(sink, f"/bucket/key?partNumber={number}&uploadId=upload-1", b"part") == 200
    body = "".join(f"<Part><PartNumber>{number}</PartNumber></Part>" for number in (1, 2, 3))
    with closing(client(sink)) as connection:
        connection.request("POST", "/bucket/key?uploadId=upload-1", body)
        answer = connection.getresponse()
        assert answer.status == 200
        assert b"-3</ETag>" in answer.read().replace(b'"', b"")
    assert sink.report() == ({"UploadPart": 3, "CompleteMultipartUpload": 1}, 12)


def test_an_answer_from_away_takes_its_time(sink: Sink) -> None:
    sink.move_away(0.3)
    began = time.monotonic()
    assert put(sink, "/bucket/key", b"log") == 200
    assert time.monotonic() - began >= 0.3


def test_an_answer_that_is_on_its_way_holds_up_no_other(sink: Sink) -> None:
    sink.move_away(3600)
    waiting = [client(sink) for _ in sink.pids]
    for number, connection in enumerate(waiting):
        connection.request("PUT", f"/bucket/waiting-{number}", b"log")
    counted = Counter[str]()

    def are_all_waiting() -> bool:
        counted.update(sink.report()[0])
        return counted["PutObject"] == len(waiting)

    wait_for(are_all_waiting, "all to be answered in an hour")
    sink.move_away(0)
    assert [put(sink, f"/bucket/key-{number}", b"log") for number in range(4)] == [200] * 4
    for connection in waiting:
        connection.close()


def test_a_client_that_goes_away_takes_nobody_with_it(sink: Sink) -> None:
    for number in range(2 * len(sink.pids)):
        connection = client(sink)
        connection.putrequest("PUT", f"/bucket/key-{number}")
        connection.putheader("Content-Length", "1000000")
        connection.endheaders(b"only the beginning")
        connection.close()
    assert [put(sink, f"/bucket/key-{number}", b"log") for number in range(4)] == [200] * 4
