"""Servers for tests: moto as a child process, and one that answers byte for byte as told.

Everything listens on loopback and on a port that the system chose. The child is ended by the
process that started it, by its own pid, and it ends itself when its parent is gone.
"""

import fcntl
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Self

from botocore.config import Config
from botocore.session import Session

from shipper.core.manifests import name_from_key
from shipper.core.types import RoleCredentials

REGION = "us-east-1"
ACCOUNT_ID = "123456789012"
STARTUP_SECONDS = 60.0

LEAST_PRIVILEGE = ("s3:PutObject", "s3:ListBucket")
"""All that shipper may ask of a role."""

_MOTO = """
import os, select, sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
ends = os.pidfd_open(int(sys.argv[1])) if sys.argv[1:] else sys.stdin
select.select([ends], [], [])
"""
"""The server's thread is a daemon: it ends with the program, and that with the pipe, or with the
process whose id is given."""


@dataclass(frozen=True, slots=True)
class Moto:
    """A moto server that runs, seen with an administrator's eyes."""

    url: str

    def client(self, service: str) -> Any:
        """A plain botocore client with static test credentials."""
        return _client(self.url, service, "testing", "testing", None)

    def client_as(self, service: str, credentials: RoleCredentials) -> Any:
        """A plain botocore client with these credentials."""
        return _client(
            self.url,
            service,
            credentials.access_key_id,
            credentials.secret_access_key,
            credentials.session_token or None,
        )

    def create_bucket(self, bucket: str) -> None:
        """Create an empty bucket."""
        self.client("s3").create_bucket(Bucket=bucket)

    def read(self, bucket: str, key: str) -> bytes:
        """An object's bytes."""
        body: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def attributes(self, bucket: str, key: str) -> dict[str, Any]:
        """What HeadObject says of an object."""
        answer: dict[str, Any] = self.client("s3").head_object(Bucket=bucket, Key=key)
        return answer

    def keys(self, bucket: str) -> list[str]:
        """The key of every log in the bucket, in order."""
        return [key for key in self.every_key(bucket) if "_manifests/instance=" not in key]

    def every_key(self, bucket: str) -> list[str]:
        """Those of manifests, too."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def manifests(self, bucket: str) -> dict[str, bytes]:
        """The manifests by key, in the order of their chains."""
        keys = [key for key in self.every_key(bucket) if name_from_key(key) is not None]
        return {key: self.read(bucket, key) for key in keys}

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Every log's object in the bucket."""
        s3 = self.client("s3")
        return {
            key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in self.keys(bucket)
        }

    def unfinished_uploads(self, bucket: str) -> list[tuple[str, str]]:
        """Key and upload id of every multipart upload that was begun and neither ended."""
        answer = self.client("s3").list_multipart_uploads(Bucket=bucket)
        return [(each["Key"], each["UploadId"]) for each in answer.get("Uploads", ())]

    def assume(
        self,
        role: str,
        actions: tuple[str, ...] = LEAST_PRIVILEGE,
        *,
        resource: str | tuple[str, ...] = "*",
        seconds: int = 3600,
    ) -> RoleCredentials:
        """Temporary credentials of a role that may do these actions; the role is made if new."""
        allow = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
        return self.assume_with(role, _policy(allow), seconds=seconds)

    def assume_with(self, role: str, document: str, *, seconds: int = 3600) -> RoleCredentials:
        """Temporary credentials of a role with this policy alone; the role is made if new."""
        iam, sts = self.client("iam"), self.client("sts")
        trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        with suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=_policy(trust))
        iam.put_role_policy(RoleName=role, PolicyName="only", PolicyDocument=document)
        arn = f"arn:aws:iam::{ACCOUNT_ID}:role/{role}"
        given = sts.assume_role(RoleArn=arn, RoleSessionName="i-test", DurationSeconds=seconds)
        return RoleCredentials(
            access_key_id=given["Credentials"]["AccessKeyId"],
            secret_access_key=given["Credentials"]["SecretAccessKey"],
            session_token=given["Credentials"]["SessionToken"],
            expires_at=given["Credentials"]["Expiration"].timestamp(),
            role=role,
            account_id=ACCOUNT_ID,
        )

    @contextmanager
    def enforcing(self) -> Iterator[None]:
        """Inside, every request is checked: signature, session token and the role's policy.

        Outside, and for everybody at once, nothing is; so the helpers above fail inside.
        """
        self._free_actions("0")
        try:
            yield
        finally:
            self._free_actions("inf")

    def reset(self) -> None:
        """Forget every bucket and role."""
        self._post("/moto-api/reset", b"")

    def _free_actions(self, count: str) -> None:
        self._post("/moto-api/reset-auth", count.encode())

    def _post(self, path: str, body: bytes) -> None:
        plain = {"Content-Type": "text/plain"}
        request = urllib.request.Request(self.url + path, data=body, headers=plain)
        with _opener().open(request, timeout=10) as answer:
            json.load(answer)


