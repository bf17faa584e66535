"""Botocore clients that sign with shipper's credentials, read no other source and send by libcurl.

A session reads neither the environment nor the shared files, so a stray ``AWS_PROFILE`` or
``AWS_ENDPOINT_URL`` changes nothing. Only the proxy variables and ``AWS_CA_BUNDLE`` are taken from
the environment.
"""

import io
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.loaders import Loader
from botocore.session import Session

from shipper import __version__
from shipper.core.types import RoleCredentials
from shipper.edges.clock import SystemClock
from shipper.edges.http_client.body import Body
from shipper.edges.http_client.environment import ca_bundle, ca_options, proxy_for
from shipper.edges.http_client.transfer import Limits, Request, exchange
from shipper.edges.s3.errors import REQUEST_IDS
from shipper.edges.server_time import ServerTime

SMALL_ANSWERS = Limits(stall_seconds=5.0, answer_seconds=10.0, answer_bytes=128 * 1024)
"""For services of AWS whose answers are one small document."""
_OF_LIBCURL = frozenset({"content-length", "expect", "transfer-encoding"})


def client_for(
    service: str,
    credentials: Callable[[], RoleCredentials],
    *,
    region: str,
    endpoint_url: str = "",
    models: Loader | None = None,
    server_time: ServerTime | None = None,
    limits: Limits = SMALL_ANSWERS,
    is_direct: bool = False,
    **options: Any,
) -> Any:
    """A client that sends one request per call; ``options`` are those of botocore's ``Config``.

    ``credentials`` is called at every signature and must not block; the ``PortError`` that it may
    raise passes through botocore. ``models`` are those of ``edges.s3.models``, or all that
    botocore has. ``server_time`` learns from every answer and is what is signed with. No answer
    may go beyond the ``limits``. Where it ``is_direct``, the environment's proxies do not count.
    """
    usual: dict[str, Any] = {
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "user_agent_extra": f"shipper/{__version__}",
    }
    client: Any = session_with(credentials, models).create_client(
        service,
        region_name=region,
        endpoint_url=endpoint_url or None,
        config=Config(**usual | options),
    )
    server_time = server_time or ServerTime(SystemClock())
    _sign_at(client, lambda: server_time.now(credentials().skew_seconds))

    def sent(request: Any, event_name: str, **_: Any) -> AWSResponse:
        asked = request_of(event_name.rpartition(".")[2], request)
        proxy = "" if is_direct else proxy_for(asked)
        answer = exchange(asked, limits, proxy=proxy, options=ca_options(ca_bundle()))
        hear(server_time, answer.headers)
        found: Any = answer.headers
        return AWSResponse(request.url, answer.status, found, _Content(answer.body))

    client.meta.events.register("before-send", sent)
    return client


def request_of(operation: str, prepared: Any) -> Request:
    """A request that botocore has prepared, for libcurl."""
    headers = {
        name: text.decode() if isinstance(text, bytes) else text
        for name, text in prepared.headers.items()
        if name.lower() not in _OF_LIBCURL
    }
    body = prepared.body or b""
    body = body.encode() if isinstance(body, str) else body
    body = body if isinstance(body, Body) else Body(body)
    return Request(operation, prepared.method, prepared.url, headers, body)


def hear(server_time: ServerTime, headers: Mapping[str, str]) -> None:
    """Learn AWS's time from an answer that AWS itself gave."""
    if any(name in headers for name in REQUEST_IDS):
        server_time.heard(headers.get("date", ""))


class _Content(io.BytesIO):
    """The body of an answer, as botocore reads it."""

    def stream(self) -> list[bytes]:
        return [self.getvalue()]


def _sign_at(client: Any, now: Callable[[], float]) -> None:
    """Have a client sign with another clock. Its ``_request_signer`` is beyond documentation.

    Where ``awscrt`` is installed, it would sign all; it is left what only it can, SigV4A.
    """
    signer = client._request_signer  # noqa: SLF001
    made, kinds = signer.get_auth_instance, {"v4": SigV4Auth, "s3v4": S3SigV4Auth}

    def instance(signing_name: str, region_name: str, **named: Any) -> Any:
        auth = made(signing_name, region_name, **named)
        if kind := kinds.get(named.get("signature_version", "")):
            auth = kind(auth.credentials, signing_name, region_name)
        return _with_clock(auth, now)

    signer.get_auth_instance = instance


def _with_clock(auth: Any, now: Callable[[], float]) -> Any:
    """The same signer, whose module has another clock for it alone."""
    add = type(auth).add_auth
    own = {
        **add.__globals__,
        "get_current_datetime": lambda **_: datetime.fromtimestamp(now(), UTC),
    }
    signs = FunctionType(add.__code__, own, closure=add.__closure__)
    auth.add_auth = MethodType(signs, auth)
    return auth


def session_with(
    credentials: Callable[[], RoleCredentials], models: Loader | None = None
) -> Session:
    """A botocore session that signs with ``credentials()`` and nothing else."""
    session = Session(session_vars=_default_variables())
    if models is not None:
        session.register_component("data_loader", models)
    lender = SimpleNamespace(load_credentials=lambda: _Lent(credentials))
    session.register_component("credential_provider", lender)
    return session


class _Lent(Credentials):
    """Credentials that are looked up at every signature. Botocore demands the inheritance: it
    asks for members that are not documented.
    """

    def __init__(self, current: Callable[[], RoleCredentials]) -> None:
        super().__init__("", "", method="shipper")
        self._current = current

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        role = self._current()
        session_token = role.session_token or None
        return ReadOnlyCredentials(role.access_key_id, role.secret_access_key, session_token)


def _default_variables() -> dict[str, Any]:
    """Botocore's configuration variables at their defaults, whatever environment and files say."""
    variables: dict[str, Any] = {
        name: (None, None, default, conversion)
        for name, (_, _, default, conversion) in Session.SESSION_VARIABLES.items()
    }
    for name in ("config_file", "credentials_file"):
        variables[name] = (None, None, os.devnull, None)
    variables["ignore_configured_endpoint_urls"] = (None, None, True, None)
    return variables
