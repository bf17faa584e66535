"""What real daemons ship, and ``find``, ``cat`` and ``fetch`` give back: byte for byte."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from shipper.cli.main import main
from tests.machines.instance import Instance
from tests.machines.schemas import broken
from tests.machines.world import random_log
from tests.programs import eager

Make = Callable[..., Instance]
LINE = b"a line of a log that is read again one day\n"
DAY_NS = 86_400 * 10**9
AT_NS = 1_764_000_000_123_456_789
ODD = b"od\xff d\n%n\xc3\xa9me.log.1"


class Reader:
    """Somebody with credentials of their own, who runs commands in this process."""

    def __init__(
        self, machine: Instance, capsysbinary: pytest.CaptureFixture[bytes], into: Path
    ) -> None:
        self.machine = machine
        self._captured = capsysbinary
        self.into = into

    def run(self, *words: str, code: int = 0) -> tuple[bytes, str]:
        where = ["--bucket", self.machine.bucket, "--endpoint-url", self.machine.moto.url]
        found = main([words[0], *where, *words[1:]])
        out, error = self._captured.readouterr()
        assert found == code, (out, error)
        return out, error.decode()

    def rows(self, *words: str) -> list[dict[str, object]]:
        document = json.loads(self.run("find", "--json", *words)[0])
        assert broken("find", document) == []
        rows: list[dict[str, object]] = document["objects"]
        return rows

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.into)): path.read_bytes()
            for path in sorted(self.into.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def reader(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Instance], Reader]:
    for name in list(os.environ):
        if name.startswith(("AWS_", "SHIPPER_CONFIG")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    return lambda machine: Reader(machine, capsysbinary, tmp_path / "into")


def write(machine: Instance, name: str | bytes, body: bytes, mtime_ns: int) -> None:
    path = os.fsencode(machine.write(name, body))
    os.utime(path, ns=(mtime_ns, mtime_ns))


def test_every_log_comes_back_byte_for_byte_with_its_mtime(
    instance: Make, reader: Callable[[Instance], Reader]
) -> None:
    plain: dict[str | bytes, bytes] = {
        "app.log.1": b"newest\n" * 1000,
        "app.log.2": random_log(1, 300_000),
        "job-2025-11-25.log": b"dated\n" * 500,
        ODD: b"odd\n",
        "deep/er/app.log.1": LINE * 3,
    }
    packed: dict[str | bytes, tuple[bytes, bytes]] = {
        "gz.log.1.gz": (gzip.compress(LINE * 50), LINE * 50),
        "xz.log.1.xz": (lzma.compress(LINE * 60), LINE * 60),
        "bz.log.1.bz2": (bz2.compress(LINE * 70), LINE * 70),
        "zs.log.1.zst": (zstandard.compress(LINE * 80), LINE * 80),
        "other.log.1.lz4": (b"no lz4 at all", b"no lz4 at all"),
    }
    machine = instance()
    bodies = plain | {name: stored for name, (stored, _) in packed.items()}
    for number, (name, body) in enumerate(bodies.items()):
        write(machine, name, body, AT_NS + number * DAY_NS)
    machine.start()
    machine.wait_until_shipped(len(bodies))
    assert machine.stop() == 0
    who = reader(machine)

    out, said = who.run("cat", "--instance", machine.imds.facts.instance_id)
    assert out == b"".join([*plain.values(), *(body for _, body in packed.values())])
    assert said == ""

    rows = who.rows("--instance", machine.imds.facts.instance_id)
    assert [row["mtime"] for row in rows] == sorted(str(row["mtime"]) for row in rows)
    assert len(rows) == len(bodies)

    out, said = who.run("fetch", "--watch", "app", "--into", str(who.into))
    assert f"{len(bodies)} restored".encode() in out
    files = who.files()
    assert sorted(files.values()) == sorted(bodies.values())
    logs = str(machine.logs).lstrip("/")
    below = f"{machine.imds.facts.instance_id}/{logs}"
    assert files[f"{below}/app.log.20251124T160000Z"] == plain["app.log.1"]
    assert files[f"{below}/job-2025-11-25.log"] == plain["job-2025-11-25.log"]
    assert files[f"{below}/gz.log.20251129T160000Z.gz"] == packed["gz.log.1.gz"][0]
    mtimes = sorted(path.stat().st_mtime_ns for path in who.into.rglob("*") if path.is_file())
    assert mtimes == [AT_NS + number * DAY_NS for number in range(len(bodies))]

    out, said = who.run("fetch", "--watch", "app", "--into", str(who.into))
    assert f"0 restored (0 B written), {len(bodies)} already there".encode() in out
    assert who.files() == files


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@pytest.mark.parametrize("how", ["create", "copytruncate"])
def test_a_log_that_went_in_segments_comes_back_as_one(
    instance: Make,
    reader: Callable[[Instance], Reader],
    logrotate: str,
    how: str,
    compression: str,
) -> None:
    machine = instance(watch=f'live_bytes = "64KiB"\ncompression = "{compression}"\n')
    machine.confined_by = [sys.executable, eager.__file__]
    machine.write("app.log", b"")
    machine.start()
    whole = b""
    for number in range(2):
        more = b"".join(b"%d %06d %s" % (number, line, LINE) for line in range(1500))
        with (machine.logs / "app.log").open("ab") as log:
            log.write(more)
        whole += more
        machine.wait_for(lambda n=number: len(machine.contents()) == n + 1, "a segment")  # type: ignore[misc]
    with (machine.logs / "app.log").open("ab") as log:
        log.write(b"the rest\n")
    whole += b"the rest\n"
    conf = machine.directory / "logrotate.conf"
    conf.write_text(f'"{machine.logs}/app.log" {{\n {how}\n compress\n rotate 5\n}}\n')
    conf.chmod(0o600)
    state = str(machine.directory / "logrotate.state")
    subprocess.run([logrotate, "-f", "-s", state, str(conf)], check=True)
    machine.wait_for(lambda: len(machine.contents()) == 3, "the rest")
    assert machine.stop() == 0
    who = reader(machine)

    assert who.run("cat", "--name", "app.log")[0] == whole
    who.run("fetch", "--name", "app.log", "--into", str(who.into))
    assert list(who.files().values()) == [whole]
