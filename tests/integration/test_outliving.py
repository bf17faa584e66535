"""A real rotator deletes promised logs during an outage, below a real daemon."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shipper.runtime.exit_codes import EXIT_WRONG
from tests.machines.here import Here
from tests.machines.instance import Instance
from tests.machines.manager import ServiceManager

Make = Callable[..., Instance]
OUTAGE: dict[str, Any] = {"role": ""}
DELETES = {"the oldest": "rotate 1", "what is old": "rotate 99\n  maxage 1"}
THREE_DAYS = 3 * 86_400.0


class Rotator:
    """logrotate with a configuration that deletes."""

    def __init__(self, machine: Instance, program: str, directive: str) -> None:
        self._machine = machine
        self._program = program
        self._directory = machine.directory
        self._configuration = self._directory / "logrotate.conf"
        self._configuration.write_text(
            f"{machine.logs}/app.log {{\n  create 0644\n  notifempty\n  {directive}\n}}\n"
        )
        self._configuration.chmod(0o600)

    def rotate(self, body: bytes) -> None:
        """Write the live log, three days ago, and rotate it."""
        live = self._machine.logs / "app.log"
        live.write_bytes(body)
        at = time.time() - THREE_DAYS
        subprocess.run(["touch", "-m", "-d", f"@{at:.3f}", str(live)], check=True)
        state = str(self._directory / "logrotate.state")
        subprocess.run([self._program, "-f", "-s", state, str(self._configuration)], check=True)


def bodies(count: int) -> list[bytes]:
    return [b"rotation %d\n" % number * 5000 for number in range(count)]


def held(machine: Instance, kind: str) -> int:
    status = machine.status()
    return 0 if status is None else int(status["held"][kind])


@pytest.mark.system
@pytest.mark.parametrize("deletes", list(DELETES))
def test_logs_that_logrotate_deletes_during_an_outage_arrive_after_it(
    instance: Make, logrotate: str, deletes: str
) -> None:
    machine = instance()
    machine.imds.faults.set("GET /latest/meta-data/iam/ 503")
    rotator = Rotator(machine, logrotate, DELETES[deletes])
    machine.start()
    written = bodies(2)
    for number, body in enumerate(written):
        rotator.rotate(body)
        machine.wait_for(lambda n=number: held(machine, "descriptors") > n, "it to be held")  # type: ignore[misc]
    assert len(list(machine.logs.glob("app.log.*"))) == 1
    machine.imds.faults.set()
    machine.wait_until_shipped(2, seconds=100)
    assert sorted(machine.contents()) == written
    assert machine.files("GONE") == 0
    assert machine.stop() == 0


@pytest.mark.lengthy
@pytest.mark.system
def test_what_is_beyond_the_budget_is_loud_while_the_outage_lasts(
    instance: Make, logrotate: str, here: Here
) -> None:
    machine = instance(facts=OUTAGE, more='[uploads]\nheld_bytes = "150kB"\n')
    rotator = Rotator(machine, logrotate, "rotate 1")
    machine.start()
    written = bodies(4)
    for number, body in enumerate(written):
        rotator.rotate(body)
        machine.wait_for(lambda n=number: held(machine, "descriptors") > n, "it to be held")  # type: ignore[misc]
    machine.wait_for(lambda: machine.events("source.vanished"), "the loss to be said")
    [let_go] = machine.events("held.let_go")
    assert (let_go["level"], let_go["path"]) == ("error", "app.log.1")
    assert let_go["held_bytes"] >= len(written[0])
    metrics = machine.ask("/metrics")
    assert 'shipper_gone_files_total{watch="app"} 1.0' in metrics
    assert 'shipper_held_files{kind="descriptor"} 3.0' in metrics
    [unlinked] = [line for line in metrics.splitlines() if line.startswith("shipper_held_unl")]
    machine.wait_for(lambda: 0 < held(machine, "unlinked_bytes") <= 150_000, unlinked)
    assert "held: 3 descriptors, " in here.run(machine, "status", code=1)


def test_what_systemd_kept_arrives_after_a_kill_and_a_restart(
    instance: Make, tmp_path: Path
) -> None:
    with ServiceManager(tmp_path) as manager:
        machine = instance(facts=OUTAGE)
        machine.more_environment |= manager.environment
        machine.start()
        written = bodies(3)
        for number, body in enumerate(written):
            machine.write(f"{number}.log.1", body)
        machine.wait_for(lambda: len(manager.stored) == 3, "systemd to have all")
        for path in machine.logs.iterdir():
            path.unlink()
        machine.kill()
        machine.confined_by = manager.passing()
        machine.start()
        assert held(machine, "descriptors") == 3
        assert machine.stop() == 0
        assert len(manager.stored) == 3
        machine.imds.facts.role = "shipper"
        machine.start()
        machine.wait_until_shipped(3)
        assert sorted(machine.contents()) == sorted(written)
        machine.wait_for(lambda: not manager.stored, "systemd to let go of them")
        assert machine.files("GONE", "PARKED", "SUPERSEDED") == 0
        assert machine.events("held.unclaimed") == []
        assert machine.stop() == 0


def test_a_ship_beside_no_daemon_touches_no_store(instance: Make, tmp_path: Path) -> None:
    with ServiceManager(tmp_path) as manager:
        machine = instance()
        machine.more_environment |= manager.environment
        machine.write("app.log.1", b"one\n")
        machine.run("ship")
    assert machine.contents() == [b"one\n"]
    assert manager.heard == []


def test_a_destination_that_makes_no_client_costs_nothing_that_is_held(
    instance: Make, tmp_path: Path
) -> None:
    """It ends with 1: after 78 systemd would close what it keeps."""
    with ServiceManager(tmp_path) as manager:
        machine = instance(facts={"role": ""})
        machine.more_environment |= manager.environment
        machine.start()
        path = machine.write("app.log.1", b"the only copy\n")
        machine.wait_for(lambda: len(manager.stored) == 1, "it to be held")
        path.unlink()
        machine.kill()
        text = machine.config.read_text().replace("[[watch]]", 'region = "-"\n[[watch]]', 1)
        machine.config.write_text(text)
        machine.confined_by = manager.passing()
        machine.start()
        assert machine.wait_until_stopped() == EXIT_WRONG
        assert machine.events("destination.refused")
        manager.settle()
        assert len(manager.stored) == 1
