"""Translates whatever goes wrong with a request to S3 into a ``PortError``.

The code is S3's own wherever S3 spoke. An answer that S3 cannot have given is ``NotS3``; a
request that got no answer is ``Timeout`` or ``Unreachable``. An error inside a 200 arrives here
with status 500, and so does a 200 that is no XML (a captive portal's page), as if S3 had said
"500 Internal Server Error": the code is looked at first, then the request id, last the status.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any

from botocore import exceptions as foreign
from botocore.parsers import ResponseParserError

from shipper.core.failures import hint_for
from shipper.core.types import ETag
from shipper.ports import PortError

REQUEST_IDS = ("x-amz-request-id", "x-amzn-requestid")
"""S3's own header, and the name it has elsewhere in AWS and in some compatible servers."""

_LONGEST_DETAIL = 600
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
_CODES_WITHOUT_BODY = {
    301: "PermanentRedirect",
    307: "TemporaryRedirect",
    412: "PreconditionFailed",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
_TELLING = {"Region": "bucket region", "ServerTime": "server time", "Endpoint": "endpoint"}
"""Members of S3's errors that an operator needs; others may hold what was signed."""

_SENSELESS = (ValueError, OverflowError, TypeError, AttributeError, LookupError, RecursionError)
"""What botocore's parser raises for a member that is missing, twice there or no number."""
_TLS_HINT = "TLS failed: is an intercepting proxy's certificate missing from AWS_CA_BUNDLE?"


@contextmanager
def failures_as_port_errors(
    operation: str,
    count: Callable[[str, str], None] = lambda operation, code: None,
    secrets: Callable[[], Iterable[str]] = tuple,
) -> Iterator[None]:
    """Make a ``PortError`` of what botocore raises inside, and count how it ended.

    What the other side repeats of the ``secrets`` is left out, for the journal keeps its words.
    """
    code = ""
    try:
        yield
    except PortError as error:
        code = error.code
        raise
    except (foreign.BotoCoreError, foreign.ClientError, ResponseParserError) as error:
        if isinstance(error, foreign.ClientError):
            _forget_secrets(error.response.get("Error", {}), secrets)
        translated = port_error_from(error, operation)
        code = translated.code
        raise translated from error
    except _SENSELESS as error:
        code = "NotS3"
        raise not_s3(operation, _clean(str(error))) from error
    finally:
        count(operation, code)


def _forget_secrets(said: Any, secrets: Callable[[], Iterable[str]]) -> None:
    with suppress(PortError):  # there are none yet
        for secret in secrets():
            for name, text in said.items():
                said[name] = str(text).replace(secret, "[redacted]") if secret else text


def port_error_from(error: Exception, operation: str) -> PortError:
    if isinstance(error, foreign.ClientError):
        return _from_answer(error, operation)
    detail = _clean(f"{operation}: {error}")
    match error:
        case foreign.ConnectTimeoutError() | foreign.ReadTimeoutError():
            return unanswered(operation, str(error), is_timeout=True)
        case foreign.SSLError():
            return unanswered(operation, str(error), is_tls=True)
        case foreign.HTTPClientError() | foreign.ConnectionError() | foreign.IncompleteReadError():
            return unanswered(operation, str(error))
        case (
            foreign.NoCredentialsError()
            | foreign.PartialCredentialsError()
            | foreign.CredentialRetrievalError()
        ):
            return PortError("CredentialsUnavailable", detail)
        case ResponseParserError():
            return not_s3(operation, "the answer cannot be parsed")
        case _:
            return PortError("InvalidRequest", detail)


def unanswered(
    operation: str, why: str, *, is_timeout: bool = False, is_tls: bool = False
) -> PortError:
    """What became of a request that got no answer."""
    hint = _TLS_HINT if is_tls else hint_for("Unreachable")
    code = "Timeout" if is_timeout else "Unreachable"
    return PortError(code, _clean(f"{operation}: {why}"), hint)


def not_s3(operation: str, what: str, status: int = 0) -> PortError:
    return PortError("NotS3", f"{operation}: {what}", hint_for("NotS3"), status=status)


def require_request_id(operation: str, answer: Mapping[str, Any]) -> None:
    """Refuse an answer without the request id that S3 gives with every one of its own."""
    metadata = answer["ResponseMetadata"]
    if not _request_id(metadata["HTTPHeaders"]):
        status = metadata["HTTPStatusCode"]
        raise not_s3(operation, f"HTTP {status} without S3's request id", status)


def _request_id(headers: Mapping[str, str]) -> str:
    return next((headers[name] for name in REQUEST_IDS if headers.get(name)), "")


def etag_of(answer: Mapping[str, Any]) -> ETag:
    """The ETag without its quotes; empty where there is none."""
    return ETag(str(answer.get("ETag") or "").strip('"'))


def _from_answer(error: foreign.ClientError, operation: str) -> PortError:
    response: Mapping[str, Any] = error.response
    metadata = response.get("ResponseMetadata", {})
    headers, status = metadata.get("HTTPHeaders", {}), metadata.get("HTTPStatusCode", 0)
    said = response.get("Error", {})
    code, message = str(said.get("Code") or ""), str(said.get("Message") or "")
    if not code or code.isdecimal():
        is_from_s3 = bool(_request_id(headers))
        code = _CODES_WITHOUT_BODY.get(status, f"Http{status}") if is_from_s3 else "NotS3"
    region = headers.get("x-amz-bucket-region") or said.get("Region") or ""
    told = [f"{label} {said[name]}" for name, label in _TELLING.items() if said.get(name)]
    told += [f"bucket region {region}"] if region and not said.get("Region") else []
    told += [f"request id {_request_id(headers)}"] if _request_id(headers) else []
    detail = f"{operation}: {message or f'HTTP {status} without a message'}"
    return PortError(
        code,
        _clean(f"{detail} ({', '.join(told)})" if told else detail),
        hint_for(code, message, status),
        status=status,
        retry_after=_retry_after_seconds(headers.get("retry-after", "")),
    )


def _retry_after_seconds(header: str) -> float:
    """The wait that was asked for: a number of seconds or a date; 0 where neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return min(max(0.0, seconds), 3600.0)  # a proxy may be confused; in this order NaN is 0


def _clean(text: str) -> str:
    """One line of bounded length, without the user and password of a proxy's URL."""
    line = _USER_INFO.sub("", " ".join(text.split()))
    return line if len(line) <= _LONGEST_DETAIL else line[:_LONGEST_DETAIL] + "…"
