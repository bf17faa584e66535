"""The instance metadata service, by IMDSv2 and nothing else.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html

Every GET carries a metadata token, whose life is measured with the clock that goes on while the
machine is suspended.
"""

import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from random import Random
from typing import Any
from urllib.parse import quote, urlsplit

from shipper.core.backoff import skew_from
from shipper.core.escapes import escaped
from shipper.core.types import Instance, RoleCredentials
from shipper.edges.container import is_in_container
from shipper.edges.http_client.transfer import Answer, Request, exchange
from shipper.edges.imds.answers import (
    ABSENT_CODES,
    HINT_ENDPOINT,
    HINT_HOPS,
    HINT_REACH,
    HINT_URL,
    SECRET,
    SECRETS,
    credentials_from,
    first_role,
    instance_from,
    refused,
    unknown_role,
    why_no_role,
)
from shipper.edges.imds.asking import LIMITS, NO_ANSWER, Questions
from shipper.ports import Clock, PortError

ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
TOKEN_SECONDS = 21600
TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105  (a header's name)

_EXTENDED = "meta-data/iam/security-credentials-extended/"
_LEGACY = "meta-data/iam/security-credentials/"
_RENEW_SECONDS = 60.0
_UNTOLD_SECONDS = 120.0
"""How long a metadata token is used when its answer does not say."""
_SECONDS = re.compile("[0-9]{1,6}")
_ROLE_LETTERS = "+=,.@-_"
"""What IAM allows in a role's name; the SDKs put it into the path as it is."""


def endpoint_from(configured: str, mode: str, environment: Mapping[str, str]) -> str:
    """The endpoint: configured, else the environment's, else the one of the address family.

    Raises:
        PortError: ``BadEndpoint``; no http URL, or no such mode.
    """
    endpoint = configured or environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "")
    if not endpoint:
        asked = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "")
        family = mode if mode.lower() != "ipv4" else asked or mode
        endpoint = ENDPOINTS.get(family.lower(), "")
        if not endpoint:
            raise PortError("BadEndpoint", f"there is no mode {family!r}", HINT_URL)
    if not _is_http_url(endpoint):
        shown = "what holds a password" if "@" in endpoint else repr(endpoint)
        raise PortError("BadEndpoint", f"{shown} is not an http URL", HINT_URL)
    return endpoint.rstrip("/")


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_whole = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        return is_whole and parts.scheme in ("http", "https")
    except ValueError:
        return False


