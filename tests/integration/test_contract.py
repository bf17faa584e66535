"""What ``--json`` prints keeps its schema in ``docs/schemas``, whatever state things are in."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from shipper.core.backoff import CredentialsState
from shipper.core.termination import Reason
from shipper.core.types import Role, State
from shipper.mock.settings import changes_from
from tests.fakes.proxy import Proxy
from tests.fakes.servers import Moto
from tests.machines.here import Here
from tests.machines.instance import Instance
from tests.machines.schemas import broken, schema

Make = Callable[..., Instance]


def document(here: Here, machine: Instance, command: str, *arguments: str) -> dict[str, Any]:
    """What the command prints, which keeps its schema."""
    printed = here.run(machine, command, *arguments, "--json", code=None)
    found: dict[str, Any] = json.loads(printed)
    assert broken(command, found) == []
    return found


def test_every_document_of_a_healthy_machine_keeps_its_schema(instance: Make, here: Here) -> None:
    machine = instance()
    path = machine.write("app.log.1", b"one\n")
    plan = document(here, machine, "plan")
    assert [one["decision"] for one in plan["candidates"]] == ["to be shipped"]
    assert document(here, machine, "explain", str(path))["sealed"]["sealed"] is False
    assert document(here, machine, "credentials")["state"] == "fresh"
    machine.start()
    machine.wait_until_shipped(1)
    status = document(here, machine, "status")
    assert (status["well"], status["running"]) == (True, True)
    assert status["watches"]["app"]["DONE"]["files"] == 1
    assert status["rate"]["files_per_second"] > 0
    assert status["rate"]["sent_bytes_per_second"] > 0
    assert document(here, machine, "credentials")["state"] == "fresh"
    shipped = document(here, machine, "explain", str(path))
    assert [row["state"] for row in shipped["shipments"]] == ["DONE"]
    live = machine.write("app.log", b"two\n")
    assert document(here, machine, "explain", str(live))["answer"] == "live"
    assert document(here, machine, "explain", "/nowhere")["watch"] is None
    machine.stop()
    assert document(here, machine, "status")["running"] is False


def test_documents_of_a_shut_gate_keep_their_schema(instance: Make, here: Here) -> None:
    machine = instance()
    machine.config.write_text(machine.config.read_text().replace(machine.bucket, "no-such-bucket"))
    path = machine.write("app.log.1", b"waits\n")
    machine.start()
    machine.wait_for(lambda: "NoSuchBucket" in machine.ask("/healthz"), "the gate to shut")
    assert document(here, machine, "status")["gate"]["code"] == "NoSuchBucket"
    assert document(here, machine, "explain", str(path))["code"] == "NoSuchBucket"


def test_documents_of_what_is_parked_refused_or_away_keep_their_schema(
    instance: Make, here: Here
) -> None:
    machine = instance()
    with machine.config.open("a") as config:
        config.write(f'[[watch]]\nname = "away"\ndirectory = "{machine.directory}/away"\n')
    path = machine.write("app.log.1", b"mine\n")
    key = document(here, machine, "plan")["candidates"][0]["key"]
    machine.moto.client("s3").put_object(Bucket=machine.bucket, Key=key, Body=b"theirs")
    (machine.logs / "link.log.1").symlink_to("/dev/null")
    machine.write("left.txt", b"alone")
    machine.start()
    machine.wait_for(lambda: machine.files("PARKED"), "it to be parked")
    machine.wait_for(lambda: "NotRegular" in machine.ask("/status"), "a refusal")
    status = document(here, machine, "status")
    assert [row["code"] for row in status["parked"]] == ["KeyTaken"]
    assert "NotRegular" in [row["code"] for row in status["problems"]]
    assert list(status["scan"]["unwatched"]) == ["away"]
    assert {"PARKED"} == set(status["watches"]["app"])
    assert {one["decision"] for one in document(here, machine, "plan")["candidates"]} >= {
        "parked",
        "cannot be shipped",
    }
    assert document(here, machine, "explain", str(path))["answer"] == "parked"
    machine.stop()
    assert [row["id"] for row in document(here, machine, "status")["parked"]] == [1]


def test_documents_of_what_is_in_flight_and_lost_keep_their_schema(
    instance: Make, here: Here, moto: Moto
) -> None:
    with Proxy(moto) as s3:
        machine = instance(moto=s3.moto)
        s3.refuse = lambda seen: (503, {}, b"") if seen.method == "PUT" else None
        path = machine.write("lost.log.1", b"bytes that exist once\n")
        machine.start()
        machine.wait_for(lambda: machine.files("READY"), "the promise")

        def is_in_flight() -> bool:
            return bool((machine.status() or {})["in_flight"]["largest"])

        machine.wait_for(is_in_flight, "it to be tried")
        document(here, machine, "status")
        machine.wait_for(lambda: "attempt.failed" in machine.log_text(), "an attempt")
        assert document(here, machine, "explain", str(path))["shipments"][0]["attempts"] > 0
        path.write_bytes(b"")
        s3.refuse = lambda seen: None
        for _ in range(2):
            here.run(machine, "retry", "--all", code=None)
            machine.wait_for(
                lambda: machine.files("GONE") or "WriteUndecided" in machine.ask("/status"),
                "a look",
            )
        here.run(machine, "retry", "--all", code=None)
        machine.wait_for(lambda: machine.files("GONE"), "the loss")
        assert [row["path"] for row in document(here, machine, "status")["lost"]] == ["lost.log.1"]
        document(here, machine, "explain", "1")


def test_the_status_of_a_drain_and_of_a_role_that_is_gone_keeps_its_schema(
    instance: Make, here: Here
) -> None:
    machine = instance()
    changes_from({"spot": "terminate"}, "a test").apply(machine.imds)
    machine.start()
    machine.wait_for(
        lambda: (machine.status() or {})["termination"]["draining"], "the drain to begin"
    )
    assert document(here, machine, "status")["termination"]["reason"] == "spot"
    machine.stop()
    machine.imds.fault = lambda method, path: (404, "no such thing")
    assert document(here, machine, "credentials")["is_usable"] is False
    machine.start()
    assert document(here, machine, "status")["instance"] is None


def test_the_schemas_name_every_state_there_is() -> None:
    status = schema("status")["$defs"]
    assert status["shipment"]["properties"]["state"]["enum"] == [one.value for one in State]
    states = [one.value for one in CredentialsState]
    assert status["credentials"]["properties"]["state"]["enum"] == states
    assert schema("credentials")["properties"]["state"]["enum"] == states
    drains = status["running"]["properties"]["termination"]["oneOf"]
    assert {*drains[1]["properties"]["reason"]["enum"]} == {one.value for one in Reason}
    watch = schema("explain")["properties"]["watch"]["anyOf"][1]["properties"]
    assert watch["role"]["enum"] == [*(one.value for one in Role), None]


@pytest.mark.parametrize(
    "change", [{"more": 1}, {"well": "yes"}, {"unshipped_files": -1}, {"running": None}]
)
def test_a_key_that_no_schema_names_breaks_the_contract(
    instance: Make, here: Here, change: dict[str, object]
) -> None:
    machine = instance()
    machine.start()
    assert broken("status", document(here, machine, "status") | change)
