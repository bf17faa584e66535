"""How long it takes to stop, in every state that a daemon may be in; ``-rP`` prints the times."""

import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shipper.daemon.daemon import GRACE_SECONDS
from tests.fakes.servers import Answer, ScriptedServer, http_answer
from tests.machines.instance import Instance

Make = Callable[..., Instance]
State = Callable[[Make, ExitStack], Instance]
MIB = 2**20
SILENCE = [Answer.NEVER] * 100
DENIED = http_answer(
    403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>", x_amz_request_id="R"
)


def at(machine: Instance, url: str) -> None:
    """Let its S3 be there."""
    machine.config.write_text(machine.config.read_text().replace(machine.moto.url, url))


def idle(instance: Make, stack: ExitStack) -> Instance:
    machine = instance()
    machine.start()
    machine.wait_for(lambda: machine.events("daemon.ready"), "the daemon to be ready")
    return machine


def before_it_is_ready(instance: Make, stack: ExitStack) -> Instance:
    machine = instance()
    for number in range(3000):
        machine.write(f"{number}.log.1", b"x")
    machine.start()
    return machine


def a_connection_hangs(instance: Make, stack: ExitStack) -> Instance:
    """Others wait for memory meanwhile."""
    silent = stack.enter_context(ScriptedServer(*SILENCE))
    machine = instance(
        watch='compression = "none"',
        more='[uploads]\nmemory_limit = "32MiB"\npart_size = "8MiB"\n',
    )
    at(machine, silent.url)
    for number in range(6):
        machine.write(f"{number}.log.1", os.urandom(7 * MIB))
    machine.start()
    machine.wait_for(lambda: silent.requests, "the upload to hang")
    return machine


def waits_for_credentials(instance: Make, stack: ExitStack) -> Instance:
    machine = instance()
    machine.imds.fault = lambda method, path: (
        (404, "none") if "security-credentials" in path else None
    )
    machine.write("app.log.1", b"waits\n")
    machine.start()
    machine.wait_for(lambda: machine.events("gate.shut"), "the gate to be shut")
    return machine


def the_metadata_service_hangs(instance: Make, stack: ExitStack) -> Instance:
    machine = instance()
    silent = stack.enter_context(ScriptedServer(*SILENCE))
    machine.more_environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = silent.url
    machine.write("app.log.1", b"waits\n")
    machine.start()
    machine.wait_for(lambda: silent.requests, "the question to hang")
    return machine


def the_gate_is_shut(instance: Make, stack: ExitStack) -> Instance:
    denying = stack.enter_context(ScriptedServer(otherwise=lambda request: DENIED))
    machine = instance()
    at(machine, denying.url)
    machine.write("app.log.1", b"waits\n")
    machine.start()
    machine.wait_for(lambda: machine.events("gate.shut"), "the gate to be shut")
    return machine


def scans(instance: Make, files: int) -> Instance:
    """In the middle of a scan that promises as it goes: some are in the journal, and not all."""
    machine = instance()
    for number in range(files):
        (machine.logs / f"{number}.log.1").write_bytes(b"%d\n" % number)
    machine.start()
    machine.wait_for(lambda: machine.files("READY", "UPLOADING", "DONE"), "the first promises")
    assert machine.files("READY", "UPLOADING", "DONE") < files, "the scan is over already"
    return machine


def a_scan_of_5_000_files(instance: Make, stack: ExitStack) -> Instance:
    return scans(instance, 5_000)


def a_scan_of_100_000_files(instance: Make, stack: ExitStack) -> Instance:
    return scans(instance, 100_000)


def a_copy_is_decompressed(instance: Make, stack: ExitStack) -> Instance:
    """A gzip copy of zeros, which take longest for what they are."""
    machine, size = instance(), 512 * MIB
    log = machine.logs / "app.log.1"
    with log.open("wb") as file:
        file.truncate(size)
    machine.start()
    machine.wait_until_shipped(1)
    packed = machine.directory / "packed"
    with packed.open("wb") as file:
        file.writelines(gzipped_zeros(size))
    status = log.stat()
    os.utime(packed, ns=(status.st_mtime_ns, status.st_mtime_ns))
    packed.rename(machine.logs / "app.log.1.gz")
    log.unlink()
    machine.wait_for(lambda: len(machine.events("shipment.promised")) == 2, "the copy")
    return machine


