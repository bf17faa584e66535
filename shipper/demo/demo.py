"""The demo: a daemon, an S3 server and a metadata service on one machine.

Programs write logs, and a rotator rotates them. The daemon ships them, is killed in the middle of
an upload, and is started again. At the end every object is compared with what was written.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from shipper.demo.children import Child
    from shipper.demo.machine import LogWriter, Rotator

BUCKET = "shipper-demo"
BIG_LOG_BYTES = 120_000_000
ROTATIONS = 6
ROTATION_SECONDS = 4.0
CREDENTIALS_LIFE = "60s"
FINISH_SECONDS = 90.0
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
    try:
        import moto.server  # noqa: F401  (only to say early that it is missing)
    except ImportError:
        print(
            "shipper demo needs an S3 server: pip install 's3-log-shipper[demo]'", file=sys.stderr
        )
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
        self._writers: list[LogWriter] = []
        self._is_terminal = sys.stdout.isatty()
        for name in ("logs/zipped", "state"):
            os.makedirs(os.path.join(self.directory, name))

    def play(self) -> dict[str, Any]:
        """Play it to the end; the figures."""
        from shipper.demo.children import parts_sent
        from shipper.demo.machine import Rotator

        s3 = self._start_servers()
        self._configure()
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
        return self._compared() | {
            "files rotated": rotator.rotated_files,
            "parts stored when it was killed": killed_with,
            "parts sent": sum(sent.values()),
            "parts re-sent after the kill": sum(sent.values()) - len(sent),
            "credentials refreshed": self._refreshes(),
            "daemon's exit code": code,
            "seconds": round(time.monotonic() - self._started, 1),
        }

    def _start_servers(self) -> "Child":
        """Start the metadata service and the S3 server, which is returned."""
        from shipper.demo.children import start_imds, start_s3

        s3, self._s3_url = start_s3(self.directory)
        self._children.append(s3)
        self._s3 = _client(self._s3_url)
        self._s3.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        self._say(f"an S3 server listens at {self._s3_url}")
        imds, self._imds_url = start_imds(self.directory, "--lifetime", CREDENTIALS_LIFE)
        self._children.append(imds)
        self._say(f"a metadata service with {CREDENTIALS_LIFE} credentials at {self._imds_url}")
        return s3

    def _configure(self) -> None:
        with open(self._path("shipper.toml"), "w", encoding="utf-8") as file:
            file.write(
                CONFIGURATION.format(directory=self.directory, bucket=BUCKET, s3=self._s3_url)
            )

    def _start_daemon(self, output: str) -> "Child":
        from shipper.demo.children import Child

        daemon = Child(
            ["shipper", "run", "--config", self._path("shipper.toml")],
            self._path(output),
            environment={"AWS_EC2_METADATA_SERVICE_ENDPOINT": self._imds_url},
        )
        self._children.append(daemon)
        self._say(f"the daemon runs, pid {daemon.process.pid}")
        return daemon

    def _begin_writing(self) -> None:
        from shipper.demo.machine import LogWriter

        self._writers = [
            LogWriter(self._path(f"logs/{name}.log"), bytes_per_second=concurrency, seed=seed)
            for seed, (name, concurrency) in enumerate(
                [("batch", 0), ("web", 400_000), ("caf\u00e9", 50_000), ("zipped/api", 100_000)]
            )
        ]
        for writer in self._writers[1:]:
            writer.start()

    def _kill_in_mid_upload(self, daemon: "Child") -> int:
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
            if journal is None:
                return 0
            return max((len(journal.receipts(row)) for row in journal.unfinished(10)), default=0)

    def _wait_until_shipped(self, rotator: "Rotator") -> None:
        from shipper.core.types import State

        deadline = time.monotonic() + FINISH_SECONDS
        files = 0
        while time.monotonic() < deadline:
            with self._journal() as journal:
                totals = journal.totals() if journal is not None else []
                is_idle = journal is not None and not journal.unfinished(1)
            files = sum(total.files for total in totals if total.state is State.DONE)
            self._say(f"{files} of {rotator.rotated_files} files are in S3", passing=True)
            if files >= rotator.rotated_files and is_idle and self._refreshes():
                return
            self._pause(0.2)
        self._say(f"only {files} of {rotator.rotated_files} files arrived in time")

    @contextlib.contextmanager
    def _journal(self) -> Any:
        from shipper.journal.journal import Journal
        from shipper.ports import PortError

        try:
            journal = Journal.open_read_only(self._path("state/journal.db"))
        except PortError:
            yield None
            return
        try:
            yield journal
        finally:
            journal.close()

    def _refreshes(self) -> int:
        """How often the daemon took credentials that were not its first."""
        count = 0
        for name in ("daemon.log", "daemon-2.log"):
            with open(self._path(name), encoding="utf-8") as lines:
                taken = sum('"credentials.refreshed"' in line for line in lines)
            count += max(0, taken - 1)
        return count

    def _compared(self) -> dict[str, Any]:
        """Everything in the bucket against everything that was written."""
        objects = _objects(self._s3)
        differences, raw_bytes = 0, 0
        for writer in self._writers:
            name = os.path.basename(writer.path).removesuffix(".log")
            mine = [found for found in objects if f"/{name}.log." in unquote(found["source-path"])]
            sha256, length = _digest_of(self._s3, mine)
            raw_bytes += length
            if sha256 != writer.sha256.hexdigest():
                differences += 1
                self._say(f"DIFFERENT: {name}: {writer.written_bytes} written, {length} in S3")
        with self._journal() as journal:
            states = {total.state.value: total.files for total in journal.totals()}
        return {
            "differences": differences,
            "objects": len(objects),
            "compressed copies recognised": states.get("DUPLICATE", 0),
            "raw bytes": raw_bytes,
            "stored bytes": sum(found["size"] for found in objects),
        }

    def show(self, result: dict[str, Any]) -> None:
        if self._is_terminal:
            print("\r\033[K", end="")
        print()
        for name in (
            "files rotated",
            "objects",
            "compressed copies recognised",
            "raw bytes",
            "stored bytes",
            "credentials refreshed",
            "parts stored when it was killed",
            "parts sent",
            "parts re-sent after the kill",
            "daemon's exit code",
            "seconds",
        ):
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

    def _say(self, text: str, *, passing: bool = False) -> None:
        """Print a line; a passing one only on a terminal, where the next overwrites it."""
        at = f"{time.monotonic() - self._started:5.1f} s  {text}"
        if self._is_terminal:
            print(f"\r\033[K{at}", end="" if passing else "\n", flush=True)
        elif not passing:
            print(at, flush=True)


def _client(url: str) -> Any:
    from botocore.config import Config

    from shipper.core.types import RoleCredentials
    from shipper.edges.s3.session import session_with

    any_will_do = RoleCredentials("demo", "demo", "", expires_at=0.0)
    return session_with(lambda: any_will_do).create_client(
        "s3", endpoint_url=url, region_name="eu-central-1", config=Config(proxies={"no": "proxy"})
    )


def _objects(s3: Any) -> list[dict[str, Any]]:
    """Every object with what its metadata says about the source, oldest first."""
    found = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for listed in page.get("Contents", []):
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
    import gzip

    import zstandard

    if key.endswith(".zst"):
        return zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True)
    return gzip.open(body)
