"""Several destinations of one real daemon, and what a watch's objects are written with."""

import hashlib
import json
import socket
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.servers import Moto
from tests.machines.instance import Instance

Make = Callable[..., Instance]
AUDIT = "audit-bucket"
FILES = 40


@pytest.fixture
def closed_port() -> str:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent_port() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=512)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def two(make: Make, tmp_path: Path, url: str, *, audit: str = "", watch: str = "") -> Instance:
    """An instance with another watch, whose logs go to ``[destinations.audit]``."""
    logs = tmp_path / "audit-logs"
    logs.mkdir()
    machine: Instance = make(
        more=f'[destinations.audit]\nbucket = "{AUDIT}"\naddressing_style = "path"\n'
        f'endpoint_url = "{url}"\n{audit}\n'
        f'[[watch]]\nname = "audit"\ndirectory = "{logs}"\nsettle = "300ms"\n'
        f'destination = "audit"\n{watch}\n'
    )
    return machine


def write_audit(machine: Instance, name: str, body: bytes) -> None:
    path = Path(machine_directory(machine)) / name
    path.write_bytes(body)


def machine_directory(machine: Instance) -> str:
    watches = tomllib.loads(machine.config.read_text())["watch"]
    return str(watches[1]["directory"])


def destinations(machine: Instance) -> dict[str, Any]:
    found: dict[str, Any] = (machine.status() or {}).get("destinations", {})
    return found


