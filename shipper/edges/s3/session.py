"""Botocore sessions that sign with shipper's credentials and read no other source.

A session reads neither the environment nor the shared files, so a stray ``AWS_PROFILE`` or
``AWS_ENDPOINT_URL`` changes nothing. It asks the callable at every signature. Only the proxy
variables and ``AWS_CA_BUNDLE`` are taken from the environment.
"""

import os
from collections.abc import Callable
from typing import Any

from botocore.credentials import (
    CredentialProvider,
    CredentialResolver,
    Credentials,
    ReadOnlyCredentials,
)
from botocore.loaders import Loader
from botocore.session import Session

from shipper.core.types import RoleCredentials


def session_with(
    credentials: Callable[[], RoleCredentials], models: Loader | None = None
) -> Session:
    """A botocore session that signs with ``credentials()`` and nothing else.

    ``credentials`` must not block; the ``PortError`` it may raise passes through botocore.
    ``models`` are those of ``edges.s3.models``, or all that botocore has.
    """
    session = Session(session_vars=_default_variables())
    if models is not None:
        session.register_component("data_loader", models)
    session.register_component(
        "credential_provider", CredentialResolver([_SessionClient(credentials)])
    )
    return session


def lent(credentials: Callable[[], RoleCredentials]) -> Callable[[], ReadOnlyCredentials]:
    """The same credentials in the form in which botocore's signers take them."""

    def frozen() -> ReadOnlyCredentials:
        role = credentials()
        return ReadOnlyCredentials(
            role.access_key_id, role.secret_access_key, role.session_token or None
        )

    return frozen


class _Lent(Credentials):
    """Credentials that are looked up at every signature.

    Botocore demands the inheritance: it asks for members that are not documented.
    """

    def __init__(self, current: Callable[[], RoleCredentials]) -> None:
        super().__init__("", "", method="shipper")
        self._frozen = lent(current)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return self._frozen()


class _SessionClient(CredentialProvider):
    """The only credential provider of the session."""

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
    variables["config_file"] = variables["credentials_file"] = (
        None,
        None,
        os.devnull,
        None,
    )
    variables["ignore_configured_endpoint_urls"] = (None, None, True, None)
    variables["ca_bundle"] = (None, "AWS_CA_BUNDLE", None, None)
    return variables
