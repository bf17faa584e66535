"""The daemon's own life: loops that die, signals, and what it answers on its socket."""

import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.demo.children import Child
from shipper.edges.files.watcher import Unwatched
from shipper.runtime.exit_codes import EXIT_BUG, EXIT_GOOD
from tests.fakes.servers import Answer, ScriptedServer
from tests.machines.inside import Inside
from tests.machines.instance import Instance

Make = Callable[..., Instance]
CONTRACT = {
    "shipper_oldest_unshipped_seconds",
    "shipper_unshipped_files",
    "shipper_unshipped_bytes",
    "shipper_shipped_files_total",
    "shipper_shipped_raw_bytes_total",
    "shipper_shipped_bytes_total",
    "shipper_last_success_timestamp_seconds",
    "shipper_parked_files",
    "shipper_gone_files_total",
    "shipper_credentials_expiry_timestamp_seconds",
    "shipper_credentials_refreshes_total",
    "shipper_requests_total",
    "shipper_retries_total",
    "shipper_gate_open",
    "shipper_scan_seconds",
    "shipper_found_by_scan_total",
}
"""Metrics that other programs are written against; there may be more."""


@pytest.mark.usefixtures("handlers")
def test_a_loop_that_dies_ends_the_process_with_a_bugs_exit_code(instance: Make) -> None:
    machine: Instance = instance()
    inside = Inside(machine)

    def fail() -> float:
        raise ZeroDivisionError("a bug")

    inside.services.housekeeping.step = fail  # type: ignore[method-assign]  # a bug, put there on purpose
    assert inside.daemon().run() == EXIT_BUG
    died = inside.events("loop.died")
    assert [record["loop"] for record in died] == ["housekeeping"]
    assert "ZeroDivisionError" in died[0]["exception"]


