"""What real daemons ship, and ``find``, ``cat`` and ``fetch`` give back: byte for byte."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    assert {row["told_by"] for row in rows} == {"manifest"}
    assert {row["sha256"] for row in rows} == {
        hashlib.sha256(body).hexdigest() for body in bodies.values()
    }

    out, said = who.run("fetch", "--watch", "app", "--into", str(who.into))
    assert f"{len(bodies)} restored".encode() in out
    assert b"verified" not in out
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


def test_logs_of_two_directories_in_step_come_back_each_as_it_was(
    instance: Make, reader: Callable[[Instance], Reader], logrotate: str
) -> None:
    """One watch, equal names, segments of equal length, and copies with inodes of their own."""
    machine = instance(watch='live_bytes = "64KiB"\nrecursive = true\n')
    machine.confined_by = [sys.executable, eager.__file__]
    whole = dict[str, bytes]()
    for name in "ab":
        machine.write(f"{name}/app.log", b"")
        whole[name] = b"".join(b"%s %06d %s" % (name.encode(), n, LINE) for n in range(1500))
    machine.start()
    for name, body in whole.items():
        (machine.logs / name / "app.log").write_bytes(body)
    machine.wait_for(lambda: len(machine.contents()) == 2, "the live segments")
    for name in "ab":
        rest = f"rest of {name}\n".encode()
        whole[name] += rest
        with (machine.logs / name / "app.log").open("ab") as log:
            log.write(rest)
        conf = machine.directory / f"{name}.conf"
        conf.write_text(f'"{machine.logs}/{name}/app.log" {{\n copytruncate\n rotate 5\n}}\n')
        conf.chmod(0o600)
        state = str(machine.directory / f"{name}.state")
        subprocess.run([logrotate, "-f", "-s", state, str(conf)], check=True)
    machine.wait_for(lambda: len(machine.contents()) == 4, "the rest")
    assert machine.stop() == 0
    who = reader(machine)

    who.run("fetch", "--name", "app.log", "--into", str(who.into))
    assert sorted(who.files().values()) == sorted(whole.values())
    assert sorted(who.run("cat", "--name", "app.log")[0].splitlines()) == sorted(
        b"".join(whole.values()).splitlines()
    )


def test_a_live_log_comes_back_once_although_the_journal_was_lost(
    instance: Make, reader: Callable[[Instance], Reader]
) -> None:
    machine = instance(watch='live_bytes = "64KiB"\n')
    machine.confined_by = [sys.executable, eager.__file__]
    machine.write("app.log", b"")
    machine.start()
    whole = b"".join(b"%06d %s" % (number, LINE) for number in range(1500))
    (machine.logs / "app.log").write_bytes(whole)
    machine.wait_for(lambda: len(machine.contents()) == 1, "a segment")
    assert machine.stop() == 0
    for file in (machine.directory / "state").glob("journal.db*"):
        file.unlink()
    with (machine.logs / "app.log").open("ab") as log:
        log.write(b"more\n" + whole)
    machine.start()
    os.rename(machine.logs / "app.log", machine.logs / "app.log.1")
    machine.wait_for(lambda: sum(map(len, machine.contents())) >= 3 * len(whole) + 5, "the rest")
    assert machine.stop() == 0
    who = reader(machine)

    assert who.run("cat", "--name", "app.log") == (whole + b"more\n" + whole, "")
    who.run("fetch", "--name", "app.log", "--into", str(who.into))
    assert list(who.files().values()) == [whole + b"more\n" + whole]


def test_hosts_and_days_are_told_apart_and_the_table_is_for_people(
    instance: Make, reader: Callable[[Instance], Reader], tmp_path: Path
) -> None:
    """A second host with the same logs, whose key layout is Hive's, and no manifests."""
    one = instance()
    more = '[manifest]\ninterval = "0s"\n[instance]\nid = "i-2"\nregion = "us-east-1"\n'
    other = instance(more=more)
    text = other.config.read_text().replace(other.bucket, one.bucket)
    other.config.write_text(text.replace('addressing_style = "path"', 'key = "hive"'))
    for machine, name in ((one, b"one"), (other, b"other")):
        for day in range(3):
            body = b"%s %d\n" % (name, day)
            write(machine, f"app.log.{day + 1}", body, AT_NS - day * DAY_NS)
        machine.start()
        machine.wait_until_shipped(3)
        assert machine.stop() == 0
    who = reader(one)

    assert who.run("cat", "--watch", "app")[0].count(b"o") == 6
    assert who.run("cat", "--instance", "i-2")[0] == b"other 2\nother 1\nother 0\n"
    assert (
        who.run("cat", "--instance", "i-2", "--from", "2025-11-23", "--to", "2025-11-23")[0]
        == b"other 1\n"
    )
    out, _ = who.run("find", "--watch", "app", "--name", "app.*")
    lines = out.decode().splitlines()
    assert lines[0].split() == ["LAST", "WRITTEN", "(UTC)", "STORED", "INSTANCE", "WATCH", "NAME"]
    assert [line.split()[0] for line in lines[1:]] == sorted(line.split()[0] for line in lines[1:])
    assert len(lines) == 7

    keys = who.run("find", "--keys", "--instance", "i-2")[0].decode().split()
    assert [key.split("/")[1] for key in keys] == ["watch=app"] * 3
    assert who.run("cat", *keys)[0] == b"other 2\nother 1\nother 0\n"
    assert who.run("cat", f"s3://{one.bucket}/{keys[1]}")[0] == b"other 1\n"
    out, _ = who.run("fetch", "--watch", "app", "--into", str(who.into))
    assert b"6 restored" in out
    assert b"3 could not be verified: no manifest names them" in out
    assert sorted(who.files().values()) == sorted(
        b"%s %d\n" % (name, day) for name in (b"one", b"other") for day in range(3)
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cat",), "which logs are meant"),
        (("cat", "a", "--watch", "b"), "keys and a selection"),
        (("cat", "logs/none"), "NoSuchKey"),
        (("cat", "s3://other/key"), "is not the bucket"),
        (("cat", "--watch", "none"), "no log is selected"),
        (("find", "--from", "tomorrowish"), "is no time"),
        (("find", "--from", "0001-01-01T00:00+14:00"), "is no time"),
        (("find", "--from", "2025-01-02", "--to", "2025-01-01"), "not before"),
    ],
)
def test_what_makes_no_sense_is_said(
    instance: Make, reader: Callable[[Instance], Reader], words: tuple[str, ...], said: str
) -> None:
    assert said in reader(instance()).run(*words, code=1)[1]


