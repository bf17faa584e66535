"""Fast writes: botocore's signer over botocore's own connections, without its pipeline.

Botocore's pipeline (parameter checks, endpoint rules, serialisation, some twenty events) costs a
millisecond and more for every request and says the same each time. So it is walked once for each
operation, up to the moment of sending: that request is the template. Endpoint, addressing, proxy,
CA bundle and every header that the configuration asks for come from it; later requests change the
key, the query, the headers that differ, and are signed anew with the credentials of their moment.

Answers go through botocore's own error handling and parser, so that a failure looks the same on
both ways. Leaned on beyond botocore's documentation: the client's ``_endpoint.http_session``.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore import xform_name
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from botocore.parsers import create_parser
from botocore.utils import percent_encode

from shipper.edges.s3.exchange import Answer, Exchange
from shipper.edges.s3.session import signed_at

_OF_ITS_OWN = frozenset(
    {
        "authorization",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "content-length",
        "expect",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
    }
)
_SIGNATURES = frozenset({"v4", "s3v4"})
_TEMPLATE_KEY = "template"
_REQUIRED: Mapping[str, Mapping[str, Any]] = {
    "PutObject": {"Body": b""},
    "UploadPart": {"Body": b"", "UploadId": "template", "PartNumber": 1},
}
_CONTEXT = ("client_config", "client_region", "has_streaming_input")


@dataclass(frozen=True, slots=True)
class _RequestTemplate:
    """What all requests of one operation have in common."""

    method: str
    base: str
    """The URL up to the key."""
    headers: Mapping[str, str]
    context: Mapping[str, Any]
    region: str
    service: str
    exchange: Exchange
    members: Mapping[str, str]
    """The names under which botocore's parser keeps the answer's headers."""


class _PreparedRequest(Exception):
    """Ends botocore's walk just before it would send."""

    def __init__(self, request: Any) -> None:
        super().__init__()
        self.request = request


class Signer(S3SigV4Auth):
    """Botocore's signer for one request, none of whose headers stands twice.

    Botocore keeps headers as a mail's and asks for them several times, which is a third of what a
    signature costs.
    """

    _to_sign: Mapping[str, str] | None = None
    at: float | None = None
    """The time to sign with; None for the machine's."""

    def _modify_request_before_signing(self, request: Any) -> None:
        if self.at is not None:
            signed_at(request, self.at)
        super()._modify_request_before_signing(request)  # type: ignore[misc]  # of no stub

    def headers_to_sign(self, request: Any) -> Any:
        """By their names in lower case."""
        if self._to_sign is None:
            self._to_sign = dict(super().headers_to_sign(request).items())
        return self._to_sign

    def canonical_headers(self, headers_to_sign: Any) -> str:
        """A line for each, in the order of their names."""
        return "\n".join(
            f"{name}:{' '.join(headers_to_sign[name].split())}" for name in sorted(headers_to_sign)
        )


