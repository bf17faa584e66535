"""The instance metadata service, by IMDSv2 and nothing else.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html

Every GET carries a metadata token; there is no code here that could send one without. Traffic
goes to the endpoint itself: no proxy, no redirect, and at most ``BODY_BYTES`` of an answer. A
token's life is measured with the clock that goes on while the machine is suspended.
"""

import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from typing import Any, TypeVar
from urllib.parse import quote

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, ReadTimeoutError

from shipper.core.schedule import backoff_wait
from shipper.core.types import Instance, RoleCredentials
from shipper.ports import Clock, PortError

T = TypeVar("T")

ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
TOKEN_SECONDS = 21600
TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105  (a header's name)
BODY_BYTES = 64 * 1024
ATTEMPTS = 4
TIMEOUT = urllib3.Timeout(connect=1.0, read=2.0)

_EXTENDED = "meta-data/iam/security-credentials-extended/"
_LEGACY = "meta-data/iam/security-credentials/"
_RENEW_SECONDS = 60.0
_REPEATED = frozenset({"Unreachable", "HopLimit", "BadAnswer"})


def endpoint_from(configured: str, mode: str, environment: Mapping[str, str]) -> str:
    """The endpoint: configured, else the environment's, else the one of the address family.

    Raises:
        PortError: ``BadEndpoint``; no http URL, or no such mode.
    """
    endpoint = configured or environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "")
    if not endpoint:
        family = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", mode) or mode
        endpoint = ENDPOINTS.get(family.lower(), "")
    if not endpoint.startswith(("http://", "https://")):
        raise PortError(
            "BadEndpoint",
            f"{endpoint or 'mode ' + mode!r} is not an http URL",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT looks like http://169.254.169.254; "
            "the mode is ipv4 or ipv6",
        )
    return endpoint.rstrip("/")


