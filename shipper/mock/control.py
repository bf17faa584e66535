"""The control port of a mocked metadata service: look at it, and change it while it runs.

``GET /`` is what the service is; ``POST /`` with a JSON object of settings changes it first. It is
on loopback whatever the service's own port is, wants ``application/json``, which no foreign web
page can send unasked, and never tells a secret or a metadata token.
"""

import http.client
import json
from collections.abc import Mapping
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from shipper.mock.imds import MockImds
from shipper.mock.protocol import Server, is_host_allowed, is_loopback
from shipper.mock.settings import changes_from
from shipper.ports import PortError

MAX_BODY_BYTES = 1 << 20
TIMEOUT_SECONDS = 10.0
HINT = "start the service with --control 127.0.0.1:1339, and name that here"


def state_of(service: MockImds) -> dict[str, Any]:
    """What the service is now, without secrets."""
    told = asdict(service.facts)
    if service.facts.keys is not None:
        told["keys"] = service.facts.keys.access_key_id
    for name in ("role_document", "document_members", "extra"):
        told[name] = None if told[name] is None else sorted(told[name])  # the members' names
    return {
        "facts": told,
        "faults": service.faults.texts(),
        "issued": [keys.access_key_id for keys in list(service.issued)],
        "tokens": len(service.tokens),
        "requests": [
            {
                "method": method,
                "path": path.partition("?")[0],
                "has_token": has_token,
                "count": count,
            }
            for (method, path, has_token), count in service.asked().items()
        ],
    }


class Control:
    """The port; a context manager."""

    def __init__(self, service: MockImds, *, host: str = "127.0.0.1", port: int = 0) -> None:
        if not is_loopback(host):
            raise ValueError(f"{host} is not loopback; the control port is nowhere else")
        self._server = Server(host, port, type("_Bound", (_Handler,), {"service": service}))

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()


def ask(url: str, settings: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Change a running service, or look at it; what it is then. No proxy is asked.

    Raises:
        PortError: ``BadSetting`` as the service says it, ``Unreachable``.
    """
    parts = urlsplit(url if "//" in url else f"//{url}")
    try:
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS
        )
        try:
            connection.request(
                "GET" if settings is None else "POST",
                "/",
                None if settings is None else json.dumps(settings),
                {"Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            document: Any = json.loads(answer.read())
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise PortError("Unreachable", f"{url}: {error}", HINT) from error
    if answer.status != 200:
        raise PortError(document["code"], document["detail"], document["hint"])
    found: dict[str, Any] = document
    return found


class _Handler(BaseHTTPRequestHandler):
    service: MockImds
    server_version = "shipper"
    sys_version = ""
    timeout = TIMEOUT_SECONDS

    def do_GET(self) -> None:
        self._answer(lambda: None)

    def do_POST(self) -> None:
        self._answer(self._change)

    def _answer(self, act: Any) -> None:
        try:
            if not is_host_allowed(self.headers.get("host", "")):
                raise PortError("BadRequest", "the Host is neither an address nor localhost", HINT)
            act()
            status, document = 200, state_of(self.service)
        except PortError as error:
            status = 400
            document = {"code": error.code, "detail": error.detail, "hint": error.hint}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _change(self) -> None:
        length = self.headers.get("content-length", "")
        if self.headers.get_content_type() != "application/json" or not length.isdecimal():
            raise PortError("BadRequest", "not application/json with a Content-Length", HINT)
        try:
            table = json.loads(self.rfile.read(min(int(length), MAX_BODY_BYTES)))
        except (ValueError, RecursionError) as error:
            raise PortError("BadRequest", "not JSON", HINT) from error
        if not isinstance(table, dict):
            raise PortError("BadRequest", "not a JSON object", HINT)
        changes = changes_from(table, "set")
        changes.apply(self.service)
        self.service.say(control=self.client_address[0], changed=changes.names)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what changes is logged by the service."""
