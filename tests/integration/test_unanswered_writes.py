"""S3 stored the log, nobody heard of it, and the rotator made the log's compressed copy."""

import subprocess
import threading
from collections.abc import Callable

import pytest

from tests.fakes.proxy import Proxy, Seen
from tests.fakes.servers import Moto
from tests.machines.instance import Instance

LOG = b"".join(b"a line of the log, number %d\n" % number for number in range(20_000))


@pytest.mark.parametrize("is_killed", [True, False], ids=["kill -9", "SIGTERM"])
def test_a_log_that_was_stored_unheard_and_compressed_meanwhile_is_one_object(
    instance: Callable[..., Instance], moto: Moto, is_killed: bool
) -> None:
    stored, is_over = threading.Event(), threading.Event()

    def loses(seen: Seen) -> bool:
        if seen.method != "PUT" or "app.log" not in seen.target or is_over.is_set():
            return False
        stored.set()
        is_over.wait(30)
        return True

    with Proxy(moto, loses=loses) as proxy:
        machine = instance(moto=proxy.moto, more="[uploads]\n")
        log = machine.write("app.log.1", LOG)
        machine.start()
        assert stored.wait(30)
        if is_killed:
            machine.kill()
            is_over.set()
        else:
            threading.Timer(0.5, is_over.set).start()
            machine.stop()
        log.rename(machine.logs / "app.log.2")
        subprocess.run(["gzip", str(machine.logs / "app.log.2")], check=True)
        machine.start()
        machine.wait_until_shipped(1)
        machine.wait_for(lambda: _states(machine) == ["DONE", "DUPLICATE"], "the copy's proof")
        assert machine.contents() == [LOG]
        assert machine.events("source.vanished") == []


def _states(machine: Instance) -> list[str]:
    with machine.journal() as journal:
        if journal is None:
            return []
        return sorted(
            total.state.value for total in journal.figures.totals() for _ in range(total.files)
        )
