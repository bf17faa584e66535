"""Bounds for a whole HTTP answer: its time and its bytes, head included.

A socket's timeout starts again with every byte. So a server that sends one byte at a time, status
lines without end, interim answers, headers, chunks or trailers, keeps a client for as long as it
likes. Everything of an answer comes through ``makefile`` of the socket, so that is where it is
bounded; the time starts when the client begins to wait for the answer.
"""

import http.client
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """What an answer may take. ``monotonic`` is the clock."""

    seconds: float
    size_bytes: int
    monotonic: Callable[[], float] = time.monotonic


class OutOfBounds(http.client.HTTPException):
    """An answer goes beyond its limits."""


class BoundedSocket:
    """A socket of which each ``makefile`` reads one answer; beyond the limits, ``OutOfBounds``."""

    def __init__(self, sock: Any, limits: AnswerLimits) -> None:
        self._sock = sock
        self._limits = limits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def makefile(self, _mode: str = "rb", buffering: int | None = None) -> Any:
        raw = _BoundedReader(self._sock, self._limits)
        return raw if buffering == 0 else io.BufferedReader(raw)


class _BoundedReader(io.RawIOBase):
    def __init__(self, sock: Any, limits: AnswerLimits) -> None:
        super().__init__()
        self._sock = sock
        self._limits = limits
        self._left_bytes = limits.size_bytes
        self._until = limits.monotonic() + limits.seconds
        self._inner = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._inner.close()
        super().close()

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - self._limits.monotonic()
        if left <= 0:
            raise self._too_slow() from TimeoutError()
        usual = self._sock.gettimeout()
        if usual is None or usual > left:
            self._sock.settimeout(left)
        try:
            count: int | None = self._inner.readinto(buffer)
        except TimeoutError:
            if usual is None or usual > left:
                raise self._too_slow() from TimeoutError()
            raise
        self._sock.settimeout(usual)
        self._left_bytes -= count or 0
        if self._left_bytes < 0:
            text = f"the answer is longer than {self._limits.size_bytes} bytes"
            raise OutOfBounds(text)
        return count

    def _too_slow(self) -> OutOfBounds:
        return OutOfBounds(f"no whole answer in {self._limits.seconds:.0f} s")


def bounded_pools(limits: AnswerLimits, **options: Any) -> PoolManager:
    """urllib3's pools, whose connections read answers within the limits."""

    class _Response(http.client.HTTPResponse):
        def __init__(self, sock: Any, *arguments: Any, **named: Any) -> None:
            super().__init__(BoundedSocket(sock, limits), *arguments, **named)  # type: ignore[arg-type]  # all it asks for

    class _Http(HTTPConnection):
        response_class = _Response

    class _Https(HTTPSConnection):
        response_class = _Response

    class _HttpPool(HTTPConnectionPool):
        ConnectionCls = _Http

    class _HttpsPool(HTTPSConnectionPool):
        ConnectionCls = _Https

    pools = PoolManager(**options)
    pools.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return pools
