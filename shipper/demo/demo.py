"""The demo: a daemon, an S3 server and a metadata service on one machine.

Programs write logs, and a rotator rotates them. The daemon ships them, is killed in the middle of
an upload, and is started again. At the end every object is compared with what was written, and
one log is read back as anybody reads it.
"""

import contextlib
import gzip
import hashlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import zstandard

from shipper.core.manifests import name_from_key
from shipper.core.types import RoleCredentials, State
from shipper.demo.children import Child, parts_sent, start_imds, start_s3
from shipper.demo.machine import LogWriter, Rotator
from shipper.demo.reading import read_back
from shipper.edges.http_client.transfer import Limits
from shipper.edges.s3.session import client_for
from shipper.journal.journal import Journal
from shipper.ports import PortError

REGION = "eu-central-1"
BUCKET = "shipper-demo"
BIG_LOG_BYTES = 120_000_000
ROTATIONS = 6
ROTATION_SECONDS = 4.0
CREDENTIALS_LIFE = "60s"
FINISH_SECONDS = 90.0
WHOLE_OBJECTS = Limits(answer_seconds=60.0, answer_bytes=2**30)
CONFIGURATION = """\
state_directory = "{directory}/state"
[destination]
bucket = "{bucket}"
prefix = "demo/"
endpoint_url = "{s3}"
addressing_style = "path"
[[watch]]
name = "app"
directory = "{directory}/logs"
settle = "1s"
[scan]
interval = "5s"
[uploads]
part_size = "5MiB"
[log]
level = "debug"
format = "json"
"""


