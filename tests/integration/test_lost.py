"""A lost log is said everywhere until an operator acknowledges it, and nowhere afterwards."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.proxy import Proxy
from tests.fakes.servers import Moto
from tests.machines.here import Here
from tests.machines.instance import Instance

Make = Callable[..., Instance]


def lose(machine: Instance, mode: str, path: Path) -> None:
    """As rotators and operators do it; what is held is of no use afterwards."""
    match mode:
        case "shred":
            subprocess.run(["shred", "--remove", str(path)], check=True)
        case "truncate":
            path.write_bytes(b"")
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case _:
            path.write_bytes(b"another log, written into the same inode, and no shorter\n")


@pytest.mark.parametrize("mode", ["shred", "truncate", "empty", "replace"])
def test_a_lost_log_is_named_everywhere_until_it_is_acknowledged_and_then_all_is_well(
    instance: Make, here: Here, moto: Moto, mode: str
) -> None:
    with Proxy(moto) as s3:
        machine = instance(moto=s3.moto)
        s3.refuse = lambda seen: (503, {}, b"") if seen.method == "PUT" else None
        path = machine.write("lost.log.1", b"bytes that exist once\n" * 2)
        machine.start()
        machine.wait_for(lambda: machine.files("READY"), "the promise")
        machine.wait_for(lambda: "attempt.failed" in machine.log_text(), "an attempt")
        lose(machine, mode, path)
        s3.refuse = lambda seen: None
        retry(here, machine)
        # S3 may still be storing what it was sent, so it is asked a second time.
        machine.wait_for(lambda: "WriteUndecided" in machine.ask("/status"), "the first look")
        retry(here, machine)
        machine.wait_for(lambda: machine.files("GONE"), "the loss")
        [event] = machine.events("source.vanished")
        assert (event["level"], event["path"]) == ("error", "lost.log.1")
        assert "acknowledge" in event["hint"]

        said = "1 files are lost, shipment 1 of app/lost.log.1"
        assert said in machine.ask("/healthz")
        assert 'shipper_lost_files{watch="app"} 1.0' in machine.ask("/metrics")
        assert said in here.run(machine, "status", code=1)
        document = here.json(machine, "status", code=1)
        assert [row["path"] for row in rows(document["lost"])] == ["lost.log.1"]
        assert document["well"] is False
        for name in (str(path), "1"):
            assert explained(here, machine, name, 1) == [(1, "GONE")]
        # A restart forgets nothing of it.
        machine.kill()
        machine.start()
        machine.wait_for(lambda: said in machine.ask("/healthz"), "the loss, after a restart")
        assert said in machine.run("check", "--offline", code=1)

        assert "known to be lost" in here.run(machine, "acknowledge", "1")
        machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")
        assert 'shipper_lost_files{watch="app"} 0.0' in machine.ask("/metrics")
        document = here.json(machine, "status")
        assert (document["lost"], document["well"]) == ([], True)
        assert explained(here, machine, "1", 0) == [(1, "GONE")]
        assert 'shipper_gone_files_total{watch="app"} 1.0' in machine.ask("/metrics")


def retry(here: Here, machine: Instance) -> None:
    """Make everything due, and nudge the workers with another log."""
    here.run(machine, "retry", "--all")
    machine.write(f"nudge.log.{len(list(machine.logs.iterdir())) + 1}", b"nudge\n")


def rows(found: object) -> list[dict[str, object]]:
    assert isinstance(found, list)
    return found


def explained(here: Here, machine: Instance, name: str, code: int) -> list[tuple[object, object]]:
    """The lost shipments that ``explain`` names."""
    document = here.json(machine, "explain", name, code=code)
    shipments = rows(document["shipments"])
    return [(row["id"], row["state"]) for row in shipments if row["state"] == "GONE"]
