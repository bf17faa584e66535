"""A proxy in front of an S3 server: it sees every request, and may answer instead."""

import http.client
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

from tests.fakes.servers import Moto

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "expect"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A request on its way through."""

    method: str
    target: str
    headers: Mapping[str, str]
    size_bytes: int

    @property
    def is_listing(self) -> bool:
        """Whether it only asks what the bucket holds."""
        return self.method == "GET" and "list-type=2" in self.target


Refusal = tuple[int, dict[str, str], bytes]
"""Status, headers and body of an answer that the server never sees."""


class Proxy:
    """moto, as others see it through the proxy.

    ``refuse`` is asked about every request, from many threads; None lets it through. What
    ``loses`` says yes to is carried out, and never answered.
    """

    def __init__(
        self,
        moto: Moto,
        refuse: Callable[[Seen], Refusal | None] = lambda seen: None,
        loses: Callable[[Seen], bool] = lambda seen: False,
    ) -> None:
        self.seen: list[Seen] = []
        self.backend = urlsplit(moto.url).netloc
        self.refuse = refuse
        self.loses = loses
        handler = type("_Bound", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def moto(self) -> Moto:
        """The server as others see it."""
        return Moto(f"http://127.0.0.1:{self._server.server_address[1]}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client may be killed in the middle of its request."""


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"
    timeout = 60.0

    def _serve(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:  # S3 stores no part of a body; moto would
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers, len(body))
        self.proxy.seen.append(seen)
        refusal = self.proxy.refuse(seen)
        if refusal is not None:
            self._answer(*refusal)
            return
        connection = http.client.HTTPConnection(self.proxy.backend, timeout=30)
        try:
            sent = {name: value for name, value in headers.items() if name not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body, sent)
            answer = connection.getresponse()
            found = answer.read()
        finally:
            connection.close()
        if self.proxy.loses(seen):
            self.close_connection = True
            return
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
        self._answer(answer.status, kept, found)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815  (http.server's names)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what matters is kept."""
