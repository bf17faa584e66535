"""``/metrics``, ``/status`` and ``/healthz``: on a Unix socket always, on TCP when configured.

The socket is in ``$RUNTIME_DIRECTORY`` under systemd, else in the state directory; whoever may
open it may read the status. Slow clients cost themselves their answer: a few requests are
answered at a time, each within ``REQUEST_SECONDS``, and nothing waits for them when the daemon
stops.
"""

import contextlib
import http.client
import json
import os
import socket
import socketserver
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from shipper.app.metrics import exposition, registry_for
from shipper.app.status import Report
from shipper.app.wiring import House
from shipper.ports import PortError

SOCKET_FILE = "shipper.sock"
TIMEOUT_SECONDS = 5.0
REQUEST_SECONDS = 10.0
REQUESTS = 8
TEXT = "text/plain; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json"


def servers_for(
    house: House, report: Report, environment: Mapping[str, str]
) -> list[socketserver.BaseServer]:
    """The listening servers; whoever gets them serves and closes them.

    Raises:
        PortError: ``ListenFailed``.
    """
    handler = _handler_for(house, report)
    path = socket_path(house.configuration.state_directory, environment)
    servers: list[socketserver.BaseServer] = []
    try:
        servers.append(_UnixServer(path, handler))
        if house.configuration.http_listen:
            host, _, port = house.configuration.http_listen.rpartition(":")
            servers.append(_TcpServer((host.strip("[]"), int(port)), handler))
    except OSError as error:
        raise PortError(
            "ListenFailed",
            f"{house.configuration.http_listen or path}: {error.strerror}",
            "choose another http.listen",
        ) from error
    return servers


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


class _Bounded(socketserver.ThreadingMixIn):
    """A thread for each of at most ``REQUESTS`` requests; whoever comes then is hung up on."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self._free = threading.BoundedSemaphore(REQUESTS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[attr-defined]  # the server's
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        deadline = threading.Timer(REQUEST_SECONDS, _hang_up, [request])
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was hung up on, is no news."""


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _UnixServer(_Bounded, socketserver.UnixStreamServer):
    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler]) -> None:
        self._path = path
        super().__init__(path, handler)

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

    def get_request(self) -> tuple[Any, Any]:
        connection, _ = super().get_request()
        return connection, ("unix", 0)


class _TcpServer(_Bounded, HTTPServer):
    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)


def _handler_for(house: House, report: Report) -> type[BaseHTTPRequestHandler]:
    registry = registry_for(house, report.unwatched)

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_SECONDS
        server_version = "shipper"

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    self._answer(200, PROMETHEUS, exposition(registry))
                case "/status":
                    document = json.dumps(report.document(), indent=2)
                    self._answer(200, JSON, document.encode() + b"\n")
                case "/healthz":
                    ailments = report.ailments()
                    text = "\n".join(ailments or ["ok"]) + "\n"
                    self._answer(503 if ailments else 200, TEXT, text.encode())
                case _:
                    self._answer(404, TEXT, b"/metrics /status /healthz\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            house.log.debug("http.answered", request=format % args)

    return Handler


@contextlib.contextmanager
def _short(path: str) -> Any:
    """A name for ``path`` that fits into the 108 bytes of a Unix socket's address."""
    directory, name = os.path.split(path)
    descriptor = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
