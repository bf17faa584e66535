"""``python -m tests.performance.sink PEM``: an S3 that swallows, and counts.

TLS 1.3 with AES-128-GCM for every client; ``100 Continue``, chunked and aws-chunked bodies. One
process for each core, up to ``MOST_PROCESSES``; connections are dealt out to them in turn. In each
one thread serves all connections, so that a thousand of them cost no more switches than one, and
an answer that takes its time holds up no other.

Prints its port and the ids of the processes that serve. Then for every line on stdin it prints one
of JSON: ``report`` tells what came in since the last report, ``away SECONDS`` moves the sink away:
from then on every answer takes so long, as it does where a network is in between. It ends when
stdin does.
"""

import heapq
import json
import os
import select
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from itertools import count

from tests.performance.sink_answers import Account, request_of, wire

MOST_PROCESSES = 4
READ_BYTES = 256 * 1024
KEPT_BYTES = 64 * 1024
"""A shorter body is read as a whole: it may be XML."""
TURN_READS = 64
"""So many reads of a long body, and another connection has its turn."""

Steps = Generator[int | float, None, None]
"""Yields what it waits for: events of epoll(7), or seconds."""


class Gone(Exception):
    """The client closed the connection."""


class Connection:
    """Requests from one client; a body is read and thrown away."""

    def __init__(self, secured: ssl.SSLSocket, account: Account, away: "Away") -> None:
        self.secured = secured
        self.events = 0
        self.steps = self._serve(account, away)
        self._buffer = bytearray()

    def _serve(self, account: Account, away: "Away") -> Steps:
        while True:
            request = request_of((yield from self._until(b"\r\n\r\n")))
            size_bytes, body = yield from self._body(request.headers)
            answer = wire(account.answer(request, size_bytes, body), request.method)
            if away.seconds:
                yield away.seconds
            yield from self._send(answer)

    def _body(self, headers: dict[str, str]) -> Generator[int | float, None, tuple[int, bytes]]:
        """How long the body was, and a short one itself."""
        if headers.get("expect", "").lower() == "100-continue":
            yield from self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            sent = yield from self._chunks()
            return int(headers.get("x-amz-decoded-content-length", sent)), b""
        length = int(headers.get("content-length", 0))
        if length < KEPT_BYTES:
            body = yield from self._exactly(length)
            return int(headers.get("x-amz-decoded-content-length", length)), body
        yield from self._swallow(length)
        return int(headers.get("x-amz-decoded-content-length", length)), b""

    def _chunks(self) -> Generator[int | float, None, int]:
        total = 0
        while size := int((yield from self._until(b"\r\n")).split(b";")[0], 16):
            yield from self._swallow(size + 2)
            total += size
        while (yield from self._until(b"\r\n")):
            pass
        return total

    def _until(self, mark: bytes) -> Generator[int | float, None, bytes]:
        while (end := self._buffer.find(mark)) < 0:
            self._buffer += _SCRATCH[: (yield from self._read())]
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return found

    def _exactly(self, length: int) -> Generator[int | float, None, bytes]:
        while len(self._buffer) < length:
            self._buffer += _SCRATCH[: (yield from self._read())]
        found = bytes(self._buffer[:length])
        del self._buffer[:length]
        return found

    def _swallow(self, length: int) -> Steps:
        held, reads = min(length, len(self._buffer)), 0
        del self._buffer[:held]
        length -= held
        while length:
            length -= yield from self._read(length)
            reads += 1
            if length and not reads % TURN_READS:
                yield select.EPOLLIN

    def _read(self, most_bytes: int = READ_BYTES) -> Generator[int | float, None, int]:
        """Into the scratch, at most a TLS record; how many bytes."""
        while True:
            try:
                found = self.secured.recv_into(_SCRATCH, min(most_bytes, READ_BYTES))
            except ssl.SSLWantReadError:
                yield select.EPOLLIN
            except ssl.SSLWantWriteError:
                yield select.EPOLLOUT
            else:
                if not found:
                    raise Gone
                return found

    def _send(self, answer: bytes) -> Steps:
        while answer:
            try:
                answer = answer[self.secured.send(answer) :]
            except ssl.SSLWantWriteError:
                yield select.EPOLLOUT
            except ssl.SSLWantReadError:
                yield select.EPOLLIN


