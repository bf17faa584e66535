"""Botocore clients that sign with shipper's credentials and read no other source.

A session reads neither the environment nor the shared files, so a stray ``AWS_PROFILE`` or
``AWS_ENDPOINT_URL`` changes nothing. Only the proxy variables and ``AWS_CA_BUNDLE`` are taken from
the environment.
"""

import os
from collections.abc import Callable
from typing import Any

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

TIMEOUT_SECONDS = 5.0


def client_for(
    service: str,
    credentials: Callable[[], RoleCredentials],
    *,
    region: str,
    endpoint_url: str = "",
    models: Loader | None = None,
    **options: Any,
) -> Any:
    """A client that sends one request per call; ``options`` are those of botocore's ``Config``.

    ``credentials`` is called at every signature and must not block; the ``PortError`` that it may
    raise passes through botocore. ``models`` are those of ``edges.s3.models``, or all that
    botocore has.
    """
    usual: dict[str, Any] = {
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "connect_timeout": TIMEOUT_SECONDS,
        "read_timeout": TIMEOUT_SECONDS,
        "user_agent_extra": f"shipper/{__version__}",
    }
    return session_with(credentials, models).create_client(
        service,
        region_name=region,
        endpoint_url=endpoint_url or None,
        config=Config(**usual | options),
    )


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
