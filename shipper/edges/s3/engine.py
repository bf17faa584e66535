"""Requests to S3, sent by libcurl: one thread owns all connections, however many are in flight.

https://curl.se/libcurl/c/curl_multi_socket_action.html
"""

import selectors
import socket
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any
from urllib.parse import urlsplit

import pycurl
from botocore.utils import get_environ_proxies

from shipper.edges.s3.no_answer import unanswered
from shipper.edges.s3.transfer import Answer, Limits, Request, Throttle, Transfer
from shipper.ports import PortError

LOOK_SECONDS = 0.1
"""Deadlines are kept as exactly as this."""
_NEVER = float("inf")


class Engine:
    """Sends requests, from any thread; connections, transfers and timers are its own thread's.

    ``ca_bundle`` is the file with the certificates that are trusted. At most so many
    ``connections`` are kept open for later.
    """

    def __init__(
        self, *, connections: int, ca_bundle: str, limits: Limits, throttle: Throttle
    ) -> None:
        self._options = {pycurl.CAINFO: ca_bundle, pycurl.PROXY_CAINFO: ca_bundle}
        self._limits = limits
        self._throttle = throttle
        self._new: deque[tuple[Request, Future[Answer], Context]] = deque()
        self._under_way: dict[Any, Transfer] = {}
        self._proxies: dict[tuple[str, str], str] = {}
        self._is_closing = self._is_over = False
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._connections = connections
        self._open()
        self._thread = threading.Thread(target=self._run, name="s3", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        self._look_at = self._timer_at = _NEVER
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, self._connections)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._selector = selectors.EpollSelector()
        self._selector.register(self._ear, selectors.EVENT_READ)

    def submit(self, request: Request) -> Future[Answer]:
        """Begin to send. The future fails with a ``PortError``, or with what the body raised.

        Raises:
            PortError: ``InvalidRequest``: this cannot stand in a header.
        """
        for name, text in request.headers.items():
            if not (text.isascii() and text.isprintable()):
                detail = f"{request.operation}: Invalid header value: {name}"
                raise PortError("InvalidRequest", detail)
        future: Future[Answer] = Future()
        self._new.append((request, future, copy_context()))
        if self._is_over:
            self._refuse()
        self._ring()
        return future

    def close(self) -> None:
        """End. Whatever is under way fails."""
        self._is_closing = True
        self._ring()
        self._thread.join()

    def _ring(self) -> None:
        with suppress(OSError):  # it was rung already, or nobody is there any more
            self._bell.send(b"\0")

    def _run(self) -> None:
        """Until it is closed. A bug ends what is under way, and all connections."""
        while not self._is_closing:
            try:
                self._step()
            except BaseException as bug:  # noqa: BLE001  (a loop's top)
                self._shut(bug)
                self._open()
        self._is_over = True
        self._shut(None)
        self._refuse()
        self._ear.close()
        self._bell.close()

    def _shut(self, error: BaseException | None) -> None:
        for transfer in list(self._under_way.values()):
            transfer.why = "it was closed"
            self._end(transfer, 0, "", error)
        self._multi.close()
        self._selector.close()

    def _refuse(self) -> None:
        with suppress(IndexError):
            while True:
                request, future, _ = self._new.popleft()
                if future.set_running_or_notify_cancel():
                    future.set_exception(unanswered(request.operation, "it is closed", ""))

    def _step(self) -> None:
        """Wait until there is something to do, and do it."""
        at = min(self._look_at, self._timer_at)
        wait = None if at == _NEVER else max(0.0, at - time.monotonic())
        for key, events in self._selector.select(wait):
            if key.fileobj is self._ear:
                self._ear.recv(4096)
                continue
            bits = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
            bits |= pycurl.CSELECT_OUT if events & selectors.EVENT_WRITE else 0
            self._multi.socket_action(key.fd, bits)
        while self._new:
            self._begin(*self._new.popleft())
        now = time.monotonic()
        if now >= self._timer_at:
            self._timer_at = _NEVER
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        if now >= self._look_at:
            self._look(now)
        self._finish()

    def _begin(self, request: Request, future: Future[Answer], context: Context) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            transfer = Transfer(
                request,
                future,
                context,
                limits=self._limits,
                throttle=self._throttle,
                options=self._options,
                proxy=self._proxy(request),
            )
        except (ValueError, TypeError, PortError, pycurl.error) as error:
            future.set_exception(error)
            return
        self._under_way[transfer.curl] = transfer
        self._multi.add_handle(transfer.curl)
        self._look_at = min(self._look_at, time.monotonic() + LOOK_SECONDS)

    def _proxy(self, request: Request) -> str:
        """As botocore understands the environment. One that is no URL is not repeated."""
        scheme, host, *_ = urlsplit(request.url)
        if (scheme, host) not in self._proxies:
            found = get_environ_proxies(request.url).get(scheme) or ""
            proxy = found if "://" in found or not found else f"http://{found.lstrip('/')}"
            try:
                urlsplit(proxy).port  # noqa: B018  (what is asked for)
            except ValueError:
                raise unanswered(request.operation, "the proxy's URL is malformed", "") from None
            self._proxies[scheme, host] = proxy
        return self._proxies[scheme, host]

    def _look(self, now: float) -> None:
        """Let bodies go on whose bandwidth is there, and end what is overdue."""
        self._look_at = now + LOOK_SECONDS if self._under_way else _NEVER
        for transfer in list(self._under_way.values()):
            if transfer.held_back is None:
                if error := transfer.overdue(now):
                    self._end(transfer, 0, "", error)
            elif (left := transfer.held_back()) <= 0:
                transfer.go_on(now)
            else:
                self._look_at = min(self._look_at, now + left)

    def _finish(self) -> None:
        queued = 1
        while queued:
            queued, good, failed = self._multi.info_read()
            for curl, code, text in [(curl, 0, "") for curl in good] + failed:
                self._end(self._under_way[curl], code, text)

    def _end(
        self, transfer: Transfer, code: int, text: str, error: BaseException | None = None
    ) -> None:
        del self._under_way[transfer.curl]
        self._multi.remove_handle(transfer.curl)
        transfer.end(code, text, error)

    def _watch(self, wanted: int, descriptor: int, _multi: Any, _data: Any) -> None:
        """Of libcurl: what is to be known of a socket."""
        is_known = descriptor in self._selector.get_map()
        if wanted == pycurl.POLL_REMOVE:
            if is_known:
                self._selector.unregister(descriptor)
            return
        events = selectors.EVENT_READ if wanted & pycurl.POLL_IN else 0
        events |= selectors.EVENT_WRITE if wanted & pycurl.POLL_OUT else 0
        (self._selector.modify if is_known else self._selector.register)(descriptor, events)

    def _set_timer(self, milliseconds: int) -> None:
        """Of libcurl: when to ask it, whatever the sockets say."""
        self._timer_at = _NEVER if milliseconds < 0 else time.monotonic() + milliseconds / 1000
