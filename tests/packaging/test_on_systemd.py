"""The demo on systemd: ``make demo-systemd``.

A container boots systemd, the Debian package is installed in it, and it ships to an S3 server,
with credentials of a metadata service, both on the host. In the middle of an upload its daemon is
killed and reloaded, and it is itself rebooted, switched off, and cut off from power. A log that is
deleted in an outage is kept by systemd through a kill, a restart and a reload. At the end every
log must be in the bucket once, byte for byte, and no part that was acknowledged was sent again.
"""

import contextlib
import hashlib
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import shipper
from shipper.core.types import State
from shipper.demo.children import Child, parts_sent, start_imds, start_s3
from shipper.journal.journal import Journal
from shipper.ports import PortError
from tests.fakes.servers import Moto
from tests.machines.nspawn import REBOOT, Machine, run
from tests.machines.trees import Program
from tests.machines.world import decoded

ROOT = Path(__file__).parents[2]
BUCKET = "shipper-demo"
UNIT = "shipper.service"
NOWHERE = "http://127.0.0.1:1"
SMALL_BYTES = 200_000
BIG_BYTES = 48_000_000
LONG_BYTES = 280_000_000
"""Half of it is sent: more than the 18 s of a drain are enough for."""
BLOCK_BYTES = 50_000
CONFIGURATION = """\
[destination]
bucket = "{bucket}"
endpoint_url = "{s3}"
addressing_style = "path"
[credentials]
metadata_endpoint = "{imds}"
[[watch]]
directory = "/var/log/app"
settle = "1s"
[scan]
interval = "2s"
[uploads]
part_size = "5MiB"
concurrent_parts = 2
bandwidth_limit = "4MiB/s"
"""
SECOND_WATCH = '[[watch]]\ndirectory = "/var/log/second"\nsettle = "1s"\n'
Part = tuple[str, str]


