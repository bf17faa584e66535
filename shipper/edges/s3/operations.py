"""S3's operations: prepared, signed and parsed by botocore, sent by the engine.

Of botocore's pipeline only what may differ from request to request is walked: its handlers of
parameters, its serialiser, its signer. The endpoint is asked for once for each operation. What
signs in another way, access points of many regions and directory buckets, is signed as the client
would. What that asks for by itself, a session, is sent by the engine, too, and waited for.

Leaned on beyond botocore's documentation: the client's ``_resolve_endpoint_ruleset`` and
``_request_signer``.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from botocore.awsrequest import (
    AWSResponse,
    HeadersDict,
    create_request_object,
    prepare_request_dict,
)
from botocore.exceptions import ClientError
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from shipper import __version__
from shipper.edges.s3.transfer import Answer, Request
from shipper.edges.s3.upload_body import Body

_SIGNATURES = frozenset({"v4", "s3v4"})
_NOT_SIGNED = frozenset({"content-length", "expect", "transfer-encoding"})


class Operations:
    """Those of one client; safe to share between threads. ``send`` is the engine's."""

    def __init__(self, client: Any, send: Callable[[Request], Future[Answer]]) -> None:
        self._client = client
        self._send = send
        self._events = client.meta.events
        protocol = client.meta.service_model.resolved_protocol
        self._serializer = create_serializer(protocol, include_validation=False)
        self._parser = create_parser(protocol)
        self._endpoints: dict[str, tuple[str, str, dict[str, Any]]] = {}
        self._events.register("before-call.s3", _forbid_redirects)
        self._events.register("before-send.s3", self._sent)

    def signed(self, operation: str, parameters: dict[str, Any]) -> Request:
        """The request, for the engine."""
        model = self._client.meta.service_model.operation_model(operation)
        context = {
            "client_region": self._client.meta.region_name,
            "client_config": self._client.meta.config,
            "has_streaming_input": model.has_streaming_input,
        }
        event = f"before-parameter-build.s3.{operation}"
        self._events.emit(event, params=parameters, model=model, context=context)
        if operation not in self._endpoints:
            self._endpoints[operation] = self._endpoint(model, parameters, dict(context))
        url, signature, signing = self._endpoints[operation]
        asked = self._serializer.serialize_to_request(parameters, model)
        prepare_request_dict(asked, url, context, f"shipper/{__version__}")
        signer = self._client._request_signer  # noqa: SLF001  (as the docstring says)
        if signature not in _SIGNATURES:
            bucket = {"cache_key": parameters["Bucket"]}
            context.update(auth_type=signature, signing=signing | bucket)
            whole = create_request_object(asked)
            signer.sign(operation, whole)
            return _request(operation, whole.prepare())
        # All that a signer asks of a request. Botocore's own keeps headers as a mail's.
        request = SimpleNamespace(**asked, params=None)
        auth = signer.get_auth_instance(**signing, signature_version="s3v4")
        auth.add_auth(request)
        request.headers["Host"] = auth.headers_to_sign(request)["host"]
        body = request.body if isinstance(request.body, Body) else Body(request.body)
        return Request(operation, request.method, request.url, request.headers, body)

    def _endpoint(
        self, model: Any, parameters: Mapping[str, Any], context: dict[str, Any]
    ) -> tuple[str, str, dict[str, Any]]:
        """Its URL, how it wants to be signed for, and as what."""
        resolve = self._client._resolve_endpoint_ruleset  # noqa: SLF001  (the same)
        url, _, _ = resolve(model, parameters, context)
        wanted = {"signing_name": "s3", "region": context["client_region"]}
        signing = wanted | context.get("signing", {})
        if (signature := context.get("auth_type", "v4")) in _SIGNATURES:
            signing = {
                "signing_name": signing["signing_name"],
                "region_name": signing["region"],
            }
        return url, signature, signing

    def parsed(self, operation: str, answer: Answer) -> Mapping[str, Any]:
        """What it says.

        Raises:
            Whatever botocore raises.
        """
        model = self._client.meta.service_model.operation_model(operation)
        found: dict[str, Any] = {
            "headers": HeadersDict(answer.headers),
            "status_code": answer.status,
            "body": answer.body,
            "context": {"operation_name": operation},
        }
        self._events.emit(f"response-received.s3.{operation}", response_dict=found)
        if answer.status == 200 and not answer.body:
            return self._parsed_empty(answer, model.output_shape.members)
        self._events.emit(
            f"before-parse.s3.{operation}",
            operation_model=model,
            response_dict=found,
            customized_response_dict={},
        )
        parsed: Any = self._parser.parse(found, model.output_shape)
        if found["status_code"] >= 300:
            raise ClientError(parsed, operation)
        understood: Mapping[str, Any] = parsed
        return understood

    def _parsed_empty(self, answer: Answer, members: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the parser makes of an answer that is all headers, as far as it is text."""
        found: dict[str, Any] = {
            member: answer.headers[name]
            for member, shape in members.items()
            if shape.serialization.get("location") == "header"
            and (name := shape.serialization["name"].lower()) in answer.headers
        }
        about = {"HTTPStatusCode": answer.status, "HTTPHeaders": answer.headers}
        return found | {"ResponseMetadata": about}

    def _sent(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        """What botocore's pipeline would send."""
        answer = self._send(_request(event_name.rpartition(".")[2], request)).result()
        raw: Any = SimpleNamespace(stream=lambda: [answer.body])
        found: Any = answer.headers
        return AWSResponse(request.url, answer.status, found, raw)


def _request(operation: str, prepared: Any) -> Request:
    """One that botocore has prepared."""
    headers = {
        name: text.decode() if isinstance(text, bytes) else text
        for name, text in prepared.headers.items()
        if name.lower() not in _NOT_SIGNED
    }
    body = prepared.body if isinstance(prepared.body, Body) else Body(prepared.body or b"")
    return Request(operation, prepared.method, prepared.url, headers, body)


def _forbid_redirects(context: dict[str, Any], **_: Any) -> None:
    """Tell botocore that it has followed a redirect already: it follows only one."""
    context.setdefault("s3_redirect", {})["redirected"] = True