_SCRATCH = memoryview(bytearray(READ_BYTES))
"""Of the process: what is read is copied or forgotten before another connection has its turn."""


class Away:
    """How far away the sink is."""

    seconds = 0.0


class Server:
    """One process's connections, which come over ``control`` as the commands do."""

    def __init__(self, control: socket.socket, tls: ssl.SSLContext) -> None:
        self._control, self._tls = control, tls
        self._account, self._away = Account(), Away()
        self._poll = select.epoll()
        self._poll.register(control, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._pauses: list[tuple[float, int, Connection]] = []
        self._numbers = count()

    def run(self) -> None:
        """Until ``control`` is closed."""
        while True:
            until = self._pauses[0][0] if self._pauses else None
            wait = None if until is None else max(0.0, until - time.monotonic())
            for descriptor, events in self._poll.poll(wait):
                if descriptor == self._control.fileno():
                    if not self._commanded():
                        return
                elif events & self._connections[descriptor].events:
                    self._go_on(self._connections[descriptor])
                else:  # the client went away while its answer was still on the way
                    self._end(descriptor)
            now = time.monotonic()
            while self._pauses and self._pauses[0][0] <= now:
                connection = heapq.heappop(self._pauses)[2]
                if connection.secured.fileno() >= 0:
                    self._go_on(connection)

    def _commanded(self) -> bool:
        command, descriptors, _, _ = socket.recv_fds(self._control, 256, 1)
        if descriptors:
            self._begin(socket.socket(fileno=descriptors[0]))
        elif command == b"report":
            self._control.send(json.dumps(self._account.report()).encode())
        elif command:
            self._away.seconds = float(command.split()[1])
            self._control.send(b"{}")
        return bool(command)

    def _begin(self, client: socket.socket) -> None:
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        connection = Connection(secured, self._account, self._away)
        self._connections[secured.fileno()] = connection
        self._poll.register(secured, 0)
        self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        descriptor = connection.secured.fileno()
        try:
            wanted = next(connection.steps)
        except (OSError, Gone):  # the client went away, which is its right
            self._end(descriptor)
            return
        if isinstance(wanted, float):
            at = time.monotonic() + wanted
            heapq.heappush(self._pauses, (at, next(self._numbers), connection))
            wanted = 0
        if wanted != connection.events:
            self._poll.modify(descriptor, wanted)
            connection.events = wanted

    def _end(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._connections.pop(descriptor).secured.close()


class Servers:
    """The processes that serve, seen from the one that deals out connections."""

    def __init__(self, tls: ssl.SSLContext, processes: int) -> None:
        self._controls: list[socket.socket] = []
        self.pids: list[int] = []
        for _ in range(processes):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._controls.append(ours)
            if not (pid := os.fork()):
                for control in self._controls:
                    control.close()
                Server(theirs, tls).run()
                os._exit(0)
            theirs.close()
            self.pids.append(pid)

    def deal_out(self, listener: socket.socket) -> None:
        """Give every new connection to the process whose turn it is."""
        for number in count():
            connection, _ = listener.accept()
            control = self._controls[number % len(self._controls)]
            socket.send_fds(control, [b"connection"], [connection.fileno()])
            connection.close()

    def ask(self, command: bytes) -> list[dict[str, object]]:
        """Each one's answer."""
        for control in self._controls:
            control.send(command)
        return [json.loads(control.recv(65536)) for control in self._controls]


def joined(reports: Sequence[dict[str, object]]) -> dict[str, object]:
    """The sums of what the processes counted."""
    requests: Counter[str] = Counter()
    stored_bytes = 0
    for report in reports:
        requests.update(report.get("requests", {}))  # type: ignore[call-overload]  # JSON
        stored_bytes += report.get("stored_bytes", 0)  # type: ignore[operator]  # JSON
    return {"requests": dict(requests), "stored_bytes": stored_bytes}


def main(pem: str) -> None:
    """Serve until stdin ends."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    servers = Servers(tls, min(MOST_PROCESSES, len(os.sched_getaffinity(0))))
    threading.Thread(target=servers.deal_out, args=(listener,), daemon=True).start()
    print(listener.getsockname()[1], *servers.pids, flush=True)
    for line in sys.stdin:
        print(json.dumps(joined(servers.ask(line.strip().encode()))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
