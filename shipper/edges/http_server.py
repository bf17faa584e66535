"""A small HTTP server for loopback and Unix sockets, bounded in what it takes.

Slow and hostile clients cost themselves their answer, and others little. There is one thread for
each of at most ``connections``, and ``connection_seconds`` for each of them, until the next look.
When all places are taken, whoever comes gets the place of the one that has had it longest, once
that is ``RUSH_SECONDS``. Nothing waits for a client when the server stops.

What a request may be, and how long a read may take, is the handler's to bound.
"""

import contextlib
import errno
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

CONNECTIONS = 16
CONNECTION_SECONDS = 10.0
LOOK_SECONDS = 1.0
RUSH_SECONDS = 1.0
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class HttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One address: a path, or a host and a port.

    ``failed`` is told what a handler raises, unless that comes from a client that went away.
    ``_lock`` guards who has a place since when, and how many threads answer.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        address: str | tuple[str, int],
        handler: Callable[[Any, Any, Any], socketserver.BaseRequestHandler],
        *,
        failed: Callable[[BaseException], None],
        connections: int = CONNECTIONS,
        connection_seconds: float = CONNECTION_SECONDS,
    ) -> None:
        if isinstance(address, str):
            self.address_family = socket.AF_UNIX
        else:
            self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._path = address if isinstance(address, str) else ""
        self._failed = failed
        self._connections = connections
        self._connection_seconds = connection_seconds
        self._lock = threading.Lock()
        self._since: dict[socket.socket, float] = {}
        self._answering = 0
        self._ended = threading.Condition(self._lock)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        super().__init__(address, handler)  # type: ignore[arg-type]  # a path is an address, too

    def start(self) -> None:
        """Begin to answer."""
        self._thread = threading.Thread(
            target=self.serve_forever, args=(LOOK_SECONDS,), name="http", daemon=True
        )
        self._thread.start()

    def stop(self, wait_seconds: float = 0.0) -> None:
        """Hang up on everybody and free the address; also where nothing has begun.

        Waits at most so long for the threads that still answer.
        """
        if self._thread is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)  # who waits for a connection wakes up
            self.shutdown()
        self.server_close()
        with self._ended:
            self._ended.wait_for(lambda: not self._answering, wait_seconds)

    def server_bind(self) -> None:
        """Bind; a socket that an earlier life left behind is replaced."""
        if not self._path:
            super().server_bind()
            return
        self._unlink()
        with short_path(self._path) as name:
            self.socket.bind(name)
        os.chmod(self._path, 0o660)

    def server_close(self) -> None:
        super().server_close()
        self._closed.set()
        with self._lock:
            self._evict(float("inf"))
        if self._path:
            self._unlink()

    def get_request(self) -> tuple[Any, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _SHORTAGES:
                self._closed.wait(0.1)  # it still is to be accepted: not in a busy loop
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for the connection, or hang up."""
        if self._has_place(request):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._answering += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._ended:
                self._since.pop(request, None)
                self._answering -= 1
                self._ended.notify_all()

    def service_actions(self) -> None:
        """Every ``LOOK_SECONDS``, hang up on whoever takes too long."""
        with self._lock:
            self._evict(time.monotonic() - self._connection_seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  (socketserver's)
        """A client that went away, or was hung up on, is no news."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError | ValueError):
            self._failed(error)

    def _has_place(self, request: socket.socket) -> bool:
        with self._lock:
            if len(self._since) >= self._connections:
                oldest = min(self._since.values())
                self._evict(min(oldest, time.monotonic() - RUSH_SECONDS))
            if len(self._since) >= self._connections:
                return False
            self._since[request] = time.monotonic()
            return True

    def _evict(self, until: float) -> None:
        """Hang up on those who have been there since then; with the lock held."""
        for request in [request for request, since in self._since.items() if since <= until]:
            del self._since[request]
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def _unlink(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


@contextlib.contextmanager
def short_path(path: str) -> Iterator[str]:
    """A name for ``path`` that fits into the 108 bytes of a Unix socket's address."""
    directory, name = os.path.split(path)
    descriptor = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
