"""Requests sent by libcurl: one thread owns all connections, however many are in flight.

https://curl.se/libcurl/c/curl_multi_socket_action.html
"""

import os
import select
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any

import pycurl

from shipper.edges.http_client.connections import Connections
from shipper.edges.http_client.environment import ca_options, proxy_for
from shipper.edges.http_client.transfer import (
    CONNECTION_AGE_SECONDS,
    Answer,
    Limits,
    Request,
    Throttle,
    Transfer,
    unanswered,
)
from shipper.ports import PortError

LOOK_SECONDS = 0.1
"""Deadlines are kept as exactly as this."""
IDLE_SECONDS = CONNECTION_AGE_SECONDS + 1
CLOSE_SECONDS = 5.0
_ONE = (1).to_bytes(8, sys.byteorder)
_NEVER = float("inf")


class Engine:
    """Sends requests, from any thread; connections, transfers and timers are its own thread's.

    ``ca_bundle`` is the file with the certificates that are trusted. At most so many
    ``connections`` are kept open for later.
    """

    def __init__(
        self, *, connections: int, ca_bundle: str, limits: Limits, throttle: Throttle
    ) -> None:
        options = ca_options(ca_bundle)
        self._kept: Connections = {}
        self._transfer = partial(Transfer, self._kept, limits, throttle, options)
        self._new: deque[tuple[Request, Future[Answer], Context]] = deque()
        self._under_way: dict[Any, Transfer] = {}
        self._free: list[Transfer] = []
        self._proxies: dict[str, str] = {}
        self._is_closing = self._is_over = self._is_rung = False
        # A file, because the number of a closed descriptor may be another's.
        self._bell = open(os.eventfd(0, os.EFD_CLOEXEC), "r+b", buffering=0)  # noqa: SIM115
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
        self._watched = set[int]()
        self._epoll = select.epoll()
        self._epoll.register(self._bell, select.EPOLLIN)

    def submit(self, request: Request) -> Future[Answer]:
        """Begin to send. The future fails with a ``PortError``, or with what the body raised."""
        future: Future[Answer] = Future()
        self._new.append((request, future, copy_context()))
        if self._is_over:
            self._refuse()
        elif not self._is_rung:
            self._ring()
        return future

    def distrust(self) -> None:
        """Send nothing more over any connection that stands: an answer was another's."""
        self._kept.clear()

    def close(self) -> None:
        """End. Whatever is under way fails. A name that is being resolved is not waited for."""
        self._is_closing = True
        self._ring()
        self._thread.join(CLOSE_SECONDS)

    def _ring(self) -> None:
        self._is_rung = True
        with suppress(OSError, ValueError):  # nobody is there any more
            self._bell.write(_ONE)

    def _run(self) -> None:
        """Until it is closed. A bug ends what is under way, and all connections."""
        try:
            while not self._is_closing:
                try:
                    self._step()
                except BaseException as bug:  # noqa: BLE001  (a loop's top)
                    self._shut(bug)
                    self._open()
        finally:
            self._is_over = True
            self._shut(None)
            self._refuse()
            self._bell.close()

    def _shut(self, error: BaseException | None) -> None:
        for transfer in list(self._under_way.values()):
            transfer.why = "it was closed"
            self._end(transfer, 0, "", error)
        while self._free:
            self._free.pop().curl.close()
        self._multi.close()
        self._epoll.close()

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
        for descriptor, events in self._epoll.poll(wait):
            if descriptor == self._bell.fileno():
                self._bell.read(8)
                self._is_rung = False
                continue
            bits = pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0
            bits |= pycurl.CSELECT_OUT if events & ~select.EPOLLIN else 0
            self._multi.socket_action(descriptor, bits)
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
        transfer = self._free.pop() if self._free else self._transfer()
        try:
            transfer.begin(request, future, context, self._proxy(request))
            self._multi.add_handle(transfer.curl)
        except (ValueError, TypeError, PortError, pycurl.error) as error:
            transfer.curl.close()
            is_ours = not isinstance(error, pycurl.error)  # whose words may repeat a URL
            why = unanswered(request.operation, "it cannot be sent", f"libcurl's {error.args[0]}")
            future.set_exception(error if is_ours else why)
            return
        self._under_way[transfer.curl] = transfer
        self._look_at = min(self._look_at, time.monotonic() + LOOK_SECONDS)

    def _proxy(self, request: Request) -> str:
        at = "/".join(request.url.split("/", 3)[:3])
        if at not in self._proxies:
            self._proxies[at] = proxy_for(request)
        return self._proxies[at]

    def _look(self, now: float) -> None:
        """Let bodies go on whose bandwidth is there, and end what is overdue.

        When nothing has been under way for a while, close what costs memory: no connection that
        is as old would be used again.
        """
        if not self._under_way:
            self._shut(None)
            self._open()
            return
        self._look_at = now + LOOK_SECONDS
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
                transfer = self._under_way[curl]
                if transfer.is_stale:
                    transfer.is_stale = False
                    self._multi.remove_handle(curl)
                    self._multi.add_handle(curl)
                else:
                    self._end(transfer, code, text)

    def _end(
        self, transfer: Transfer, code: int, text: str, error: BaseException | None = None
    ) -> None:
        del self._under_way[transfer.curl]
        with suppress(pycurl.error):  # whoever waits for the answer is told all the same
            self._multi.remove_handle(transfer.curl)
        if transfer.end(code, text, error):
            self._free.append(transfer)
        if not self._under_way:
            self._look_at = time.monotonic() + IDLE_SECONDS

    def _watch(self, wanted: int, descriptor: int, _multi: Any, _data: Any) -> None:
        """Of libcurl: what is to be known of a socket."""
        if wanted == pycurl.POLL_REMOVE:
            if descriptor in self._watched:
                self._watched.remove(descriptor)
                self._epoll.unregister(descriptor)
            return
        events = select.EPOLLIN if wanted & pycurl.POLL_IN else 0
        events |= select.EPOLLOUT if wanted & pycurl.POLL_OUT else 0
        if descriptor in self._watched:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
            self._watched.add(descriptor)

    def _set_timer(self, milliseconds: int) -> None:
        """Of libcurl: when to ask it, whatever the sockets say."""
        self._timer_at = _NEVER if milliseconds < 0 else time.monotonic() + milliseconds / 1000
