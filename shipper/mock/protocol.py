"""HTTP of the mocked metadata service: reads requests, and answers or fails as it is told.

The server takes loopback addresses only, and a ``Host`` that is an address or ``localhost``: a web
page whose name resolves to loopback must not read the credentials.
"""

import contextlib
import ipaddress
import re
import socket
import struct
import traceback
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from shipper.edges.http_server import HttpServer
from shipper.mock.fault import Fault

if TYPE_CHECKING:
    from shipper.mock.imds import MockImds

TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105  (a header's name)
LONGEST_TOKEN_SECONDS = 21600
SECONDS = re.compile("[0-9]{1,5}")
HUGE_BYTES = 1 << 20
CONNECTIONS = 64
CONNECTION_SECONDS = 600.0
"""How long a connection lasts at most; an idle one ends after ``Handler.timeout``."""
_MALFORMED = '{"Code" : "Success", "LastUpdated" : '


@dataclass(slots=True)
class Exchange:
    """A request, and what to answer; ``status`` 0 is no answer."""

    method: str
    path: str
    ttl: str
    token: str | None = field(repr=False)
    is_forwarded: bool
    life_seconds: int = 0
    """Of the metadata token that was used."""
    told_seconds: int = 0
    """The life of a metadata token that the answer shows, if not 0."""
    status: int = 0
    body: str = field(default="", repr=False)
    fault: str = ""
    broken: Fault | None = None

    @property
    def standing(self) -> str:
        """The metadata token in a word, for the log."""
        return "none" if self.token is None else "valid" if self.life_seconds else "unknown"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_host_allowed(header: str) -> bool:
    """Whether the ``Host`` header is an address or localhost."""
    name = re.sub(r":[0-9]*$", "", header.strip()).lower()
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return name == "localhost"
    return True


def server_for(service: "MockImds", host: str, port: int, *, is_open: bool) -> HttpServer:
    """A server that has not started yet. ``ValueError``: the address is not loopback, and
    ``is_open`` does not allow it.
    """
    if not is_open and not is_loopback(host):
        raise ValueError(f"{host} is not loopback; --unsafe-listen allows it")
    return HttpServer(
        (host, port),
        partial(Handler, service, is_open),
        failed=traceback.print_exception,
        connections=CONNECTIONS,
        connection_seconds=CONNECTION_SECONDS,
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "EC2ws"
    sys_version = ""
    disable_nagle_algorithm = True  # head and body are two writes: 40 ms apart with it
    timeout = 10.0

    def __init__(self, service: "MockImds", is_open: bool, *arguments: Any) -> None:
        self._service = service
        self._is_open = is_open
        super().__init__(*arguments)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header, by the service's clock."""
        return super().date_time_string(self._service.now() if timestamp is None else timestamp)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing here: ``_log`` does."""

    def _serve(self) -> None:
        asked = Exchange(
            method=self.command,
            path=self.path,
            ttl=self.headers.get(TTL_HEADER, ""),
            token=self.headers.get(self._service.token_header),
            is_forwarded="x-forwarded-for" in self.headers,
        )
        if self._is_open or is_host_allowed(self.headers.get("host", "")):
            self._service.exchange(asked)
        else:
            asked.status, asked.body, asked.fault = 403, "Forbidden", "host"
        has_body = self.headers.get("content-length", "0") != "0"
        if has_body or "transfer-encoding" in self.headers:
            self.close_connection = True  # what is not read must not look like the next request
        self._perform(asked)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_PATCH = _serve  # noqa: N815  (http.server's names)

    def _perform(self, asked: Exchange) -> None:
        match asked.broken:
            case Fault(kind="hang" | "reset" | "close" as kind):
                self._log(asked)
                self._be_silent(kind)
                return
            case Fault(kind="empty"):
                asked.status, asked.body = 200, ""
            case Fault(kind="malformed"):
                asked.status, asked.body = 200, _MALFORMED
            case Fault(kind="huge"):
                asked.status, asked.body = 200, "x" * HUGE_BYTES
            case Fault(status=status) if status:
                asked.status, asked.body = status, "/elsewhere" if status < 400 else "Fault"
            case _:
                pass
        self._log(asked)
        self._answer(asked, is_cut=asked.broken is not None and asked.broken.kind == "truncated")

    def _log(self, asked: Exchange) -> None:
        line = {
            "client": self.client_address[0],
            "method": asked.method,
            "path": asked.path.partition("?")[0][:1024],
            "status": asked.status,
            "token": asked.standing,
        }
        self._service.say(**line, **({"fault": asked.fault} if asked.fault else {}))

    def _be_silent(self, kind: str) -> None:
        self.close_connection = True
        if kind == "hang":
            self.connection.settimeout(None)
            with contextlib.suppress(ConnectionError):
                while self.connection.recv(HUGE_BYTES):  # until the client or the server ends it
                    pass
        if kind == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()  # before the server shuts it down in good order

    def _answer(self, asked: Exchange, *, is_cut: bool) -> None:
        encoded = asked.body.encode()
        self.send_response(asked.status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(encoded)))
        if asked.told_seconds and asked.status == 200:
            self.send_header(TTL_HEADER, str(asked.told_seconds))
        if 300 <= asked.status < 400:
            self.send_header("Location", asked.body)
        if is_cut:
            encoded = encoded[: len(encoded) // 2]
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(encoded)
