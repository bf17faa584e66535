"""Why a request got no answer, in this machine's own words.

Of the other side's bytes, and of URLs that may hold a password, nothing is repeated: the cause is
named by its errno, by OpenSSL, or by the status with which a proxy refused. ``hint_for`` knows
the words.
"""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as foreign

from shipper.core.failures import hint_for
from shipper.edges.answer_limits import OutOfBounds
from shipper.ports import PortError

_REFUSED_BY_PROXY = re.compile(r"Tunnel connection failed: (\d{3})")
"""What ``http.client`` says of a CONNECT; behind it stand the proxy's own words."""


def no_answer(operation: str, error: Exception) -> PortError:
    """Of what botocore raises where nobody answers, or where the answer breaks off."""
    causes = list(_causes(error))
    is_late = any(isinstance(each, TimeoutError) for each in causes) or isinstance(
        error, (foreign.ConnectTimeoutError, foreign.ReadTimeoutError)
    )
    why = next(filter(None, map(_words, causes)), "timed out" if is_late else "")
    return unanswered(operation, _place(error, causes), why, is_late=is_late)


def unanswered(operation: str, place: str, why: str, *, is_late: bool = False) -> PortError:
    code = "Timeout" if is_late else "Unreachable"
    detail = f"{operation}: {place}: {why}" if why else f"{operation}: {place}"
    return PortError(code, detail, hint_for(code, detail))


def status_text(status: int) -> str:
    """``HTTP 407 Proxy Authentication Required``; the number alone where it has no name."""
    named = {each.value: each.phrase for each in HTTPStatus}
    return f"HTTP {status} {named.get(status, '')}".rstrip()


def _place(error: Any, causes: list[BaseException]) -> str:
    """Where it ended: at a URL that is none, at the proxy, or at the endpoint."""
    if any(type(each) is ValueError and "Invalid header" in str(each) for each in causes):
        return "the request cannot be written"
    if type(error) is foreign.HTTPClientError and any(map(_is_no_url, causes)):
        return "the proxy's URL is malformed"
    if isinstance(error, foreign.ProxyConnectionError):
        return f"no connection through the proxy {origin(error.kwargs['proxy_url'])}"
    at = origin(error.kwargs.get("endpoint_url", ""))
    if isinstance(error, foreign.SSLError):
        return f"no TLS with {at}"
    if isinstance(error, foreign.ConnectionError):
        return f"no connection to {at}"
    return f"no whole answer from {at}" if at else "no whole answer"


def _is_no_url(cause: BaseException) -> bool:
    is_value = isinstance(cause, ValueError) and not isinstance(cause, UnicodeError | OSError)
    return is_value or type(cause).__name__ in ("InvalidURL", "ProxySchemeUnknown")


def origin(url: str) -> str:
    """Scheme, host and port, without user, password and path."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" if host else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from. urllib3 keeps causes in members of its own."""
    seen: list[BaseException] = [error]
    for each in seen:
        yield each
        within = getattr(each, "kwargs", {}).get("error"), *vars(each).values(), *each.args
        within += each.__cause__, each.__context__
        seen += [one for one in within if isinstance(one, BaseException) and one not in seen]


def _words(cause: BaseException) -> str:
    match cause:
        case OutOfBounds():
            return str(cause)
        case ssl.SSLCertVerificationError():
            return f"the certificate is not trusted: {cause.verify_message}"
        case ssl.SSLError():
            return getattr(cause, "reason", "") or "broken off"
        case socket.gaierror():
            return f"the name is not resolved: {cause.strerror}"
        case TimeoutError(errno=None) if type(cause) is TimeoutError:
            return str(cause)
        case OSError(errno=int() as number):
            return os.strerror(number)
        case OSError() if found := _REFUSED_BY_PROXY.match(str(cause)):
            return f"it answers {status_text(int(found[1]))}"
        case _:
            return ""
