"""A million shipments and a million objects: what ``shipper audit`` takes.

``python -m tests.performance.audit_million [ROWS ...]`` makes a journal of so many finished rows,
and a bucket that lists as many objects, page by page, from another process. It prints the audit's
peak resident memory, its CPU and wall seconds, and what it found: one object is missing, one is
altered, one is unknown. The times have the interpreter's start in them.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from shipper.cli.main import main as shipper
from shipper.journal.database import Database
from shipper.mock.imds import Facts, MockImds

INSTANCE = "i-0123456789abcdef0"
PREFIX = f"logs/app/{INSTANCE}/"
DAYS = 30
PAGE = 1000
MISSING, ALTERED, UNKNOWN = 11, 12, 13
"""By their numbers; the unknown one stands behind it."""
BATCH = 50_000
INSERT = """
INSERT INTO shipments (watch, path, stem, inode, head_length, head_digest, generation, raw_start,
    raw_end, mtime_ns, tail_digest, key, compression, sealed_because, promised_at, state, etag,
    stored_bytes, finished_at, is_live, ctime_ns, place, since_at, destination)
VALUES ('app', ?, ?, ?, 4, 'head', 'g1', 0, 100, ?, 'tail', ?, 'zstd', 'quiet', ?, 'DONE', ?, ?,
    ?, 0, 0, '', ?, '')
"""


def key_of(number: int, rows: int) -> str:
    """The keys are in the order of their numbers."""
    day, log = divmod(number, -(-rows // DAYS))
    date = f"202611{1 + day:02}"
    return f"{PREFIX}dt=2026-11-{1 + day:02}/{log:06}.log.{date}T000000Z.{number:012x}.zst"


def etag_of(number: int) -> str:
    return f"{number:032x}"


def make_journal(path: str, rows: int) -> None:
    """All of them shipped within the last day."""
    now = time.time()
    with closing(Database.open(path, now=now, set_aside=None)) as database:
        for first in range(0, rows, BATCH):
            with database.transaction() as run:
                for number in range(first, min(rows, first + BATCH)):
                    day, log = divmod(number, -(-rows // DAYS))
                    name, at = b"%06d.log" % log, now - 86_400 + number / rows
                    facts = b"%b-202611%02d" % (name, 1 + day), name, number, int(at * 1e9)
                    stored = key_of(number, rows), at, etag_of(number), 1000 + number % 9, at, at
                    run(INSERT, (*facts, *stored))


class Lister(BaseHTTPRequestHandler):
    """ListObjectsV2 and nothing else, of objects that are made as they are listed."""

    protocol_version = "HTTP/1.1"
    rows = 0

    def do_GET(self) -> None:
        """One page, or one object."""
        asked = {name: one[0] for name, one in parse_qs(urlsplit(self.path).query).items()}
        prefix, after = asked["prefix"], asked.get("start-after", "")
        most = int(asked.get("max-keys", PAGE))
        first = int(after.rsplit(".", 2)[1], 16) + 1 if after else 0
        if not PREFIX.startswith(prefix):
            first = int(prefix.rsplit(".", 2)[1], 16)
        numbers = range(first, min(self.rows, first + most))
        text = "".join(map(self._entry, numbers))
        is_more = str(first + most < self.rows).lower()
        body = (
            "<ListBucketResult><Name>my-logs</Name><EncodingType>url</EncodingType>"
            f"<IsTruncated>{is_more}</IsTruncated>{text}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("x-amz-request-id", "R")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _entry(self, number: int) -> str:
        key = key_of(number, self.rows)
        found = "" if number == MISSING else _entry(key, 1000 + number % 9, number)
        if number == ALTERED:
            found = _entry(key, 5, number)
        return found + (_entry(f"{key}.new", 7, number) if number == UNKNOWN else "")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def _entry(key: str, size: int, number: int) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>2099-11-29T12:00:00.000Z</LastModified>"
        f"<ETag>&quot;{etag_of(number)}&quot;</ETag><Size>{size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def serve(rows: int) -> None:
    """The bucket and the metadata service, until it is ended."""
    Lister.rows = rows
    bucket = ThreadingHTTPServer(("127.0.0.1", 0), Lister)
    with MockImds(facts=Facts(instance_id=INSTANCE, region="us-east-1")) as imds, bucket:
        print(json.dumps([f"http://127.0.0.1:{bucket.server_port}", imds.url]), flush=True)
        bucket.serve_forever()


def audit(config: str) -> None:
    """The audit, in this process; what it took goes to standard error."""
    began, code = time.monotonic(), shipper(["audit", "--json", "--config", config])
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    took = [code, used.ru_maxrss / 1024, used.ru_utime + used.ru_stime, seconds]
    print(json.dumps(took), file=sys.stderr)


def measure(rows: int) -> None:
    """Print what an audit of so many rows took."""
    again = [sys.executable, "-m", "tests.performance.audit_million"]
    with tempfile.TemporaryDirectory() as top:
        (Path(top) / "state").mkdir()
        (Path(top) / "logs").mkdir()
        make_journal(f"{top}/state/journal.db", rows)
        with subprocess.Popen([*again, "serve", str(rows)], stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            url, imds = json.loads(server.stdout.readline())
            config = Path(top) / "shipper.toml"
            config.write_text(
                f'state_directory = "{top}/state"\n[destination]\nbucket = "my-logs"\n'
                f'endpoint_url = "{url}"\naddressing_style = "path"\n'
                f'[[watch]]\nname = "app"\ndirectory = "{top}/logs"\n'
            )
            environment = os.environ | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": imds}
            done = subprocess.run(
                [*again, "audit", str(config)], env=environment, capture_output=True, check=True
            )
            server.terminate()
    if not done.stdout:
        sys.exit(done.stderr.decode())
    document = json.loads(done.stdout)
    code, peak, cpu, wall = json.loads(done.stderr.splitlines()[-1])
    print(
        f"{rows:9,} rows, {document['objects']:9,} objects: {peak:6.1f} MiB at most, "
        f"{cpu:6.1f} s CPU, {wall:6.1f} s; exit {code}, {document['totals']}, "
        f"{ {name: one for name, one in document['counts'].items() if one} }"
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", rows]:
            serve(int(rows))
        case ["audit", config]:
            audit(config)
        case given:
            for one in given or ["1000", "100000", "1000000"]:
                measure(int(one))
