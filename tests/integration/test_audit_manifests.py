"""``shipper audit --manifests``, as an auditor types it, in front of a real server."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shipper.cli import audit_manifests
from shipper.cli.main import main
from shipper.core.archived import ArchivedObject
from shipper.core.findings import Code
from shipper.edges.s3.archive import BucketArchive
from shipper.ports import PortError
from tests.fakes.chains import HOUR, Chain, compressed, entry, objects_of
from tests.fakes.servers import Moto
from tests.machines.schemas import broken, schema

Audit = Callable[..., tuple[int, str]]


class Bucket:
    """One in which an instance wrote a log an hour, and has manifests until an hour ago."""

    def __init__(self, moto: Moto, name: str) -> None:
        self.moto, self.name = moto, name
        moto.create_bucket(name)
        self.client = moto.client("s3")
        self.chain = Chain(began=time.time() - 5 * HOUR)
        for number in range(4):
            raw = f"log {number}\n".encode()
            self.put(self.key(number), compressed(raw))
            self.chain.write(entry(self.key(number), raw, at=time.time()))
        for key, body, _ in objects_of(self.chain):
            self.put(key, body)

    def key(self, number: int) -> str:
        return f"logs/app/{self.chain.instance}/dt=2026-05-28/{number}.zst"

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def write(self, after: float = HOUR + 30) -> None:
        """Another manifest, without entries, by default of half a minute from now."""
        self.chain.write(after=after)
        self.put(self.chain.written[-1].name.key, self.chain.written[-1].body)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)


@pytest.fixture
def bucket(moto: Moto, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bucket:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    name = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")
    return Bucket(moto, f"proof-{name}"[:60].rstrip("-"))


@pytest.fixture
def audit(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> Audit:
    def audit(*options: str) -> tuple[int, str]:
        where = ("--bucket", bucket.name, "--endpoint-url", bucket.moto.url)
        code = main(["audit", "--manifests", *where, *options])
        out, _ = capsys.readouterr()
        return code, out

    return audit


def test_a_sound_archive_is_said_to_be_one(audit: Audit) -> None:
    code, out = audit("--content", "100%")

    assert code == 0, out
    assert "1 instance, 1 epoch, 4 manifests; 4 objects named: 4 as told, 0 missing" in out
    assert "content: 4 objects, 24 raw bytes" in out
    assert out.endswith("nothing is wrong\n")


def test_what_is_wrong_is_shown_with_a_hint_and_a_table_and_ends_with_1(
    bucket: Bucket, audit: Audit
) -> None:
    bucket.delete(bucket.key(1))
    bucket.put(bucket.key(2), b"other")
    bucket.put(bucket.key(9), b"x")
    bucket.put(bucket.key(8) + "\x1b[31m", b"x")
    bucket.write()

    code, out = audit("--slack", "0s")

    assert code == 1
    assert f"s3://{bucket.name}/{bucket.key(1)}: " in out
    for name in ("missing-object", "altered-object", "object-without-entry"):
        assert f"\n{name}" in f"\n{out}"
    assert "\x1b" not in out
    assert "object-without-entry      2" in out
    assert "4 objects named: 2 as told, 1 missing, 1 altered; 5 objects listed" in out
    assert out.endswith("4 findings\n")
    assert out.count("hint: ") == 3


def test_what_is_wrong_keeps_its_schema(bucket: Bucket, audit: Audit) -> None:
    bucket.delete(bucket.key(1))
    for number in (2, 3):
        bucket.put(bucket.key(number) + "\x1b[31m", b"other")
    bucket.write(HOUR + 20)
    bucket.write(10)
    bucket.delete(bucket.chain.written[4].name.key)

    code, out = audit("--json", "--slack", "0s")

    document = json.loads(out)
    assert broken("audit-manifests", document) == []
    assert code == 1
    assert document["counts"] == {"missing-number": 1, "missing-object": 1}
    assert document["buckets"][0]["unentered"] == {"in-hole": 2}
    assert [one["code"] for one in document["findings"]] == ["missing-number", "missing-object"]
    assert not document["well"]


def test_a_sound_archive_keeps_its_schema(audit: Audit) -> None:
    code, out = audit("--json", "--since", "1d")

    document = json.loads(out)
    assert (code, broken("audit-manifests", document)) == (0, [])
    assert document["findings"] == []
    assert document["well"]
    assert (document["seed"], document["problem"]) == ("", "")


def test_a_sample_is_another_each_time_unless_its_seed_is_given(audit: Audit) -> None:
    said = [json.loads(audit("--json", "--content", "50%")[1])["seed"] for _ in range(2)]
    assert said[0] != said[1]

    code, out = audit("--content", "50%", "--seed", said[0])

    assert code == 0
    assert f"sampled with --seed {said[0]}\n" in out


def test_the_document_is_whole_where_an_error_ends_the_audit(
    bucket: Bucket,
    audit: Audit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket.delete(bucket.chain.written[1].name.key)
    listed = BucketArchive.listed

    def denied(self: BucketArchive, prefix: str, *, after: str = "") -> Iterator[ArchivedObject]:
        if prefix == "logs/":
            raise PortError("AccessDenied", "s3:ListBucket")
        yield from listed(self, prefix, after=after)

    monkeypatch.setattr(BucketArchive, "listed", denied)

    code, out = audit("--json")

    document = json.loads(out)
    assert (code, broken("audit-manifests", document)) == (1, [])
    assert [one["code"] for one in document["findings"]] == ["missing-number"]
    assert "AccessDenied" in document["problem"]
    assert not document["well"]


def test_the_schema_names_every_code() -> None:
    assert schema("audit-manifests")["$defs"]["code"]["enum"] == [*Code]


def test_instances_that_are_expected_come_from_a_file_or_from_standard_input(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = tmp_path / "ids"
    ids.write_text(f"{Chain().instance}\n\n  i-00000000000000001\n")

    code, out = audit("--expect", str(ids))
    assert code == 1
    assert "i-00000000000000001: it has neither manifests nor logs here" in out
    assert Chain().instance not in out
    with ids.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert audit("--expect", "-")[1] == out


def test_of_many_findings_the_first_are_shown_and_all_are_counted(
    bucket: Bucket, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_manifests, "MOST_SHOWN", 2)
    for number in range(4):
        bucket.delete(bucket.key(number))

    _, out = audit()

    assert out.count(" are not there") == 2
    assert "and 2 more; --json has all" in out
    assert out.endswith("4 findings\n")


def test_one_instance_of_a_configured_bucket_is_audited(
    bucket: Bucket,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "shipper.toml"
    config.write_text(
        f'[destination]\nbucket = "{bucket.name}"\nendpoint_url = "{bucket.moto.url}"\n'
        'prefix = "logs/"\nregion = "us-east-1"\n'
        f'[[watch]]\nname = "app"\ndirectory = "{tmp_path}"\n'
    )
    bucket.delete(bucket.key(3))

    arguments = ["audit", "--manifests", "--instance", bucket.chain.instance]
    code = main([*arguments, "--config", str(config)])

    out, _ = capsys.readouterr()
    assert code == 1
    assert out.endswith("1 finding\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--content", "0%"), "is no sample"),
        (("--content", "many"), "is no sample"),
        (("--content", "101"), "is no sample"),
        (("--slack", "soon"), "is no duration"),
        (("--since", "soon"), "is no time"),
        (("--since", "5parsecs"), "is no time"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    audit: Audit, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        audit(*options)

    assert refused.value.code == 64
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--manifests", "--expect", "/nowhere/ids"), "No such file"),
        (("--manifests", "--watch", "app"), "--watch does not go with --manifests"),
        (("--bucket", "b"), "--bucket goes only with --manifests"),
        (("--content", "1%"), "--content goes only with --manifests"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_a_prefix_that_only_instances_know_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "shipper.toml"
    config.write_text(
        '[destination]\nbucket = "some-logs"\nprefix = "{tag:Team}/"\n'
        f'[[watch]]\nname = "app"\ndirectory = "{tmp_path}"\n'
    )
    assert main(["audit", "--manifests", "--config", str(config)]) == 1
    assert "only instances know their prefix" in capsys.readouterr().err


def test_losses_and_what_is_left_out_are_summed_up(
    bucket: Bucket, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: dict[str, Any] = {
        "losses": {"gone": 2},
        "unentered": {"before": 3, "in-hole": 1},
        "too_old": 4,
        "not_restored": 5,
        "without_digest": 6,
    }

    def counted(self: object) -> Any:
        for name, value in counts.items():
            setattr(self.counts, name, value)  # type: ignore[attr-defined]
        return iter(())

    monkeypatch.setattr("shipper.archive.proof.Proof.findings", counted)

    _, out = audit()

    assert "losses that the manifests tell of: 2 gone" in out
    assert "3 from before the first manifest" in out
    assert "4 from before --since" in out
    assert "5 are archived, and must be restored first" in out
    assert "6 have no SHA-256" in out