class ImdsMetadata:
    """``ports.Metadata`` over HTTP; one question at a time (``_lock`` guards token and names)."""

    def __init__(
        self,
        endpoint: str,
        clock: Clock,
        *,
        profile_name: str = "",
        disabled: bool = False,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._profile_name = profile_name
        self._disabled = disabled
        self._wait = wait or threading.Event().wait
        self._rng = Random()
        self._pool = urllib3.PoolManager(retries=False, timeout=TIMEOUT, maxsize=4)
        self._lock = threading.Lock()
        self._token = ""
        self._token_until = float("-inf")
        self._base = _EXTENDED
        self._role = ""

    def instance(self) -> Instance:
        """The instance identity document."""
        document = self._json("dynamic/instance-identity/document")
        if document is None or not document.get("instanceId"):
            raise PortError("BadAnswer", "no identity document", _HINT_ENDPOINT)
        return Instance(
            instance_id=str(document["instanceId"]),
            account_id=str(document.get("accountId") or ""),
            region=str(document.get("region") or ""),
            availability_zone=str(document.get("availabilityZone") or ""),
        )

    def credentials(self) -> RoleCredentials:
        """The role's credentials as the service has them now, even when they look expired."""
        with self._lock:
            role, self._role = self._role, ""
        document = self._role_document(role) if role else None
        if document is None:
            role = self._profile_name or self._listed_role()
            document = self._role_document(role)
        if document is None:
            raise PortError("NoRole", f"the service knows no role {role!r}", _HINT_ROLE)
        found = _credentials_from(document, role)
        with self._lock:
            self._role = role
        return found

    def get(self, path: str) -> str | None:
        """The text under ``/latest/`` + ``path``; None when the service says 404."""
        return self._patiently(lambda: self._get(path))

    def _listed_role(self) -> str:
        listing = self.get(self._base)
        if listing is None and self._base == _EXTENDED:
            self._base = _LEGACY
            listing = self.get(self._base)
        roles = [line.strip() for line in (listing or "").splitlines() if line.strip()]
        if not roles:
            raise PortError("NoRole", self._why_no_role(), _HINT_ROLE)
        return roles[0]

    def _why_no_role(self) -> str:
        info = self._json("meta-data/iam/info")
        if info is None:
            return "the instance has no instance profile"
        return str(info.get("Message") or info.get("Code") or "the profile has no role")

    def _role_document(self, role: str) -> dict[str, Any] | None:
        name = quote(role, safe="")
        document = self._json(self._base + name)
        if document is None and self._base == _EXTENDED and self._profile_name:
            document = self._json(_LEGACY + name)
            self._base = _LEGACY if document is not None else self._base
        return document

    def _json(self, path: str) -> dict[str, Any] | None:
        def ask() -> dict[str, Any] | None:
            text = self._get(path)
            if text is None:
                return None
            try:
                document = json.loads(text)
            except ValueError as error:
                raise PortError("BadAnswer", f"{path}: no JSON", _HINT_ENDPOINT) from error
            if not isinstance(document, dict):
                raise PortError("BadAnswer", f"{path}: no JSON object", _HINT_ENDPOINT)
            return document

        return self._patiently(ask)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """A few tries, seconds apart; what the service refuses is not asked again."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return ask()
            except PortError as error:
                pause = backoff_wait(attempt, self._rng.random()) / 2
                if error.code not in _REPEATED or self._wait(pause):
                    raise
        return ask()

    def _get(self, path: str) -> str | None:
        for is_last in (False, True):
            token = self._fresh_token()
            status, body, headers = self._request("GET", path, {TOKEN_HEADER: token})
            if status == 200:
                self._learn_life(token, headers)
                return body
            if status == 404:
                return None
            if status != 401 or is_last:
                raise _refused(f"GET {path}", status)
            with self._lock:
                self._token = ""
        raise AssertionError("unreachable")

    def _fresh_token(self) -> str:
        with self._lock:
            if self._token and self._clock.boottime() < self._token_until - _RENEW_SECONDS:
                return self._token
        try:
            status, body, headers = self._request(
                "PUT", "api/token", {TTL_HEADER: str(TOKEN_SECONDS)}
            )
        except PortError as error:
            if error.code == "Timeout":
                raise PortError(
                    "HopLimit", "the token request got no answer", _HINT_HOPS
                ) from error
            raise
        if status != 200:
            raise _refused("PUT api/token", status)
        if not body.strip():
            raise PortError("BadAnswer", "an empty metadata token", _HINT_ENDPOINT)
        with self._lock:
            self._token = body.strip()
        self._learn_life(self._token, headers)
        return self._token

    def _learn_life(self, token: str, headers: Mapping[str, str]) -> None:
        """The token's life from the answer's own header, where there is one."""
        life = headers.get(TTL_HEADER, "")
        with self._lock:
            if life.isdigit() and token == self._token:
                self._token_until = self._clock.boottime() + int(life)
            elif self._token_until == float("-inf"):
                self._token_until = self._clock.boottime() + _RENEW_SECONDS * 2

    def _request(
        self, method: str, path: str, headers: dict[str, str]
    ) -> tuple[int, str, Mapping[str, str]]:
        if self._disabled:
            raise PortError(
                "MetadataDisabled", "AWS_EC2_METADATA_DISABLED is true", "unset it for shipper"
            )
        url = f"{self._endpoint}/latest/{path}"
        try:
            answer = self._pool.request(
                method, url, headers=headers, redirect=False, preload_content=False
            )
            with answer:
                body = answer.read(BODY_BYTES + 1)
        except (ReadTimeoutError, ConnectTimeoutError) as error:
            is_connect = isinstance(error, ConnectTimeoutError)
            code = "Unreachable" if is_connect else "Timeout"
            raise PortError(code, f"{url}: no answer in time", _HINT_REACH) from error
        except (HTTPError, OSError) as error:
            raise PortError("Unreachable", f"{url}: {error}", _HINT_REACH) from error
        if len(body) > BODY_BYTES:
            raise PortError("BadAnswer", f"{url}: more than {BODY_BYTES} bytes", _HINT_ENDPOINT)
        if answer.status in (429, 500, 502, 503, 504):
            raise PortError(
                "Unreachable", f"{url}: HTTP {answer.status}", _HINT_REACH, status=answer.status
            )
        return answer.status, body.decode("utf-8", "replace"), answer.headers


def _credentials_from(document: Mapping[str, Any], role: str) -> RoleCredentials:
    code = str(document.get("Code") or "Success")
    if code != "Success":
        detail = f"{code}: {document.get('Message') or ''}".rstrip(": ")
        raise PortError("RoleUnusable", detail, _HINT_TRUST)
    try:
        return RoleCredentials(
            access_key_id=str(document["AccessKeyId"]),
            secret_access_key=str(document["SecretAccessKey"]),
            session_token=str(document["Token"]),
            expires_at=datetime.fromisoformat(document["Expiration"]).timestamp(),
            role=role,
            account_id=str(document.get("AccountId") or ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PortError(
            "BadAnswer", f"the role document is incomplete: {error!r}", _HINT_ENDPOINT
        ) from error


def _refused(what: str, status: int) -> PortError:
    detail = f"{what}: HTTP {status}"
    if status == 403:
        return PortError("MetadataDisabled", detail, _HINT_DISABLED, status=status)
    if what.startswith("PUT") and status in (404, 405):
        return PortError("NotImdsV2", detail, _HINT_ENDPOINT, status=status)
    return PortError("BadAnswer", detail, _HINT_ENDPOINT, status=status)


_HINT_REACH = (
    "is this an EC2 instance with its metadata service enabled? Elsewhere run `shipper mock-imds` "
    "and set AWS_EC2_METADATA_SERVICE_ENDPOINT"
)
_HINT_HOPS = (
    "in a container this is usually the hop limit: `aws ec2 modify-instance-metadata-options "
    "--http-put-response-hop-limit 2`"
)
_HINT_DISABLED = "enable the metadata endpoint: `aws ec2 modify-instance-metadata-options`"
_HINT_ENDPOINT = "does the endpoint belong to an IMDSv2 service?"
_HINT_ROLE = "attach an instance profile with a role; no reboot is needed"
_HINT_TRUST = "the role's trust policy must let ec2.amazonaws.com assume it"
