"""What real daemons wrote, damaged in every way there is: exactly that is named."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from shipper.mock.imds import Facts, MockImds
from tests.fakes.servers import REGION, Moto
from tests.machines.here import Here
from tests.machines.instance import Instance
from tests.machines.schemas import broken

BUCKET = "proof-of-daemons"
WORN, LOST, CLONE, CUT = (f"i-{number:017x}" for number in range(1, 5))
Made = Callable[..., Instance]


@pytest.fixture
def machines(tmp_path: Path, moto: Moto) -> Iterator[Made]:
    """Machines with ids of their own, all of one bucket."""
    moto.create_bucket(BUCKET)
    with ExitStack() as stack:

        def make(instance_id: str, image: Instance | None = None, watch: str = "") -> Instance:
            imds = stack.enter_context(MockImds(Facts(instance_id=instance_id, region=REGION)))
            machine = Instance(
                tmp_path / instance_id,
                moto,
                imds,
                bucket=BUCKET,
                watch=watch,
                more='[manifest]\ninterval = "24h"\n',
            )
            stack.callback(machine.end)
            if image is not None:
                shutil.copytree(
                    image.directory / "state",
                    machine.directory / "state",
                    ignore=shutil.ignore_patterns("*.sock"),
                )
            return machine

        yield make


def live(machine: Instance, *names: str) -> None:
    """A life of the daemon: it ships these logs, one after another, and is stopped."""
    machine.start()
    for name in names:
        ship(machine, name)
    assert machine.stop() == 0


def ship(machine: Instance, name: str) -> None:
    before = machine.files("DONE")
    machine.write(f"{name}.log.1", f"{name}\n".encode() * 99)
    machine.wait_until_shipped(before + 1)


def key_of(moto: Moto, machine: Instance, name: str) -> str:
    """Of the one log of this name; the machine's id is in its key."""
    instance_id = machine.directory.name
    (key,) = [key for key in moto.keys(BUCKET) if f"/{name}." in key and instance_id in key]
    return key


def wait(seconds: float) -> None:
    """So that times, which S3 tells in whole seconds, are apart."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)


def manifests(moto: Moto, machine: Instance) -> list[str]:
    return [key for key in moto.manifests(BUCKET) if machine.directory.name in key]


@pytest.mark.lengthy
def test_exactly_what_was_done_to_the_archive_of_four_machines_is_named(
    machines: Made, moto: Moto, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    worn, lost, cut = machines(WORN), machines(LOST), machines(CUT)

    def audit(*options: str, code: int) -> dict[str, Any]:
        arguments = ["--manifests", "--slack", "1s", "--content", "100%", "--json", *options]
        document: dict[str, Any] = json.loads(here.run(worn, "audit", *arguments, code=code))
        assert broken("audit-manifests", document) == []
        return document

    live(worn, "w1")
    clone = machines(CLONE, image=worn)
    for name in ("w2", "w3", "w4"):
        live(worn, name)
    lost.start()
    ship(lost, "l1")
    lost.kill()
    live(lost, "l2")
    shutil.rmtree(lost.directory / "state")
    live(lost, "l3")
    live(clone, "c1")
    live(cut, "t1")

    healthy = audit(code=0)
    assert [(one["code"], one["instance"]) for one in healthy["findings"]] == [("new-epoch", LOST)]
    (bucket,) = healthy["buckets"]
    assert (bucket["instances"], bucket["epochs"]) == (4, 5)
    assert bucket["objects"] == bucket["matched"] == bucket["compared"] == 9
    assert bucket["unentered"] == {}

    wait(3)
    s3 = moto.client("s3")
    alien = f"logs/app/{WORN}/dt=2026-01-01/alien.log"
    s3.put_object(Bucket=BUCKET, Key=alien, Body=b"never shipped")
    live(cut, "t2")
    live(worn, "w5")
    live(worn, "w6")
    missing, altered = key_of(moto, worn, "w1"), key_of(moto, worn, "w6")
    unsaid = key_of(moto, cut, "t2")
    chain = manifests(moto, worn)
    s3.delete_object(Bucket=BUCKET, Key=missing)
    s3.put_object(Bucket=BUCKET, Key=altered, Body=b"another content")
    s3.delete_object(Bucket=BUCKET, Key=chain[1])
    s3.put_object(Bucket=BUCKET, Key=chain[3], Body=moto.read(BUCKET, chain[3])[:-20])
    s3.delete_object(Bucket=BUCKET, Key=manifests(moto, cut)[-1])

    damaged = audit("--expect", expected(worn, lost, clone, cut), code=1)
    assert {(one["code"], one["instance"], one["key"]) for one in damaged["findings"]} == {
        ("new-epoch", LOST, ""),
        ("missing-number", WORN, chain[1]),
        ("unreadable-manifest", WORN, chain[3]),
        ("missing-object", WORN, missing),
        ("altered-object", WORN, altered),
        ("object-without-entry", WORN, alien),
        ("object-without-entry", CUT, unsaid),
        ("never-wrote", "i-0000000000000dead", ""),
    }
    assert len(damaged["findings"]) == 8
    assert damaged["buckets"][0]["unentered"] == {"in-hole": 2}

    for machine in (lost, clone):
        named = audit("--instance", machine.directory.name, code=0)["findings"]
        assert {one["code"] for one in named} <= {"new-epoch"}
    assert audit("--instance", CUT, code=1)["counts"] == {"object-without-entry": 1}


@pytest.mark.parametrize(
    "watch",
    [
        'prefix = "secure/"',
        'key = "plain/{watch}/{instance_id}/{stem}.{digest}{segment}{extension}"',
    ],
)
def test_what_a_watch_ships_below_another_prefix_is_proved(
    machines: Made, moto: Moto, here: Here, monkeypatch: pytest.MonkeyPatch, watch: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    instance_id = f"i-0000000000000000{8 + watch.startswith('key')}"
    machine = machines(instance_id, watch=watch)
    live(machine, "a", "b")
    arguments = ("audit", "--manifests", "--instance", instance_id, "--json")

    (bucket,) = json.loads(here.run(machine, *arguments, code=0))["buckets"]
    assert (bucket["matched"], bucket["objects"], bucket["outside"]) == (2, 2, 0)

    missing = key_of(moto, machine, "a")
    moto.client("s3").delete_object(Bucket=BUCKET, Key=missing)
    found = json.loads(here.run(machine, *arguments, code=1))["findings"]
    assert [(one["code"], one["key"]) for one in found] == [("missing-object", missing)]


def expected(*machines: Instance) -> str:
    """A file with the ids of these, and of one that never was."""
    path = machines[0].directory / "expected"
    path.write_text("\n".join([*(one.directory.name for one in machines), "i-0000000000000dead"]))
    return str(path)
