"""The socket's answers, and that those who ask slowly, wildly or too often hurt nobody."""

import contextlib
import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.message import Message
from itertools import pairwise
from pathlib import Path

import pytest

from shipper.core.types import WatchName
from shipper.edges.http_server import CONNECTION_SECONDS, CONNECTIONS
from shipper.journal.journal import Journal
from shipper.reports.http import HEAD_BYTES, Listeners, fetch, socket_path
from tests.fakes.examples import promise
from tests.machines.inside import Inside
from tests.machines.instance import INSTANCE_ID, Instance
from tests.performance.measuring import memory_of

Make = Callable[..., Instance]
MIB = 2**20
FLOODS = 3
GROWN_MIB = 2
"""By the last of the floods; the first ones take what the allocator keeps."""
MOST_THREADS = 80


@pytest.fixture(scope="module")
def both_ways(shared_instance: Make) -> Iterator[tuple[Instance, int]]:
    """One daemon for all, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    one: Instance = shared_instance(more=f'[http]\nlisten = "127.0.0.1:{port}"\n')
    one.start()
    yield one, port
    assert one.stop() == 0


@pytest.fixture(params=["unix", "tcp"])
def machine(both_ways: tuple[Instance, int], request: pytest.FixtureRequest) -> Instance:
    one, port = both_ways
    one.more_environment["tests_port"] = str(port) if request.param == "tcp" else ""
    one.wait_for(lambda: one.ask("/healthz") == "ok\n", "health")
    return one


def opened(machine: Instance) -> socket.socket:
    port = machine.more_environment["tests_port"]
    if port:
        return socket.create_connection(("127.0.0.1", int(port)), 60)
    directory = os.open(machine.directory / "state", os.O_PATH)
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(f"/proc/self/fd/{directory}/shipper.sock")  # a path would be too long
        client.settimeout(60)
    except OSError:
        client.close()
        raise
    finally:
        os.close(directory)
    return client


def answered(machine: Instance, request: bytes) -> bytes:
    """All that is answered to these bytes, however it ends."""
    with opened(machine) as client:
        with contextlib.suppress(OSError):
            client.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65536):
                answer += piece
        return answer


def is_well(machine: Instance) -> bool:
    answer = answered(machine, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    return answer.startswith(b"HTTP/1.0 200 ") and answer.endswith(b"\r\n\r\nok\n")


def test_a_stop_wakes_up_who_waits_for_connections(
    instance: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shipper.edges.http_server.LOOK_SECONDS", 3600.0)
    inside = Inside(instance())
    listeners = Listeners(inside.services, inside.running().report, {})
    listeners.listen("127.0.0.1:0", inside.services.log)
    closing = threading.Thread(target=listeners.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    inside.services.close()


def test_it_is_read_only(machine: Instance) -> None:
    for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"BREW"):
        answer = answered(machine, method + b" /status HTTP/1.1\r\nHost: a\r\n\r\n{}")
        assert answer.startswith(b"HTTP/1.0 405 "), method
        assert b"\r\nAllow: GET, HEAD\r\n" in answer
    head = answered(machine, b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 ")
    assert b"\r\nContent-Length: 3\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    assert answered(machine, b"GET /status?a=b HTTP/1.1\r\n\r\n").endswith(b"}\n")
    assert answered(machine, b"GET /../etc HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.0 404 ")
    assert is_well(machine)


NONSENSE = (
    (b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n", b"431"),
    (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * HEAD_BYTES, b"431"),
    (b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 200 + b"\r\n", b"431"),
    (b"nonsense\r\n\r\n", b"400"),
    (b"GET / HTTP/9.9\r\n\r\n", b"505"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
    (b"\r\n\r\n", b""),
    (b"\xff" * 100 + b"\n\n", b"400"),
)


def test_what_is_no_request_is_refused(machine: Instance) -> None:
    for request, status in NONSENSE:
        answer = answered(machine, request)
        # What was not read of it resets the connection, and the answer may be lost by that.
        assert answer == b"" or status in answer, request[:30]
        assert is_well(machine)


@pytest.mark.system
@pytest.mark.lengthy
@pytest.mark.parametrize("machine", ["unix"], indirect=True)
def test_half_a_request_and_an_endless_one_are_hung_up_on(machine: Instance) -> None:
    """Each byte of the second comes in time; all of them never would."""
    started = time.monotonic()
    with opened(machine) as silent, opened(machine) as trickle:
        silent.sendall(b"GET /hea")
        trickle.settimeout(0.2)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - started < 2 * CONNECTION_SECONDS:
                trickle.sendall(b"a")
                with contextlib.suppress(TimeoutError):
                    assert trickle.recv(1) == b""
                    break
        assert silent.recv(1) == b""
    assert time.monotonic() - started < 2 * CONNECTION_SECONDS


def test_those_who_say_nothing_or_never_read_keep_nobody_from_asking(machine: Instance) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(opened(machine)) for _ in range(4 * CONNECTIONS)]
        for client in clients[::2]:
            with contextlib.suppress(OSError):
                client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        machine.wait_for(lambda: is_well(machine), "an answer")


@pytest.mark.parametrize(
    ("machine", "connects"),
    [("unix", 1000), ("tcp", 200)],  # over TCP it is the kernel that slows down whoever floods
    indirect=["machine"],
)
def test_thousands_who_come_and_go_take_neither_memory_nor_descriptors(
    machine: Instance, connects: int
) -> None:
    assert machine.daemon is not None
    pid = machine.daemon.process.pid
    is_well(machine)
    # The last one that speaking to S3 takes, which begins some time after the start.
    machine.wait_for(lambda: "anon_inode:[eventpoll]" in descriptors_of(pid), "S3's engine")
    descriptors, memory, most_threads = len(os.listdir(f"/proc/{pid}/fd")), [0], 0
    for _ in range(FLOODS):
        most_threads = max(most_threads, flood(machine, connects))
        machine.wait_for(lambda: is_well(machine), "an answer")
        machine.wait_for(
            lambda: len(os.listdir(f"/proc/{pid}/fd")) <= descriptors, "every descriptor back"
        )
        memory.append(memory_of(pid)[0])
    grown = [round((after - before) / MIB, 1) for before, after in pairwise(memory)]
    print(f"{FLOODS} times {connects} connects: {grown} MiB, at most {most_threads} threads")
    assert grown[-1] < GROWN_MIB
    assert most_threads < MOST_THREADS


def descriptors_of(pid: int) -> list[str]:
    """What each of them is."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return found


