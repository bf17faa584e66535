"""What commands that read a bucket say of what a stranger, or a mistake, has put there."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shipper.cli.main import main
from tests.fakes.servers import Moto
from tests.machines.schemas import broken

DAY = "dt=2025-11-24"
KEY = f"logs/app/i-1/{DAY}/app.log.20251124T160000Z.0123456789ab"
_numbers = itertools.count()


class Stranger:
    """A bucket that anybody writes to, and somebody who reads it."""

    def __init__(self, moto: Moto, capsys: pytest.CaptureFixture[str]) -> None:
        self.bucket = f"strangers-{os.getpid()}-{next(_numbers)}"
        self._moto = moto
        self._capsys = capsys
        moto.create_bucket(self.bucket)

    def put(self, key: str, body: bytes = b"content", **metadata: str) -> None:
        whole = {
            "source-path": "/var/log/app.log.1",
            "source-inode": "7",
            "source-mtime": "1764000000.000000005",
            "raw-start": "0",
            "raw-end": str(len(body)),
            "instance-id": "i-1",
        }
        named = {name.replace("_", "-"): text for name, text in metadata.items()}
        self._moto.client("s3").put_object(
            Bucket=self.bucket, Key=key, Body=body, Metadata=whole | named
        )

    def remove(self, key: str) -> None:
        self._moto.client("s3").delete_object(Bucket=self.bucket, Key=key)

    def put_bare(self, key: str) -> None:
        self._moto.client("s3").put_object(Bucket=self.bucket, Key=key, Body=b"x")

    def run(self, *words: str, code: int = 0) -> tuple[str, str]:
        where = ["--bucket", self.bucket, "--endpoint-url", self._moto.url]
        found = main([words[0], *where, *words[1:]])
        out, error = self._capsys.readouterr()
        assert found == code, out + error
        return out, error

    def shell(
        self, command: str, how: str = "", **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """A process of its own, with what the shell says of its streams."""
        where = f"--bucket {self.bucket} --endpoint-url {self._moto.url}"
        return subprocess.run(
            ["/bin/sh", "-c", f"{sys.executable} -m shipper {command} {where} {how}"],
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | environment,
        )


@pytest.fixture
def stranger(
    moto: Moto, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Stranger:
    for name in [name for name in os.environ if name.startswith(("AWS_", "SHIPPER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    return Stranger(moto, capsys)


def test_what_steers_a_terminal_never_reaches_it(stranger: Stranger, tmp_path: Path) -> None:
    stranger.put(KEY)
    stranger.put(f"{KEY[:-1]}c", source_path="/var/%1b%5b31mred%0aforged/app.log.1", raw_end="9")
    stranger.put(KEY.replace("/app/", "/\x1b[31mred/"))
    stranger.put(f"logs/app/i-1/{DAY}/forged\x01line")
    stranger.put_bare(f"logs/app/i-1/{DAY}/none")

    said = [
        *stranger.run("find", "--manifests"),
        *stranger.run("find", "--keys"),
        *stranger.run("find", "--name", "/var/log/*"),
        *stranger.run("cat", "--watch", "app", code=1),
        *stranger.run("fetch", "--watch", "app", "--into", str(tmp_path / "into"), code=1),
    ]

    assert not any(one in text for text in said for one in "\x01\x1b")
    assert not any(
        line.startswith(("forged", "line")) for text in said for line in text.split("\n")
    )
    assert "3 objects are no logs of shipper's" in said[1]
    assert said[2].split() == [KEY, f"{KEY[:-1]}c"]


def test_the_document_keeps_its_schema_and_says_what_is_left_out(stranger: Stranger) -> None:
    stranger.put(KEY)
    stranger.put_bare("logs/app/i-1/dt=2025-11-24/none")
    stranger.put_bare("logs/_manifests/instance=i-1/epoch=E/00000001.jsonl.zst")

    document: dict[str, Any] = json.loads(stranger.run("find", "--json")[0])
    assert broken("find", document) == []
    assert document["not_logs"] == 1
    [row] = document["objects"]
    assert (row["told_by"], row["mtime_ns"], row["path"]) == ("key", None, None)
    assert row["etag"] == hashlib.md5(b"content").hexdigest()

    out, _ = stranger.run("find", "--json", "--instance", "i-1", code=1)
    document = json.loads(out)
    assert broken("find", document) == []
    assert "00000001.jsonl.zst" in document["problems"][0]


def test_nothing_is_found_in_an_empty_bucket(stranger: Stranger) -> None:
    for words in (("--watch", "app"), ("--watch", "\udcff"), ("--from", "9999-12-31")):
        assert stranger.run("find", *words) == ("", "nothing found\n")
    assert json.loads(stranger.run("find", "--json")[0])["objects"] == []


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        (">&-", 1, "shipper: the output cannot be written: it is closed\n"),
        ("2>&-", 0, ""),
    ],
)
@pytest.mark.parametrize("command", ["find", "cat"])
def test_a_closed_stream_is_no_bug(
    stranger: Stranger, command: str, how: str, code: int, said: str
) -> None:
    stranger.put(KEY)
    stranger.put_bare(f"logs/app/i-1/{DAY}/none")
    found = stranger.shell(f"{command} --watch app", how)
    assert found.returncode == code
    assert found.stderr.endswith(said)
    assert "bug" not in found.stderr


def test_what_the_locale_has_no_letter_for_is_printed_as_an_escape(stranger: Stranger) -> None:
    stranger.put(KEY.replace("app.log", "\u00e9.log"), source_path="/var/log/%C3%A9.log.1")
    for options in ("", "--keys"):
        found = stranger.shell(f"find {options}", PYTHONIOENCODING="ascii:strict")
        assert (found.returncode, "\\xe9.log" in found.stdout) == (0, True)


def test_a_log_in_glacier_says_what_restores_it(stranger: Stranger, tmp_path: Path) -> None:
    stranger.put(KEY)
    client = stranger._moto.client("s3")
    client.copy_object(
        Bucket=stranger.bucket,
        Key=KEY,
        CopySource={"Bucket": stranger.bucket, "Key": KEY},
        StorageClass="GLACIER",
    )
    command = f"aws s3api restore-object --bucket {stranger.bucket} --key {KEY}"

    for words in (("cat",), ("fetch", "--into", str(tmp_path / "into"))):
        _, error = stranger.run(*words, "--instance", "i-1", code=1)
        assert "InvalidObjectState" in error
        assert command in error


def test_segments_that_are_missing_are_named_and_the_rest_is_there_on_request(
    stranger: Stranger,
) -> None:
    stranger.put(KEY, b"one ")
    stranger.put(f"{KEY}.at9", b"three", raw_start="9", raw_end="14")

    out, error = stranger.run("cat", "--instance", "i-1", code=1)
    assert (out, "the bytes 4 to 9 are missing" in error) == ("one ", True)
    out, error = stranger.run("cat", "--instance", "i-1", "--gaps", code=1)
    assert (out, "the bytes 4 to 9 are missing" in error) == ("one three", True)
    out, _ = stranger.run("cat", f"{KEY}.at9")
    assert out == "three"


def test_what_stands_before_and_behind_a_time_is_looked_up(
    stranger: Stranger, tmp_path: Path
) -> None:
    """Whether the beginning that was not asked for is there, and whether more came later."""
    for day, start, body in ((20, 0, b"one "), (24, 4, b"two "), (25, 8, b"three")):
        key = f"logs/app/i-1/dt=2025-11-{day}/app.log.202511{day}T160000Z.0123456789ab"
        facts = {"source_mtime": f"{1_764_000_000 + (day - 24) * 86_400}.000000005"}
        facts |= {"raw_start": str(start), "raw_end": str(start + len(body))}
        stranger.put(key + (f".at{start}" if start else ""), body, **facts)
    stranger.put_bare("logs/app/i-1/dt=2025-11-20/none")
    into, when = tmp_path / "into", ("--from", "2025-11-24", "--to", "2025-11-24")

    assert stranger.run("cat", *when) == ("two ", "")
    assert "1 restored" in stranger.run("fetch", *when, "--into", str(into))[0]
    [file] = (into / "i-1/var/log").iterdir()
    assert file.name == "app.log.20251124T160000Z.at4.to8"
    out, said = stranger.run("cat", "--from", "2025-11-25", "--to", "2025-11-25")
    assert (out, said) == ("three", "")
    key = "logs/app/i-1/dt=2025-11-24/app.log.20251124T160000Z.0123456789ab.at4"
    stranger.remove(key)
    out, said = stranger.run("cat", "--from", "2025-11-25", code=1)
    assert out == ""
    assert "the bytes 4 to 8 are missing" in said


@pytest.mark.parametrize("command", ["find", "cat", "fetch"])
def test_the_help_says_whose_times_are_meant(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Times are those of the files: when each was last written (mtime)" in said
    assert "UTC" in said
