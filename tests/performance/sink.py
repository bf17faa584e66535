"""``python -m tests.performance.sink PEM``: an S3 that swallows, and remembers only sizes.

TLS 1.3 with AES-128-GCM for every client. It speaks as much S3 as the contestants need: PutObject,
multipart uploads, HEAD and listings, ``100 Continue``, chunked and aws-chunked bodies. Signatures
are not checked and bodies are not hashed: an ETag is the client's own ``Content-MD5`` where it
sent one (rclone compares), else a number; checksum headers are echoed. Buckets need no creating.

Prints its port; ends when its stdin does. ``GET /-/report`` answers, as JSON, what came in since
the last report: requests by kind, and bytes stored under keys. ``GET /-/away/SECONDS`` moves the
sink away: from then on every answer takes so long, as it does where a network is in between.
"""

import base64
import json
import re
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

READ_BYTES = 256 * 1024
HEAD_BYTES = 64 * 1024
PAGE = 1000
_CHECKSUM = "x-amz-checksum-"
_NAMES = {"crc64nvme": "CRC64NVME", "crc32": "CRC32", "crc32c": "CRC32C", "sha256": "SHA256"}
_PART_NUMBER = re.compile(rb"<PartNumber>\s*(\d+)\s*</PartNumber>")


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its body."""

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Gone(Exception):
    """The client closed the connection."""


class Stream:
    """Requests from one connection; a body is read and thrown away."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self._scratch = memoryview(bytearray(READ_BYTES))

    def head(self) -> list[str]:
        """The lines of a request's head; empty when the client has no more."""
        try:
            return self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        except Gone:
            return []

    def body(self, headers: dict[str, str]) -> tuple[int, bytes]:
        """How long the body was, and what of it a small one held."""
        if headers.get("expect", "").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            sent = self._chunks()
            return int(headers.get("x-amz-decoded-content-length", sent)), b""
        length = int(headers.get("content-length", 0))
        if "content-encoding" in headers and "x-amz-decoded-content-length" in headers:
            self._swallow(length)
            return int(headers["x-amz-decoded-content-length"]), b""
        if headers.get("content-type", "").endswith("xml") or length < HEAD_BYTES:
            return length, self._exactly(length)
        self._swallow(length)
        return length, b""

    def send(self, answer: bytes) -> None:
        """Write the answer."""
        self._connection.sendall(answer)

    def _chunks(self) -> int:
        total = 0
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            self._swallow(size + 2)
            total += size
        while self._until(b"\r\n"):
            pass
        return total

    def _until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            self._more()
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return found

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._more()
        found = bytes(self._buffer[:length])
        del self._buffer[:length]
        return found

    def _swallow(self, length: int) -> None:
        held = min(length, len(self._buffer))
        del self._buffer[:held]
        length -= held
        while length:
            count = self._connection.recv_into(self._scratch, min(length, READ_BYTES))
            if not count:
                raise Gone
            length -= count

    def _more(self) -> None:
        piece = self._connection.recv(HEAD_BYTES)
        if not piece:
            raise Gone
        self._buffer += piece