def gzipped_zeros(size_bytes: int) -> Iterator[bytes]:
    packer = zlib.compressobj(1, wbits=31)
    for _ in range(size_bytes // MIB):
        yield packer.compress(bytes(MIB))
    yield packer.flush()


STATES: dict[str, State] = {
    state.__name__: state
    for state in (
        idle,
        before_it_is_ready,
        waits_for_credentials,
        the_metadata_service_hangs,
        the_gate_is_shut,
        a_scan_of_5_000_files,
        a_copy_is_decompressed,
    )
}


HEAVY = (before_it_is_ready, a_scan_of_5_000_files, a_copy_is_decompressed)


def stop_seconds(machine: Instance) -> float:
    """From the signal to the end of the process."""
    assert machine.daemon is not None
    daemon, machine.daemon = machine.daemon, None
    started = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(2 * GRACE_SECONDS) == 0
    return time.monotonic() - started


@pytest.mark.parametrize(
    ("name", "state"),
    [
        *((name, state) for name, state in STATES.items() if state not in HEAVY),
        *(
            pytest.param(state.__name__, state, marks=pytest.mark.system, id=state.__name__)
            for state in HEAVY
        ),
        pytest.param(
            "a_connection_hangs",
            a_connection_hangs,
            marks=[pytest.mark.system, pytest.mark.lengthy],
            id="a-hang",
        ),
        pytest.param(
            "a_scan_of_100_000_files",
            a_scan_of_100_000_files,
            marks=[pytest.mark.slow, pytest.mark.timeout(300)],
            id="a-long-scan",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_stops_within_the_grace_time(instance: Make, name: str, state: State) -> None:
    with ExitStack() as stack:
        machine = state(instance, stack)
        seconds = stop_seconds(machine)
        print(f"{name.replace('_', ' ')}: {seconds:.2f} s")
        assert seconds < GRACE_SECONDS
        [stopping] = machine.events("daemon.stopping")
        assert (stopping["signal"], stopping["because"]) == ("SIGTERM", "signal")
        if state is a_connection_hangs:
            assert machine.events("daemon.left")
        else:
            assert machine.events("daemon.stopped")
        if state is a_copy_is_decompressed:
            assert len(machine.events("shipment.interrupted")) == 1, "it was not in the middle"


def test_signals_that_its_parent_had_blocked_reach_it(instance: Make) -> None:
    blocking = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, (1, 2, 15)); "
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    machine = instance()
    machine.confined_by = [sys.executable, "-c", blocking]
    daemon = machine.start()
    daemon.process.send_signal(signal.SIGHUP)
    machine.wait_for(lambda: machine.events("daemon.reloaded"), "the reload")
    assert machine.stop() == 0


def test_a_shutdown_is_told_from_a_stop(instance: Make, tmp_path: Path) -> None:
    machine = instance()
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho stopping\n")
    program.chmod(0o755)
    machine.more_environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    machine.start()
    assert stop_seconds(machine) < GRACE_SECONDS
    assert [event["because"] for event in machine.events("daemon.stopping")] == ["shutdown"]


def test_a_reload_that_is_asked_for_while_stopping_is_no_second_signal(instance: Make) -> None:
    with ExitStack() as stack:
        silent = stack.enter_context(ScriptedServer(*SILENCE))
        machine = instance()
        at(machine, silent.url)
        machine.write("app.log.1", b"waits for an answer\n")
        daemon = machine.start()
        machine.wait_for(lambda: silent.requests, "the upload to hang")
        daemon.process.send_signal(signal.SIGTERM)
        machine.wait_for(lambda: machine.events("daemon.stopping"), "the first signal")
        daemon.process.send_signal(signal.SIGHUP)
        silent._stopped.set()  # the connection is closed now
        assert machine.wait_until_stopped() == 0
        assert machine.events("daemon.stopped")
        assert machine.events("daemon.left") == []