def flood(machine: Instance, connects: int) -> int:
    """So many come at once and go without a word or without listening; the most threads seen."""
    assert machine.daemon is not None
    pid = machine.daemon.process.pid

    def come_and_go() -> None:
        for number in range(connects // 4):
            with contextlib.suppress(OSError), opened(machine) as client:
                if number % 2:
                    client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    most_threads = 0
    while any(thread.is_alive() for thread in threads):
        most_threads = max(most_threads, len(os.listdir(f"/proc/{pid}/task")))
        threads[0].join(0.01)
    return most_threads


def test_an_address_that_others_reach_is_warned_of(instance: Make) -> None:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port = probe.getsockname()[1]
    machine = instance(more=f'[http]\nlisten = "0.0.0.0:{port}"\n')
    machine.start()
    machine.wait_for(lambda: machine.events("http.exposed"), "the warning")
    [event] = machine.events("http.exposed")
    assert event["listen"] == f"0.0.0.0:{port}"
    assert machine.stop() == 0


def test_loopback_is_not_warned_of_and_without_a_word_nothing_listens_on_tcp(
    instance: Make,
) -> None:
    machine = instance()
    daemon = machine.start()
    inodes = set()
    for fd in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since; what listens stays open
            if match := re.match(r"socket:\[(\d+)\]", os.readlink(fd)):
                inodes.add(match[1])
    listening = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    assert [one for one in listening if one[3] == "0A" and one[9] in inodes] == []
    assert machine.events("http.exposed") == []
    assert machine.stop() == 0


def test_an_address_that_is_taken_ends_the_start_with_a_reason(instance: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        machine = instance(more=f'[http]\nlisten = "127.0.0.1:{port}"\n')
        said = machine.run("run", code=1)
    assert f"ListenFailed: 127.0.0.1:{port}" in said
    assert "http.listen" in said


# The page.

HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
}
MOST_PAGE_BYTES = 100_000


def page_of(machine: Instance) -> tuple[Message, str]:
    """Its headers and its body."""
    answer = answered(machine, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    status, _, headers = head.partition(b"\r\n")
    assert status == b"HTTP/1.0 200 OK"
    return message_from_bytes(headers), body.decode()


def test_the_page_is_served_under_a_strict_policy(machine: Instance) -> None:
    headers, body = page_of(machine)
    assert {name: headers[name] for name in HEADERS} == HEADERS
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert f"shipper on {INSTANCE_ID}: <strong" in body
    assert body.endswith("</body></html>\n")
    assert not re.search(r"https?://|<script|javascript:|\bon\w+=|src=|href=", body)
    head = answered(machine, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"\r\nContent-Security-Policy: default-src 'none'" in head
    assert head.endswith(b"\r\n\r\n")


def test_the_curves_begin_where_a_browser_may_ask(machine: Instance) -> None:
    """Both listeners belong to one daemon, which listens on TCP, too."""
    machine.wait_for(lambda: "<polyline" in page_of(machine)[1], "the first sample")
    assert re.search("Sent: [0-9.]+ .?i?B/s now, ", page_of(machine)[1])


def test_the_page_escapes_names_and_is_served_without_tcp_and_without_curves(
    instance: Make,
) -> None:
    machine = instance()
    (machine.logs / "<script>alert('1')&\u202e.log.1").symlink_to("/dev/null")
    machine.start()
    machine.wait_for(lambda: "NotRegular" in machine.ask("/"), "the refused file")
    body = machine.ask("/")
    assert "<script" not in body
    assert "\u202e" not in body
    assert "&lt;script&gt;alert(&#x27;1&#x27;)&amp;" in body
    assert "Refused: 1 files" in body
    assert "Kept only with http.listen." in body
    assert "<svg" not in body


def test_the_page_is_there_before_the_instance_is_known(instance: Make) -> None:
    machine = instance()
    machine.more_environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://127.0.0.1:9"
    machine.start()
    machine.wait_for(lambda: "What is wrong" in machine.ask("/"), "a reason")
    body = machine.ask("/")
    assert "shipper on unknown instance: <strong" in body
    assert "none-yet" in body


def test_a_page_with_ten_thousand_parked_files_is_small(instance: Make) -> None:
    machine = instance()
    state = machine.directory / "state"
    state.mkdir()
    journal = Journal.open(str(state / "journal.db"), now=0.0)
    journal.origin.adopt(INSTANCE_ID)
    gone = WatchName("removed")
    journal.promise([promise(n, watch=gone) for n in range(10_000)], now=0.0)
    journal.close()
    machine.start()
    machine.wait_for(lambda: "Parked: 10,000 files" in machine.ask("/"), "them to be parked")
    body = machine.ask("/")
    assert "Parked: 10,000 files, 20 of them here" in body
    assert len(body) < MOST_PAGE_BYTES


def test_the_page_of_a_journal_that_cannot_be_read_says_so(instance: Make) -> None:
    inside = Inside(instance())
    listeners = Listeners(inside.services, inside.running().report, {})
    try:
        listeners.listen("127.0.0.1:0", inside.services.log)
        path = f"{inside.services.configuration.state_directory}/journal.db"
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE shipments")
        listeners.sample(inside.services)
        body = fetch(socket_path(inside.services.configuration.state_directory, {}), "/")
    finally:
        listeners.close()
        inside.services.close()
    assert 'shipper: <strong class="bad">no status' in body
    assert "JournalUnwritable" in body
    assert not inside.events("bug.met")
