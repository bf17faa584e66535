"""One small request and its answer over a connection that stands already.

Most writes are small, most find a connection in the pool, and S3 answers them with an empty 200.
For these urllib3's and ``http.client``'s layers cost more than all the rest of shipper. So here
the request is written as it is, and an empty 200 is read as it is. Everything else stays theirs:
opening connections (TLS, proxies), large bodies, and every other answer, which is read by
``http.client`` from the same bytes.

Leaned on beyond documentation: botocore's ``_get_connection_manager``, ``_proxy_config`` and
``_host_from_url``, urllib3's ``pool`` and ``_put_conn``.
"""

import contextlib
import http.client
import queue
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import _host_from_url  # type: ignore[attr-defined]  # of no stub
from botocore.exceptions import ConnectionClosedError, HTTPClientError, ReadTimeoutError
from urllib3.util.connection import is_connection_dropped

from shipper.edges.answer_limits import BoundedSocket
from shipper.edges.s3.connections import LIMITS, FinalResponse

_END = b"\r\n\r\n"
_GOOD = b"HTTP/1.1 200 "
_FOLDED = re.compile(rb"\n[ \t]")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its whole body; the names of the headers are in lower case."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


class Exchange:
    """Exchanges with one host; safe to share between threads.

    ``url`` is any on that host; ``session`` is botocore's, whose pool and proxies are used.
    Raises what that session raises where the proxy's URL is none.
    """

    def __init__(self, session: Any, url: str) -> None:
        self._url = url
        proxy_url = session._proxy_config.proxy_url_for(url)  # noqa: SLF001
        scheme, host, *_ = urlsplit(url)
        self._before_target = len(f"{scheme}://{host}")
        # As it is signed: in lower case, and without the scheme's own port.
        self._host = f"Host: {_host_from_url(url)}\r\nAccept-Encoding: identity\r\n"
        self._pool: Any = None
        if proxy_url is None or url.startswith("https:"):  # else the proxy wants another request
            try:
                manager = session._get_connection_manager(url, proxy_url)  # noqa: SLF001
            except ValueError as error:
                raise HTTPClientError(error=error) from error
            self._pool = manager.connection_from_url(url)

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytearray
    ) -> Answer | None:
        """The answer; None where no connection stands, and nothing was sent.

        The URL is encoded already, and the headers are good ones.

        Raises:
            ConnectionClosedError: botocore's, as its own session raises it.
            ReadTimeoutError: the same.
        """
        connection = self._taken()
        if connection is None:
            return None
        lines = "".join(
            f"{name}: {value}\r\n"
            for name, value in headers.items()
            if name.lower() != "host"  # a signer may have put it there, and two are refused
        )
        head = (
            f"{method} {url[self._before_target :]} HTTP/1.1\r\n{self._host}{lines}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            with self._closing_on_failure(connection):
                return self._exchanged(connection, method, head.encode("ascii") + body)
        finally:
            self._pool._put_conn(connection)  # noqa: SLF001

    def _exchanged(self, connection: Any, method: str, request: bytes) -> Answer:
        connection.sock.settimeout(self._pool.timeout.connect_timeout)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # Who refuses a body may answer and close before it has read it.
            connection.sock.sendall(request)
        connection.sock.settimeout(self._pool.timeout.read_timeout)
        try:
            return _read(connection, method)
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=self._url, error=error) from error

    @contextlib.contextmanager
    def _closing_on_failure(self, connection: Any) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ConnectionClosedError(error=error, endpoint_url=self._url) from error
        except BaseException:
            connection.close()
            raise

    def _taken(self) -> Any:
        """From urllib3's stack, which also holds places for connections that nobody opened."""
        if self._pool is None:
            return None
        try:
            connection = self._pool.pool.get(block=False)
        except queue.Empty:
            return None
        if connection is not None and not is_connection_dropped(connection):
            return connection
        self._pool._put_conn(connection)  # noqa: SLF001
        return None


def _read(connection: Any, method: str) -> Answer:
    with BoundedSocket(connection.sock, LIMITS).makefile() as stream:
        seen = stream.peek()
        head, end, more = seen.partition(_END)
        if end and head.startswith(_GOOD) and _FOLDED.search(head) is None:
            headers = _headers(head)
            is_empty = headers.get("content-length") == "0" and "transfer-encoding" not in headers
            if is_empty and not more:
                if headers.get("connection", "").lower() == "close":
                    connection.close()
                return Answer(200, headers, b"")
        return _read_any(connection, stream, method)


def _read_any(connection: Any, stream: Any, method: str) -> Answer:
    """Let ``http.client`` read the answer, of which nothing was taken yet."""
    response: Any = FinalResponse(connection.sock, method=method)
    response.fp.close()
    response.fp = stream
    try:
        response.begin()
        content = response.read()
    finally:
        response.close()  # while its stream is open: Python 3.13 complains of a later close
    if response.will_close:
        connection.close()
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, headers, content)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in pairs}
