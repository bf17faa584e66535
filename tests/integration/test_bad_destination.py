"""What is wrong with one destination is told of that one, and the others go on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.core.destinations import Destination
from shipper.core.lifecycle import AttemptFailed
from shipper.core.types import ObjectKey, WatchName
from shipper.daemon.reload import Refused
from shipper.ports import PortError
from shipper.reports.metrics import page
from tests.fakes.examples import promise
from tests.fakes.s3_stores import s3_store
from tests.fakes.servers import Moto, ScriptedServer
from tests.integration.test_destinations import destinations
from tests.machines.inside import Inside
from tests.machines.instance import Instance

Make = Callable[..., Instance]
AUDIT = "audit-bucket"


def two(make: Make, tmp_path: Path, url: str, audit: str = "", bucket: str = AUDIT) -> Instance:
    """An instance with another watch, whose logs go to ``[destinations.audit]``."""
    logs = tmp_path / "audit-logs"
    logs.mkdir()
    machine: Instance = make(
        more=f'[destinations.audit]\nbucket = "{bucket}"\naddressing_style = "path"\n'
        f'endpoint_url = "{url}"\n{audit}\n'
        f'[[watch]]\nname = "audit"\ndirectory = "{logs}"\nsettle = "300ms"\n'
        f'destination = "audit"\n'
    )
    return machine


def test_what_fails_again_and_again_there_is_told_while_another_takes_everything(
    instance: Make, tmp_path: Path
) -> None:
    inside = Inside(two(instance, tmp_path, "http://127.0.0.1:1"))
    services, report = inside.services, inside.running().report
    here, there = services.destinations
    now = services.clock.now()
    stuck = promise(1, destination="audit", watch=WatchName("audit"))
    [row] = services.journal.promise([stuck], now=now - 600)
    failed = AttemptFailed("InternalError", "", now - 60)
    services.journal.record(row, failed, failed, failed)
    here.gate.passed("key")
    [told] = [line for line in report.ailments() if "failed 3 times" in line]
    assert told.startswith("1 files failed 3 times or more, and nothing passes to audit; such as ")
    there.gate.passed("key")
    assert not any("failed 3 times" in line for line in report.ailments())
    services.close()


def test_a_bucket_writes_no_object_with_the_settings_of_another_watch() -> None:
    store = s3_store("http://127.0.0.1:1", watches={WatchName("web"): Destination("bucket")})
    with pytest.raises(KeyError):
        store.put(ObjectKey("key"), b"", checksum="", metadata={}, watch=WatchName("audit"))


def test_ship_asks_a_destination_that_answers_nothing_from_the_start_once_for_each_file(
    instance: Make, tmp_path: Path
) -> None:
    with ScriptedServer(otherwise=lambda request: b"") as mute:
        machine = two(instance, tmp_path, mute.url)
        (tmp_path / "audit-logs" / "audit.log.1").write_bytes(b"audit\n")
        machine.write("app.log.1", b"app\n")
        machine.run("ship", code=1)
        assert [request.method for request in mute.requests] == ["PUT"]
    assert machine.contents() == [b"app\n"]


def test_a_tag_that_is_missing_stops_its_destination_alone_until_it_is_there(
    instance: Make, tmp_path: Path, moto: Moto
) -> None:
    moto.create_bucket("audit-sec")
    machine = two(instance, tmp_path, moto.url, bucket="audit-{tag:team}")
    (tmp_path / "audit-logs" / "audit.log.1").write_bytes(b"audit\n")
    machine.write("app.log.1", b"app\n")
    machine.run("ship", code=1)
    assert machine.contents() == [b"app\n"]
    checked = machine.run("check", code=1)
    assert f"ok    bucket {machine.bucket} of destination default (listing)" in checked
    machine.write("app.log.2", b"later\n")
    machine.start()
    machine.wait_until_shipped(2)
    status = machine.status() or {}
    gates = {name: one["gate"]["open"] for name, one in status["destinations"].items()}
    assert gates == {"default": True, "audit": False}
    [said] = [line for line in status["ailments"] if line.startswith("nothing is sent")]
    assert said.startswith(
        "nothing is sent to audit: TagUnusable: destinations.audit.bucket needs"
    )
    assert said.split(": ", 2)[2].partition(" (hint")[0] in checked
    machine.imds.facts.tags.update(team="sec")
    machine.wait_until_shipped(3)
    assert len(moto.keys("audit-sec")) == 1
    assert destinations(machine)["audit"]["gate"]["open"]
    machine.write("app.log.3", b"at last\n")
    machine.wait_until_shipped(4)
    assert machine.stop() == 0


ROLE = "arn:aws:iam::123456789012:role/writer"


def test_a_reload_takes_up_what_a_start_does_and_keeps_what_works(
    instance: Make, tmp_path: Path
) -> None:
    inside = Inside(two(instance, tmp_path, "http://127.0.0.1:1", 'region = "-nowhere-"'))
    inside.services.instance_lookup.step()
    with pytest.raises(Refused, match="BadDestination"):
        inside.changes()
    there = inside.services.destinations[1]
    there.gate.shut(PortError("BadDestination", "as at the start"), generation=0)
    assert inside.changes() == []
    inside.services.close()


@pytest.mark.parametrize(("region", "is_one"), [("", True), ('region = "eu-west-1"', False)])
def test_a_role_is_assumed_in_the_region_of_each_destination(
    instance: Make, tmp_path: Path, region: str, is_one: bool
) -> None:
    machine = two(instance, tmp_path, "http://127.0.0.1:1", f'role_arn = "{ROLE}"\n{region}')
    text = machine.config.read_text()
    role = f'[destination]\nrole_arn = "{ROLE}"\n'
    machine.config.write_text(text.replace("[destination]\n", role, 1))
    inside = Inside(machine)
    here, there = inside.services.destinations
    assert (here.keeper is there.keeper) == is_one
    inside.services.close()


def test_the_metrics_tell_the_worst_credentials_of_all_destinations(
    instance: Make, tmp_path: Path
) -> None:
    machine = two(instance, tmp_path, "http://127.0.0.1:1", f'role_arn = "{ROLE}"')
    inside = Inside(machine)
    services = inside.services
    services.keepers[0].step()
    told = page(inside.running().report).decode()
    assert 'shipper_credentials_state{code="",state="none-yet"} 1.0' in told
    assert 'shipper_credentials_refreshes_total{outcome="ok"} 1.0' in told
    services.close()
