"""A bucket behind a real socket whose answers go wrong at any byte: S3 over HTTP for tests.

What is asked is carried out by a ``FakeStore``, with S3's rules and codes, and written as S3
writes it. A ``Mishap`` says where the next request of an operation breaks, and whether the bucket
had carried it out by then. Every connection serves one request.
"""

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from shipper.core.types import ChecksumAlgorithm, ETag, ObjectKey, Receipt, UploadId
from shipper.ports import PortError
from tests.fakes.store import FakeStore

BUCKET = "bucket"
_RESET = struct.pack("ii", 1, 0)
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


class At(Enum):
    """Where a connection breaks. Before the last byte of a body nothing can have been done."""

    ACCEPTED = "before the request line is read"
    HEADERS = "in the request's headers"
    CONTINUE = "before 100 Continue"
    BODY_START = "at the first byte of the body"
    BODY_MIDDLE = "in the middle of the body"
    BODY_END = "before the last byte of the body"
    SILENCE = "before the status line"
    STATUS = "in the status line"
    ANSWER_HEADERS = "in the answer's headers"
    ANSWER_BODY = "in the answer's body"


@dataclass(frozen=True, slots=True)
class Broken:
    """The connection ends here: by a reset, or in good order."""

    at: At
    is_reset: bool = True


@dataclass(frozen=True, slots=True)
class Instead:
    """Another answer than the bucket's; empty for a silence until the client gives up."""

    answer: bytes


