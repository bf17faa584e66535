"""``shipper fleet`` over real HTTP, on a bucket with the heartbeats of a fleet."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.cli.main import main
from shipper.core.heartbeats import Heartbeat, Reason, encoded, hourly_key, overwritten_key
from shipper.ports import PortError
from tests.fakes.archive import Kept
from tests.fakes.wire_archive import BUCKET, WireArchive
from tests.machines.schemas import broken

PLAIN = Heartbeat(1, "", "", "well", "1.0", "ab" * 32, 3600.0, "")


class Bucket:
    """A bucket that the test fills, and what the command says of it."""

    def __init__(self, server: WireArchive, capsys: pytest.CaptureFixture[str]) -> None:
        self.server = server
        self._capsys = capsys

    def add(self, instance: str, state: str = "well", *, age: float = 60.0, **said: Any) -> None:
        heartbeat = replace(PLAIN, instance=instance, state=state, **said)
        key = overwritten_key("logs/", instance)
        self.server.objects[key] = Kept(encoded(heartbeat), modified_at=time.time() - age)

    def fleet(self, *arguments: str, code: int) -> str:
        self.server.requests.clear()
        where = ("--bucket", BUCKET, "--endpoint-url", self.server.url)
        found = main(["fleet", *where, *arguments])
        out, error = self._capsys.readouterr()
        assert found == code, out + error
        return out + error

    def document(self, *arguments: str, code: int) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.fleet("--json", *arguments, code=code))
        assert broken("fleet", document) == []
        for one in document["instances"]:
            assert one["heartbeat"] is None or broken("heartbeat", one["heartbeat"]) == []
        return document


@pytest.fixture
def bucket(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Bucket]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDREADER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name in ("AWS_PROFILE", "SHIPPER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    with WireArchive({}) as server:
        yield Bucket(server, capsys)


@pytest.mark.lengthy
def test_ten_thousand_that_are_well_cost_ten_pages_and_nothing_else(bucket: Bucket) -> None:
    for number in range(10_000):
        bucket.add(f"i-{number:017x}")
    document = bucket.document(code=0)
    assert document["counts"] == {"well": 10_000, "late": 0}
    assert Counter(bucket.server.requests) == {"ListObjectsV2": 10}
    bucket.add("i-00000000000000007", "ill", reasons=(Reason("AccessDenied", "nothing is sent"),))
    bucket.add("i-00000000000000008", "imperfect")
    bucket.add("i-00000000000000009", age=9000)
    document = bucket.document("--ill", code=1)
    assert [(one["instance"][-1], one["state"], one["late"]) for one in document["instances"]] == [
        ("7", "ill", False),
        ("9", "well", True),
    ]
    assert Counter(bucket.server.requests) == {"ListObjectsV2": 10, "GetObject": 2}


def test_the_table_has_those_first_who_need_somebody_and_why(bucket: Bucket) -> None:
    bucket.add("i-good")
    bucket.add("i-slow", age=20_000, interval_seconds=86_400.0)
    bucket.add("i-late", age=9_000)
    bucket.add("i-over", "ended", age=900_000)
    bucket.add("i-down", "stopped")
    reasons = (Reason("", "watch app: no log for 26.1 hours"), Reason("", "another"))
    bucket.add("i-bad", "ill", reasons=reasons)
    said = bucket.fleet(code=1).splitlines()
    assert said[0].split() == ["instance", "state", "written", "what", "it", "says"]
    names = [line.split()[0] for line in said[1:7]]
    assert names == ["i-bad", "i-down", "i-late", "i-over", "i-good", "i-slow"]
    assert re.search(r"1m\d*s? ago +watch app: no log for 26.1 hours \(and 1 more\)$", said[1])
    assert re.search(r"stopped 1m\d*s? ago: nobody ships there$", said[2])
    assert "late, was well  2h30m ago" in said[3]
    assert said[-1] == (
        "3 need somebody; 6 instances: 2 well, 1 ill, 1 stopped, 1 late, 1 ended; "
        "late: older than 2h (--every)"
    )
    shown = bucket.fleet("--ill", code=1)
    assert "i-good" not in shown
    assert "6 instances" in shown


def test_a_fleet_that_is_well_needs_nobody(bucket: Bucket) -> None:
    bucket.add("i-1")
    bucket.add("i-2", "imperfect", reasons=(Reason("", "the clock"),))
    assert "nobody is needed; 2 instances" in bucket.fleet(code=0)
    assert bucket.server.requests == ["ListObjectsV2"]
    assert "the clock" in bucket.fleet("--verbose", code=0)
    assert bucket.fleet("--ill", code=0).count("\n") == 1


def test_those_expected_who_never_wrote_are_named_and_those_who_are_not_expected(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.add("i-1")
    bucket.add("i-old")
    listed = tmp_path / "ids"
    listed.write_text('"i-1"\t"i-2"\n')
    said = bucket.fleet("--expect", str(listed), code=1)
    assert said.splitlines()[1].split() == ["i-2", "never", "wrote"]
    assert "writing, and not expected: i-old" in said
    document = bucket.document("--expect", str(listed), code=1)
    assert document["unexpected"] == ["i-old"]
    assert document["counts"] == {"well": 2, "never wrote": 1, "late": 0}
    listed.write_text("i-1 i-old")
    assert bucket.document("--expect", str(listed), code=0)["unexpected"] == []


def test_the_list_may_come_by_a_pipe(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    bucket.add("i-1")
    pipe = io.TextIOWrapper(io.BytesIO(b'[["i-1"], ["i-9"]]'))
    monkeypatch.setattr("sys.stdin", pipe)
    assert "i-9" in bucket.fleet("--expect", "-", code=1)


def test_hourly_keys_are_listed_for_a_day_and_the_newest_counts(bucket: Bucket) -> None:
    now, at = time.time(), ""
    for hours in (40, 5, 1):
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now - 3600 * hours))
        ill = encoded(replace(PLAIN, instance="i-1", state="ill"))
        key = hourly_key("logs/", "i-1", at, is_another=False)
        bucket.server.objects[key] = Kept(ill, modified_at=now - 3600 * hours)
    key = hourly_key("logs/", "i-1", at, is_another=True)
    well = encoded(replace(PLAIN, instance="i-1"))
    bucket.server.objects[key] = Kept(well, modified_at=now - 3000)
    gone = hourly_key("logs/", "i-2", "2020-01-01T00:00", is_another=False)
    bucket.server.objects[gone] = Kept(well, modified_at=1.0)
    document = bucket.document(code=0)
    assert [(one["instance"], one["state"]) for one in document["instances"]] == [("i-1", "well")]
    assert bucket.server.requests == ["ListObjectsV2"]


def test_hostile_heartbeats_are_named_and_steer_no_terminal(bucket: Bucket) -> None:
    def place(instance: str, body: bytes) -> str:
        key = f"logs/_fleet/instance={instance}/heartbeat.json"
        bucket.server.objects[key] = Kept(body, modified_at=time.time())
        return key

    place("i-huge", b" " * (1024 * 1024 + 2))
    place("i-odd", b"x" * 15)
    place("i-text", b"no JSON" + b" " * 11)
    place("i-\x1b[31mred\u202e", encoded(replace(PLAIN, instance="i-other", state="ill")))
    bucket.add("i-loud", "ill", reasons=(Reason("", "\x1b]0;owned\x07 [bold]x[/bold]"),))
    key = place("i-mute", encoded(replace(PLAIN, instance="i-mute", state="ill")))
    bucket.server.errors[key] = PortError("AccessDenied", "no", status=403)
    bucket.server.objects["logs/_fleet/notes.txt"] = Kept(b"hello")
    said = bucket.fleet(code=1)
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "i-huge" in said
    assert "no heartbeat has 1048578 bytes" in said
    assert "it is not JSON" in said
    assert "it is a heartbeat of i-other" in said
    assert "\\x1b]0;owned\\x07 [bold]x[/bold]" in said
    assert "AccessDenied" in said
    assert "1 object there besides heartbeats" in said
    states = {one["instance"]: one["state"] for one in bucket.document(code=1)["instances"]}
    assert states["i-mute"] == "ill"
    assert [*states.values()].count("unreadable") == 4


def test_a_clock_that_is_behind_is_told(bucket: Bucket) -> None:
    bucket.add("i-1", age=-1200)
    assert "s behind S3's" in bucket.fleet(code=0)
    assert bucket.document(code=0)["clock_behind_seconds"] == pytest.approx(1200, abs=5)


def test_how_often_they_write_is_an_option_or_the_configuration_s(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    bucket.add("i-1", age=1200, interval_seconds=300.0)
    bucket.fleet("--every", "5m", code=1)
    bucket.fleet("--every", "1h", code=0)
    file = tmp_path / "shipper.toml"
    file.write_text(
        f'[destination]\nbucket = "{BUCKET}"\nendpoint_url = "{bucket.server.url}"\n'
        '[[watch]]\ndirectory = "/var/log/app"\n[fleet]\nheartbeat = "5m"\n'
    )
    assert main(["fleet", "--config", str(file)]) == 1
    file.write_text(file.read_text().replace('heartbeat = "5m"', ""))
    assert main(["fleet", "--config", str(file)]) == 0
    file.write_text(
        file.read_text().replace("endpoint_url", 'prefix = "{tag:Team}/"\nendpoint_url')
    )
    capsys.readouterr()
    assert main(["fleet", "--config", str(file)]) == 1
    assert "each tag has its own prefix" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--every", "often"), "--every: 'often' is no duration"),
        (("--every", "0s"), "--every: nobody writes all the time"),
        (("--expect", "/nowhere"), "--expect /nowhere: No such file"),
        (("--expect", "/dev/null"), "--expect /dev/null: it names no instance"),
        ((), "no heartbeat is below s3://bucket/logs/_fleet/"),
    ],
)
def test_what_cannot_be_meant_is_said(
    bucket: Bucket, arguments: tuple[str, ...], why: str
) -> None:
    said = bucket.fleet(*arguments, code=1)
    assert why in said


def test_on_a_terminal_it_is_coloured_and_cut_to_the_width(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.add("i-1", "ill", reasons=(Reason("", "a long reason " * 20),))
    monkeypatch.setattr("shipper.cli.status.is_terminal", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    said = bucket.fleet(code=1)
    assert "\x1b[1;31m" in said
