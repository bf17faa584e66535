"""The instance metadata service, by IMDSv2 and nothing else.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html

Every GET carries a metadata token. Requests go to the endpoint itself: no proxy, no redirect, and
at most ``BODY_BYTES`` of a body, which is never decompressed. The life of a metadata token is
measured with the clock that goes on while the machine is suspended.
"""

import json
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from random import Random
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from shipper.core.backoff import Backoff, skew_from
from shipper.core.escapes import escaped
from shipper.core.types import Instance, RoleCredentials
from shipper.edges.container import is_in_container
from shipper.edges.http_client.body import Body
from shipper.edges.http_client.transfer import (
    NO_CONNECTION,
    SILENCE,
    TOO_LONG,
    Answer,
    Limits,
    Request,
    exchange,
)
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
    is_worth_repeating,
    refused,
    unknown_role,
    why_no_role,
)
from shipper.ports import Clock, PortError

T = TypeVar("T")

ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
TOKEN_SECONDS = 21600
TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105  (a header's name)
BODY_BYTES = 64 * 1024
REQUESTS_A_MINUTE = 60
"""At most, because the same interface carries DNS and NTP."""
BACKOFF = Backoff(
    attempts=4, first_wait_seconds=0.5, shortest_wait_seconds=0.5, longest_wait_seconds=10.0
)
LIMITS = Limits(
    connect_seconds=1.0, stall_seconds=2.0, answer_seconds=5.0, answer_bytes=BODY_BYTES
)

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
        self._wait = wait or threading.Event().wait
        self._rng = rng or Random()
        self._is_in_container = is_in_container
        self._learn = learn
        self._redact = redact
        self._send = send
        self._lock = threading.Lock()
        self._asking: Future[str] | None = None
        self._token = ""
        self._token_until = float("-inf")
        self._base = _EXTENDED
        self._role = ""
        self._skew_seconds = 0.0
        self._sent_at: deque[float] = deque(maxlen=REQUESTS_A_MINUTE)

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
                pause = BACKOFF.wait_seconds(1, self._rng.random())
                if error.code not in ABSENT_CODES or self._wait(pause or 0.0):
                    raise
                role, document = self._listed()
        for name in SECRETS:
            self._learn(str(document.get(name)))
        skew_seconds, redact = self._skew_seconds, self._redact
        found = credentials_from(document, role, skew_seconds=skew_seconds, redact=redact)
        with self._lock:
            self._role = role
        return found

    def _listed(self) -> tuple[str, dict[str, Any]]:
        role = self._profile_name or self._listed_role()
        document = self._role_document(role)
        if document is None:
            raise unknown_role(role, is_configured=bool(self._profile_name))
        return role, document

    def get(self, path: str) -> str | None:
        return self._patiently(lambda: self._get(path))

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
            if text is None:
                return None
            try:
                document = json.loads(text)
            except (ValueError, RecursionError):
                # Without a cause, which would hold the text.
                raise PortError("BadAnswer", f"{path}: no JSON", HINT_ENDPOINT) from None
            if not isinstance(document, dict):
                raise PortError("BadAnswer", f"{path}: no JSON object", HINT_ENDPOINT)
            return document

        return self._patiently(ask)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask a few times, seconds apart; a refusal is not repeated."""
        failures = 0
        while True:
            try:
                return ask()
            except PortError as error:
                failures += 1
                pause = BACKOFF.wait_seconds(failures, self._rng.random())
                if pause is None or not is_worth_repeating(error) or self._wait(pause):
                    raise

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
        url = f"{self._endpoint}/latest/{path}"
        self._spend(url)
        request = Request(f"{method} {path}", method, url, headers, Body(b""))
        try:
            answer = self._send(request)
        except PortError as error:
            raise self._unanswered(method, url, error) from None
        if answer.status == 429 or answer.status >= 500:
            raise PortError(
                "Unreachable", f"{url}: HTTP {answer.status}", HINT_REACH, status=answer.status
            )
        try:
            return answer.status, answer.body.decode(), answer.headers
        except UnicodeDecodeError:
            # Without a cause, which would hold the bytes.
            raise PortError("BadAnswer", f"{url}: no UTF-8", HINT_ENDPOINT) from None

    def _unanswered(self, method: str, url: str, error: PortError) -> PortError:
        if TOO_LONG in error.detail:
            detail = f"{url}: more than {BODY_BYTES} bytes"
            return PortError("BadAnswer", detail, HINT_ENDPOINT)
        if NO_CONNECTION in error.detail or SILENCE not in error.detail:
            return PortError("Unreachable", error.detail, HINT_REACH)
        detail = f"{method} {url}: no answer in time"
        if method == "PUT" and self._is_in_container():
            return PortError("HopLimit", detail, HINT_HOPS)
        return PortError("Unreachable", detail, HINT_REACH)

    def _spend(self, url: str) -> None:
        """Count a request, unless there were too many in the last minute."""
        now = self._clock.boottime()
        with self._lock:
            is_full = len(self._sent_at) == REQUESTS_A_MINUTE
            if is_full and now - self._sent_at[0] < 60.0:
                detail = f"{url}: not sent, for {REQUESTS_A_MINUTE} were in the last minute"
                raise PortError("TooOften", detail, "this passes by itself")
            self._sent_at.append(now)