@pytest.mark.usefixtures("handlers")
def test_what_waits_at_a_start_is_sent_before_the_first_scan_is_over(
    instance: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shipper.daemon.daemon.HEAD_START_SECONDS", float("inf"))
    machine: Instance = instance()
    machine.write("app.log.1", b"hello\n")
    before = Inside(machine).services
    before.instance_lookup.step()
    while not before.journal.unfinished(1):
        before.stopping.wait(before.discovery.step())
    before.close()
    inside = Inside(machine)

    def scan() -> float:
        machine.wait_for(machine.contents, "the object")
        os.kill(os.getpid(), signal.SIGTERM)
        return 1.0

    inside.services.discovery.step = scan  # type: ignore[method-assign]  # one that takes long
    assert inside.daemon().run() == EXIT_GOOD
    assert machine.contents() == [b"hello\n"]


def test_a_second_signal_leaves_at_once_though_a_connection_hangs(instance: Make) -> None:
    with ScriptedServer(*[Answer.NEVER] * 10) as silent:
        machine = instance()
        text = machine.config.read_text().replace(machine.moto.url, silent.url)
        machine.config.write_text(text)
        machine.write("app.log.1", b"waits for an answer\n")
        daemon = machine.start()
        machine.wait_for(lambda: silent.requests, "the upload to hang")
        os.kill(daemon.process.pid, signal.SIGTERM)
        machine.wait_for(lambda: machine.events("daemon.stopping"), "the first signal")
        os.kill(daemon.process.pid, signal.SIGTERM)
        machine.daemon = None
        assert daemon.process.wait(10) == 0
        assert machine.events("daemon.left")[0]["loops"]
        assert machine.files("READY") == 1


def test_the_socket_answers_what_the_readme_says_and_goes_with_the_daemon(
    instance: Make, tmp_path: Path
) -> None:
    machine = instance()
    machine.start()
    machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")
    status = machine.status()
    assert status is not None
    assert status["running"] is True
    metrics = machine.ask("/metrics")
    assert "shipper_gate_open 1.0" in metrics
    assert set(re.findall(r"^# TYPE (\S+)", metrics, re.MULTILINE)) >= CONTRACT
    assert machine.ask("/nothing") == "/ /metrics /status /healthz\n"
    assert machine.stop() == 0
    assert not (machine.directory / "state" / "shipper.sock").exists()


def test_slow_clients_of_the_socket_keep_nobody_from_asking_and_the_daemon_from_nothing(
    instance: Make,
) -> None:
    machine = instance()
    machine.start()
    path = str(machine.directory / "state" / "shipper.sock")
    slow = [socket.socket(socket.AF_UNIX) for _ in range(5)]
    with contextlib.chdir(machine.directory / "state"):
        for client in slow:
            client.connect(os.path.basename(path))
            client.send(b"GET /healthz")  # and never an end of the line
    try:
        assert machine.ask("/healthz")
        started = time.monotonic()
        assert machine.stop() == 0
        assert time.monotonic() - started < 10
    finally:
        for client in slow:
            client.close()


def test_a_region_that_makes_no_client_is_a_configuration_error(instance: Make) -> None:
    machine = instance()
    text = machine.config.read_text().replace("[[watch]]", 'region = "-"\n[[watch]]', 1)
    machine.config.write_text(text)
    output = machine.directory / "daemon-1.log"
    daemon = Child(
        ["shipper", "run", "--config", str(machine.config)],
        str(output),
        environment=machine.environment,
    )
    assert daemon.process.wait(60) == 78
    [event] = machine.events("destination.refused")
    assert "destination.region" in event["hint"]


@pytest.mark.parametrize("region", ["no.region.at.all", "-", "1", "eu/central", "eu-central-1\n"])
def test_a_region_of_the_metadata_service_that_is_none_ends_no_daemon(
    instance: Make, region: str
) -> None:
    machine = instance()
    machine.imds.facts.region = region
    machine.write("app.log.1", b"waits for a region\n")
    machine.start()
    machine.wait_for(lambda: "region in the document" in machine.ask("/status"), "the reason")
    machine.imds.facts.region = "us-east-1"
    machine.wait_until_shipped(1)
    assert machine.stop() == 0


def test_a_watched_status_is_drawn_again_and_again(instance: Make) -> None:
    machine = instance()
    machine.start()
    output = machine.directory / "watched.txt"
    heeding = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    watching = Child(  # a shell lets what runs in the background ignore SIGINT
        ["shipper", "status", "--watch", "--config", str(machine.config)],
        str(output),
        before=[sys.executable, "-c", heeding + "os.execvp(sys.argv[1], sys.argv[1:])"],
    )
    machine.wait_for(lambda: output.read_text().count("running, pid") >= 2, "a second table")
    watching.process.send_signal(signal.SIGINT)
    assert watching.process.wait(60) == 130
    assert machine.stop() == 0


def test_a_directory_without_events_is_shown_with_its_reason(instance: Make) -> None:
    machine = instance()
    later = machine.directory / "later"
    with machine.config.open("a") as config:
        config.write(f'[[watch]]\nname = "later"\ndirectory = "{later}"\n')
    machine.start()
    series = 'shipper_unwatched_directories{reason="ENOENT",watch="later"} 1.0'
    machine.wait_for(lambda: series in machine.ask("/metrics"), "the metric")
    shown = machine.run("status", code=1)
    assert "no events: later; scans do the work" in shown
    assert "ENOENT: No such file or directory" in shown
    later.mkdir()
    machine.wait_for(lambda: series not in machine.ask("/metrics"), "the watch to begin")
    assert machine.events("watch.begun")[0]["watch"] == "later"
    assert machine.stop() == 0


@pytest.mark.usefixtures("handlers")
def test_while_something_cannot_be_listened_to_scans_come_more_often(instance: Make) -> None:
    machine: Instance = instance()
    inside = Inside(machine)
    services, running = inside.services, inside.running()
    running._watcher.unwatched["app"] = Unwatched("ENOSPC", "inotify watch limit reached")
    running.watch()
    assert not services.discovery.has_unwatched, "it was tried again, and went well"
    running._watcher.unwatched["app"] = Unwatched("ENOSPC", "inotify watch limit reached")
    running.watch()
    assert services.discovery.has_unwatched
    running._watcher.stop()
    services.close()


@pytest.mark.usefixtures("handlers")
def test_a_drain_has_twice_as_many_workers_once(instance: Make) -> None:
    machine: Instance = instance()
    inside = Inside(machine)
    services, running = inside.services, inside.running()
    running.add_drain_workers()
    assert not running._helpers, "there is nobody to help yet"
    services.instance_lookup.step()
    assert services.instance_lookup.facts is not None
    running.open_for_business(services.instance_lookup.facts)
    for _ in range(2):
        running.add_drain_workers()
        assert len(running._helpers) == services.configuration.uploads.concurrent_files
    services.stopping.set()
    running._nudge_carriers()
    for loop in running._carriers:
        loop.join(10)
        assert not loop.is_alive()
    services.close()


def test_a_machine_that_goes_down_before_it_knows_itself_is_not_kept(instance: Make) -> None:
    machine = instance()
    program = machine.directory / "systemctl"
    program.write_text("#!/bin/sh\necho stopping\n")
    program.chmod(0o755)
    machine.more_environment["PATH"] = f"{machine.directory}:{os.environ['PATH']}"
    machine.imds.fault = lambda method, path: (404, "no such thing")
    machine.start()
    started = time.monotonic()
    assert machine.stop() == 0
    assert time.monotonic() - started < 10
