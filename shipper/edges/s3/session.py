"""Botocore clients that sign with shipper's credentials and read no other source.

A session reads neither the environment nor the shared files, so a stray ``AWS_PROFILE`` or
``AWS_ENDPOINT_URL`` changes nothing. Only the proxy variables and ``AWS_CA_BUNDLE`` are taken from
the environment.
"""

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

from botocore.auth import SIGNED_HEADERS_BLACKLIST as _NOT_SIGNED
from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth, SigV4Auth, _host_from_url  # type: ignore[attr-defined]
from botocore.config import Config
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.loaders import Loader
from botocore.session import Session

from shipper import __version__
from shipper.core.types import RoleCredentials
from shipper.edges.answer_limits import AnswerLimits, bounded, of_few_words
from shipper.edges.clock import SystemClock
from shipper.edges.s3.errors import REQUEST_IDS
from shipper.edges.server_time import ServerTime

TIMEOUT_SECONDS = 5.0


def client_for(
    service: str,
    credentials: Callable[[], RoleCredentials],
    *,
    region: str,
    endpoint_url: str = "",
    models: Loader | None = None,
    server_time: ServerTime | None = None,
    limits: AnswerLimits | None = None,
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
    pools = bounded(limits or of_few_words(time.monotonic))
    client._endpoint.http_session._pool_classes_by_scheme.update(pools)  # noqa: SLF001
    server_time = server_time or ServerTime(SystemClock())
    _sign_at(client, lambda: server_time.now(credentials().skew_seconds))

    def heard(response_dict: Mapping[str, Any] | None, **_: Any) -> None:
        headers = (response_dict or {}).get("headers", {})
        if any(name in headers for name in REQUEST_IDS):  # AWS itself gave it
            server_time.heard(headers.get("date", ""))

    client.meta.events.register("response-received", heard)
    return client


def signer_at(kind: Any, now: Callable[[], float]) -> Any:
    """Botocore's signer with another clock, for one request none of whose headers stands twice.

    Botocore keeps headers as a mail's and asks for them several times, which is a third of what a
    signature costs. ``_modify_request_before_signing`` is called between the time and the
    signature.
    """

    class Signer(kind):  # type: ignore[misc]  # botocore has no other way
        _to_sign: Mapping[str, str] | None = None

        def _modify_request_before_signing(self, request: Any) -> None:
            at = datetime.fromtimestamp(now(), UTC)
            request.context["timestamp"] = at.strftime(SIGV4_TIMESTAMP)
            super()._modify_request_before_signing(request)

        def headers_to_sign(self, request: Any) -> Any:
            if self._to_sign is None:
                lower = ((name.lower(), text) for name, text in request.headers.items())
                signed = {name: text for name, text in lower if name not in _NOT_SIGNED}
                self._to_sign = {"host": _host_from_url(request.url)} | signed
            return self._to_sign

        def canonical_headers(self, headers_to_sign: Any) -> str:
            lines = ((name, headers_to_sign[name].split()) for name in sorted(headers_to_sign))
            return "\n".join(f"{name}:{' '.join(words)}" for name, words in lines)

    return Signer


def _sign_at(client: Any, now: Callable[[], float]) -> None:
    """Have a client sign with our signers. Its ``_request_signer`` is beyond documentation.

    Where ``awscrt`` is installed, it would sign, and with the machine's time. For SigV4A, which
    only ``awscrt`` makes, ``get_current_datetime`` in the signer's module is leaned on, too.
    """
    signer = client._request_signer  # noqa: SLF001
    made, kinds = signer.get_auth_instance, {"v4": SigV4Auth, "s3v4": S3SigV4Auth}
    ours = {name: signer_at(kind, now) for name, kind in kinds.items()}

    def instance(signing_name: str, region_name: str, **named: Any) -> Any:
        auth = made(signing_name, region_name, **named)
        kind = ours.get(named.get("signature_version", ""))
        return (
            kind(auth.credentials, signing_name, region_name) if kind else _with_clock(auth, now)
        )

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
    variables["ca_bundle"] = (None, "AWS_CA_BUNDLE", None, None)
    return variables
