"""``shipper audit`` on a real daemon's journal and disk, and a bucket behind real HTTP."""

import gzip
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shipper.cli.main import main
from shipper.core.types import RelativePath, WatchName
from tests.fakes.proxy import Proxy
from tests.fakes.servers import Moto
from tests.machines.here import Here
from tests.machines.instance import INSTANCE_ID, Instance, keys_of
from tests.machines.schemas import broken

Make = Callable[..., Instance]
DAYS = [f"202611{day:02}" for day in range(10, 29)]


def audited(here: Here, machine: Instance, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The document, which keeps its schema."""
    document = here.json(machine, "audit", *arguments, code=code)
    assert broken("audit", document) == []
    return document


def findings(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["kind"], one["name"]) for one in document["findings"]}


def shipped(machine: Instance, *days: str) -> None:
    """Logs of these days, in S3."""
    for day in days:
        machine.write(f"app.log-{day}", f"the log of {day}\n".encode())
    machine.start()
    machine.wait_until_shipped(len(days))


def key_of(machine: Instance, day: str) -> str:
    with machine.journal() as journal:
        assert journal is not None
        [row] = journal.at_path(WatchName("app"), RelativePath(f"app.log-{day}".encode()))
        return row.key


def test_a_healthy_host_is_well(instance: Make, here: Here) -> None:
    machine = instance()
    shipped(machine, *DAYS)
    document = audited(here, machine)
    assert document["well"] is True
    assert document["counts"]["compared"] == document["objects"] == len(DAYS)
    assert "nothing is wrong" in here.run(machine, "audit")


def test_exactly_what_is_wrong_is_named(instance: Make, here: Here) -> None:
    machine = instance()
    shipped(machine, *(day for day in DAYS if day != "20261119"))
    s3 = machine.moto.client("s3")
    deleted, replaced = key_of(machine, "20261112"), key_of(machine, "20261115")
    foreign = f"logs/app/{INSTANCE_ID}/notes.txt"
    s3.delete_object(Bucket=machine.bucket, Key=deleted)
    s3.put_object(Bucket=machine.bucket, Key=replaced, Body=b"something else")
    s3.put_object(Bucket=machine.bucket, Key=foreign, Body=b"who wrote this?")
    others = ("logs/app/i-0ffff/dt=2026-11-12/app.log.x.zst", f"logs/_manifests/{INSTANCE_ID}")
    for key in others:
        s3.put_object(Bucket=machine.bucket, Key=key, Body=b"of another instance")
    document = audited(here, machine, code=1)
    assert findings(document) == {
        ("missing", deleted),
        ("altered", replaced),
        ("unknown", foreign),
        ("series", "app.log"),
    }
    assert "2026-11-19" in next(
        one["detail"] for one in document["findings"] if one["kind"] == "series"
    )
    said = here.run(machine, "audit", code=1)
    for name in (deleted, replaced, foreign, "2026-11-19", "hint:"):
        assert name in said


def test_an_audit_beside_a_daemon_that_ships_under_faults_finds_nothing(
    instance: Make, here: Here, moto: Moto
) -> None:
    with Proxy(moto) as s3:
        machine = instance(moto=s3.moto, watch='after_upload = "delete"\ndelete_after = "0s"')
        number = itertools.count()
        s3.refuse = lambda seen: (
            (503, {}, b"") if seen.method == "PUT" and next(number) % 3 == 0 else None
        )
        machine.write("app.log-20261101", b"the first\n")
        machine.start()
        machine.wait_until_shipped(1)
        for round_ in range(10):
            for log in range(10):
                machine.write(f"other.log.{round_ * 10 + log}", b"%d %d\n" % (round_, log) * 99)
            if round_ == 5:
                machine.kill()
                machine.start()
            document = audited(here, machine)
            assert document["findings"] == []
        machine.wait_until_shipped(101)
        document = audited(here, machine)
        assert document["counts"]["compared"] == 101
        assert document["counts"]["forgotten"] == 0


def test_what_was_planted_before_the_first_log_is_unknown_and_a_lost_journal_knows_nothing(
    instance: Make, here: Here
) -> None:
    machine = instance()
    machine.start()
    planted = f"logs/app/{INSTANCE_ID}/dt=2026-11-01/planted.zst"
    time.sleep(1.1)  # what S3 lists is in whole seconds
    machine.moto.client("s3").put_object(Bucket=machine.bucket, Key=planted, Body=b"x")
    log = machine.write("app.log-20261110", b"the first\n")
    machine.wait_until_shipped(1)
    assert findings(audited(here, machine, code=1)) == {("unknown", planted)}
    machine.stop()
    for path in (machine.directory / "state").glob("journal.db*"):
        path.unlink()
    log.unlink()
    time.sleep(1.1)
    machine.start()
    machine.write("app.log-20261111", b"the second\n")
    machine.wait_until_shipped(1)
    document = audited(here, machine)
    assert (document["findings"], document["counts"]["forgotten"]) == ([], 2)


def test_what_is_not_asked_for_is_not_judged(instance: Make, here: Here) -> None:
    machine = instance()
    other = machine.directory / "other"
    other.mkdir()
    with machine.config.open("a") as config:
        config.write(f'[[watch]]\nname = "other"\ndirectory = "{other}"\nsettle = "0.3s"\n')
    (other / "other.log.1").write_bytes(b"of another watch\n")
    shipped(machine, *DAYS[:3])
    machine.wait_until_shipped(4)
    machine.moto.client("s3").delete_object(Bucket=machine.bucket, Key=key_of(machine, DAYS[0]))
    assert audited(here, machine, "--watch", "other")["counts"]["compared"] == 1
    assert audited(here, machine, "--watch", "app", code=1)["totals"] == {"missing": 1}
    assert audited(here, machine, "--since", "1h", code=1)["totals"] == {"missing": 1}
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
    later = audited(here, machine, "--since", tomorrow)
    assert (later["counts"]["compared"], later["findings"]) == (0, [])
    said = here.run(machine, "audit", "--watch", "ap", code=1)
    assert "no watch is called 'ap'" in said
    assert "did you mean 'app'?" in said


@pytest.mark.parametrize("text", ["soon", "7x", "2026-13-01", ""])
def test_a_since_that_is_no_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["audit", "--since", text])
    assert ended.value.code == 64


def test_an_audit_without_a_journal_says_so(instance: Make, here: Here) -> None:
    said = here.run(instance(), "audit", code=1)
    assert "NoJournal" in said
    assert "has `shipper run` or `shipper ship` run here?" in said


def test_an_audit_of_a_corrupt_journal_says_so(instance: Make, here: Here) -> None:
    machine = instance()
    shipped(machine, *DAYS[:1])
    machine.stop()
    path = machine.directory / "state" / "journal.db"
    body = path.read_bytes()
    path.write_bytes(body[:4096] + b"\xff" * (len(body) - 4096))
    assert "JournalCorrupt" in here.run(machine, "audit", code=1)


def test_a_bucket_that_may_not_be_listed_is_said_with_what_to_do(
    instance: Make, here: Here, moto: Moto
) -> None:
    with Proxy(moto) as s3:
        machine = instance(moto=s3.moto)
        shipped(machine, *DAYS[:2])
        denied = (
            b"<Error><Code>AccessDenied</Code><Message>is not authorized to perform: "
            b"s3:ListBucket</Message></Error>"
        )
        s3.refuse = lambda seen: (
            (403, {"x-amz-request-id": "R"}, denied) if seen.method == "GET" else None
        )
        document = audited(here, machine, code=1)
    [problem] = document["problems"]
    assert problem["code"] == "AccessDenied"
    assert problem["hint"]
    assert document["findings"] == []
    assert document["counts"]["unlisted"] == 2


def test_an_audit_without_credentials_says_what_is_missing(instance: Make, here: Here) -> None:
    machine = instance()
    shipped(machine, *DAYS[:2])
    machine.imds.fault = lambda method, path: (
        (404, "no such thing") if "security-credentials" in path or "iam" in path else None
    )
    document = audited(here, machine, code=1)
    assert [one["code"] for one in document["problems"]] == ["NoProfile"]
    assert document["counts"]["unlisted"] == 2
    machine.imds.fault = lambda method, path: (404, "no such thing")
    assert "hint:" in here.run(machine, "audit", code=1)


@pytest.mark.parametrize("compresses", [False, True])
def test_a_log_that_came_in_segments_and_its_copy_are_well(
    instance: Make, here: Here, *, compresses: bool
) -> None:
    machine = instance(watch='live_bytes = "64KiB"')
    log = machine.write("app.log", b"")
    machine.start()
    for size in (1, 2):
        with log.open("ab") as file:
            file.writelines(b"%d %07d\n" % (size, line) for line in range(9000))
        machine.wait_for(lambda size=size: len(machine.contents()) == size, "the segment")  # type: ignore[misc]  # of a lambda
        assert audited(here, machine)["findings"] == []
    with log.open("ab") as file:
        file.write(b"the rest\n")
    body = log.read_bytes()
    machine.write(
        "app.log.1.gz" if compresses else "app.log.1", gzip.compress(body) if compresses else body
    )
    log.write_bytes(b"")
    machine.wait_for(lambda: len(machine.contents()) == 3, "the rest")
    machine.wait_for(lambda: not machine.files("READY", "UPLOADING", "UPLOADED"), "rest")
    document = audited(here, machine)
    assert (document["findings"], document["well"]) == ([], True)
    assert sum(map(len, machine.contents())) == len(body)


def test_list_bucket_is_all_the_permission_it_needs(
    instance: Make, here: Here, own_moto: Moto
) -> None:
    role = own_moto.assume("least", ("s3:PutObject", "s3:ListBucket"))
    machine = instance(moto=own_moto, facts={"keys": keys_of(role)})
    lister = own_moto.assume("lister", ("s3:ListBucket",))
    with own_moto.enforcing():
        shipped(machine, *DAYS)
        machine.imds.facts = replace(machine.imds.facts, keys=keys_of(lister))
        assert audited(here, machine)["well"] is True


def test_every_destination_is_audited_and_each_bucket_once(
    instance: Make, here: Here, moto: Moto
) -> None:
    moto.create_bucket("audit-bucket")
    machine = instance(
        watch='prefix = "other/"\nkey = "{prefix}{stem}.{instance_id}.{digest}{extension}"',
    )
    beside = {"audit": ("audit-bucket", "logs/"), "same": (machine.bucket, "same/")}
    for name, (bucket, prefix) in beside.items():
        directory = machine.directory / name
        directory.mkdir()
        (directory / "x.log.1").write_bytes(name.encode())
        with machine.config.open("a") as config:
            config.write(
                f'[destinations.{name}]\nbucket = "{bucket}"\nprefix = "{prefix}"\n'
                f'endpoint_url = "{moto.url}"\naddressing_style = "path"\n'
                f'[[watch]]\nname = "{name}"\ndirectory = "{directory}"\nsettle = "0.3s"\n'
                f'destination = "{name}"\n'
            )
    shipped(machine, DAYS[0])
    machine.wait_until_shipped(3)
    document = audited(here, machine)
    assert document["well"] is True
    assert {one["bucket"]: one["prefixes"] for one in document["buckets"]} == {
        machine.bucket: ["other/", f"same/same/{INSTANCE_ID}/"],
        "audit-bucket": [f"logs/audit/{INSTANCE_ID}/"],
    }
    assert (document["objects"], document["counts"]["compared"]) == (3, 3)
    s3 = moto.client("s3")
    for bucket in (machine.bucket, "audit-bucket"):
        for key in moto.keys(bucket):
            s3.delete_object(Bucket=bucket, Key=key)
    ours = f"other/app.log.{INSTANCE_ID}.0123456789ab.zst"
    for key in (ours, "other/app.log.i-0ffff.0123456789ab.zst", "other/whose"):
        s3.put_object(Bucket=machine.bucket, Key=key, Body=b"x")
    document = audited(here, machine, code=1)
    assert document["totals"] == {"missing": 3, "unknown": 1}
    assert ("unknown", ours) in findings(document)
    assert document["counts"]["unattributed"] == 2


def test_a_quiet_day_is_a_notice_and_no_failure(instance: Make, here: Here) -> None:
    """logrotate's ``dateext`` with ``notifempty``."""
    machine = instance()
    shipped(machine, *(day for day in DAYS if day != "20261119"))
    document = audited(here, machine)
    assert document["well"] is True
    assert {one["kind"]: one["is_wrong"] for one in document["findings"]} == {"series": False}
    said = here.run(machine, "audit")
    assert "a notice: 1 missing between" in said
    assert "nothing is wrong" in said


def test_another_bucket_later_makes_nothing_missing(
    instance: Make, here: Here, moto: Moto
) -> None:
    machine = instance()
    shipped(machine, *DAYS[:3])
    machine.stop()
    moto.create_bucket("new-bucket")
    text = machine.config.read_text().replace(machine.bucket, "new-bucket")
    machine.config.write_text(text)
    machine.start()
    machine.write("app.log-20261201", b"for the new bucket\n")
    machine.wait_until_shipped(4)
    document = audited(here, machine)
    assert document["well"] is True
    assert (document["counts"]["elsewhere"], document["counts"]["compared"]) == (3, 1)


def test_an_image_of_another_machine_is_well(instance: Make, here: Here) -> None:
    machine = instance()
    shipped(machine, *DAYS[:8])
    machine.stop()
    for key in machine.moto.keys(machine.bucket):
        machine.moto.client("s3").delete_object(Bucket=machine.bucket, Key=key)
    machine.imds.facts = replace(machine.imds.facts, instance_id="i-0cccc")
    machine.start()
    machine.write("app.log-20261201", b"of the clone\n")
    machine.wait_until_shipped(9)
    document = audited(here, machine)
    assert (document["well"], document["instance"]) == (True, "i-0cccc")
    assert document["findings"] == []
    assert (document["counts"]["elsewhere"], document["counts"]["compared"]) == (8, 1)