@contextmanager
def moto_server() -> Iterator[Moto]:
    """A moto server of its own, in a child process, from its first answer to its end."""
    child = subprocess.Popen(
        [sys.executable, "-c", _MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=_environment(),
    )
    try:
        yield Moto(f"http://127.0.0.1:{_port(child)}")
    finally:
        child.kill()
        child.communicate()


def shared_moto(directory: Path, *, until: int) -> Moto:
    """The moto server of all who name this directory; it lives as long as the process ``until``.

    The first one starts it, while the others wait.
    """
    with (directory / "moto").open("a+") as known:
        fcntl.flock(known, fcntl.LOCK_EX)
        known.seek(0)
        if not (port := known.read()):
            child = subprocess.Popen(
                [sys.executable, "-c", _MOTO, str(until)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=_environment(),
            )
            _LEFT_RUNNING.append(child)
            port = str(_port(child))
            known.write(port)
    return Moto(f"http://127.0.0.1:{port}")


_LEFT_RUNNING: list["subprocess.Popen[str]"] = []
"""Kept, because a ``Popen`` that is collected warns of a child that runs."""


def _port(child: "subprocess.Popen[str]") -> int:
    """The port the child printed. Reading is bounded by ending the child that does not answer."""
    assert child.stdout is not None
    watchdog = threading.Timer(STARTUP_SECONDS, child.kill)
    watchdog.start()
    started = time.monotonic()
    try:
        line = child.stdout.readline()
    finally:
        watchdog.cancel()
    assert line.strip(), f"moto did not start within {time.monotonic() - started:.0f} s"
    return int(line)


def _environment() -> dict[str, str]:
    """The parent's, without what would make moto or botocore behave otherwise."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MOTO_", "COVERAGE_", "COV_CORE_"))
        and not name.lower().endswith("_proxy")
        and name != "INITIAL_NO_AUTH_ACTION_COUNT"
    }


@lru_cache(maxsize=16)
def _client(
    url: str, service: str, access_key_id: str, secret_access_key: str, token: str | None
) -> Any:
    """Made once for everybody who asks alike: each costs a tenth of a second of CPU."""
    s3: Any = {"addressing_style": "path"}
    return _session().create_client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        aws_session_token=token,
        config=Config(
            s3=s3, retries={"total_max_attempts": 1, "mode": "standard"}, proxies={"no": "proxy"}
        ),
    )


@cache
def _session() -> Session:
    """One, for what it has read of botocore's models."""
    return Session()


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class Answer(Enum):
    """What a scripted server may do instead of answering."""

    RESET = "reset the connection once the request was read"
    CLOSE = "close it in good order without a word"
    NEVER = "read the request and stay silent until the server is stopped"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer:
    """Answers each request, on a connection of its own, with the next line of a script.

    An answer that does not say ``Connection: close`` lets the next request come over the same one.
    A request beyond the script is answered by ``otherwise``: with 418. A CONNECT opens a tunnel to
    a host that ``tunnels`` has a certificate for, where the same server answers. With
    ``slow_seconds`` it waits that long between the reads of a body; with ``refuses_early`` it
    answers who waits for ``100 Continue`` at once, and ``keeps_bodies`` False throws bodies away.
    ``_lock`` guards the script and what was received.
    """

    def __init__(
        self,
        *script: bytes | Answer,
        tls: ssl.SSLContext | None = None,
        slow_seconds: float = 0.0,
        refuses_early: bool = False,
        keeps_bodies: bool = True,
        otherwise: Callable[[Request], bytes] = lambda request: http_answer(418),
        tunnels: Callable[[str], ssl.SSLContext] | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._script = deque(script)
        self._tls = tls
        self._slow_seconds = slow_seconds
        self._refuses_early = refuses_early
        self._keeps_bodies = keeps_bodies
        self._otherwise = otherwise
        self._tunnels = tunnels
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._idle: set[socket.socket] = set()
        self._listener = socket.socket()
        # Small enough for a slow reader to be felt by the writer.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()

    @property
    def url(self) -> str:
        """Where it listens."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        with self._lock:
            for connection in self._idle:
                with suppress(OSError):  # its client has gone already
                    connection.shutdown(socket.SHUT_RDWR)  # who keeps it has no more to say
        with socket.create_connection(self._listener.getsockname()):
            pass  # wakes accept, which has no other end
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopped.is_set():
                connection.close()
                return
            self.connections += 1
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        with connection as plain:
            try:
                with self._wrapped(plain) as stream:
                    while self._answer(stream):
                        pass
            except (OSError, EOFError):
                return  # the client went away, which is its right

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection

    def _answer(self, connection: socket.socket) -> bool:
        """Answer a request; whether another one may follow."""
        request = self._receive(connection)
        with self._lock:
            self.requests.append(request)
        if self._tunnels is not None and request.method == "CONNECT":
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            host = self._tunnels(request.target.rpartition(":")[0])
            with host.wrap_socket(connection, server_side=True) as stream:
                return self._answer(stream)
        with self._lock:
            scripted = self._script.popleft() if self._script else None
        answer = self._otherwise(request) if scripted is None else scripted
        match answer:
            case Answer.RESET:
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            case Answer.CLOSE:
                pass
            case Answer.NEVER:
                self._stopped.wait()
            case _:
                connection.sendall(answer)
                return b"Connection: close" not in answer
        return False

    def _receive(self, connection: socket.socket) -> Request:
        with connection.makefile("rb", buffering=0) as stream:
            with self._lock:
                self._idle |= set() if self._stopped.is_set() else {connection}
            try:
                first = b"" if self._stopped.is_set() else stream.readline()
            finally:
                with self._lock:
                    self._idle.discard(connection)
            if not first:
                raise EOFError
            method, target, _ = first.decode().split(" ", 2)
            headers: dict[str, str] = {}
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.decode().partition(":")
                before = headers.get(name.lower())
                value = value.strip()
                headers[name.lower()] = value if before is None else f"{before}, {value}"
            length = int(headers.get("content-length", 0))
            if headers.get("expect") == "100-continue":
                if self._refuses_early:
                    return Request(method, target, headers, b"")
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = b"".join(self._pieces(stream, length))
        return Request(method, target, headers, body)

    def _pieces(self, stream: Any, left: int) -> Iterator[bytes]:
        while left:
            piece = stream.read(min(left, 128 * 1024))
            if not piece:
                raise EOFError
            left -= len(piece)
            if self._keeps_bodies:
                yield piece
            if self._slow_seconds:
                self._stopped.wait(self._slow_seconds)


def kept_open(answer: bytes) -> bytes:
    """The answer, after which its connection stands."""
    return answer.replace(b"Connection: close\r\n", b"")


def http_answer(status: int, body: str = "", **headers: str) -> bytes:
    """A whole HTTP answer; ``_`` in a header's name stands for ``-``."""
    content = body.encode()
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content
