"""Translates whatever goes wrong with a request to S3 into a ``PortError``.

The code is S3's own wherever S3 spoke. An answer that S3 cannot have given is ``NotS3``; a
request that got no answer is ``Timeout`` or ``Unreachable``. An error inside a 200 arrives here
with status 500, and so does a 200 that is no XML (a captive portal's page), as if S3 had said
"500 Internal Server Error": the code is looked at first, then the request id, last the status.

A server may repeat what it was sent, and the journal and the status keep its words: so ``redact``
takes the secrets out of them, and no error has a cause, which would hold them in a traceback.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

from botocore import exceptions as foreign
from botocore.parsers import ResponseParserError

from shipper.core.backoff import LONGEST_SHIPMENT_RETRY_SECONDS
from shipper.core.failures import hint_for
from shipper.core.types import ETag
from shipper.edges.http_client.transfer import status_text
from shipper.ports import PortError

REQUEST_IDS = ("x-amz-request-id", "x-amzn-requestid")
"""S3's own header, and the name it has elsewhere in AWS and in some compatible servers."""

_LONGEST_DETAIL = 600
_LONGEST_READ = 8 * _LONGEST_DETAIL
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
_FOREIGN = (foreign.BotoCoreError, foreign.ClientError, ResponseParserError)
FAILURES = (PortError, *_FOREIGN, *_SENSELESS)
"""What may go wrong with an operation. Anything else is a bug."""
_CODE = re.compile(r"[A-Za-z][\w.]*", re.ASCII)
"""Whatever else stands in a ``<Code>``, the answer was cut off or is not S3's."""


@contextmanager
def failures_as_port_errors(
    operation: str,
    count: Callable[[str, str], None] = lambda operation, code: None,
    redact: Callable[[str], str] = str,
) -> Iterator[None]:
    """Make a ``PortError`` of what botocore raises inside, and count how it ended."""
    code = ""
    try:
        yield
    except FAILURES as error:
        translated = port_error_from(error, operation, redact)
        code = translated.code
        if translated is error:
            raise
        raise translated from None
    finally:
        count(operation, code)


def port_error_from(
    error: Exception, operation: str, redact: Callable[[str], str] = str
) -> PortError:
    detail = _clean(f"{operation}: {error}", redact)
    match error:
        case PortError():
            return error
        case foreign.ClientError():
            return _from_answer(error, operation, redact)
        case foreign.CredentialRetrievalError():  # a directory bucket's session
            return PortError("CredentialsUnavailable", detail)
        case ResponseParserError():
            return not_s3(operation, "the answer cannot be parsed")
        case foreign.BotoCoreError():
            return PortError("InvalidRequest", detail)
        case _:
            return not_s3(operation, f"the answer makes no sense ({type(error).__name__})")


def not_s3(operation: str, what: str, status: int = 0) -> PortError:
    detail = f"{operation}: {what}"
    return PortError("NotS3", detail, hint_for("NotS3", detail), status=status)


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


def _from_answer(
    error: foreign.ClientError, operation: str, redact: Callable[[str], str]
) -> PortError:
    response: Mapping[str, Any] = error.response
    metadata = response.get("ResponseMetadata", {})
    headers, status = metadata.get("HTTPHeaders", {}), metadata.get("HTTPStatusCode", 0)
    told = response.get("Error", {})
    said = {name: _clean(str(text or "").strip(), redact) for name, text in told.items()}
    code, message = said.get("Code", ""), said.get("Message", "")
    if not _CODE.fullmatch(code):
        is_from_s3 = bool(_request_id(headers))
        code = _CODES_WITHOUT_BODY.get(status, f"Http{status}") if is_from_s3 else "NotS3"
        text = status_text(status)
        message = text if message in text else f"{text}: {message}"
    region = headers.get("x-amz-bucket-region") or said.get("Region", "")
    more = [f"{label} {said[name]}" for name, label in _TELLING.items() if said.get(name)]
    more += [f"bucket region {region}"] if region and not said.get("Region") else []
    more += [f"request id {_request_id(headers)}"] if _request_id(headers) else []
    detail = f"{operation}: {message or f'{status_text(status)} without a message'}"
    return PortError(
        code,
        _clean(f"{detail} ({', '.join(more)})" if more else detail, redact),
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
    # A proxy may be confused. In this order NaN is 0.
    return min(max(0.0, seconds), LONGEST_SHIPMENT_RETRY_SECONDS)


def _clean(text: str, redact: Callable[[str], str]) -> str:
    """One line of bounded length, without secrets, or the user and password of a proxy's URL."""
    line = _USER_INFO.sub("", redact(" ".join(text[:_LONGEST_READ].split())))
    return line if len(line) <= _LONGEST_DETAIL else line[:_LONGEST_DETAIL] + "…"
