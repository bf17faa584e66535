"""A bucket behind a real socket, for readers: pages of 1,000 keys, and every request counted."""

import hashlib
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from shipper.ports import PortError
from tests.fakes.archive import Kept

BUCKET = "bucket"
PAGE = 1000
_SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class WireArchive:
    """The server. ``requests`` has the operation of each, in order; ``errors`` are by key."""

    def __init__(self, objects: dict[str, Kept]) -> None:
        self.objects = objects
        self.errors: dict[str, PortError] = {}
        self.requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, target: str) -> tuple[int, bytes]:
        """Status and body of what is asked."""
        parts = urlsplit(target)
        key = unquote(parts.path).removeprefix(f"/{BUCKET}").removeprefix("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if not key:
            self.requests.append("ListObjectsV2")
            return 200, self._page(query).encode()
        self.requests.append("GetObject")
        error = self.errors.get(key)
        if error is None and key not in self.objects:
            error = PortError("NoSuchKey", key, status=404)
        if error is not None:
            told = f"<Error><Code>{error.code}</Code><Message>{escape(error.detail)}</Message>"
            return error.status, f"{told}</Error>".encode()
        return 200, self.objects[key].body

    def _page(self, query: dict[str, str]) -> str:
        prefix = query.get("prefix", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and key > after]
        more, last = len(keys) > PAGE, keys[:PAGE][-1] if keys else ""
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>"
        found = "".join(map(self._entry, keys[:PAGE]))
        return (
            f'<ListBucketResult xmlns="{_SPACE}"><Name>{BUCKET}</Name>'
            f"<KeyCount>{min(PAGE, len(keys))}</KeyCount><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token if more else ''}{found}"
            "</ListBucketResult>"
        )

    def _entry(self, key: str) -> str:
        kept = self.objects[key]
        at = datetime.fromtimestamp(kept.modified_at, UTC)
        etag = hashlib.md5(kept.body, usedforsecurity=False).hexdigest()
        return (
            f"<Contents><Key>{escape(quote(key))}</Key><Size>{len(kept.body)}</Size>"
            f"<LastModified>{at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
            f"<ETag>&quot;{etag}&quot;</ETag></Contents>"
        )


def _handler(archive: WireArchive) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = archive.answer(self.path)
            self.send_response(status)
            self.send_header("x-amz-request-id", "R-1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            pass

    return Handler
