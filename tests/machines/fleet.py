"""Hosts that ship into one bucket through faults, and the bucket as its administrator sees it."""

import itertools
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field

import zstandard

from shipper.core.heartbeats import decoded as heartbeat_from
from shipper.core.manifests import ObjectEntry, lines_of, name_from_key
from tests.fakes.proxy import Refusal, Seen
from tests.fakes.servers import Moto
from tests.machines.instance import Instance
from tests.machines.waiting import wait_for
from tests.machines.world import decoded

LINE = b"%s %03d %06d that somebody will ask for one day\n"
UNFINISHED = ("READY", "UPLOADING", "UPLOADED", "VERIFIED")
AT_NS = 1_764_000_000_123_456_789
HEARTBEAT_SECONDS = 200.0
"""One that failed under faults is tried again after a minute, and a change is told after one."""


class Faults:
    """What is between the fleet and S3: every few requests something goes wrong."""

    def __init__(self) -> None:
        self.counts = {"refused": 0, "lost": 0, "slow": 0}
        self.are_over = False
        self._asked = itertools.count(1)
        self._stored = itertools.count(1)
        self._never = threading.Event()

    def refuse(self, seen: Seen) -> Refusal | None:
        """Every fourth is refused, every fifth is late."""
        if self.are_over:
            return None
        number = next(self._asked)
        if number % 5 == 0:
            self.counts["slow"] += 1
            self._never.wait(0.3)
        if number % 4 == 0:
            self.counts["refused"] += 1
            status, code = ((503, "SlowDown"), (500, "InternalError"))[number // 4 % 2]
            return status, {}, f"<Error><Code>{code}</Code></Error>".encode()
        return None

    def loses(self, seen: Seen) -> bool:
        """The answer to every fifth write."""
        if self.are_over or seen.method != "PUT":
            return False
        is_lost = next(self._stored) % 5 == 0
        self.counts["lost"] += is_lost
        return is_lost


@dataclass
class Archive:
    """A bucket of several instances."""

    moto: Moto
    bucket: str

    def keys(self, instance: str) -> list[str]:
        """Of this instance's logs."""
        keys = self.moto.keys(self.bucket)
        return [key for key in keys if instance in key and "_fleet/" not in key]

    def contents(self, instance: str) -> list[bytes]:
        """What its logs' objects hold."""
        return [decoded(key, self.moto.read(self.bucket, key)) for key in self.keys(instance)]

    def manifests(self, instance: str) -> list[str]:
        """Their keys, in the order of the epochs' names and their numbers."""
        every = self.moto.every_key(self.bucket)
        return [key for key in every if name_from_key(key) is not None and instance in key]

    def entries(self, instance: str) -> list[ObjectEntry]:
        """Of all its manifests."""
        found = list[ObjectEntry]()
        for key in self.manifests(instance):
            body = zstandard.ZstdDecompressor().stream_reader(
                self.moto.read(self.bucket, key), read_across_frames=True
            )
            lines = lines_of(body.read().splitlines(keepends=True))
            found += [line for line in lines if isinstance(line, ObjectEntry)]
        return found

    def state(self, instance: str) -> str:
        """What its heartbeat says."""
        key = f"logs/_fleet/instance={instance}/heartbeat.json"
        if key not in self.moto.keys(self.bucket):
            return ""
        return heartbeat_from(self.moto.read(self.bucket, key)).state

    def delete(self, *keys: str) -> None:
        """Delete these."""
        for key in keys:
            self.moto.client("s3").delete_object(Bucket=self.bucket, Key=key)

    def alter(self, key: str, body: bytes) -> None:
        """Put another content there, with all that goes with it left as it was."""
        s3 = self.moto.client("s3")
        kept = s3.head_object(Bucket=self.bucket, Key=key)
        same = {name: kept[name] for name in ("Metadata", "ContentType")}
        s3.put_object(Bucket=self.bucket, Key=key, Body=body, **same)


@dataclass
class Host:
    """A machine, and the logs that were written on it, in the order in which they ended."""

    machine: Instance
    archive: Archive
    logs: list[bytes] = field(default_factory=list)
    _open_log: bytes = b""
    _rotated_at: float = 0.0

    @property
    def id(self) -> str:
        """The instance's; its directory has that name."""
        return self.machine.directory.name

    def write(self, number: int) -> None:
        """Write a log, complete."""
        body = self._lines(number, 0)
        path = self.machine.write(f"job-{number:03}.log.1", body)
        at_ns = AT_NS + number * 10**9
        os.utime(path, ns=(at_ns, at_ns))
        self.logs.append(body)

    def append(self) -> None:
        """Write lines to the end of the live log."""
        more = self._lines(len(self.logs), self._open_log.count(b"\n"))
        with (self.machine.logs / "app.log").open("ab") as log:
            log.write(more)
        self._open_log += more

    def _lines(self, number: int, first: int) -> bytes:
        lines = range(first, first + 2000)
        return b"".join(LINE % (self.id.encode(), number, line) for line in lines)

    def append_a_segment(self) -> None:
        """Write lines to the end of the live log until they are sent."""
        sent = len(self.archive.keys(self.id))
        self.append()
        self.machine.wait_for(lambda: len(self.archive.keys(self.id)) > sent, "a segment")

    def rotate(self, logrotate: str) -> None:
        """Run logrotate; the live log begins anew. Names have the second."""
        wait_for(lambda: time.time() > self._rotated_at + 1.05, "another second")
        conf = self.machine.directory / "logrotate.conf"
        conf.write_text(
            f'"{self.machine.logs}/app.log" {{\n create\n compress\n delaycompress\n'
            " dateext\n dateformat -%Y%m%d-%s\n rotate 50\n}\n"
        )
        conf.chmod(0o600)
        state = str(self.machine.directory / "logrotate.state")
        subprocess.run([logrotate, "-f", "-s", state, str(conf)], check=True)
        self._rotated_at = float(int(time.time()))
        self.logs.append(self._open_log)
        self._open_log = b""

    def cycle(self) -> None:
        """kill -9, and another life."""
        self.machine.kill()
        self.machine.start()

    def settle(self) -> None:
        """Wait until all that ended is in the bucket, and what the journal knows in a manifest."""
        wanted = sum(map(len, self.logs))

        def is_over() -> bool:
            status = self.machine.status() or {"manifests": {}}
            pending = [one["pending_entries"] for one in status["manifests"].values()]
            is_done = pending == [0] and not self.machine.files(*UNFINISHED)
            return is_done and sum(map(len, self.archive.contents(self.id))) >= wanted

        self.machine.wait_for(is_over, "every log to be in a manifest")

    def wait_until_well(self) -> None:
        """Wait for the heartbeat that says so."""
        self.machine.wait_for(
            lambda: self.archive.state(self.id) == "well", "a heartbeat", HEARTBEAT_SECONDS
        )