class DirectWrites:
    """Sends signed bodies for one client; safe to share between threads.

    ``credentials`` and ``now`` (seconds since the epoch) are asked before every signature and must
    not block. ``heard`` is told the headers of every answer.
    """

    def __init__(
        self,
        client: Any,
        credentials: Callable[[], ReadOnlyCredentials],
        now: Callable[[], float],
        heard: Callable[[Mapping[str, str]], None],
    ) -> None:
        self._client = client
        self._now = now
        self._heard = heard
        self._credentials = credentials
        self._http = client._endpoint.http_session  # noqa: SLF001  (as the docstring says)
        self._parser = create_parser(client.meta.service_model.resolved_protocol)
        self._templates: dict[str, _RequestTemplate | None] = {}

    def send(
        self,
        operation: str,
        common: Mapping[str, Any],
        *,
        key: str,
        body: Any,
        query: str = "",
        headers: Mapping[str, str],
    ) -> Mapping[str, Any] | None:
        """The parsed answer, as the client itself would give it; None where it must be asked.

        ``common`` are the parameters that all requests of the operation share, ``headers`` those
        that this one has beside them. ``query`` is encoded already. A body with ``pieces`` is
        written piece by piece, once it has been signed and the server waits for it.

        Raises:
            Whatever botocore raises.
        """
        request_template = self._template(operation, common)
        if request_template is None or not _are_plain(headers):
            return None  # what cannot stand in a header is botocore's to refuse
        url = request_template.base + percent_encode(key, safe="/~") + query
        request = AWSRequest(
            request_template.method, url, {**request_template.headers, **headers}, body
        )
        request.context.update(request_template.context)
        signer = Signer(self._credentials(), request_template.service, request_template.region)
        signer.at = self._now()
        signer.add_auth(request)
        answer = None
        if isinstance(body, bytearray) and _are_plain(signed := dict(request.headers.items())):
            answer = request_template.exchange.send(request_template.method, url, signed, body)
        return self._parsed(
            operation, request_template, answer or self._http.send(_prepared(request, body))
        )

    def _template(self, operation: str, common: Mapping[str, Any]) -> _RequestTemplate | None:
        if operation not in self._templates:
            self._templates[operation] = self._walked(operation, common)
        return self._templates[operation]

    def _walked(self, operation: str, common: Mapping[str, Any]) -> _RequestTemplate | None:
        """Let botocore prepare a request; None where it would sign or refuse it in its own way."""
        event, walker = f"before-send.s3.{operation}", threading.get_ident()

        def capture(request: Any, **_: Any) -> None:
            if threading.get_ident() == walker:  # others use the client meanwhile
                raise _PreparedRequest(request)

        request: Any = None
        self._client.meta.events.register_first(event, capture)
        try:
            getattr(self._client, xform_name(operation))(
                **common, **_REQUIRED[operation], Key=_TEMPLATE_KEY
            )
        except _PreparedRequest as captured:
            request = captured.request
            # Botocore's frames and the error hold each other, and ours with the body in it.
            captured.with_traceback(None)
        finally:
            self._client.meta.events.unregister(event, capture)
        model = self._client.meta.service_model.operation_model(operation)
        return _template_from(request, self._http, model.output_shape.members)

    def _parsed(
        self, operation: str, request_template: _RequestTemplate, response: Any
    ) -> Mapping[str, Any]:
        self._heard(response.headers)
        if response.status_code == 200 and not response.content and type(response) is Answer:
            return _parsed_empty(response, request_template.members)
        model = self._client.meta.service_model.operation_model(operation)
        found = {
            "headers": response.headers,
            "status_code": response.status_code,
            "body": response.content,
            "context": {"operation_name": operation},
        }
        self._client.meta.events.emit(
            f"before-parse.s3.{operation}",
            operation_model=model,
            response_dict=found,
            customized_response_dict={},
        )
        parsed: Any = self._parser.parse(found, model.output_shape)
        if found["status_code"] >= 300:
            raise ClientError(parsed, operation)
        answer: Mapping[str, Any] = parsed
        return answer


def _template_from(
    request: Any, session: Any, members: Mapping[str, Any]
) -> _RequestTemplate | None:
    signing = request.context.get("signing", {})
    base, _, rest = request.url.rpartition(f"/{_TEMPLATE_KEY}")
    if request.context.get("auth_type") not in {None, *_SIGNATURES} or rest[:1] not in ("", "?"):
        return None
    headers = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in request.headers.items()
        if name.lower() not in _OF_ITS_OWN
    }
    if not _are_plain(headers):
        return None
    return _RequestTemplate(
        method=request.method,
        base=f"{base}/",
        headers=headers,
        context={name: request.context[name] for name in _CONTEXT if name in request.context},
        region=signing.get("region") or request.context["client_region"],
        service=signing.get("signing_name") or "s3",
        exchange=Exchange(session, request.url),
        members={
            shape.serialization["name"].lower(): name
            for name, shape in members.items()
            if shape.serialization.get("location") == "header" and shape.type_name == "string"
        },
    )


def _prepared(request: Any, body: Any) -> Any:
    prepared = request.prepare()
    if hasattr(body, "pieces"):
        prepared.headers["Expect"] = b"100-continue"
        prepared.body = body.pieces()
    return prepared


def _parsed_empty(answer: Answer, members: Mapping[str, str]) -> Mapping[str, Any]:
    """What the parser makes of an answer that is all headers, as far as it is text."""
    found = {members[name]: text for name, text in answer.headers.items() if name in members}
    about = {"HTTPStatusCode": answer.status_code, "HTTPHeaders": answer.headers}
    return {**found, "ResponseMetadata": about}


def _are_plain(headers: Mapping[str, str]) -> bool:
    text = "".join(headers.values())
    return text.isascii() and text.isprintable()
