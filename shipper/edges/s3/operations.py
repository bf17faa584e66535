"""S3's operations: prepared and understood with botocore's models, sent by the engine.

Botocore's pipeline is walked once for each operation, up to the endpoint. After that a parameter
goes where the model says: into a header, the query or the key. What signs in another way, access
points of many regions and directory buckets, is signed by botocore. What that asks for by itself,
a session, is waited for.

Leaned on beyond botocore's documentation: the client's ``_resolve_endpoint_ruleset`` and
``_request_signer``.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.auth import _host_from_url  # type: ignore[attr-defined]
from botocore.awsrequest import AWSRequest, HeadersDict, prepare_request_dict
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserFactory
from botocore.serialize import create_serializer
from botocore.utils import parse_timestamp

from shipper import __version__
from shipper.edges.http_client.body import Body
from shipper.edges.http_client.transfer import Answer, Request
from shipper.edges.s3.session import request_of
from shipper.edges.s3.signer import Signer

_SIGNATURES = frozenset({"v4", "s3v4"})
_KEY = "THE-KEY"
_SAFE = "-._~"


@dataclass(frozen=True, slots=True)
class _Operation:
    """What all requests of an operation have in common."""

    model: Any
    base: str
    """The URL to the end of the host."""
    before: str
    after: str
    """Its path and query before and behind the key."""
    headers: Mapping[str, str]
    fields: Mapping[str, tuple[str, str]]
    """By parameter: where it goes, and its name there."""
    signature: str
    signing: dict[str, Any]
    answered: Mapping[str, str]
    """By header: the member of the answer."""


class Operations:
    """Those of one client; safe to share between threads."""

    def __init__(self, client: Any, signer: Signer) -> None:
        self._client = client
        self._signer = signer
        self._events = client.meta.events
        protocol = client.meta.service_model.resolved_protocol
        self._serializer = create_serializer(protocol, include_validation=False)
        parsers = ResponseParserFactory()
        parsers.set_parser_defaults(timestamp_parser=_instant)
        self._parser = parsers.create_parser(protocol)
        self._known: dict[str, _Operation] = {}

    def signed(self, operation: str, parameters: dict[str, Any]) -> Request:
        """The request, for the engine."""
        if (known := self._known.get(operation)) is None:
            known = self._known[operation] = self._learned(operation, parameters)
        method, body = known.model.http["method"], self._body(known, parameters)
        target, headers = _placed(known, parameters)
        if known.signature in _SIGNATURES:
            self._signer.sign(method, target, headers, body, **known.signing)
            return Request(operation, method, known.base + target, headers, body)
        return self._signed_by_botocore(known, target, headers, body, parameters["Bucket"])

    def _signed_by_botocore(
        self, known: _Operation, target: str, headers: dict[str, str], body: Body, bucket: str
    ) -> Request:
        model, client = known.model, self._client
        asked = AWSRequest(model.http["method"], known.base + target, headers, body)
        asked.context.update(
            client_region=client.meta.region_name,
            client_config=client.meta.config,
            has_streaming_input=model.has_streaming_input,
            auth_type=known.signature,
            signing=known.signing | {"cache_key": bucket},
        )
        client._request_signer.sign(model.name, asked)  # noqa: SLF001  (as above)
        return request_of(model.name, asked.prepare())

    def _body(self, known: _Operation, parameters: dict[str, Any]) -> Body:
        payload = known.model.input_shape.serialization.get("payload")
        if payload not in parameters:
            return Body(b"")
        if isinstance(body := parameters[payload], Body):
            return body
        return Body(self._serializer.serialize_to_request(parameters, known.model)["body"])

    def _learned(self, operation: str, parameters: Mapping[str, Any]) -> _Operation:
        model = self._client.meta.service_model.operation_model(operation)
        context: dict[str, Any] = {"client_region": self._client.meta.region_name}
        event, wanted = f"before-parameter-build.s3.{operation}", dict(parameters)
        self._events.emit(event, params=wanted, model=model, context=context)
        resolve = self._client._resolve_endpoint_ruleset  # noqa: SLF001  (as above)
        endpoint, _, _ = resolve(model, wanted, context)
        bare = {"Bucket": wanted["Bucket"]} | ({"Key": _KEY} if "Key" in wanted else {})
        asked = self._serializer.serialize_to_request(bare, model)
        prepare_request_dict(asked, endpoint)
        base = "{0.scheme}://{0.netloc}".format(urlsplit(asked["url"]))
        before, _, after = asked["url"].removeprefix(base).partition(_KEY)
        signature = str(context.get("auth_type", "v4"))
        signing: dict[str, Any] = {"signing_name": "s3", "region": context["client_region"]}
        signing |= context.get("signing", {})
        if signature in _SIGNATURES:
            signing = {"service": signing["signing_name"], "region": signing["region"]}
        return _Operation(
            model,
            base,
            before,
            after,
            {"User-Agent": f"shipper/{__version__}", "Host": _host_from_url(base)},
            {
                name: (
                    shape.serialization.get("location", ""),
                    shape.serialization.get("name", name),
                )
                for name, shape in model.input_shape.members.items()
            },
            signature,
            signing,
            {
                shape.serialization["name"].lower(): name
                for name, shape in model.output_shape.members.items()
                if shape.serialization.get("location") == "header"
            },
        )

    def parsed(self, operation: str, answer: Answer) -> Mapping[str, Any]:
        """What it says.

        Raises:
            Whatever botocore raises.
        """
        known = self._known[operation]
        if answer.status == 200 and not answer.body:  # what the parser makes of it, as text
            members, headers = known.answered, answer.headers
            about = {"HTTPStatusCode": answer.status, "HTTPHeaders": headers}
            given = {members[name]: text for name, text in headers.items() if name in members}
            return given | {"ResponseMetadata": about}
        found: dict[str, Any] = {
            "headers": HeadersDict(answer.headers),
            "status_code": answer.status,
            "body": answer.body,
            "context": {"operation_name": operation},
        }
        self._events.emit(
            f"before-parse.s3.{operation}",
            operation_model=known.model,
            response_dict=found,
            customized_response_dict={},
        )
        parsed: Any = self._parser.parse(found, known.model.output_shape)
        if found["status_code"] >= 300:
            raise ClientError(parsed, operation)
        understood: Mapping[str, Any] = parsed
        return understood


def _instant(text: Any) -> datetime:
    """As botocore reads it, which takes 300 microseconds for each entry of a listing."""
    with suppress(ValueError, TypeError):
        return datetime.fromisoformat(text)
    return parse_timestamp(text)


def _placed(known: _Operation, parameters: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Path and query, and the headers."""
    key, query, headers = "", list[str](), dict(known.headers)
    for name, value in parameters.items():
        match known.fields[name]:
            case "header", wire:
                headers[wire] = str(value).lower() if value is True else str(value)
            case "headers", prefix:
                headers |= {prefix + each: text for each, text in value.items()}
            case "querystring", wire:
                query.append(f"{wire}={quote(str(value), safe=_SAFE)}")
            case "uri", "Key":
                key = quote(value, safe="/~")
            case _:  # the bucket, and the body
                pass
    target = known.before + key + known.after
    if query:
        target += ("&" if "?" in target else "?") + "&".join(query)
    return target, headers
