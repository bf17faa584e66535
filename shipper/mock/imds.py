"""A metadata service for laptops, demos and tests: IMDSv2 as EC2 answers it, and nothing older.

A GET without a valid metadata token is a 401, always. Once less than half of the life of the role
credentials is left, the next request gets new ones, as on EC2. With ``is_container`` it answers as
the endpoints of an ECS task do instead, and nothing else.

``facts`` say what the instance is, ``faults`` how the service fails; both may change at any time.
``clock`` is for expiry and dates, ``monotonic`` for the age of metadata tokens.
"""

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from shipper.mock.facts import (
    CONTAINER,
    EXTENDED,
    LEGACY,
    TASK,
    Facts,
    Issued,
    Keys,
    Reply,
    answer,
    container_answer,
    iso,
)
from shipper.mock.fault import Faults
from shipper.mock.issuing import Issuer, Source, made_up
from shipper.mock.protocol import (
    LONGEST_TOKEN_SECONDS,
    SECONDS,
    TOKEN_HEADER,
    TTL_HEADER,
    Exchange,
    server_for,
)
from shipper.ports import PortError

__all__ = ["EXTENDED", "LEGACY", "TOKEN_HEADER", "TTL_HEADER", "Facts", "Keys", "MockImds"]

STOP_SECONDS = 1.0


class MockImds:
    """The service on a loopback port; a context manager.

    ``requests`` counts (method, path, had a token header). ``fault`` is called with method and
    path before ``faults`` are looked at, and may give the answer. ``log`` takes what is to be one
    line of JSON: never a secret, never a token. ``_lock`` guards ``tokens`` and ``requests``.
    """

    def __init__(
        self,
        facts: Facts | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        source: Source = made_up,
        log: Callable[[dict[str, Any]], None] = lambda line: None,
        is_open: bool = False,
        is_container: bool = False,
    ):
        self.facts = facts or Facts()
        self.fault: Callable[[str, str], Reply | None] = lambda method, path: None
        self.faults = Faults()
        self.requests: Counter[tuple[str, str, bool]] = Counter()
        self.tokens: dict[str, float] = {}
        self._is_container = is_container
        self.token_header = "authorization" if is_container else TOKEN_HEADER
        self._clock = clock
        self._monotonic = monotonic
        self._log = log
        self._issuer = Issuer(source)
        self._lock = threading.Lock()
        self._server = server_for(self, host, port, is_open=is_open)

    @property
    def url(self) -> str:
        """What ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` must be."""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    @property
    def container_environment(self) -> dict[str, str]:
        """What a container's environment has to say."""
        found = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url + CONTAINER,
            "ECS_CONTAINER_METADATA_URI_V4": self.url + TASK.removesuffix("/task"),
        }
        if self.facts.authorization:
            found["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = self.facts.authorization
        return found

    @property
    def issued(self) -> list[Keys]:
        return self._issuer.history

    def start(self) -> Self:
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop(wait_seconds=STOP_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def now(self) -> float:
        return self._clock() + self.facts.clock_offset_seconds

    def forget_tokens(self) -> None:
        """As after a migration of the instance."""
        with self._lock:
            self.tokens.clear()

    def asked(self) -> dict[tuple[str, str, bool], int]:
        """``requests`` as they are now, while more come in."""
        with self._lock:
            return dict(self.requests)

    def rotate(self) -> None:
        self._issuer.rotate()

    def say(self, **line: Any) -> None:
        self._log({"at": iso(self.now()), **line})

    def exchange(self, asked: Exchange) -> None:
        """Put into the request what to answer."""
        with self._lock:
            self.requests[asked.method, asked.path, asked.token is not None] += 1
        asked.life_seconds = self.life_of(asked.token or "")
        reply = self.fault(asked.method, asked.path)
        if reply is not None:
            asked.fault = "code"
            asked.status, asked.body = reply
            return
        asked.broken = self.faults.take(asked.method, asked.path)
        if asked.broken is not None:
            asked.fault = asked.broken.text
        if asked.broken is None or asked.broken.kind == "truncated":
            asked.status, asked.body = self._reply(asked)

    def _container_reply(self, asked: Exchange) -> Reply:
        if asked.method != "GET":
            return 405, "Method Not Allowed"
        wanted = self.facts.authorization if asked.path == CONTAINER else ""
        if wanted and asked.token is None:
            return 401, json.dumps({"code": "NoAuthorization", "message": "no token"})
        if wanted and asked.token != wanted:
            return 403, json.dumps({"code": "AccessDenied", "message": "unknown token"})
        asked.life_seconds = 1  # for the log
        return self.answer(asked.path)

    def _reply(self, asked: Exchange) -> Reply:
        if self._is_container:
            return self._container_reply(asked)
        is_token_path = asked.path == "/latest/api/token"
        if asked.method == "PUT" and is_token_path:
            status, token = (403, "Forbidden") if asked.is_forwarded else self.token(asked.ttl)
            asked.told_seconds = int(asked.ttl) if status == 200 else 0
            return status, token
        if asked.method != "GET" or is_token_path:
            return 405, "Method Not Allowed"
        if not asked.life_seconds:
            return 401, "Unauthorized"
        asked.told_seconds = asked.life_seconds
        return self.answer(asked.path)

    def token(self, ttl: str) -> Reply:
        """A new metadata token, or why there is none."""
        if not SECONDS.fullmatch(ttl) or not 1 <= int(ttl) <= LONGEST_TOKEN_SECONDS:
            return 400, "Bad Request"
        token = secrets.token_urlsafe(40)
        with self._lock:
            self.tokens[token] = self._monotonic() + int(ttl)
        return 200, token

    def life_of(self, token: str) -> int:
        """Seconds a metadata token has left; 0 when it is unknown or expired."""
        with self._lock:
            until = self.tokens.get(token)
        return 0 if until is None else max(0, round(until - self._monotonic()))

    def answer(self, path: str) -> Reply:
        """The body under a path, for a caller with a token."""
        facts, now = self.facts, self.now()

        def issued() -> Issued:
            return self._issuer.current(facts, now)

        try:
            if self._is_container:
                return container_answer(facts, path, issued)
            return answer(facts, path, now, issued)
        except PortError as error:
            self.say(failed="credentials", code=error.code, detail=error.detail)
            return 500, "Internal Server Error"
