"""The page ``/``, ``/metrics``, ``/status`` and ``/healthz``: on a Unix socket always, on TCP when
configured.

The socket is in ``$RUNTIME_DIRECTORY`` under systemd, else in the state directory; whoever may
open it may read the status. Nothing can be changed here: GET and HEAD are all there is.

A connection is one request of at most ``HEAD_BYTES``. An answer is made at most every
``FRESH_SECONDS``, however many ask. ``edges.http_server`` bounds the rest.
"""

import contextlib
import http.client
import io
import ipaddress
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

from shipper.edges.http_server import HttpServer, short_path
from shipper.ports import PortError
from shipper.reports.page.history import History, sample_of
from shipper.reports.status import Report
from shipper.runtime.services import Services

SOCKET_FILE = "shipper.sock"
HEAD_BYTES = 8192
"""Request line and headers together."""
TIMEOUT_SECONDS = 5.0
"""For a read, and for the whole of an answer to be taken."""
FRESH_SECONDS = 0.1
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

Answer = tuple[int, str, bytes]
"""Status, content type, body."""


class Listeners:
    """Everything that listens; all but the answers belongs to the main thread.

    Raises:
        PortError: ``ListenFailed``.
    """

    def __init__(self, services: Services, report: Report, environment: Mapping[str, str]) -> None:
        self._history = History()
        self._answers = _Answers(services, report, self._history)
        path = socket_path(services.configuration.state_directory, environment)
        self._unix = self._listening(path, path)
        self._tcp: HttpServer | None = None
        self._tcp_listen = ""
        try:
            self.listen(services.configuration.http.listen, services.log)
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
        tcp = self._listening(listen, _address(listen)) if listen else None
        former, self._tcp, self._tcp_listen = self._tcp, tcp, listen
        if former is not None:
            former.stop()
        if tcp is None:
            return
        if not ipaddress.ip_address(str(tcp.server_address[0])).is_loopback:
            log.warning(
                "http.exposed",
                listen=listen,
                hint="whoever reaches it can read names of logs, keys and the role",
            )

    def sample(self, services: Services) -> None:
        """Note how things are, for the page's curves; nothing where no browser can ask."""
        if self._tcp is None or not self._history.is_due(services.clock.monotonic()):
            return
        with contextlib.suppress(PortError):  # a gap in the curves; `/healthz` says why
            services.bugs.contained(
                lambda: self._history.add(sample_of(services)), lambda bug: None, told="history"
            )

    def close(self) -> None:
        """Listen no more. Whoever is being answered is not waited for."""
        for server in (self._unix, self._tcp):
            if server is not None:
                server.stop()

    def _listening(self, name: str, address: str | tuple[str, int]) -> HttpServer:
        log = self._answers.log
        try:
            server = HttpServer(
                address,
                partial(_Handler, self._answers),
                failed=lambda error: log.error("http.failed", exc_info=error),
            )
        except OSError as error:
            detail = f"{name}: {error.strerror}"
            raise PortError("ListenFailed", detail, "choose another http.listen") from error
        server.start()
        return server


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def listen_problem(listen: str) -> PortError | None:
    """Why a daemon could not listen on this TCP address, if it could not."""
    try:
        HttpServer(_address(listen), BaseHTTPRequestHandler, failed=lambda error: None).stop()
    except OSError as error:
        detail = f"{listen}: {error.strerror}"
        return PortError("ListenFailed", detail, "choose another http.listen")
    return None


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
        with short_path(path) as name:
            connection.sock.connect(name)
        connection.request("GET", target)
        return connection.getresponse().read().decode()


class _Answers:
    """What is answered; ``_lock`` guards the answers kept."""

    def __init__(self, services: Services, report: Report, history: History) -> None:
        self._lock = threading.Lock()
        self.log, self._report, self._bugs = services.log, report, services.bugs
        self._services, self._history = services, history
        self._kept: dict[str, tuple[float, Answer]] = {}

    def to(self, target: str) -> Answer:
        """The answer for a path. Made for one at a time; who comes shortly after gets the same."""
        with self._lock:
            made_at, answer = self._kept.get(target, (0.0, None))
            if answer is None or time.monotonic() - made_at > FRESH_SECONDS:
                answer = self._bugs.contained(
                    partial(self._made, target),
                    lambda bug: (http.client.INTERNAL_SERVER_ERROR, TEXT, f"{bug}\n".encode()),
                    target=target,
                )
                if answer[0] != http.client.NOT_FOUND:
                    self._kept[target] = (time.monotonic(), answer)
            return answer

    def _made(self, target: str) -> Answer:
        match target:
            case "/":
                return self._page()
            case "/metrics":
                from shipper.reports.metrics import page  # noqa: PLC0415  (with Prometheus's client)

                content_type = "text/plain; version=0.0.4; charset=utf-8"
                return 200, content_type, page(self._report)
            case "/status":
                document = json.dumps(self._report.document(), indent=2) + "\n"
                return 200, "application/json", document.encode()
            case "/healthz":
                ailments = self._report.ailments()
                lines = (ailments or ["ok"]) + self._report.imperfections()
                text = "\n".join(lines) + "\n"
                return 503 if ailments else 200, TEXT, text.encode()
            case _:
                return 404, TEXT, b"/ /metrics /status /healthz\n"

    def _page(self) -> Answer:
        from shipper.reports.page.page import page, trouble_page  # noqa: PLC0415  (few ever ask)

        now = self._services.clock.monotonic()
        try:
            document = self._report.document()
        except PortError as why:
            return 503, HTML, trouble_page(why)
        return 200, HTML, page(document, self._history.samples, now)


class _Handler(BaseHTTPRequestHandler):
    """One request and one answer, and the connection is closed."""

    timeout = TIMEOUT_SECONDS
    server_version = "shipper"
    sys_version = ""

    def __init__(self, answers: _Answers, *arguments: Any) -> None:
        self._answers = answers
        super().__init__(*arguments)

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
        if self.command in ("GET", "HEAD"):
            self._send(self._answers.to(self.path.partition("?")[0]))
        else:
            self._send((405, TEXT, b"GET, HEAD\n"))

    def _head(self) -> bytes:
        """All up to the empty line, as far as it comes, or somewhat more than is allowed."""
        head = b""
        while len(head) <= HEAD_BYTES and b"\r\n\r\n" not in head and b"\n\n" not in head:
            more = self.connection.recv(HEAD_BYTES)
            if not more:
                break
            head += more
        return head

    def _send(self, answer: Answer) -> None:
        status, content_type, body = answer
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if content_type == HTML:
            from shipper.reports.page.style import HEADERS  # noqa: PLC0415  (as the page)

            for name, value in HEADERS.items():
                self.send_header(name, value)
        if status == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def address_string(self) -> str:
        return "client"

    def log_message(self, format: str, *args: object) -> None:
        self._answers.log.debug("http.answered", request=format % args)
