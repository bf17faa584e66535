"""``/metrics``, ``/status`` and ``/healthz``: on a Unix socket always, on TCP when configured.

The socket is in ``$RUNTIME_DIRECTORY`` under systemd, else in the state directory; whoever may
open it may read the status. Nothing can be changed here: GET and HEAD are all there is.

Slow and hostile clients cost themselves their answer, and others little: each listener has at
most ``CONNECTIONS`` threads, each of them one connection, one request of at most ``HEAD_BYTES``
and ``REQUEST_SECONDS`` (until the next look); whoever comes when all are taken gets the place of
the one that has had it longest, once that is ``RUSH_SECONDS``. An answer is made at most every
``FRESH_SECONDS``, however many ask. Nothing waits for a client when the daemon stops.
"""

import contextlib
import errno
import http.client
import io
import ipaddress
import json
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, TypeVar

from shipper.ports import PortError
from shipper.reports.metrics import exposition, registry_for
from shipper.reports.status import Report
from shipper.runtime.services import Services

SOCKET_FILE = "shipper.sock"
CONNECTIONS = 16
BACKLOG = 128
HEAD_BYTES = 8192
"""Request line and headers together."""
TIMEOUT_SECONDS = 5.0
"""For a read, and for the whole of an answer to be taken."""
REQUEST_SECONDS = 10.0
"""What a client has in all; whoever takes longer is hung up on, at the next look."""
LOOK_SECONDS = 1.0
RUSH_SECONDS = 1.0
FRESH_SECONDS = 0.1
PAUSE_SECONDS = 0.1
TEXT = "text/plain; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json"

Server = TypeVar("Server")
Answer = tuple[int, str, bytes]
"""Status, content type, body."""


class Listeners:
    """Everything that listens; all but the answers belongs to the main thread.

    Raises:
        PortError: ``ListenFailed``.
    """

    def __init__(self, services: Services, report: Report, environment: Mapping[str, str]) -> None:
        self._answers = _Answers(services, report)
        path = socket_path(services.configuration.state_directory, environment)
        self._unix = _bound(path, lambda: _UnixServer(path, self._answers))
        self._tcp: _TcpServer | None = None
        self._tcp_listen = ""
        _serve(self._unix)
        try:
            self.listen(services.configuration.http_listen, services.log)
        except PortError:
            self.close()
            raise

    def listen(self, listen: str, log: Any) -> None:
        """Listen on this TCP address instead, or on none; what fails changes nothing.

        Raises:
            PortError: ``ListenFailed``.
        """
        if listen == self._tcp_listen:
            return
        host, _, port = listen.rpartition(":")
        address = (host.strip("[]"), int(port)) if listen else None
        tcp = _bound(listen, lambda: _TcpServer(address, self._answers)) if address else None
        former, self._tcp, self._tcp_listen = self._tcp, tcp, listen
        if former is not None:
            _close(former)
        if tcp is None:
            return
        _serve(tcp)
        if not ipaddress.ip_address(str(tcp.server_address[0])).is_loopback:
            log.warning(
                "http.exposed",
                listen=listen,
                hint="whoever reaches it can read names of logs, keys and the role",
            )

    def show(self, services: Services, report: Report) -> None:
        """Answer for another house from now on."""
        self._answers.show(services, report)

    def close(self) -> None:
        """Listen no more. Whoever is being answered is not waited for."""
        for server in (self._unix, self._tcp):
            if server is not None:
                _close(server)


def _bound(name: str, make: Callable[[], Server]) -> Server:
    try:
        return make()
    except OSError as error:
        detail = f"{name}: {error.strerror}"
        raise PortError("ListenFailed", detail, "choose another http.listen") from error


def _serve(server: "_Bounded") -> None:
    threading.Thread(
        target=server.serve_forever, args=(LOOK_SECONDS,), name="http", daemon=True
    ).start()


def _close(server: "_Bounded") -> None:
    with contextlib.suppress(OSError):
        server.socket.shutdown(socket.SHUT_RDWR)  # who waits for a connection wakes up
    server.shutdown()
    server.server_close()


def socket_path(state_directory: str, environment: Mapping[str, str]) -> str:
    """Where a daemon with this environment puts its socket."""
    directory = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0] or state_directory
    return os.path.join(directory, SOCKET_FILE)


def fetch(path: str, target: str) -> str:
    """GET ``target`` over the Unix socket at ``path``.

    Raises:
        OSError: nobody listens there.
    """
    connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_SECONDS)
    with contextlib.closing(connection):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(TIMEOUT_SECONDS)
        with _short(path) as name:
            connection.sock.connect(name)
        connection.request("GET", target)
        return connection.getresponse().read().decode()


