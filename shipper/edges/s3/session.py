"""Botocore clients that sign with shipper's credentials and read no other source.

A session reads neither the environment nor the shared files, so a stray ``AWS_PROFILE`` or
``AWS_ENDPOINT_URL`` changes nothing. Only the proxy variables and ``AWS_CA_BUNDLE`` are taken from
the environment.
"""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import FunctionType, MethodType
from typing import Any

from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth, SigV4Auth
from botocore.config import Config
from botocore.credentials import (
    CredentialProvider,
    CredentialResolver,
    Credentials,
    ReadOnlyCredentials,
)
from botocore.loaders import Loader
from botocore.session import Session

from shipper import __version__
from shipper.core.types import RoleCredentials
from shipper.edges.answer_limits import AnswerLimits
from shipper.edges.clock import SystemClock
from shipper.edges.s3.connections import LIMITS, mend
from shipper.edges.s3.errors import REQUEST_IDS
from shipper.edges.server_time import ServerTime

TIMEOUT_SECONDS = 5.0
_SIGNERS: dict[str, Any] = {"v4": SigV4Auth, "s3v4": S3SigV4Auth}
"""Botocore's own: where ``awscrt`` is installed, it would sign, and with the machine's time."""


def client_for(
    service: str,
    credentials: Callable[[], RoleCredentials],
    *,
    region: str,
    endpoint_url: str = "",
    models: Loader | None = None,
    server_time: ServerTime | None = None,
    limits: AnswerLimits = LIMITS,
    **options: Any,
) -> Any:
    """A client that sends one request per call; ``options`` are those of botocore's ``Config``.

    ``credentials`` is called at every signature and must not block; the ``PortError`` that it may
    raise passes through botocore. ``models`` are those of ``edges.s3.models``, or all that
    botocore has. ``server_time`` learns from every answer and is what is signed with. No answer
    may go beyond the ``limits``.
    """
    usual: dict[str, Any] = {
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "connect_timeout": TIMEOUT_SECONDS,
        "read_timeout": TIMEOUT_SECONDS,
        "user_agent_extra": f"shipper/{__version__}",
    }
    client: Any = session_with(credentials, models).create_client(
        service,
        region_name=region,
        endpoint_url=endpoint_url or None,
        config=Config(**usual | options),
    )
    mend(client._endpoint.http_session, limits)  # noqa: SLF001  (as fast_writes)
    server_time = server_time or ServerTime(SystemClock())
    _sign_at(client, lambda: server_time.now(credentials().skew_seconds))

    def heard(response_dict: Mapping[str, Any] | None, **_: Any) -> None:
        listen(server_time, (response_dict or {}).get("headers", {}))

    client.meta.events.register("response-received", heard)
    return client


def listen(server_time: ServerTime, headers: Mapping[str, str]) -> None:
    """Learn the time from an answer that AWS itself gave."""
    if any(name in headers for name in REQUEST_IDS):
        server_time.heard(headers.get("date", ""))


def signed_at(request: Any, now: float) -> None:
    """Have botocore's signer take this for the time; it has noted the machine's."""
    request.context["timestamp"] = datetime.fromtimestamp(now, UTC).strftime(SIGV4_TIMESTAMP)


def _sign_at(client: Any, now: Callable[[], float]) -> None:
    """Botocore asks a clock of its own and has no way to be given another.

    Leaned on beyond its documentation: the client's ``_request_signer``, the signer's
    ``_modify_request_before_signing``, which is called between the time and the signature, and
    for SigV4A, which only ``awscrt`` makes, ``get_current_datetime`` in the module of the signer.
    """
    signer = client._request_signer  # noqa: SLF001
    made = signer.get_auth_instance

    def corrected(signing_name: str, region_name: str, **named: Any) -> Any:
        auth = made(signing_name, region_name, **named)
        kind = _SIGNERS.get(named.get("signature_version", ""))
        if kind is None:
            return _with_clock(auth, now)
        auth = kind(auth.credentials, signing_name, region_name)
        modify = auth._modify_request_before_signing  # noqa: SLF001

        def at_its_time(request: Any) -> None:
            signed_at(request, now())
            modify(request)

        auth._modify_request_before_signing = at_its_time  # noqa: SLF001
        return auth

    signer.get_auth_instance = corrected


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
    provider = CredentialResolver([_SessionClient(credentials)])
    session.register_component("credential_provider", provider)
    return session


def lent(credentials: Callable[[], RoleCredentials]) -> Callable[[], ReadOnlyCredentials]:
    """The same credentials in the form in which botocore's signers take them."""

    def frozen() -> ReadOnlyCredentials:
        role = credentials()
        session_token = role.session_token or None
        return ReadOnlyCredentials(role.access_key_id, role.secret_access_key, session_token)

    return frozen


class _Lent(Credentials):
    """Credentials that are looked up at every signature. Botocore demands the inheritance: it
    asks for members that are not documented.
    """

    def __init__(self, current: Callable[[], RoleCredentials]) -> None:
        super().__init__("", "", method="shipper")
        self._frozen = lent(current)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return self._frozen()


class _SessionClient(CredentialProvider):
    METHOD = CANONICAL_NAME = "shipper"

    def __init__(self, current: Callable[[], RoleCredentials]) -> None:
        super().__init__()
        self._current = current

    def load(self) -> Credentials:
        return _Lent(self._current)


def _default_variables() -> dict[str, Any]:
    """Botocore's configuration variables at their defaults, whatever environment and files say."""
    variables: dict[str, Any] = {
        name: (None, None, default, conversion)
        for name, (_, _, default, conversion) in Session.SESSION_VARIABLES.items()
    }
    for name in ("config_file", "credentials_file"):
        variables[name] = (None, None, os.devnull, None)
    variables["ignore_configured_endpoint_urls"] = (None, None, True, None)
    variables["ca_bundle"] = (None, "AWS_CA_BUNDLE", None, None)
    return variables
