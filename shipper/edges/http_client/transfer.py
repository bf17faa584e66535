"""A request on one of libcurl's easy handles, and its deadlines. All of it in one thread.

A request is sent once. libcurl repeats one by itself where a kept connection turns out to be dead,
and without ``Expect`` where that is refused (417): ``_begun`` ends it then. libcurl's own limit
for slow transfers knows whole seconds only, and takes a body that waits for its bandwidth for one
that stalls, so deadlines are kept here.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import pycurl

from shipper import __version__
from shipper.core.concurrency import PIECE_BYTES, longest_body_seconds
from shipper.core.failures import hint_for
from shipper.edges.http_client.body import Body
from shipper.edges.http_client.connections import Connections, is_quiet, learn
from shipper.ports import PortError

SMALL_BODY_BYTES = 1024**2
"""A larger body waits for ``100 Continue``, so that a denied request is answered, not cut off."""
NO_CONNECTION = "no connection"
SILENCE = "timed out"
TOO_LONG = "the answer is too long"
MOST_INTERIM = 8
"""So many answers that are none, 103 Early Hints say, are one too many before one that is."""
CONNECTION_AGE_SECONDS = 5
"""Below what servers wait for the next request."""
_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})[ \r\n]")
_OPTIONS: dict[int, Any] = {
    pycurl.NOSIGNAL: 1,
    pycurl.USERAGENT: f"shipper/{__version__}",
    pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
    pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
    pycurl.SSLVERSION: pycurl.SSLVERSION_TLSv1_2,
    pycurl.NOPROXY: "",  # else libcurl asks the environment itself
    pycurl.PATH_AS_IS: 1,  # a key may hold dots
    pycurl.TCP_KEEPALIVE: 1,
    # S3 has many addresses: every connection asks for some, and none lives for long.
    pycurl.DNS_CACHE_TIMEOUT: 0,
    # For these pycurl has no names.
    275: 1,  # CURLOPT_DNS_SHUFFLE_ADDRESSES
    321: 60,  # CURLOPT_CA_CACHE_TIMEOUT: a new bundle counts that soon, in seconds
    322: 1,  # CURLOPT_QUICK_EXIT: no end waits for a name that is being resolved
    pycurl.MAXLIFETIME_CONN: 300,
    pycurl.MAXAGE_CONN: CONNECTION_AGE_SECONDS,
}
_KINDS = {"PUT": pycurl.UPLOAD, "POST": pycurl.UPLOAD, "HEAD": pycurl.NOBODY}
_TLS_CODES = frozenset({35, 53, 54, 58, 59, 60, 66, 77, 80, 82, 83, 90, 91, 98})
"""https://curl.se/libcurl/c/libcurl-errors.html"""