class ImdsMetadata:
    """``ports.Metadata`` over HTTP.

    ``learn`` is told every secret before anything else may see it, and ``redact`` takes them out
    of what the service says. ``_lock`` guards the metadata token, who asks for one, and the role's
    name.
    """

    def __init__(
        self,
        endpoint: str,
        clock: Clock,
        *,
        profile_name: str = "",
        disabled: bool = False,
        wait: Callable[[float], bool] | None = None,
        send: Callable[[Request], Answer] = partial(exchange, limits=LIMITS),  # noqa: B008
        rng: Random | None = None,
        is_in_container: Callable[[], bool] = is_in_container,
        learn: Callable[[str], None] = lambda secret: None,
        redact: Callable[[str], str] = escaped,
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._profile_name = profile_name
        self._disabled = disabled
        self._is_in_container = is_in_container
        self._learn = learn
        self._redact = redact
        self._questions = Questions(
            clock, hint_reach=HINT_REACH, hint_answer=HINT_ENDPOINT, wait=wait, send=send, rng=rng
        )
        self._lock = threading.Lock()
        self._asking: Future[str] | None = None
        self._token = ""
        self._token_until = float("-inf")
        self._base = _EXTENDED
        self._role = ""
        self._skew_seconds = 0.0

    def instance(self) -> Instance:
        return instance_from(self._json("dynamic/instance-identity/document"))

    def credentials(self) -> RoleCredentials:
        """The role's, as the port says. A role or list that is not there is asked for twice,
        because it may be replaced just now.
        """
        with self._lock:
            role, self._role = self._role, ""
        document = self._role_document(role) if role else None
        if document is None:
            try:
                role, document = self._listed()
            except PortError as error:
                pause = self._questions.pause(1) or 0.0
                if error.code not in ABSENT_CODES or self._questions.wait(pause):
                    raise
                role, document = self._listed()
        for name in SECRETS:
            self._learn(str(document.get(name)))
        skew_seconds, redact = self._skew_seconds, self._redact
        found = credentials_from(document, role, skew_seconds=skew_seconds, redact=redact)
        with self._lock:
            self._role = role
        return found

    def role_lists(self) -> tuple[str, str]:
        """The first role of the list that is asked first, and of the one that all services have.

        What intercepts requests for containers may answer the second, and pass on the first.
        """
        extended, legacy = (first_role(self.get(path) or "") for path in (_EXTENDED, _LEGACY))
        return extended, legacy

    def _listed(self) -> tuple[str, dict[str, Any]]:
        role = self._profile_name or self._listed_role()
        document = self._role_document(role)
        if document is None:
            raise unknown_role(role, is_configured=bool(self._profile_name))
        return role, document

    def get(self, path: str) -> str | None:
        return self._questions.patiently(lambda: self._get(path))

    def peek(self, path: str) -> str | None:
        return self._get(path)

    def _listed_role(self) -> str:
        listing = self.get(self._base)
        if listing is None and self._base == _EXTENDED:
            listing = self.get(_LEGACY)
            # Without a role both are 404, which says nothing about what the service knows.
            self._base = _LEGACY if (listing or "").strip() else _EXTENDED
        role = first_role(listing or "")
        if not role:
            raise why_no_role(self._json("meta-data/iam/info"))
        return role

    def _role_document(self, role: str) -> dict[str, Any] | None:
        name = quote(role, safe=_ROLE_LETTERS)
        document = self._json(self._base + name)
        if document is None and self._base == _EXTENDED and self._profile_name:
            document = self._json(_LEGACY + name)
            self._base = _LEGACY if document is not None else self._base
        return document

    def _json(self, path: str) -> dict[str, Any] | None:
        def ask() -> dict[str, Any] | None:
            text = self._get(path)
            return None if text is None else self._questions.json_object(path, text)

        return self._questions.patiently(ask)

    def _get(self, path: str) -> str | None:
        status, body = self._get_once(path)
        if status == 401:
            status, body = self._get_once(path)
        if status == 404:
            return None
        if status != 200:
            raise refused(f"GET {path}", status)
        is_document = path.startswith((_EXTENDED, _LEGACY)) and not path.endswith("/")
        if not is_document and self._redact(body) != escaped(body):
            raise PortError("BadAnswer", f"GET {path}: it repeats a secret", HINT_ENDPOINT)
        return body

    def _get_once(self, path: str) -> tuple[int, str]:
        token = self._fresh_token()
        status, body, headers = self._request("GET", path, {TOKEN_HEADER: token})
        if status == 200:
            self._learn_life(token, headers)
            with self._lock:
                self._skew_seconds = skew_from(headers.get("date", ""), self._clock.now())
        if status == 401:
            with self._lock:
                # Another thread may have got a new one meanwhile.
                self._token = "" if self._token == token else self._token
        return status, body

    def _fresh_token(self) -> str:
        """The metadata token. Whoever asks while one is being asked for gets the same answer."""
        with self._lock:
            if self._token and self._clock.boottime() < self._token_until - _RENEW_SECONDS:
                return self._token
            asking, mine = self._asking, Future[str]()
            self._asking = asking or mine
        if asking is not None:
            return asking.result()
        try:
            token = self._new_token()
        except BaseException as error:
            self._answered(mine.set_exception, error)
            raise
        self._answered(mine.set_result, token)
        return token

    def _answered(self, tell: Callable[[Any], None], answer: Any) -> None:
        with self._lock:
            self._asking = None
        tell(answer)

    def _new_token(self) -> str:
        status, body, headers = self._request("PUT", "api/token", {TTL_HEADER: str(TOKEN_SECONDS)})
        if status != 200:
            raise refused("PUT api/token", status)
        token = body.strip()
        if not SECRET.fullmatch(token):
            raise PortError("BadAnswer", "PUT api/token: no metadata token", HINT_ENDPOINT)
        self._learn(token)
        with self._lock:
            self._token = token
            self._token_until = self._clock.boottime() + _UNTOLD_SECONDS
        self._learn_life(token, headers)
        return token

    def _learn_life(self, token: str, headers: Mapping[str, str]) -> None:
        """Take the metadata token's life from the answer's header, where there is one."""
        life = headers.get(TTL_HEADER, "")
        with self._lock:
            if _SECONDS.fullmatch(life) and token == self._token:
                self._token_until = self._clock.boottime() + int(life)

    def _request(
        self, method: str, path: str, headers: dict[str, str]
    ) -> tuple[int, str, Mapping[str, str]]:
        if self._disabled:
            raise PortError(
                "MetadataDisabled", "AWS_EC2_METADATA_DISABLED is true", "unset it for shipper"
            )
        try:
            url = f"{self._endpoint}/latest/{path}"
            return self._questions.answer(method, path, url, headers)
        except PortError as error:
            is_silent = method == "PUT" and error.detail.endswith(NO_ANSWER)
            if is_silent and self._is_in_container():
                raise PortError("HopLimit", error.detail, HINT_HOPS) from None
            raise