class Logs:
    """What is written on the machine's disk; it remembers the digest of each log."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.digests: dict[str, Any] = {}
        self.rotated_bytes = 0
        self._rng = random.Random(20261125)

    def append(self, name: str, size_bytes: int) -> Path:
        """Write to a live log, half of which is what it compresses to, down to the disk."""
        path = self.machine.root / "var/log" / name
        path.parent.mkdir(exist_ok=True)
        digest = self.digests.setdefault(name, hashlib.sha256())
        with path.open("ab") as file:
            for _ in range(size_bytes // BLOCK_BYTES):
                line = self._rng.randbytes(BLOCK_BYTES // 2 - 1).hex().encode() + b"x\n"
                file.write(line)
                digest.update(line)
        self.machine.sync()
        return path

    def rotate(self, name: str) -> None:
        """As a rotator does, down to the disk."""
        path = self.machine.root / "var/log" / name
        self.rotated_bytes += path.stat().st_size
        path.rename(f"{path}.1")
        self.machine.sync()

    def rotated(self, name: str, size_bytes: int) -> None:
        """A log that was written and rotated."""
        self.append(name, size_bytes)
        self.rotate(name)


class Ledger:
    """What has come to S3, by the word of the journal and by what is there."""

    def __init__(self, machine: Machine, s3: Child, moto: Moto) -> None:
        self.machine = machine
        self.acknowledged: set[Part] = set()
        self._s3 = s3
        self._moto = moto

    def parts_under_way(self) -> int:
        """The parts of unfinished uploads that are acknowledged; never to be sent again."""
        parts = set()
        with self._journal() as journal:
            for row in journal.under_way() if journal is not None else []:
                if journal is not None:
                    path = f"/{BUCKET}/{row.key}"
                    parts |= {(path, str(each.number)) for each in journal.receipts(row)}
        self.acknowledged |= parts
        return len(parts)

    def is_shipped(self, raw_bytes: int) -> bool:
        """Whether so much is done and nothing is left to do."""
        with self._journal() as journal:
            if journal is None or journal.unfinished(1):
                return False
            totals = journal.figures.totals()
        assert {each.state for each in totals if each.files} <= {State.DONE}
        return sum(each.raw_bytes for each in totals) >= raw_bytes

    def done_files(self) -> int:
        """How many shipments are finished."""
        with self._journal() as journal:
            totals = journal.figures.totals() if journal is not None else []
        return sum(each.files for each in totals if each.state is State.DONE)

    def sent(self) -> tuple[int, int]:
        """How many parts were sent, and how many of them again; none that was acknowledged."""
        counted = {(unquote(path), part): n for (path, part), n in parts_sent(self._s3).items()}
        again = {part for part, times in counted.items() if times > 1}
        assert self.acknowledged <= set(counted)
        assert not again & self.acknowledged, "an acknowledged part was sent again"
        return sum(counted.values()), sum(counted.values()) - len(counted)

    def left_over(self) -> int:
        """How many uploads were begun and neither completed nor aborted."""
        return len(self._moto.unfinished_uploads(BUCKET))

    def digests(self) -> dict[str, str]:
        """The digest of each log in S3: its segments in order, without gap or overlap."""
        s3, segments = self._moto.client("s3"), dict[str, dict[tuple[int, int], str]]()
        for key in self._moto.keys(BUCKET):
            told = s3.head_object(Bucket=BUCKET, Key=key)["Metadata"]
            name = f"{key.split('/')[1]}/{key.rpartition('/')[2].partition('.log.')[0]}.log"
            span = (int(told["raw-start"]), int(told["raw-end"]))
            assert span not in segments.setdefault(name, {}), f"{key} is there twice"
            segments[name][span] = key
        return {name: self._joined(spans) for name, spans in segments.items()}

    def _joined(self, spans: dict[tuple[int, int], str]) -> str:
        digest, length = hashlib.sha256(), 0
        for (start, end), key in sorted(spans.items()):
            assert start == length, f"a gap or an overlap before {key}"
            body = decoded(key, self._moto.read(BUCKET, key))
            assert start + len(body) == end
            digest.update(body)
            length = end
        return digest.hexdigest()

    @contextlib.contextmanager
    def _journal(self) -> Iterator[Journal | None]:
        path = self.machine.root / "var/lib/shipper/journal.db"
        try:
            journal = Journal.open_read_only(str(path))
        except PortError:
            yield None
            return
        with contextlib.closing(journal):
            yield journal


class Story:
    """The scenes, each in the middle of an upload."""

    def __init__(self, logs: Logs, ledger: Ledger, say: Callable[[str], None]) -> None:
        self.machine = logs.machine
        self.logs = logs
        self.ledger = ledger
        self.say = say

    def install(self, package: Path, configuration: str) -> None:
        """The package starts the daemon, for a bucket is named."""
        self.say(f"up in {self.machine.boot():.1f} s: a machine with systemd and without shipper")
        etc = self.machine.root / "etc/shipper"
        (etc / "conf.d").mkdir(parents=True)
        (etc / "shipper.toml").write_text(configuration)
        for number in range(5):
            self.logs.rotated(f"app/small-{number}.log", SMALL_BYTES)
        (self.machine.root / package.name).write_bytes(package.read_bytes())
        started = time.monotonic()
        self.machine.run("dpkg", "--force-confold", "--install", f"/{package.name}")
        self.wait_until_active()
        size = f"{package.stat().st_size / 1e6:.1f} MB"
        took = self.seconds("ExecMainStartTimestampMonotonic")
        self.say(f"the package ({size}) is installed in {time.monotonic() - started:.1f} s")
        self.say(f"   from the daemon's first instruction to READY: {took:.2f} s")
        self.wait_until_shipped()
        self.say(f"   5 logs are shipped; {self.resident_megabytes():.0f} MB are resident")

    def kill(self) -> None:
        """Nobody but systemd starts it again."""
        self.begin_upload("app/killed.log", BIG_BYTES)
        before = self.main_pid()
        self.machine.run("systemctl", "kill", "--signal=KILL", UNIT)
        self.machine.wait_for(lambda: self.main_pid() not in ("0", before), "a new daemon")
        self.wait_until_active()
        self.say("killed with SIGKILL, and started again by systemd")
        self.wait_until_shipped()

    def reload(self) -> None:
        """A watch more."""
        self.begin_upload("app/reloaded.log", BIG_BYTES)
        self.logs.rotated("second/first.log", SMALL_BYTES)
        (self.machine.root / "etc/shipper/conf.d/second.toml").write_text(SECOND_WATCH)
        before = self.main_pid()
        self.machine.run("systemctl", "reload", UNIT)
        self.wait_until_shipped()
        self.wait_until_active()
        assert self.main_pid() == before
        self.say("reloaded with a watch more, by the same process")

    def outage(self) -> None:
        """A log is deleted while it waits; systemd keeps it until it is in S3."""
        written = self.machine.root / "etc/shipper/shipper.toml"
        good = written.read_text()
        written.write_text(re.sub('endpoint_url = ".*"', f'endpoint_url = "{NOWHERE}"', good))
        self.reloaded()
        self.logs.rotated("app/deleted.log", SMALL_BYTES)
        self.machine.wait_for(lambda: self.stored() == 1, "systemd to keep a descriptor")
        (self.machine.root / "var/log/app/deleted.log.1").unlink()
        self.say("S3 is unreachable, and a rotator has deleted a log that waits")
        self.say(f"   NFileDescriptorStore={self.stored()}")
        before = self.main_pid()
        self.machine.run("systemctl", "kill", "--signal=KILL", UNIT)
        self.machine.wait_for(lambda: self.main_pid() not in ("0", before), "a new daemon")
        self.wait_until_active()
        self.say(f"   killed with SIGKILL: NFileDescriptorStore={self.stored()}")
        self.machine.run("systemctl", "restart", UNIT)
        self.wait_until_active()
        self.say(f"   restarted: NFileDescriptorStore={self.stored()}")
        assert self.stored() == 1
        written.write_text(good)
        self.reloaded()
        self.wait_until_shipped()
        self.machine.wait_for(lambda: self.stored() == 0, "systemd to let go of it")
        self.say(f"   reloaded, and S3 is there: shipped, NFileDescriptorStore={self.stored()}")

    def reloaded(self) -> None:
        """Reload, and wait until the same process has done so."""
        pid, before = self.main_pid(), self.reloads()
        self.machine.run("systemctl", "reload", UNIT)
        self.machine.wait_for(lambda: self.reloads() > before, "the reload")
        self.wait_until_active()
        assert self.main_pid() == pid

    def reloads(self) -> int:
        """How often the daemon has said that it was reloaded."""
        said = self.machine.run("journalctl", "--unit", UNIT, "--output", "cat", "--no-pager")
        return said.count('"daemon.reloaded"')

    def stored(self) -> int:
        """How many descriptors systemd keeps for the unit."""
        return int(self.shown("NFileDescriptorStore"))

    def reboot(self) -> None:
        """More is under way than a drain has time for."""
        self.logs.append("app/live.log", SMALL_BYTES)
        self.begin_upload("app/rebooted.log", LONG_BYTES)
        started = time.monotonic()
        self.machine.run("systemctl", "reboot")
        assert self.machine.ends() == REBOOT
        took, kept = time.monotonic() - started, self.ledger.parts_under_way()
        assert kept, "it was all sent before the machine was down"
        self.say(f"rebooted: down in {took:.1f} s, after {kept} parts")
        self.boot_again()
        self.wait_until_shipped()

    def power_off(self) -> None:
        """What is live is in S3 before it is off, to the last byte."""
        self.logs.append("app/live.log", SMALL_BYTES)
        self.begin_upload("app/switched-off.log", BIG_BYTES)
        started = time.monotonic()
        self.machine.run("systemctl", "poweroff")
        assert self.machine.ends() == 0
        self.say(f"switched off: down in {time.monotonic() - started:.1f} s")
        self.compare()
        self.say("   while it is off, every byte of every log is in S3, the live one's, too")
        self.boot_again()

    def cut_power(self) -> None:
        """What was acknowledged stays so."""
        self.begin_upload("app/cut-off.log", BIG_BYTES)
        done, parts = self.ledger.done_files(), self.ledger.parts_under_way()
        unsynced = self.machine.root / "unsynced"
        unsynced.write_bytes(bytes(SMALL_BYTES))
        self.machine.cut_power()
        assert not unsynced.exists() or not unsynced.stat().st_size, "it lost nothing at all"
        kept = self.ledger.parts_under_way()
        assert 0 < parts <= kept
        assert self.ledger.done_files() >= done
        self.say(f"cut off from power: {kept} parts and {done} finished logs are on the disk")
        self.boot_again()
        self.wait_until_shipped()

    def end(self) -> None:
        """The live log is rotated, and everything is compared."""
        self.logs.append("app/live.log", SMALL_BYTES)
        self.logs.rotate("app/live.log")
        self.wait_until_shipped()
        self.machine.run("systemctl", "stop", UNIT)
        assert self.machine.show(UNIT, "ExecMainStatus") == "0"
        objects = self.compare()
        sent, again = self.ledger.sent()
        self.say(f"{objects} logs against what was written: every byte, once")
        self.say(f"   {sent} parts sent, {again} of them again, none that was acknowledged")
        self.say(f"   uploads that were left unfinished in the bucket: {self.ledger.left_over()}")

    # What the scenes are made of.

    def begin_upload(self, name: str, size_bytes: int) -> None:
        """Wait until some parts are in S3; the rest of them is not."""
        self.logs.rotated(name, size_bytes)
        self.machine.wait_for(lambda: self.ledger.parts_under_way() >= 2, "two parts")

    def boot_again(self) -> None:
        """Switch it on, and wait for the daemon."""
        up = self.machine.boot()
        self.wait_until_active()
        took = self.seconds("UserspaceTimestampMonotonic")
        alone = self.seconds("ExecMainStartTimestampMonotonic")
        self.say(
            f"   up again in {up:.1f} s; READY {took:.2f} s after boot, {alone:.2f} s its own"
        )

    def wait_until_active(self) -> None:
        """As systemd sees it."""
        self.machine.wait_for(lambda: self.shown("ActiveState") == "active", "the unit")

    def wait_until_shipped(self) -> None:
        """All that is rotated."""
        expected = self.logs.rotated_bytes
        self.machine.wait_for(lambda: self.ledger.is_shipped(expected), "everything in S3")

    def compare(self) -> int:
        """Every log must be in S3 once; how many there are."""
        written = {name: digest.hexdigest() for name, digest in self.logs.digests.items()}
        assert self.ledger.digests() == written
        return len(written)

    def main_pid(self) -> str:
        """The daemon's, inside; 0 while there is none."""
        return self.shown("MainPID")

    def resident_megabytes(self) -> float:
        """The daemon's memory. (systemd counts none where the host's groups are of version 1.)"""
        status = self.machine.run("cat", f"/proc/{self.main_pid()}/status").split()
        return int(status[status.index("VmRSS:") + 1]) / 1e3

    def shown(self, name: str) -> str:
        """What systemd says of the unit."""
        return self.machine.show(UNIT, name)

    def seconds(self, since: str) -> float:
        """To READY, from a moment that systemd remembers: of the unit, or of its own start."""
        unit = UNIT if since.startswith("Exec") else ""
        ready = int(self.shown("ActiveEnterTimestampMonotonic"))
        return (ready - int(self.machine.show(unit, since))) / 1e6


