"""The real daemon's heartbeats over real HTTP."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from shipper.core.heartbeats import Heartbeat, decoded
from shipper.core.types import ChecksumAlgorithm
from shipper.ports import PortError
from shipper.reports.pulse import heartbeat_of
from shipper.runtime.exit_codes import EXIT_BUG
from tests.fakes.servers import Moto
from tests.fakes.store import FakeStore
from tests.fakes.wire_store import BUCKET, Instead, Mishap, WireStore
from tests.integration.test_termination import say, systemctl
from tests.machines.here import Here
from tests.machines.inside import Inside
from tests.machines.instance import INSTANCE_ID, Instance
from tests.machines.schemas import broken

Make = Callable[..., Instance]
HOURLY = '[fleet]\nheartbeat = "1h"\n'
KEY = f"logs/_fleet/instance={INSTANCE_ID}/heartbeat.json"
TWO_CHANGES_SECONDS = 200.0
"""Each is told a minute after the one before, and looked for every half."""


class Refusing(FakeStore):
    """A bucket whose policy may refuse logs, and takes heartbeats."""

    refuses = parks = False
    wire: WireStore

    def put(self, key: Any, body: Any, **more: Any) -> Any:
        if self.refuses and "_fleet/" not in key:
            self.fail_next("PutObject", PortError("AccessDenied", "logs", status=403))
        if self.parks and "_fleet/" not in key:
            self.fail_next("PutObject", PortError("KeyTooLongError", "logs", status=400))
        return super().put(key, body, **more)


@dataclass
class _Server:
    """What an instance needs to know of a server."""

    url: str

    def create_bucket(self, bucket: str) -> None:
        """There is one already."""


@contextmanager
def refusing(instance: Make, **options: Any) -> Iterator[tuple[Instance, Refusing]]:
    """An instance with such a bucket."""
    bucket = Refusing(algorithm=ChecksumAlgorithm.CRC64NVME)
    with WireStore(bucket) as wire:
        bucket.wire = wire
        machine = instance(moto=_Server(wire.url), more=HOURLY, **options)
        written = machine.config.read_text()
        machine.config.write_text(written.replace(machine.bucket, BUCKET))
        try:
            yield machine, bucket
        finally:
            machine.end()


def heartbeat(machine: Instance) -> Heartbeat | None:
    """The machine's, as it is in moto's bucket."""
    if KEY not in machine.moto.keys(machine.bucket):
        return None
    body = machine.moto.read(machine.bucket, KEY)
    assert broken("heartbeat", json.loads(body)) == []
    return decoded(body)


def word(machine: Instance) -> str:
    found = heartbeat(machine)
    return found.state if found is not None else ""


def test_without_the_key_nothing_is_written_and_nothing_is_said(instance: Make) -> None:
    machine = instance()
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_until_shipped(1)
    status = machine.status() or {}
    assert status["heartbeat"] is None
    assert "shipper_heartbeats_total{" not in machine.ask("/metrics")
    assert "heartbeat:" not in machine.run("status")
    assert machine.stop() == 0
    assert not [key for key in machine.moto.keys(machine.bucket) if "_fleet/" in key]


def test_a_heartbeat_says_how_it_is_and_a_stop_that_it_stopped(
    instance: Make, here: Here, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = 'storage_class = "STANDARD_IA"\ntags = {team = "web"}\n'
    machine = instance(more=HOURLY)
    text = machine.config.read_text()
    machine.config.write_text(text.replace("[[watch]]", f"{locked}[[watch]]", 1))
    machine.write("app.log.1", b"a line\n")
    machine.write("app.log", b"a live line\n")
    machine.write("notes", b"left alone\n")
    machine.start()
    machine.wait_for(lambda: heartbeat(machine), "the heartbeat")
    machine.wait_until_shipped(1)
    found = heartbeat(machine)
    assert found is not None
    assert (found.instance, found.state, found.interval_seconds) == (INSTANCE_ID, "well", 3600.0)
    (watch,) = found.watches
    assert (watch.name, watch.live, watch.left_alone) == ("app", 1, 1)
    assert watch.waiting + watch.unshipped <= 1
    (to,) = found.destinations
    assert (to.gate, to.credentials) == ("open", "fresh")
    assert to.credentials_expire_at > found.at
    assert found.disks[0].free_bytes > 0
    assert len(found.configuration) == 64
    attributes = moto.attributes(machine.bucket, KEY)
    assert attributes["ContentType"] == "application/json"
    assert "StorageClass" not in attributes
    metrics = machine.ask("/metrics")
    assert 'shipper_heartbeats_total{outcome="ok"} 1.0' in metrics
    assert "shipper_heartbeat_last_success_timestamp_seconds 1" in metrics
    row = (machine.status() or {})["heartbeat"]
    assert row["key"] == KEY
    assert row["code"] == ""
    assert "heartbeat: the last at 20" in here.run(machine, "status")
    assert "skip  heartbeats, every 1h: not probed" in here.run(machine, "check", code=None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDREADER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert "nobody is needed; 1 instance: 1 well" in here.run(machine, "fleet")
    assert machine.stop() == 0
    assert word(machine) == "stopped"
    last = heartbeat(machine)
    assert last is not None
    (to,) = last.destinations
    manifests = [key for key in machine.moto.every_key(machine.bucket) if "_manifests/" in key]
    assert manifests[-1].endswith(f"/{to.manifest:08}.jsonl.zst")
    manifest = machine.moto.read(machine.bucket, manifests[-1])
    assert to.manifest_sha256 == hashlib.sha256(manifest).hexdigest()
    assert f"/epoch={to.epoch}/" in manifests[-1]
    assert to.address == f"{machine.moto.url}/{machine.bucket}/logs/"
    assert "1 stopped" in here.run(machine, "fleet", code=1)


def test_a_machine_that_ends_for_good_and_is_drained_has_ended(instance: Make) -> None:
    machine = instance(more=HOURLY)
    systemctl(machine, "stopping")
    machine.write("app.log", b"a live line\n")
    machine.start()
    machine.wait_for(lambda: heartbeat(machine), "the heartbeat")
    say(machine, spot="terminate")
    machine.wait_for(lambda: machine.events("drain.begun"), "the drain")
    assert machine.stop() == 0
    assert machine.contents()[1:] == [b"a live line\n"]
    assert word(machine) == "ended"


def test_a_machine_that_is_shut_down_has_stopped_for_it_may_come_back(instance: Make) -> None:
    machine = instance(more=HOURLY)
    systemctl(machine, "stopping")
    machine.write("app.log", b"a live line\n")
    machine.start()
    machine.wait_for(lambda: heartbeat(machine), "the heartbeat")
    assert machine.stop() == 0
    assert machine.contents()[1:] == [b"a live line\n"]
    last = heartbeat(machine)
    assert last is not None
    assert (last.state, last.reasons[0].code) == ("stopped", "ShutDown")


@pytest.mark.parametrize("what", ["parked", "refused", "live"])
def test_what_is_not_in_s3_at_the_end_is_no_end(instance: Make, what: str) -> None:
    with refusing(instance) as (machine, bucket):
        if what != "parked":
            with machine.config.open("a") as file:
                file.write("[termination]\nship_live_files = false\n")
        systemctl(machine, "stopping")
        log = machine.write("app.log" if what == "live" else "bad.log.1", b"a line\n")
        if what == "refused":
            os.link(log, log.with_name("elsewhere"))
        bucket.parks = what == "parked"
        machine.start()
        machine.wait_for(lambda: KEY in bucket.objects(), "the heartbeat")
        if what == "parked":
            machine.wait_for(lambda: "parked" in machine.ask("/healthz"), "the parked one")
        assert machine.stop() == 0
        last = decoded(bucket.objects()[KEY])
        assert last.state == "stopped"
        assert "ShutDown" not in [one.code for one in last.reasons]


def test_a_machine_that_goes_down_with_logs_on_it_has_stopped(instance: Make) -> None:
    with refusing(instance) as (machine, bucket):
        bucket.refuses = True
        systemctl(machine, "stopping")
        machine.write("app.log.1", b"a line\n")
        machine.start()
        machine.wait_for(lambda: KEY in bucket.objects(), "the heartbeat")
        machine.stop()
        last = decoded(bucket.objects()[KEY])
        assert last.state == "stopped"
        assert last.watches[0].unshipped == 1


def test_a_bucket_that_answers_no_more_holds_up_no_stop(instance: Make) -> None:
    with refusing(instance) as (machine, bucket):
        machine.start()
        machine.wait_for(lambda: KEY in bucket.objects(), "the heartbeat")
        bucket.wire.begin(bucket, Mishap("PutObject", Instead(b""), for_ever=True))
        assert machine.stop() == 0
        assert machine.events("daemon.stopped")
        assert not machine.events("daemon.left")
        assert decoded(bucket.objects()[KEY]).state == "well"
        assert "PutObject" in bucket.wire.asked


@pytest.mark.lengthy
def test_a_bucket_that_refuses_logs_makes_it_ill_until_it_takes_them(instance: Make) -> None:
    with refusing(instance) as (machine, bucket):

        def says() -> Heartbeat | None:
            body = bucket.objects().get(KEY)
            return decoded(body) if body is not None else None

        def is_so(state: str) -> bool:
            found = says()
            return found is not None and found.state == state

        bucket.refuses = True
        machine.write("app.log.1", b"a line\n")
        machine.start()
        machine.wait_for(lambda: is_so("ill"), "the ill one", TWO_CHANGES_SECONDS)
        ill = says()
        assert ill is not None
        assert "AccessDenied" in [reason.code for reason in ill.reasons]
        assert ill.destinations[0].gate == "AccessDenied", "it goes out though the gate is shut"
        bucket.refuses = False
        machine.wait_until_shipped(1, TWO_CHANGES_SECONDS)
        machine.wait_for(lambda: is_so("well"), "the well one", TWO_CHANGES_SECONDS)


@pytest.mark.lengthy
def test_an_overdue_log_makes_it_ill_until_one_comes(instance: Make) -> None:
    machine = instance(watch='expect_every = "5s"', more=HOURLY)
    machine.start()
    machine.wait_for(lambda: "no log for" in machine.ask("/healthz"), "the ailment")
    assert machine.stop() == 0
    machine.start()
    machine.wait_for(lambda: word(machine) == "ill", "the ill one")
    found = heartbeat(machine)
    assert found is not None
    assert found.overdue == 1
    assert found.watches[0].overdue_seconds > 0
    assert "watch app: no log for" in found.reasons[0].text
    written = 0

    def is_well_while_logs_come() -> bool:
        nonlocal written
        written += 1
        if written % 50 == 1:
            machine.write(f"app{written}.log.1", b"a line %d\n" % written)
        return word(machine) == "well"

    machine.wait_for(is_well_while_logs_come, "the well one", TWO_CHANGES_SECONDS)


def test_where_nothing_may_be_replaced_keys_are_hourly_and_it_is_said(
    instance: Make, here: Here
) -> None:
    with refusing(instance) as (machine, bucket):
        bucket.demands_condition = True
        machine.start()
        machine.wait_for(lambda: machine.events("heartbeat.hourly"), "the finding")
        (key,) = bucket.objects()
        assert key.startswith("logs/_fleet/hour=20")
        assert key.endswith(f"/instance={INSTANCE_ID}/heartbeat.json")
        assert (machine.status() or {})["heartbeat"]["hourly"] is True
        assert "hourly keys" in here.run(machine, "status")
        machine.write("app.log.1", b"a line\n")
        machine.wait_until_shipped(1)
        assert machine.stop() == 0
        words = {key: decoded(body).state for key, body in bucket.objects().items() if "_f" in key}
        assert sorted(words.values()) == ["stopped", "well"]


def test_one_that_is_refused_is_an_imperfection_and_holds_up_nothing(instance: Make) -> None:
    with refusing(instance) as (machine, bucket):
        for _ in range(2):
            bucket.fail_next("PutObject", PortError("AccessDenied", "no", status=403))
        machine.start()
        machine.wait_for(lambda: machine.events("heartbeat.failed"), "the failure")
        status = machine.status() or {}
        assert status["ailments"] == []
        said = status["imperfections"]
        assert any("no heartbeat: AccessDenied" in one and "_fleet/" in one for one in said)
        assert machine.ask("/healthz").startswith("ok\nno heartbeat: AccessDenied")
        shown = machine.run("status")
        assert "NOT WELL" not in shown
        assert "imperfect: no heartbeat: AccessDenied" in shown
        assert "heartbeat: FAILED, none yet" in shown
        assert 'shipper_heartbeats_total{outcome="failed"} 1.0' in machine.ask("/metrics")
        machine.write("app.log.1", b"a line\n")
        machine.wait_until_shipped(1)
        assert machine.stop() == 0


@pytest.mark.usefixtures("handlers")
def test_one_that_dies_of_a_bug_says_so_at_last(instance: Make) -> None:
    machine = instance(more=HOURLY)
    inside = Inside(machine)
    services = inside.services

    def fail() -> float:
        if word(machine):
            raise ZeroDivisionError("a bug")
        return 0.1

    services.housekeeping.step = fail  # type: ignore[method-assign]  # a bug, put there on purpose
    assert inside.daemon().run() == EXIT_BUG
    last = heartbeat(machine)
    assert last is not None
    assert (last.state, last.reasons[0].code) == ("ill", "LoopDied")


def test_a_bug_in_what_it_gathers_is_what_it_says(instance: Make) -> None:
    inside = Inside(instance(more=HOURLY))
    report = inside.running().report
    assert "credentials none-yet" in heartbeat_of(report).reasons[0].text
    inside.services.discovery.left_alone = None  # type: ignore[assignment]  # what nobody foresaw
    found = heartbeat_of(report)
    assert (found.state, found.reasons[0].code) == ("ill", "Bug")
    assert "nothing is known: Bug: AttributeError" in found.reasons[0].text
    assert found.destinations[0].gate == "open"
    assert inside.services.bugs.count == 1
    inside.services.close()