@dataclass(frozen=True, slots=True)
class Flipped:
    """One bit of the body arrives otherwise than it was sent."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """What becomes of a request of ``operation``; of the next one, or ``for_ever`` of all."""

    operation: str
    what: Broken | Instead | Flipped
    is_carried_out: bool = False
    for_ever: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    method: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def operation(self) -> str:
        match self.method, "uploadId" in self.query:
            case "GET", _:
                return "ListObjectsV2"
            case "DELETE", _:
                return "AbortMultipartUpload"
            case "PUT", is_part:
                return "UploadPart" if is_part else "PutObject"
            case _, is_end:
                return "CompleteMultipartUpload" if is_end else "CreateMultipartUpload"


class _Over(Exception):
    """This connection has had its mishap."""


class WireStore:
    """The server; ``bucket`` carries out. ``_lock`` guards the mishaps and what was asked."""

    def __init__(self, bucket: FakeStore) -> None:
        self.bucket = bucket
        self.asked: list[str] = []
        """The operations whose requests began to arrive, in order."""
        self.met: list[Mishap] = []
        self._mishaps: list[Mishap] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        with socket.create_connection(self._listener.getsockname()):
            pass  # wakes accept, which has no other end
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def begin(self, bucket: FakeStore, *mishaps: Mishap) -> None:
        """Another bucket and nothing asked yet."""
        with self._lock:
            self.bucket, self._mishaps, self.asked, self.met = bucket, list(mishaps), [], []

    def _mishap(self, is_one: Callable[[Mishap], bool]) -> Mishap | None:
        with self._lock:
            found = next((each for each in self._mishaps if is_one(each)), None)
            if found is not None:
                self.met.append(found)
                if not found.for_ever:
                    self._mishaps.remove(found)
        return found

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopped.is_set():
                connection.close()
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with connection, contextlib.suppress(OSError, EOFError, _Over):
            self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if mishap := self._mishap(lambda each: each.what == Broken(At.ACCEPTED)):
            self.asked.append(mishap.operation)
            _break(connection, Broken(At.ACCEPTED))
        with connection.makefile("rb", buffering=0) as stream:
            asked = _asked(stream)
            self.asked.append(asked.operation)
            mishap = self._mishap(lambda each: each.operation == asked.operation)
            what = mishap.what if mishap is not None else None
            body = _received(connection, stream, asked, what)
        if mishap is None or mishap.is_carried_out or isinstance(what, Flipped):
            answer = self._carried_out(asked, body)
        else:
            answer = _error(PortError("InternalError", "not carried out", status=500))
        match what:
            case Instead(b""):
                connection.recv(1)  # the client's end
            case Instead(other):
                connection.sendall(other)
            case Broken(at):
                connection.sendall(answer[: _cut(answer, at)])
                _break(connection, what)
            case _:
                connection.sendall(answer)

    def _carried_out(self, asked: _Asked, body: bytes) -> bytes:
        try:
            return getattr(self, f"_{asked.operation}")(asked, body)  # type: ignore[no-any-return]
        except PortError as error:
            return _error(error)

    # The operations, as S3 answers them.

    def _PutObject(self, asked: _Asked, body: bytes) -> bytes:  # noqa: N802  (S3's name)
        name, checksum = self._checksum(asked)
        stored = self.bucket.put(
            ObjectKey(asked.key),
            body,
            checksum=checksum,
            metadata=_metadata(asked),
            overwrites="if-none-match" not in asked.headers,
        ).result()
        return _whole(200, "", ETag=f'"{stored.etag}"', **({name: checksum} if checksum else {}))

    def _CreateMultipartUpload(self, asked: _Asked, _: bytes) -> bytes:  # noqa: N802
        new = self.bucket.create_upload(ObjectKey(asked.key), metadata=_metadata(asked)).result()
        return _document(
            "InitiateMultipartUploadResult",
            f"<Bucket>{BUCKET}</Bucket><Key>{asked.key}</Key><UploadId>{new.upload_id}</UploadId>",
        )

    def _UploadPart(self, asked: _Asked, body: bytes) -> bytes:  # noqa: N802
        name, checksum = self._checksum(asked)
        etag, _ = self.bucket.upload_part(
            ObjectKey(asked.key),
            UploadId(asked.query["uploadId"]),
            int(asked.query["partNumber"]),
            body,
            checksum=checksum,
        ).result()
        return _whole(200, "", ETag=f'"{etag}"', **({name: checksum} if checksum else {}))

    def _CompleteMultipartUpload(self, asked: _Asked, body: bytes) -> bytes:  # noqa: N802
        text, (name, checksum) = body.decode(), self._checksum(asked)
        element = name.replace("x-amz-checksum-", "Checksum").replace("crc", "CRC")
        element = element.replace("nvme", "NVME").replace("sha", "SHA")
        parts = [
            (int(_in(part, "PartNumber")), _in(part, "ETag"), _in(part, element))
            for part in re.findall("<Part>.*?</Part>", text, re.DOTALL)
        ]
        size = int(asked.headers["x-amz-mp-object-size"])
        receipts = [
            Receipt(number, 0, 0, size if number == parts[0][0] else 0, ETag(etag), given)
            for number, etag, given in parts
        ]
        stored = self.bucket.complete_upload(
            ObjectKey(asked.key), UploadId(asked.query["uploadId"]), receipts, checksum=checksum
        ).result()
        echo = f"<{element}>{checksum}</{element}>" if checksum else ""
        return _document(
            "CompleteMultipartUploadResult",
            f"<Bucket>{BUCKET}</Bucket><Key>{asked.key}</Key><ETag>{stored.etag}</ETag>{echo}",
        )

    def _ListObjectsV2(self, asked: _Asked, _: bytes) -> bytes:  # noqa: N802
        listed = self.bucket.page(asked.query.get("prefix", ""), limit=1)
        found = "".join(
            f"<Contents><Key>{each.key}</Key><Size>{each.size_bytes}</Size>"
            f"<ETag>&quot;{each.etag}&quot;</ETag></Contents>"
            for each in listed
        )
        return _document("ListBucketResult", f"<Name>{BUCKET}</Name>{found}")

    def _AbortMultipartUpload(self, asked: _Asked, _: bytes) -> bytes:  # noqa: N802
        self.bucket.abort_upload(ObjectKey(asked.key), UploadId(asked.query["uploadId"]))
        return _whole(204, "")

    def _checksum(self, asked: _Asked) -> tuple[str, str]:
        algorithm = self.bucket.algorithm
        is_md5 = algorithm is ChecksumAlgorithm.MD5
        name = "content-md5" if is_md5 else f"x-amz-checksum-{algorithm.value}"
        return name, asked.headers.get(name, "")


def _asked(stream: Any) -> _Asked:
    if not (first := stream.readline()):
        raise EOFError  # a connection that was opened, and not needed then
    method, target, _ = first.decode().split(" ", 2)
    headers = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    key = unquote(parts.path).removeprefix(f"/{BUCKET}").removeprefix("/")
    return _Asked(method, key, query, headers)


def _received(connection: socket.socket, stream: Any, asked: _Asked, what: object) -> bytes:
    """The body, as far as the mishap lets it come."""
    length = int(asked.headers.get("content-length", "0"))
    at = what.at if isinstance(what, Broken) else None
    if at in (At.ACCEPTED, At.HEADERS, At.CONTINUE):
        _break(connection, what)
    if asked.headers.get("expect") == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    taken = {At.BODY_START: 1, At.BODY_MIDDLE: length // 2, At.BODY_END: length - 1}
    wanted = max(0, taken[at]) if at in taken else length
    body = bytearray()
    while len(body) < wanted:
        piece = stream.read(min(wanted - len(body), 1024**2))
        if not piece:
            raise EOFError
        body += piece
    if at in taken:
        _break(connection, what)
    if isinstance(what, Flipped):
        body[len(body) // 2] ^= 0x10
    return bytes(body)


def _break(connection: socket.socket, what: object) -> None:
    if isinstance(what, Broken) and what.is_reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    raise _Over


def _cut(answer: bytes, at: At) -> int:
    """How much of the answer gets out."""
    head = answer.index(b"\r\n\r\n") + 4
    return {
        At.SILENCE: 0,
        At.STATUS: 7,
        At.ANSWER_HEADERS: head // 2,
        At.ANSWER_BODY: head + (len(answer) - head) // 2,
    }[at]


def _in(text: str, element: str) -> str:
    found = re.search(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
    return found[1].replace("&quot;", "").strip('"') if found else ""


def _metadata(asked: _Asked) -> dict[str, str]:
    mark = "x-amz-meta-"
    return {name[len(mark) :]: v for name, v in asked.headers.items() if name.startswith(mark)}


def _document(root: str, content: str) -> bytes:
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return _whole(200, f'{_XML}<{root} xmlns="{space}">{content}</{root}>')


def _error(error: PortError) -> bytes:
    told = f"<Code>{error.code}</Code><Message>{escape(error.detail)}</Message>"
    return _whole(error.status or 400, f"{_XML}<Error>{told}</Error>")


def _whole(status: int, body: str, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "x-amz-request-id: R-1"]
    lines += [f"Content-Length: {len(body.encode())}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body]).encode()