NO_OPTIONS: Mapping[int, Any] = {}
Throttle = Callable[[int], Callable[[], float]]
"""Told the size of a piece of a body. What it returns gives the seconds until that may go out."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may take. A body has ``longest_body_seconds``."""

    connect_seconds: float = 5.0
    stall_seconds: float = 60.0
    """In which nothing is sent and nothing comes."""
    answer_seconds: float = 540.0
    """For a whole answer: S3 may send blanks for minutes while it completes an upload. It is less
    than the time after which the daemon counts as stalled."""
    answer_bytes: int = 8 * 1024**2
    """No answer that is asked for holds more than a listing of 1,000 keys."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request, signed, with its URL as it is sent."""

    operation: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: Body


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its whole body; the names of the headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transfer:
    """An easy handle, for one request at a time; it may be used again after a whole answer.

    ``throttle`` is called in the context of who submitted the request; it never blocks.
    ``options`` are libcurl's, beside those that every handle has.
    """

    def __init__(
        self, known: Connections, limits: Limits, throttle: Throttle, options: Mapping[int, Any]
    ) -> None:
        self._limits, self._throttle, self._known = limits, throttle, known
        self._lines, self._content, self._opened = list[bytes](), bytearray(), list[int]()
        self.curl: Any = pycurl.Curl()
        own = {
            pycurl.CONNECTTIMEOUT_MS: max(1, int(limits.connect_seconds * 1000)),
            pycurl.PREREQFUNCTION: self._begun,
            pycurl.READFUNCTION: self._read,
            pycurl.SOCKOPTFUNCTION: self._is_opened,
            pycurl.WRITEFUNCTION: self._write,
        }
        for option, value in {**_OPTIONS, **options, **own}.items():
            self.curl.setopt(option, value)

    def begin(
        self, request: Request, future: Future[Answer], context: Context, proxy: str
    ) -> None:
        """Have the handle ready for this request.

        Raises:
            PortError: ``InvalidRequest``: this cannot stand in a header.
        """
        for name, text in request.headers.items():
            if not (text.isascii() and text.isprintable()):
                detail = f"{request.operation}: Invalid header value: {name}"
                raise PortError("InvalidRequest", detail)
        self._request = request
        self._future, self._context, self._proxy = future, context, proxy
        self.held_back: Callable[[], float] | None = None
        """Of a body that waits for its bandwidth: the seconds until it may go on."""
        self._size = self._left_bytes = size = len(request.body)
        self._granted_bytes = self._begins = 0
        self.is_stale = False
        """Whether its connection could not be used again. Nothing was sent: begin it anew."""
        self.why = ""
        """Why it was ended from here."""
        self._error: BaseException | None = None
        self._until = self._moved_at = float("inf")
        self._moved = (size, 0, 0)
        is_large = size > SMALL_BODY_BYTES
        lines = [
            f"{name}: {text}" if text.strip() else f"{name};"
            for name, text in request.headers.items()
        ]
        lines += ["Accept:", "Expect: 100-continue" if is_large else "Expect:"]
        setopt = self.curl.setopt
        setopt(pycurl.URL, request.url)
        setopt(pycurl.PROXY, proxy)
        is_heard = proxy or size > PIECE_BYTES // 4  # else all of it is with libcurl
        setopt(pycurl.HEADERFUNCTION, self._heard if is_heard else self._lines.append)
        setopt(_KINDS.get(request.method, pycurl.HTTPGET), 1)
        setopt(pycurl.CUSTOMREQUEST, request.method)
        setopt(pycurl.HTTPHEADER, lines)
        setopt(pycurl.INFILESIZE_LARGE, size)
        setopt(pycurl.UPLOAD_BUFFERSIZE, PIECE_BYTES if is_large else PIECE_BYTES // 4)

    def go_on(self, now: float) -> None:
        """Send on, now that ``held_back`` is over. The deadline of the body moves."""
        self.held_back = None
        self._until += now - self._moved_at
        self._moved_at = now
        self.curl.pause(pycurl.PAUSE_CONT)

    def overdue(self, now: float) -> PortError | None:
        """What takes too long; None where nothing does."""
        moved = self._left_bytes, len(self._lines), len(self._content)
        if moved != self._moved:
            self._moved, self._moved_at = moved, now
        if now > self._moved_at + self._limits.stall_seconds:
            what = SILENCE
        elif now <= self._until:
            return None
        elif self._left_bytes:
            sent = self._size - self._left_bytes
            what = f"{sent} of {self._size} bytes were sent when the time was up"
        else:
            what = self._too_slow()
        return self._unanswered(what, is_late=True)

    def _too_slow(self) -> str:
        return f"no whole answer in {self._limits.answer_seconds:g} s"

    def end(self, code: int, text: str, error: BaseException | None = None) -> bool:
        """Answer the future: with libcurl's result, unless ``error`` is what ended it.

        Nothing of the request is kept. True where the handle may be used again.
        """
        future, answer, error = self._future, None, error or self._error
        try:
            if error is None:
                answer = self._answer(code, text)
        except Exception as bug:  # noqa: BLE001  (whoever waits for the answer is told)
            what, operation = f"no sense in it: {type(bug).__name__}", self._request.operation
            error = bug if isinstance(bug, PortError) else unanswered(operation, what, "")
        del self._request, self._future, self._context, self._error, self.held_back
        for each in (self._lines, self._content, self._opened):
            each.clear()
        if answer is not None:
            future.set_result(answer)
        else:
            self.curl.close()
            future.set_exception(error)
        return answer is not None

    def _answer(self, code: int, text: str) -> Answer:
        """The answer; raises a ``PortError`` where it is none."""
        status, headers, is_whole = self._head()
        if self.why or ((code or not is_whole) and status != 417):
            why = self.why or self._words(code, text)
            is_late = code == pycurl.E_OPERATION_TIMEDOUT
            raise self._unanswered(why, is_tls=code in _TLS_CODES, is_late=is_late)
        return Answer(status, headers, bytes(self._content))

    def _head(self) -> tuple[int, dict[str, str], bool]:
        """Status and headers of the last answer, without a trailer, and whether it is whole."""
        status, headers, is_in_head, interim = 0, dict[str, str](), False, 0
        for line in self._lines:
            if not is_in_head:
                found = _STATUS_LINE.match(line)
                if status >= 200 or not found:
                    break  # the trailer of a body in chunks
                headers, status, is_in_head = {}, int(found[1]), True
                interim += status < 200
            elif line.isspace():
                is_in_head = False
            else:
                name, _, text = line.decode("latin-1").partition(":")
                name, text = name.lower(), text.strip()
                headers[name] = f"{headers[name]}, {text}" if name in headers else text
        if interim >= MOST_INTERIM:
            self.why = "too many interim answers"
        return status, headers, status >= 200 and not is_in_head

    def _unanswered(self, why: str, *, is_tls: bool = False, is_late: bool = False) -> PortError:
        """Say where it ended: at the proxy, in TLS, before the endpoint or at it."""
        at, is_tunnelled = origin(self._request.url), self.curl.getinfo(pycurl.HTTP_CONNECTCODE)
        place = f"no whole answer from {at}" if self._begins else f"{NO_CONNECTION} to {at}"
        if is_tls:
            place = f"no TLS with {at}"
        elif self._proxy and not self._begins and is_tunnelled != 200:
            place = f"no connection through the proxy {origin(self._proxy)}"
        return unanswered(self._request.operation, place, why, is_late=is_late)

    def _words(self, code: int, text: str) -> str:
        """libcurl's reason. Its own words are told of TLS only: else they may repeat a URL."""
        number = self.curl.getinfo(pycurl.OS_ERRNO)
        said = text.rpartition(": ")[2].rpartition("::")[2]
        if code == pycurl.E_SSL_CACERT:
            return f"the certificate is not trusted: {said}"
        if code in _TLS_CODES:
            is_bundle = code == pycurl.E_SSL_CACERT_BADFILE
            return f"no trusted certificates can be read from {said}" if is_bundle else said
        is_named = code in (pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY)
        if is_named:
            return "the name is not resolved"
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return SILENCE if not self._lines else self._too_slow()
        return os.strerror(number) if number else "the connection ended"

    # What libcurl calls. An exception would be printed and lost.

    def _is_opened(self, descriptor: int, _purpose: int) -> int:
        self._opened.append(descriptor)
        return int(pycurl.SOCKOPT_OK)

    def _begun(self, *ends: object) -> int:
        if self._opened:
            learn(self._known, self._opened, ends)
        elif not self._begins and not is_quiet(self._known, ends):
            self.is_stale = True
            return int(pycurl.PREREQFUNC_ABORT)
        self._begins += 1
        self._lines.clear()  # a proxy's
        self._moved_at = time.monotonic()
        size = self._size
        longest = longest_body_seconds(size) if size else self._limits.answer_seconds
        self._until = self._moved_at + longest
        is_first: bool = self._begins == 1
        return int(pycurl.PREREQFUNC_OK if is_first else pycurl.PREREQFUNC_ABORT)

    def _read(self, most_bytes: int) -> Any:
        try:
            if not self._granted_bytes:
                self._granted_bytes = min(most_bytes, self._left_bytes)
                left = self._context.run(self._throttle, self._granted_bytes)
                if left() > 0:
                    self.held_back, self._moved_at = left, time.monotonic()
                    return pycurl.READFUNC_PAUSE
            piece = self._request.body.read(min(most_bytes, self._granted_bytes))
        except ValueError as error:  # a body that is made anew has become shorter
            self._stopped(str(error))
            return pycurl.READFUNC_ABORT
        except BaseException as error:  # noqa: BLE001  (raised where the answer is waited for)
            self._error = error
            return pycurl.READFUNC_ABORT
        self._granted_bytes -= len(piece)
        self._left_bytes -= len(piece)
        if not self._left_bytes:
            self._until = time.monotonic() + self._limits.answer_seconds
        return piece

    def _heard(self, line: bytes) -> int | None:
        """A proxy that refuses is not listened to any longer: libcurl would read its body to the
        end and do nothing else. S3 confirms no body before it has read it.
        """
        self._lines.append(line)
        if found := _STATUS_LINE.match(line):
            is_good = found[1].startswith(b"2")
            if not self._begins and not is_good:
                return self._stopped(f"it answers {status_text(int(found[1]))}")
            if self._begins and is_good and self._left_bytes:
                return self._stopped("it was answered before its body was sent")
        return None

    def _write(self, piece: bytes) -> int | None:
        self._content += piece
        is_too_long = len(self._content) > self._limits.answer_bytes
        return self._stopped(TOO_LONG) if is_too_long else None

    def _stopped(self, why: str) -> int:
        self.why = why
        return 0


def exchange(
    request: Request, limits: Limits, *, proxy: str = "", options: Mapping[int, Any] = NO_OPTIONS
) -> Answer:
    """Send in this thread, on a connection of its own. Seconds without a byte are whole ones.

    Raises:
        PortError: there was no answer.
    """
    own = {
        pycurl.TIMEOUT_MS: int(limits.answer_seconds * 1000),
        pycurl.LOW_SPEED_LIMIT: 1,
        pycurl.LOW_SPEED_TIME: max(1, round(limits.stall_seconds)),
    }
    transfer = Transfer({}, limits, lambda _: lambda: 0.0, {**own, **options})
    future: Future[Answer] = Future()
    transfer.begin(request, future, copy_context(), proxy)
    try:
        transfer.curl.perform()
    except pycurl.error as error:
        transfer.end(*error.args)
    else:
        transfer.end(0, "")
    transfer.curl.close()
    return future.result()


def unanswered(operation: str, place: str, why: str, *, is_late: bool = False) -> PortError:
    """In this machine's own words: of the other side's bytes, and of URLs that may hold a
    password, nothing is repeated. ``hint_for`` knows the words.
    """
    code = "Timeout" if is_late else "Unreachable"
    detail = f"{operation}: {place}: {why}" if why else f"{operation}: {place}"
    return PortError(code, detail, hint_for(code, detail))


def status_text(status: int) -> str:
    """``HTTP 407 Proxy Authentication Required``; the number alone where it has no name."""
    named = {each.value: each.phrase for each in HTTPStatus}
    return f"HTTP {status} {named.get(status, '')}".rstrip()


def origin(url: str) -> str:
    """Scheme, host and port, without user, password and path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