def show(*, keep: bool) -> int:
    """Play it and print the result; 1 if a single byte is missing or doubled.

    With ``keep`` the directory and the servers stay for exploring.
    """
    if find_spec("moto") is None:
        hint = "pip install 's3-log-shipper[demo]'"
        print(f"shipper demo needs an S3 server: {hint}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)  # so that the children are ended as by Ctrl-C
    demo = _Demo()
    try:
        result = demo.play()
    except BaseException:
        demo.end()
        print(f"what happened is in {demo.directory}", file=sys.stderr)
        raise
    demo.show(result)
    if keep:
        demo.explain()
    else:
        demo.end()
        shutil.rmtree(demo.directory)
    return 0 if result["differences"] == 0 else 1


def _interrupted(number: int, _: Any) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


class _Demo:
    def __init__(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="shipper-demo-")
        self._started = time.monotonic()
        self._children: list[Child] = []
        self._daemons: list[Child] = []
        self._writers: list[LogWriter] = []
        for name in ("logs/zipped", "state"):
            os.makedirs(os.path.join(self.directory, name))

    def play(self) -> dict[str, Any]:
        """Play it to the end; the figures."""
        s3 = self._start_servers()
        daemon = self._start_daemon("daemon.log")
        rotator = Rotator(os.path.join(self.directory, "logs"), self.directory)
        self._begin_writing()
        self._say(f"{len(self._writers)} programs write logs; rotated by {rotator.name}")
        killed_with = None
        for number in range(1, ROTATIONS + 1):
            self._pause(ROTATION_SECONDS)
            if number == 2:
                self._writers[0].burst(BIG_LOG_BYTES)
            rotator.rotate()
            self._say(f"rotation {number} of {ROTATIONS}: {rotator.rotated_files} files so far")
            if number == 2:
                killed_with = self._kill_in_mid_upload(daemon)
                daemon = self._start_daemon("daemon-2.log")
        for writer in self._writers[1:]:
            writer.stop()
        rotator.rotate()
        self._wait_until_shipped(rotator)
        code = daemon.stop()
        self._children.remove(daemon)
        sent = parts_sent(s3)
        compared = self._compared()
        batch = self._writers[0]
        self._say("the log whose upload was killed, for whoever may read the bucket:")
        compared["differences"] += read_back(
            self.directory, "batch.log", batch.sha256.hexdigest(), self._say
        )
        return {
            "files rotated": rotator.rotated_files,
            **compared,
            "credentials refreshed": self._refreshes(),
            "parts stored when it was killed": killed_with,
            "parts sent": sum(sent.values()),
            "parts re-sent after the kill": sum(sent.values()) - len(sent),
            "daemon's exit code": code,
            "seconds": round(time.monotonic() - self._started, 1),
        }

    def _start_servers(self) -> Child:
        """Start the S3 server, which is returned, and all else that the daemon needs."""
        s3, self._s3_url = start_s3(self.directory)
        self._children.append(s3)
        self._s3 = _client(self._s3_url)
        place = {"LocationConstraint": REGION}
        self._s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
        self._say(f"an S3 server listens at {self._s3_url}")
        imds, self._imds_url = start_imds(self.directory, "--lifetime", CREDENTIALS_LIFE)
        self._children.append(imds)
        self._say(f"a metadata service with {CREDENTIALS_LIFE} credentials at {self._imds_url}")
        text = CONFIGURATION.format(directory=self.directory, bucket=BUCKET, s3=self._s3_url)
        Path(self._path("shipper.toml")).write_text(text, encoding="utf-8")
        return s3

    def _begin_writing(self) -> None:
        rates = ("batch", 0), ("web", 400_000), ("caf\u00e9", 50_000), ("zipped/api", 100_000)
        self._writers = [
            LogWriter(self._path(f"logs/{name}.log"), bytes_per_second=rate, seed=seed)
            for seed, (name, rate) in enumerate(rates)
        ]
        for writer in self._writers[1:]:
            writer.start()

    def _start_daemon(self, output: str) -> Child:
        daemon = Child(
            ["shipper", "run", "--config", self._path("shipper.toml")],
            self._path(output),
            environment={"AWS_EC2_METADATA_SERVICE_ENDPOINT": self._imds_url},
        )
        self._children.append(daemon)
        self._daemons.append(daemon)
        self._say(f"the daemon runs, pid {daemon.process.pid}")
        return daemon

    def _kill_in_mid_upload(self, daemon: Child) -> int:
        """SIGKILL once some parts are stored and some are not; how many were stored."""
        deadline = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline and daemon.process.poll() is None:
            stored = self._stored_parts()
            if stored >= 2:
                daemon.kill()
                self._children.remove(daemon)
                self._say(f"killed the daemon with SIGKILL after part {stored} of an upload")
                return self._stored_parts()
            self._pause(0.01)
        raise RuntimeError("no multipart upload was seen: " + self._path("daemon.log"))

    def _stored_parts(self) -> int:
        with self._journal() as journal:
            rows = journal.unfinished(10) if journal else []
            return max((len(journal.receipts(row)) for row in rows), default=0)

    def _wait_until_shipped(self, rotator: Rotator) -> None:
        self._say("waiting until every file is in S3, and the credentials have been refreshed")
        deadline, files = time.monotonic() + FINISH_SECONDS, 0
        while time.monotonic() < deadline:
            with self._journal() as journal:
                totals = journal.figures.totals() if journal is not None else []
                is_idle = journal is not None and not journal.unfinished(1)
            files = sum(total.files for total in totals if total.state is State.DONE)
            if files >= rotator.rotated_files and is_idle and self._refreshes():
                return
            self._pause(0.2)
        self._say(f"only {files} of {rotator.rotated_files} files arrived in time")

    @contextlib.contextmanager
    def _journal(self) -> Iterator[Any]:
        """The daemon's journal; None while there is none."""
        try:
            journal = Journal.open_read_only(self._path("state/journal.db"))
        except PortError:
            yield None
            return
        with contextlib.closing(journal):
            yield journal

    def _refreshes(self) -> int:
        """How often the daemon took credentials that were not its first."""
        count = 0
        for daemon in self._daemons:
            taken = sum('"credentials.refreshed"' in line for line in daemon.lines())
            count += max(0, taken - 1)
        return count

    def _compared(self) -> dict[str, Any]:
        """Everything in the bucket against everything that was written."""
        objects = _objects(self._s3)
        differences, raw_bytes = 0, 0
        for writer in self._writers:
            name = os.path.basename(writer.path).removesuffix(".log")
            # logrotate sets a log aside as "NAME-….backup" that its writer began too early.
            its_own = re.compile(rf"/{re.escape(name)}\.log[-.]")
            mine = [found for found in objects if its_own.search(unquote(found["source-path"]))]
            sha256, length = _digest_of(self._s3, mine)
            raw_bytes += length
            if sha256 != writer.sha256.hexdigest():
                differences += 1
                self._say(f"DIFFERENT: {name}: {writer.written_bytes} written, {length} in S3")
        with self._journal() as journal:
            states = {total.state.value: total.files for total in journal.figures.totals()}
        return {
            "differences": differences,
            "objects": len(objects),
            "compressed copies recognised": states.get("DUPLICATE", 0),
            "raw bytes": raw_bytes,
            "stored bytes": sum(found["size"] for found in objects),
        }

    def show(self, result: dict[str, Any]) -> None:
        print()
        for name in [name for name in result if name != "differences"]:
            print(f"  {name:<34} {result[name]:>14,}")
        verdict = "every byte, once" if not result["differences"] else "THERE ARE DIFFERENCES"
        print(f"  {'objects against what was written':<34} {verdict:>14}\n")

    def explain(self) -> None:
        """What ``--keep`` left behind, and how to use it."""
        pids = " ".join(str(child.process.pid) for child in self._children)
        print(f"kept: {self.directory}, the S3 server and the metadata service. To go on:")
        print(f"  export AWS_EC2_METADATA_SERVICE_ENDPOINT={self._imds_url}")
        print(f"  export SHIPPER_CONFIG={self._path('shipper.toml')}")
        command = os.path.join(os.path.dirname(sys.executable), "shipper")
        print(f"  alias shipper={command}")
        print("  shipper status; shipper plan; shipper check; shipper run")
        print(f"  kill {pids}; rm -r {self.directory}      # when you have seen enough")

    def end(self) -> None:
        """End every child and writer."""
        for writer in self._writers:
            if writer.is_alive():
                writer.stop()
        for child in reversed(self._children):
            child.stop()

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _pause(self, seconds: float) -> None:
        with contextlib.suppress(Exception):
            self._children[0].process.wait(seconds)

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:5.1f} s  {text}", flush=True)