class _Answers:
    """What is answered; ``_lock`` guards the house's exhibits and the answers kept."""

    def __init__(self, services: Services, report: Report) -> None:
        self._lock = threading.Lock()
        self.show(services, report)

    def show(self, services: Services, report: Report) -> None:
        registry = registry_for(services, report.unwatched)
        with self._lock:
            self.log, self._report, self._registry = services.log, report, registry
            self._kept: dict[str, tuple[float, Answer]] = {}

    def to(self, target: str) -> Answer:
        """The answer for a path. Made for one at a time; who comes shortly after gets the same."""
        with self._lock:
            made_at, answer = self._kept.get(target, (0.0, None))
            if answer is None or time.monotonic() - made_at > FRESH_SECONDS:
                answer = self._made(target)
                if answer[0] != http.client.NOT_FOUND:
                    self._kept[target] = (time.monotonic(), answer)
            return answer

    def _made(self, target: str) -> Answer:
        match target:
            case "/metrics":
                return 200, PROMETHEUS, exposition(self._registry)
            case "/status":
                document = json.dumps(self._report.document(), indent=2)
                return 200, JSON, document.encode() + b"\n"
            case "/healthz":
                ailments = self._report.ailments()
                text = "\n".join(ailments or ["ok"]) + "\n"
                return 503 if ailments else 200, TEXT, text.encode()
            case _:
                return 404, TEXT, b"/metrics /status /healthz\n"


class _Bounded(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread for each of at most ``CONNECTIONS``; ``_lock`` guards who has one since when."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG
    allow_reuse_address = True

    def __init__(self, address: Any, answers: _Answers) -> None:
        self.answers = answers
        self._lock = threading.Lock()
        self._since: dict[socket.socket, float] = {}
        self._closed = threading.Event()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[Any, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._closed.wait(PAUSE_SECONDS)  # it still is to be accepted: not in a busy loop
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._has_place(request):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._since.pop(request, None)

    def service_actions(self) -> None:
        """Called every ``LOOK_SECONDS``: hang up on whoever takes too long."""
        with self._lock:
            self._evict(time.monotonic() - REQUEST_SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  (socketserver's)
        """A client that went away, or was hung up on, is no news."""
        error = sys.exception()
        if not isinstance(error, OSError | ValueError):
            self.answers.log.error("http.failed", exc_info=error)

    def server_close(self) -> None:
        super().server_close()
        self._closed.set()
        with self._lock:
            self._evict(float("inf"))

    def _has_place(self, request: socket.socket) -> bool:
        with self._lock:
            if len(self._since) >= CONNECTIONS:
                oldest = min(self._since.values())
                self._evict(min(oldest, time.monotonic() - RUSH_SECONDS))
            if len(self._since) >= CONNECTIONS:
                return False
            self._since[request] = time.monotonic()
            return True

    def _evict(self, until: float) -> None:
        """Hang up on those who have been there since then; with the lock held."""
        for request in [request for request, since in self._since.items() if since <= until]:
            del self._since[request]
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)


class _UnixServer(_Bounded):
    address_family = socket.AF_UNIX

    def __init__(self, path: str, answers: _Answers) -> None:
        self._path = path
        super().__init__(path, answers)

    def server_bind(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        with _short(self._path) as name:
            self.socket.bind(name)
        os.chmod(self._path, 0o660)

    def server_close(self) -> None:
        super().server_close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


class _TcpServer(_Bounded):
    def __init__(self, address: tuple[str, int], answers: _Answers) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, answers)


class _Handler(BaseHTTPRequestHandler):
    """One request and one answer, and the connection is closed."""

    timeout = TIMEOUT_SECONDS
    server_version = "shipper"
    sys_version = ""
    server: _Bounded

    def handle_one_request(self) -> None:
        self.requestline, self.request_version, self.command = "", self.default_request_version, ""
        self.close_connection = True
        head = self._head()
        if len(head) > HEAD_BYTES:
            self.send_error(431)
            return
        self.rfile = io.BufferedReader(io.BytesIO(head))
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            return
        self.close_connection = True
        if self.command not in ("GET", "HEAD"):
            self._send((405, TEXT, b"GET, HEAD\n"), {"Allow": "GET, HEAD"})
            return
        self._send(self.server.answers.to(self.path.partition("?")[0]))

    def _head(self) -> bytes:
        """All up to the empty line, as far as it comes, or somewhat more than is allowed."""
        head = b""
        while len(head) <= HEAD_BYTES and b"\r\n\r\n" not in head and b"\n\n" not in head:
            more = self.connection.recv(HEAD_BYTES)
            if not more:
                break
            head += more
        return head

    def _send(self, answer: Answer, headers: Mapping[str, str] | None = None) -> None:
        status, content_type, body = answer
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def address_string(self) -> str:
        return "client"

    def log_message(self, format: str, *args: object) -> None:
        self.server.answers.log.debug("http.answered", request=format % args)


@contextlib.contextmanager
def _short(path: str) -> Any:
    """A name for ``path`` that fits into the 108 bytes of a Unix socket's address."""
    directory, name = os.path.split(path)
    descriptor = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