@pytest.mark.parametrize("kind", ["closed_port", "silent_port"])
def test_one_that_is_dead_holds_up_no_log_of_the_other(
    instance: Make, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    machine = two(instance, tmp_path, request.getfixturevalue(kind))
    for number in range(FILES):
        write_audit(machine, f"audit{number}.log.1", b"audit %d\n" % number)
        machine.write(f"app{number}.log.1", b"app %d\n" % number)
    big = bytes(3 * 1024**2)
    machine.write("big.log.1", big)
    write_audit(machine, "big.log.1", big)
    machine.start()
    machine.wait_until_shipped(FILES + 1)
    assert sorted(machine.contents()) == sorted([*(b"app %d\n" % n for n in range(FILES)), big])
    machine.write("later.log.1", b"later\n")
    machine.wait_until_shipped(FILES + 2)
    assert destinations(machine)["default"]["gate"]["open"]
    assert destinations(machine)["audit"]["watches"] == ["audit"]
    with machine.journal() as journal:
        assert journal is not None
        waiting = [row for row in journal.unfinished(1000) if row.watch == "audit"]
    assert len(waiting) == FILES + 1
    assert {row.destination for row in waiting} == {"audit"}


def test_the_dead_one_is_named_and_alone_shut(
    instance: Make, tmp_path: Path, closed_port: str
) -> None:
    machine = two(instance, tmp_path, closed_port)
    for number in range(FILES):
        write_audit(machine, f"audit{number}.log.1", b"audit %d\n" % number)
    machine.start()
    machine.wait_for(lambda: not destinations(machine)["audit"]["gate"]["open"], "a shut gate")
    document = machine.status() or {}
    assert not document["gate"]["open"]
    assert document["destinations"]["default"]["gate"]["open"]
    (said,) = [line for line in document["ailments"] if line.startswith("nothing is sent")]
    assert said.startswith("nothing is sent to audit: Unreachable")
    page = machine.ask("/metrics")
    assert "\nshipper_gate_open 0.0\n" in page
    assert '\nshipper_destination_gate_open{destination="audit"} 0.0\n' in page
    assert '\nshipper_destination_gate_open{destination="default"} 1.0\n' in page
    explained = json.loads(
        machine.run("explain", f"{machine_directory(machine)}/audit1.log.1", "--json", code=None)
    )
    assert explained["code"] == "Unreachable"
    assert {row["destination"] for row in explained["shipments"]} == {"audit"}
    machine.write("app.log.1", b"app\n")
    machine.wait_until_shipped(1)
    assert machine.contents() == [b"app\n"]


def test_one_that_cannot_be_used_at_all_lets_the_other_begin(
    instance: Make, tmp_path: Path, moto: Moto
) -> None:
    moto.create_bucket(AUDIT)
    machine = two(instance, tmp_path, moto.url, audit='region = "-nowhere-"')
    write_audit(machine, "audit.log.1", b"audit\n")
    machine.write("app.log.1", b"app\n")
    machine.start()
    machine.wait_until_shipped(1)
    (refused,) = machine.events("destination.refused")
    assert refused["destination"] == "audit"
    gate = destinations(machine)["audit"]["gate"]
    assert (gate["open"], gate["code"]) == (False, "BadDestination")


def test_each_watch_writes_with_its_own_settings_to_its_own_bucket(
    instance: Make, tmp_path: Path, own_moto: Moto
) -> None:
    s3 = own_moto.client("s3")
    s3.create_bucket(Bucket=AUDIT, ObjectLockEnabledForBucket=True)
    machine = two(
        instance,
        tmp_path,
        own_moto.url,
        audit='prefix = "a/"\ntags = {team = "sec"}\nstorage_class = "STANDARD_IA"',
        watch='key = "{prefix}x/{digest}{extension}"\ntags = {team = "web"}\nprefix = "b/"\n'
        'storage_class = "GLACIER_IR"\ncontent_type = "text/plain"\ncontent_encoding = "zstd"\n'
        'object_lock_mode = "GOVERNANCE"\nobject_lock_retain = "400d"',
    )
    big = hashlib.shake_256(b"big").digest(12 * 1024**2)
    config = machine.config.read_text()
    machine.config.write_text(f'{config}[uploads]\npart_size = "5MiB"\nmemory_limit = "64MiB"\n')
    write_audit(machine, "small.log.1", b"audit\n")
    write_audit(machine, "big.log.1", big)
    machine.write("app.log.1", b"app\n")
    machine.start()
    machine.wait_until_shipped(3)
    keys = own_moto.keys(AUDIT)
    assert len(keys) == 2
    proofs = set()
    for key in keys:
        assert key.startswith("b/x/")
        found = own_moto.attributes(AUDIT, key)
        assert found["StorageClass"] == "GLACIER_IR"
        assert (found["ContentType"], found["ContentEncoding"]) == ("text/plain", "zstd")
        if "raw-sha256" in found["Metadata"]:  # moto takes no lock with CreateMultipartUpload
            assert found["ObjectLockMode"] == "GOVERNANCE"
            retained = found["ObjectLockRetainUntilDate"] - found["LastModified"]
            assert retained.total_seconds() / 86400 == pytest.approx(400, abs=0.1)
        tags = s3.get_object_tagging(Bucket=AUDIT, Key=key)["TagSet"]
        assert tags == [{"Key": "team", "Value": "web"}]
        proofs.add(found["Metadata"].get("raw-sha256"))
    assert proofs == {hashlib.sha256(b"audit\n").hexdigest(), None}
    (key,) = machine.moto.keys(machine.bucket)
    found = machine.moto.attributes(machine.bucket, key)
    assert key.startswith("logs/app/")
    assert "StorageClass" not in found
    assert found["Metadata"]["raw-sha256"] == hashlib.sha256(b"app\n").hexdigest()
    planned = machine.run("plan")
    assert f"s3://{AUDIT}/b/x/" in planned
    checked = machine.run("check", code=None)
    assert f"bucket {AUDIT} of destination audit (listing)" in checked
    assert "GLACIER_IR, and half of its objects have at most " in checked
    assert "S3 bills 131072 bytes for each object at the least" in checked


def test_ship_sends_to_each_and_leaves_what_one_does_not_take(
    instance: Make, tmp_path: Path, closed_port: str
) -> None:
    machine = two(instance, tmp_path, closed_port)
    write_audit(machine, "audit.log.1", b"audit\n")
    machine.write("app.log.1", b"app\n")
    machine.run("ship", code=1)
    assert machine.contents() == [b"app\n"]
    with machine.journal() as journal:
        assert journal is not None
        assert [row.watch for row in journal.unfinished(10)] == ["audit"]


def test_what_is_not_shipped_goes_with_a_watch_to_its_new_destination(
    instance: Make, tmp_path: Path, moto: Moto, closed_port: str
) -> None:
    machine = two(instance, tmp_path, closed_port)
    write_audit(machine, "audit.log.1", b"audit\n")
    machine.run("ship", code=1)
    config = machine.config.read_text()
    machine.config.write_text(config.replace('destination = "audit"', ""))
    machine.run("ship")
    assert machine.contents() == [b"audit\n"]
    with machine.journal() as journal:
        assert journal is not None
        assert journal.unfinished(10) == []