@pytest.fixture
def machine(tmp_path: Path, program: Program) -> Iterator[Machine]:
    """A container that can boot."""
    one = Machine(tmp_path, program)
    yield one
    one.end()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Child, str, str]]:
    """S3 with a bucket, which logs every request, and a metadata service, on the host."""
    s3, s3_url = start_s3(str(tmp_path))
    with contextlib.ExitStack() as stack:
        stack.callback(s3.stop)
        imds, imds_url = start_imds(str(tmp_path), "--lifetime", "60s", "--region", "us-east-1")
        stack.callback(imds.stop)
        Moto(s3_url).create_bucket(BUCKET)
        yield s3, s3_url, imds_url


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_log_is_shipped_once_whatever_happens_to_the_machine(
    machine: Machine,
    servers: tuple[Child, str, str],
    program: Program,
    capsys: pytest.CaptureFixture[str],
) -> None:
    started = time.monotonic()

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)

    run([program("make"), "--directory", ROOT, "deb"])
    [package] = (ROOT / "dist").glob(f"shipper_{shipper.__version__}_*.deb")
    s3, s3_url, imds_url = servers
    story = Story(Logs(machine), Ledger(machine, s3, Moto(s3_url)), say)
    story.install(package, CONFIGURATION.format(bucket=BUCKET, s3=s3_url, imds=imds_url))
    story.kill()
    story.reload()
    story.outage()
    story.reboot()
    story.power_off()
    story.cut_power()
    story.end()
