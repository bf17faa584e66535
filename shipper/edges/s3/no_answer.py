"""Why a request got no answer, in this machine's own words.

Of the other side's bytes, and of URLs that may hold a password, nothing is repeated: the cause is
named by its errno, by OpenSSL, or by the status with which a proxy refused. ``hint_for`` knows
the words.
"""

from http import HTTPStatus
from urllib.parse import urlsplit

from shipper.core.failures import hint_for
from shipper.ports import PortError


def unanswered(operation: str, place: str, why: str, *, is_late: bool = False) -> PortError:
    code = "Timeout" if is_late else "Unreachable"
    detail = f"{operation}: {place}: {why}" if why else f"{operation}: {place}"
    return PortError(code, detail, hint_for(code, detail))


def status_text(status: int) -> str:
    """``HTTP 407 Proxy Authentication Required``; the number alone where it has no name."""
    named = {each.value: each.phrase for each in HTTPStatus}
    return f"HTTP {status} {named.get(status, '')}".rstrip()


def origin(url: str) -> str:
    """Scheme, host and port, without user, password and path."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" if host else ""