def _client(url: str) -> Any:
    any_will_do = RoleCredentials("demo", "demo", "", expires_at=0.0)
    return client_for(
        "s3",
        lambda: any_will_do,
        region=REGION,
        endpoint_url=url,
        limits=WHOLE_OBJECTS,
        is_direct=True,
    )


def _objects(s3: Any) -> list[dict[str, Any]]:
    """Every log's object with what its metadata says about the source, oldest first."""
    found = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for listed in page.get("Contents", []):
            if name_from_key(listed["Key"]) is not None:
                continue
            head = s3.head_object(Bucket=BUCKET, Key=listed["Key"])
            found.append(head["Metadata"] | {"key": listed["Key"], "size": listed["Size"]})
    return sorted(found, key=lambda one: (float(one["source-mtime"]), int(one["raw-start"])))


def _digest_of(s3: Any, objects: list[dict[str, Any]]) -> tuple[str, int]:
    """SHA-256 and length of the decoded objects, one after the other."""
    sha256, length = hashlib.sha256(), 0
    for found in objects:
        body = s3.get_object(Bucket=BUCKET, Key=found["key"])["Body"]
        with _decoded(found["key"], body) as stream:
            while piece := stream.read(1_000_000):
                sha256.update(piece)
                length += len(piece)
    return sha256.hexdigest(), length


def _decoded(key: str, body: Any) -> Any:
    """The decompressed object, where possible by libraries that shipper does not use."""
    if key.endswith(".zst"):
        return zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True)
    return gzip.open(body)