KILLED_AT_BYTES = 5 * 1024**2
FATAL = f"""
import resource, signal, sys
from shipper.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, ({KILLED_AT_BYTES}, {KILLED_AT_BYTES}))
sys.exit(main(sys.argv[1:]))
"""
"""The kernel kills the command at this byte of a file."""


def run_reader(
    machine: Instance, *words: str, program: tuple[str, ...] = ("-m", "shipper"), **how: Any
) -> "subprocess.Popen[bytes]":
    """A reader's command as a process of its own."""
    where = ["--bucket", machine.bucket, "--endpoint-url", machine.moto.url]
    command = [sys.executable, *program, words[0], *where, *words[1:]]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **how)


def left_in(into: Path) -> list[Path]:
    return list(into.rglob(".*.partial"))


def test_a_fetch_that_is_killed_is_gone_on_with_and_a_closed_pipe_ends_cat(
    instance: Make, reader: Callable[[Instance], Reader], tmp_path: Path
) -> None:
    bodies = {f"app.log.{number}": random_log(number, 12 * 1024**2) for number in (1, 2)}
    machine = instance(watch='compression = "none"\n')
    for number, (name, body) in enumerate(bodies.items()):
        write(machine, name, body, AT_NS + number * DAY_NS)
    machine.start()
    machine.wait_until_shipped(2)
    assert machine.stop() == 0
    who = reader(machine)
    words = ("fetch", "--watch", "app", "--into", str(who.into))

    with run_reader(machine, *words, program=("-c", FATAL)) as fetching:
        fetching.communicate()
    assert fetching.returncode == -signal.SIGXFSZ
    assert {path.stat().st_size for path in left_in(who.into)} >= {KILLED_AT_BYTES}
    out, _ = who.run(*words)

    assert "0 failed" in (said := out.decode())
    assert f"{(2 * 12 - 5):.1f} MiB written" in said
    assert left_in(who.into) == []
    assert sorted(who.files().values()) == sorted(bodies.values())

    with run_reader(machine, "cat", "--watch", "app", stdout=subprocess.PIPE) as catting:
        assert catting.stdout is not None
        assert catting.stdout.read(5) == bodies["app.log.1"][:5]
        catting.stdout.close()
        assert catting.stderr is not None
        assert catting.stderr.read() == b""
        assert catting.wait(60) == 1
