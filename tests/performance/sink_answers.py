"""As much S3 as the contestants need: what a request is answered, and what came in.

Signatures are not checked and bodies are not hashed: an ETag is the client's own ``Content-MD5``
where it sent one (rclone compares), else a number; checksum headers are echoed. Buckets need no
creating. Nothing is kept: a HEAD finds nothing, and a listing is empty.
"""

import base64
import re
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

CHECKSUM = "x-amz-checksum-"
NAMES = {"crc64nvme": "CRC64NVME", "crc32": "CRC32", "crc32c": "CRC32C", "sha256": "SHA256"}
_REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 404: "Not Found"}
_PART_NUMBER = re.compile(rb"<PartNumber>\s*(\d+)\s*</PartNumber>")
_HEAD = (
    "HTTP/1.1 {status} {reason}\r\nx-amz-request-id: BENCH0000000000\r\n"
    "x-amz-bucket-region: us-east-1\r\nContent-Length: {length}\r\n"
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its body; the names of its headers are in lower case."""

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


class Account:
    """What came in since the last report: requests by kind, and the bytes of objects and parts."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.stored_bytes = 0
        self._number = 0

    def report(self) -> dict[str, object]:
        """The sums so far; they begin anew."""
        told = {"requests": dict(self.requests), "stored_bytes": self.stored_bytes}
        self.requests.clear()
        self.stored_bytes = 0
        return told

    def answer(self, request: Request, size_bytes: int, body: bytes) -> Answer:
        """Count the request, and say what S3 would."""
        self._number += 1
        match request.method:
            case "PUT" if request.key:
                return self._put(request, size_bytes)
            case "POST":
                return self._post(request, body)
            case "GET" | "HEAD" if request.key:
                self.requests["HeadObject"] += 1
                return Answer(404)
            case "GET" if "location" in request.query:
                self.requests["GetBucketLocation"] += 1
                return Answer(body=b"<LocationConstraint>us-east-1</LocationConstraint>")
            case "GET":
                return self._list(request)
            case method:
                self.requests[f"{method} bucket" if not request.key else method] += 1
                return Answer(204 if method == "DELETE" else 200)

    def _put(self, request: Request, size_bytes: int) -> Answer:
        digest = request.headers.get("content-md5")
        etag = base64.b64decode(digest).hex() if digest else f"{self._number:032x}"
        self.requests["UploadPart" if "uploadId" in request.query else "PutObject"] += 1
        self.stored_bytes += size_bytes
        return Answer(headers={"ETag": f'"{etag}"', **_echo(request)})

    def _post(self, request: Request, body: bytes) -> Answer:
        if "uploads" in request.query:
            self.requests["CreateMultipartUpload"] += 1
            upload = f"<UploadId>upload-{self._number}</UploadId>"
            return _xml("InitiateMultipartUploadResult", request, upload)
        self.requests["CompleteMultipartUpload"] += 1
        named = [int(number) for number in _PART_NUMBER.findall(body)]
        if named != list(range(1, len(named) + 1)) or not named:
            return Answer(400, b"<Error><Code>InvalidPart</Code><Message/></Error>")
        checksums = "".join(
            f"<Checksum{NAMES[name.removeprefix(CHECKSUM)]}>{value}"
            f"</Checksum{NAMES[name.removeprefix(CHECKSUM)]}>"
            for name, value in _echo(request).items()
        )
        etag = f'<ETag>"{self._number:032x}-{len(named)}"</ETag>'
        return _xml("CompleteMultipartUploadResult", request, f"{etag}{checksums}")

    def _list(self, request: Request) -> Answer:
        self.requests["ListObjectsV2"] += 1
        prefix = escape(request.query.get("prefix", ""))
        most = escape(request.query.get("max-keys", "1000"))
        return Answer(
            body=(
                f"<ListBucketResult><Name>{request.bucket}</Name><Prefix>{prefix}</Prefix>"
                f"<KeyCount>0</KeyCount><MaxKeys>{most}</MaxKeys><IsTruncated>false</IsTruncated>"
                "</ListBucketResult>"
            ).encode()
        )


def request_of(head: bytes) -> Request:
    """The request whose head this is, without the empty line that ends it."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    parts = urlsplit(target)
    bucket, _, key = parts.path.removeprefix("/").partition("/")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    found = parse_qs(parts.query, True) if parts.query else {}
    query = {name: values[0] for name, values in found.items()}
    return Request(method, bucket, unquote(key), query, headers)


def wire(answer: Answer, method: str) -> bytes:
    """The answer to ``method`` as it is sent."""
    length = len(answer.body)
    head = _HEAD.format(status=answer.status, reason=_REASONS[answer.status], length=length)
    more = {"Content-Type": "application/xml"} if answer.body else {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (more | answer.headers).items())
    return f"{head}{lines}\r\n".encode() + (b"" if method == "HEAD" else answer.body)


def _echo(request: Request) -> dict[str, str]:
    """The checksums that the client sent in headers."""
    return {
        name: value
        for name, value in request.headers.items()
        if name.startswith(CHECKSUM) and name.removeprefix(CHECKSUM) in NAMES
    }


def _xml(name: str, request: Request, content: str) -> Answer:
    where = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key>"
    return Answer(body=f"<{name}>{where}{content}</{name}>".encode())