class Sink:
    """Sizes and counts; ``_lock`` guards all fields."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._stored_bytes = 0
        self._number = 0
        self._objects: dict[str, dict[str, tuple[int, str]]] = {}
        self._uploads: dict[str, dict[int, int]] = {}
        self._away_seconds = 0.0

    def wait(self) -> None:
        """What an answer takes that comes from away."""
        if self._away_seconds:
            time.sleep(self._away_seconds)

    def answer(self, request: Request, size_bytes: int, body: bytes) -> Answer:
        """Do what the request asks for."""
        with self._lock:
            if request.bucket == "-":
                return self._told(request.key)
            self._number += 1
            match request.method:
                case "PUT" if request.key:
                    return self._put(request, size_bytes)
                case "POST":
                    return self._post(request, body)
                case "GET" | "HEAD" if request.key:
                    return self._head(request)
                case "GET" if "location" in request.query:
                    self._requests["GetBucketLocation"] += 1
                    return Answer(body=b"<LocationConstraint>us-east-1</LocationConstraint>")
                case "GET":
                    return self._list(request)
                case method:
                    self._requests[f"{method} bucket" if not request.key else method] += 1
                    return Answer(204 if method == "DELETE" else 200)

    def _told(self, key: str) -> Answer:
        what, _, seconds = key.partition("/")
        if what == "away":
            self._away_seconds = float(seconds)
            return Answer()
        return self._report()

    def _report(self) -> Answer:
        found = {"requests": dict(self._requests), "stored_bytes": self._stored_bytes}
        self._requests, self._stored_bytes, self._objects = Counter(), 0, {}
        return Answer(body=json.dumps(found).encode())

    def _put(self, request: Request, size_bytes: int) -> Answer:
        digest = base64.b64decode(request.headers.get("content-md5", "")).hex()
        etag = digest or f"{self._number:032x}"
        upload_id = request.query.get("uploadId", "")
        if upload_id:
            self._requests["UploadPart"] += 1
            self._uploads[upload_id][int(request.query["partNumber"])] = size_bytes
        else:
            self._requests["PutObject"] += 1
            self._store(request, size_bytes, etag)
        return Answer(headers={"ETag": f'"{etag}"', **_echo(request)})

    def _post(self, request: Request, body: bytes) -> Answer:
        if "uploads" in request.query:
            self._requests["CreateMultipartUpload"] += 1
            upload_id = f"upload-{self._number}"
            self._uploads[upload_id] = {}
            return _xml(
                "InitiateMultipartUploadResult", request, f"<UploadId>{upload_id}</UploadId>"
            )
        self._requests["CompleteMultipartUpload"] += 1
        sizes = self._uploads.pop(request.query.get("uploadId", ""), {})
        named = [int(number) for number in _PART_NUMBER.findall(body)]
        if not named or any(number not in sizes for number in named):
            return Answer(400, b"<Error><Code>InvalidPart</Code><Message/></Error>")
        etag = f"{self._number:032x}-{len(named)}"
        self._store(request, sum(sizes[number] for number in named), etag)
        checksums = "".join(
            f"<Checksum{_NAMES[name.removeprefix(_CHECKSUM)]}>{value}"
            f"</Checksum{_NAMES[name.removeprefix(_CHECKSUM)]}>"
            for name, value in _echo(request).items()
        )
        return _xml("CompleteMultipartUploadResult", request, f'<ETag>"{etag}"</ETag>{checksums}')

    def _store(self, request: Request, size_bytes: int, etag: str) -> None:
        self._objects.setdefault(request.bucket, {})[request.key] = (size_bytes, etag)
        self._stored_bytes += size_bytes

    def _head(self, request: Request) -> Answer:
        self._requests["HeadObject"] += 1
        found = self._objects.get(request.bucket, {}).get(request.key)
        if found is None:
            return Answer(404)
        now = "Wed, 25 Nov 2026 00:00:00 GMT"
        headers = {"ETag": f'"{found[1]}"', "Content-Length": str(found[0]), "Last-Modified": now}
        return Answer(headers=headers)

    def _list(self, request: Request) -> Answer:
        self._requests["ListObjectsV2"] += 1
        prefix, after = (
            request.query.get("prefix", ""),
            request.query.get("continuation-token", ""),
        )
        most = int(request.query.get("max-keys", PAGE))
        objects = self._objects.get(request.bucket, {})
        keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
        page = keys[:most]
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{objects[key][0]}</Size>"
            f"<ETag>&quot;{objects[key][1]}&quot;</ETag>"
            "<LastModified>2026-11-25T00:00:00.000Z</LastModified></Contents>"
            for key in page
        )
        is_cut = len(keys) > len(page)
        more = (
            f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if is_cut else ""
        )
        return Answer(
            body=(
                f"<ListBucketResult><Name>{request.bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
                f"<KeyCount>{len(page)}</KeyCount><MaxKeys>{most}</MaxKeys>"
                f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>{more}{contents}"
                "</ListBucketResult>"
            ).encode()
        )


def _echo(request: Request) -> dict[str, str]:
    """The checksums that the client sent in headers."""
    return {
        name: value
        for name, value in request.headers.items()
        if name.removeprefix(_CHECKSUM) in _NAMES and name.startswith(_CHECKSUM)
    }


def _xml(name: str, request: Request, content: str) -> Answer:
    where = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key>"
    return Answer(body=f"<{name}>{where}{content}</{name}>".encode())


def _request(lines: list[str]) -> Request:
    method, target, _ = lines[0].split(" ", 2)
    parts = urlsplit(target)
    bucket, _, key = parts.path.removeprefix("/").partition("/")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    query = {name: values[0] for name, values in parse_qs(parts.query, True).items()}
    return Request(method, bucket, unquote(key), query, headers)


def _wire(answer: Answer, method: str) -> bytes:
    """The answer to ``method`` as it is sent."""
    reason = {200: "OK", 204: "No Content", 400: "Bad Request", 404: "Not Found"}[answer.status]
    headers = {
        "x-amz-request-id": "BENCH0000000000",
        "x-amz-bucket-region": "us-east-1",
        "Content-Length": str(len(answer.body)),
        **({"Content-Type": "application/xml"} if answer.body else {}),
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{n}: {v}" for n, v in headers.items())]
    body = b"" if method == "HEAD" else answer.body
    return "\r\n".join([*lines, "", ""]).encode() + body


def _serve(sink: Sink, connection: socket.socket, tls: ssl.SSLContext) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        with tls.wrap_socket(connection, server_side=True) as secured:
            stream = Stream(secured)
            while lines := stream.head():
                request = _request(lines)
                size_bytes, body = stream.body(request.headers)
                answer = sink.answer(request, size_bytes, body)
                sink.wait()
                stream.send(_wire(answer, request.method))
    except (OSError, Gone):
        return  # the client went away, which is its right


def main(pem: str) -> None:
    """Serve until stdin ends."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    sink = Sink()

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(sink, connection, tls), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
