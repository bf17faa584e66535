"""A metadata service for laptops, demos and tests: IMDSv2 as EC2 answers it, and nothing older.

A GET without a valid metadata token is a 401, always. Role credentials rotate: once less than
half of their life is left, the next question gets new ones, as on EC2 (where it is hours).
"""

import json
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105  (a header's name)
LONGEST_TOKEN_SECONDS = 21600
_SECONDS = re.compile("[0-9]{1,5}")
LEGACY = "/latest/meta-data/iam/security-credentials/"
EXTENDED = "/latest/meta-data/iam/security-credentials-extended/"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Keys:
    """What the service hands out for its role."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)


@dataclass(slots=True)
class Facts:
    """What the mocked instance is. Change a field, and the next answer shows it."""

    role: str = "shipper"
    instance_id: str = "i-0123456789abcdef0"
    account_id: str = "123456789012"
    region: str = "eu-central-1"
    availability_zone: str = ""
    lifetime_seconds: float = 21600.0
    keys: Keys | None = None
    tags: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    """More answers by path, for instance ``/latest/meta-data/spot/instance-action``."""
    has_extended: bool = True
    role_document: Document | None = None
    """Replaces the role document as it is: broken trust policies look like this."""


Fault = Callable[[str, str], tuple[int, str] | None]
"""(method, path) -> (status, body) to answer instead, or None to behave."""


class MockImds:
    """The service on a loopback port; a context manager.

    ``requests`` counts (method, path, had a token header). ``fault`` breaks it on purpose.
    """

    def __init__(self, facts: Facts | None = None, *, host: str = "127.0.0.1", port: int = 0):
        self.facts = facts or Facts()
        self.fault: Fault = lambda method, path: None
        self.requests: Counter[tuple[str, str, bool]] = Counter()
        self.tokens: dict[str, float] = {}
        self.issued: list[Keys] = []
        self._expires_at = 0.0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(
            (host, port), type("_Bound", (_Handler,), {"service": self})
        )
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """What ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` must be."""
        host, port = self._server.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def forget_tokens(self) -> None:
        """Every metadata token becomes unknown, as after a migration of the instance."""
        with self._lock:
            self.tokens.clear()

    def rotate(self) -> None:
        """The next question for the role gets new credentials."""
        self._expires_at = 0.0

    # Answers: (status, body).

    def token(self, ttl: str) -> tuple[int, str]:
        """A new metadata token."""
        if not _SECONDS.fullmatch(ttl) or not 1 <= int(ttl) <= LONGEST_TOKEN_SECONDS:
            return 400, "Bad Request"
        token = secrets.token_urlsafe(40)
        with self._lock:
            self.tokens[token] = time.monotonic() + int(ttl)
        return 200, token

    def life_of(self, token: str) -> int:
        """Seconds a metadata token has left; 0 when it is unknown or expired."""
        with self._lock:
            return max(0, round(self.tokens.get(token, 0.0) - time.monotonic()))

    def answer(self, path: str) -> tuple[int, str]:
        """The body under a path, for a caller with a token."""
        facts = self.facts
        if path in facts.extra:
            return 200, facts.extra[path]
        if path == "/latest/dynamic/instance-identity/document":
            return 200, json.dumps(self._identity())
        if path == "/latest/meta-data/iam/info":
            return self._iam_info()
        if path.startswith("/latest/meta-data/tags/instance/"):
            tag = facts.tags.get(unquote(path.rpartition("/")[2]))
            return (404, "Not Found") if tag is None else (200, tag)
        if path.startswith(EXTENDED) and facts.has_extended:
            return self._role(path.removeprefix(EXTENDED), {"AccountId": facts.account_id})
        if path.startswith(LEGACY):
            return self._role(path.removeprefix(LEGACY), {})
        return 404, "Not Found"

    def _identity(self) -> Document:
        facts = self.facts
        return {
            "accountId": facts.account_id,
            "architecture": "x86_64",
            "availabilityZone": facts.availability_zone or f"{facts.region}a",
            "imageId": "ami-0123456789abcdef0",
            "instanceId": facts.instance_id,
            "instanceType": "t3.micro",
            "privateIp": "10.0.0.10",
            "region": facts.region,
            "version": "2017-09-30",
        }

    def _iam_info(self) -> tuple[int, str]:
        if not self.facts.role:
            return 404, "Not Found"
        arn = f"arn:aws:iam::{self.facts.account_id}:instance-profile/{self.facts.role}"
        return 200, json.dumps({"Code": "Success", "InstanceProfileArn": arn})

    def _role(self, name: str, more: Document) -> tuple[int, str]:
        if not self.facts.role:
            return 404, "Not Found"
        if not name:
            return 200, self.facts.role
        if unquote(name) != self.facts.role:
            return 404, "Not Found"
        if self.facts.role_document is not None:
            return 200, json.dumps(self.facts.role_document)
        return 200, json.dumps(self._credentials() | more)

    def _credentials(self) -> Document:
        now = time.time()
        with self._lock:
            if self._expires_at - now < self.facts.lifetime_seconds / 2:
                self._expires_at = now + self.facts.lifetime_seconds
                self.issued.append(self.facts.keys or _random_keys())
            keys, expires_at = self.issued[-1], self._expires_at
        return {
            "Code": "Success",
            "LastUpdated": _iso(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": keys.access_key_id,
            "SecretAccessKey": keys.secret_access_key,
            "Token": keys.session_token,
            "Expiration": _iso(expires_at),
        }


def _random_keys() -> Keys:
    return Keys(
        access_key_id="ASIA" + secrets.token_hex(8).upper(),
        secret_access_key=secrets.token_urlsafe(30),
        session_token=secrets.token_urlsafe(90),
    )


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1e6):06}Z"


class _Handler(BaseHTTPRequestHandler):
    service: MockImds
    protocol_version = "HTTP/1.1"
    server_version = "EC2ws"
    sys_version = ""
    disable_nagle_algorithm = True  # head and body are two writes: 40 ms apart with it
    timeout = 10.0

    def do_PUT(self) -> None:
        self._count()
        if self._is_faulty():
            return
        if self.path != "/latest/api/token":
            self._answer(405, "Method Not Allowed")
        elif "x-forwarded-for" in self.headers:
            self._answer(403, "Forbidden")
        else:
            ttl = self.headers.get(TTL_HEADER, "")
            self._answer(*self.service.token(ttl), ttl)

    def do_GET(self) -> None:
        self._count()
        if self._is_faulty():
            return
        life = self.service.life_of(self.headers.get(TOKEN_HEADER, ""))
        if not life:
            self._answer(401, "Unauthorized")
            return
        self._answer(*self.service.answer(self.path), str(life))

    def _count(self) -> None:
        self.service.requests[self.command, self.path, TOKEN_HEADER in self.headers] += 1

    def _is_faulty(self) -> bool:
        fault = self.service.fault(self.command, self.path)
        if fault is not None:
            self._answer(*fault)
        return fault is not None

    def _answer(self, status: int, body: str, life: str = "") -> None:
        encoded = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(encoded)))
        if life and status == 200:
            self.send_header(TTL_HEADER, life)
        if 300 <= status < 400:
            self.send_header("Location", body)
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: object) -> None:
        pass
