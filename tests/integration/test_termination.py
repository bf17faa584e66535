"""The machine is about to end: a real daemon, the mocked metadata service, moto, and a drain."""

import gzip
import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from shipper.mock.settings import changes_from
from tests.fakes.servers import Moto
from tests.fakes.slow_store import SlowStore
from tests.machines.here import Here
from tests.machines.inside import Inside
from tests.machines.instance import Instance
from tests.machines.world import decoded

Make = Callable[..., Instance]
LINES = b"".join(b"line %d\n" % number for number in range(3000))
MORE = b"".join(b"more %d\n" % number for number in range(1000))
MIB = 1024 * 1024
KILL_SECONDS = 25.0


def systemctl(machine: Instance, state: str) -> None:
    """A systemctl that knows one answer, before the real one."""
    directory = machine.directory / "bin"
    directory.mkdir()
    program = directory / "systemctl"
    program.write_text(f'#!/bin/sh\n[ "$1" = is-system-running ] && echo {state}\nexit 1\n')
    program.chmod(0o755)
    machine.more_environment["PATH"] = f"{directory}:{os.environ['PATH']}"


def say(machine: Instance, **settings: object) -> None:
    """What ``shipper mock-imds set`` does."""
    changes_from(settings, "a test").apply(machine.imds)


def logs_of(machine: Instance) -> Iterator[tuple[str, bytes]]:
    """What S3 has of each log: its segments, joined in their order; each byte at most once."""
    s3 = machine.moto.client("s3")
    by_stem: dict[str, list[str]] = {}
    for key in machine.moto.keys(machine.bucket):
        stem = key.rpartition("/")[2].partition(".log.")[0] + ".log"
        by_stem.setdefault(stem, []).append(key)
    for stem, keys in by_stem.items():
        answers = {key: s3.get_object(Bucket=machine.bucket, Key=key) for key in keys}
        log = b""
        for key in sorted(keys, key=lambda key: int(answers[key]["Metadata"]["raw-start"])):
            assert int(answers[key]["Metadata"]["raw-start"]) == len(log), f"a gap before {key}"
            log += decoded(key, answers[key]["Body"].read())
        yield stem, log


def log_of(machine: Instance, stem: str) -> bytes:
    """What S3 has of one log."""
    return dict(logs_of(machine))[stem]


def test_a_spot_notice_ships_everything_and_its_withdrawal_goes_on_where_that_ended(
    instance: Make,
) -> None:
    machine = instance()
    machine.write("old.log.1", MORE)
    live = machine.write("app.log", LINES + b"half a li")
    with live.open("ab") as writer:
        say(machine, spot="terminate")
        machine.start()
        machine.wait_for(lambda: machine.files("DONE") == 2, "both files")
        assert log_of(machine, "app.log") == LINES, "up to the last line that ends"
        assert log_of(machine, "old.log") == MORE
        status = machine.status()
        assert status is not None
        assert status["termination"]["draining"] is True
        assert "draining, for spot" in machine.run("status", code=None)
        assert "shipper_draining 1.0" in machine.ask("/metrics")
        writer.write(b"ne\n" + MORE)
        writer.flush()
        say(machine, spot="")
        machine.wait_for(lambda: machine.events("drain.withdrawn"), "the withdrawal")
        assert "shipper_draining 0.0" in machine.ask("/metrics")
        live.rename(machine.logs / "app.log.1")
    whole = LINES + b"half a line\n" + MORE
    machine.wait_for(lambda: machine.files("DONE") == 3, "the rest of the log")
    assert log_of(machine, "app.log") == whole
    assert machine.stop() == 0


def test_a_log_that_copytruncate_copies_after_a_drain_is_continued_too(instance: Make) -> None:
    machine = instance()
    live = machine.write("app.log", LINES)
    assert "1 shipped, 0 left" in machine.run("ship", "--live")
    with live.open("ab") as writer:
        writer.write(MORE)
    (machine.logs / "app.log.1").write_bytes(live.read_bytes())
    os.truncate(live, 0)
    assert "2 shipped, 0 left" in machine.run("ship"), "one of them as a copy"
    assert log_of(machine, "app.log") == LINES + MORE
    live.write_bytes(b"a new life\n")
    assert "1 shipped, 0 left" in machine.run("ship", "--live")
    assert sorted(map(len, machine.contents())) == sorted([len(LINES), len(MORE), 11])


def test_ship_live_ships_what_is_there_to_the_last_byte(instance: Make, here: Here) -> None:
    machine = instance()
    machine.write("app.log", LINES + b"half a li")
    assert "0 shipped" in here.run(machine, "ship")
    assert "1 shipped, 0 left" in here.run(machine, "ship", "--live")
    assert machine.contents() == [LINES + b"half a li"]
    assert "0 shipped" in here.run(machine, "ship", "--live")


@pytest.mark.parametrize(("state", "is_drained"), [("stopping", True), ("running", False)])
def test_live_files_are_shipped_when_the_machine_goes_down_and_not_when_the_service_does(
    instance: Make, state: str, is_drained: bool
) -> None:
    machine = instance()
    systemctl(machine, state)
    machine.write("app.log", LINES + b"half a li")
    machine.start()
    machine.wait_for(lambda: machine.events("daemon.ready"), "the first scan")
    started = time.monotonic()
    assert machine.stop() == 0
    assert time.monotonic() - started < 10
    assert machine.contents() == ([LINES + b"half a li"] if is_drained else [])
    assert len(machine.events("drain.ended")) == is_drained
    assert machine.events("daemon.stopped")


def test_a_shutdown_in_the_middle_of_a_reload_drains(instance: Make, moto: Moto) -> None:
    with SlowStore(moto) as store:
        machine = instance(moto=store.moto)
        systemctl(machine, "stopping")
        daemon = machine.start()
        machine.wait_for(lambda: machine.events("daemon.ready"), "the first scan")
        store.hold()
        body = os.urandom(1000)
        machine.write("app.log.1", body)
        machine.write("app.log", LINES)
        assert store.is_holding.wait(60)
        daemon.process.send_signal(signal.SIGHUP)
        machine.wait_for(lambda: machine.events("daemon.reloading"), "the reload to begin")
        daemon.process.send_signal(signal.SIGTERM)
        store.let_go()
        assert daemon.process.wait(60) == 0
    assert sorted(machine.contents()) == sorted([body, LINES])
    assert machine.events("drain.ended")


@pytest.mark.slow
def test_what_cannot_be_shipped_while_the_machine_goes_down_is_said_within_the_grace_time(
    instance: Make,
) -> None:
    machine = instance(more="[termination]\nspot = false\nautoscaling = false\n")
    systemctl(machine, "stopping")
    machine.write("app.log", LINES)
    machine.start()
    machine.wait_for(lambda: machine.events("daemon.ready"), "the first scan")
    machine.moto.client("s3").delete_bucket(Bucket=machine.bucket)
    started = time.monotonic()
    assert machine.stop() == 0
    assert time.monotonic() - started < KILL_SECONDS
    [ended] = machine.events("drain.ended")
    assert (ended["left_files"], ended["left_bytes"]) == (1, len(LINES))
    assert machine.files("READY") == 1


@pytest.mark.usefixtures("handlers")
def test_a_reload_that_is_asked_for_while_the_machine_goes_down_ends_no_drain(
    instance: Make,
) -> None:
    """Not even before the instance is known."""
    machine = instance()
    systemctl(machine, "stopping")
    machine.write("app.log", LINES)
    inside = Inside(machine)
    daemon = inside.daemon({"PATH": machine.more_environment["PATH"]})
    daemon._notices.put(signal.SIGTERM)
    daemon._notices.put(signal.SIGHUP)
    assert daemon.run() == 0
    assert inside.events("drain.ended")
    assert machine.contents() == [LINES]


def test_a_second_signal_ends_the_drain(instance: Make) -> None:
    machine = instance()
    systemctl(machine, "stopping")
    machine.write("app.log", LINES)
    daemon = machine.start()
    machine.wait_for(lambda: machine.events("daemon.ready"), "the first scan")
    machine.moto.client("s3").delete_bucket(Bucket=machine.bucket)
    daemon.process.terminate()
    machine.wait_for(lambda: machine.events("gate.shut"), "the drain to fail")
    daemon.process.terminate()
    machine.daemon = None
    started = time.monotonic()
    assert daemon.process.wait(60) == 0
    assert time.monotonic() - started < KILL_SECONDS / 2


def fill(machine: Instance, rotated: int, live: int, total_bytes: int) -> dict[str, bytes]:
    """Logs whose sizes differ by much; together they are as long as asked."""
    rng = random.Random(7)
    weights = [rng.paretovariate(1.0) for _ in range(rotated + live)]
    names = [f"r{number}.log.1" for number in range(rotated)]
    names += [f"live{number}.log" for number in range(live)]
    block = b"".join(
        b"%d.%d GET /%x 200\n" % (n, rng.randrange(10**6), rng.getrandbits(64))
        for n in range(40_000)
    )
    logs = {}
    for name, weight in zip(names, weights, strict=True):
        size = max(100, int(total_bytes * weight / sum(weights)))
        start = rng.randrange(len(block) // 2)
        body = (block[start:] + block * (size // len(block) + 1))[: size - 1] + b"\n"
        logs[name] = body
        machine.write(name, body)
    return logs


def assert_drained(machine: Instance, logs: dict[str, bytes]) -> tuple[int, int]:
    """Every log is whole in S3, or belongs to the remainder that was said; files, bytes of it."""
    [ended] = machine.events("drain.ended")
    missing = dict(logs)
    for stem, body in logs_of(machine):
        name = stem if stem in logs else f"{stem}.1"
        if body == logs[name]:
            del missing[name]
    left = sum(map(len, missing.values()))
    assert (ended["left_files"], ended["left_bytes"]) == (len(missing), left)
    return len(missing), left


@pytest.mark.system
def test_a_drain_ships_all_before_a_short_notice_is_up(instance: Make) -> None:
    """40 rotated and 3 live files, 16 MB, and a notice that leaves about three seconds."""
    machine = instance(more='[uploads]\npart_size = "5MiB"\n')
    logs = fill(machine, 40, 3, 16 * MIB)
    say(machine, spot="terminate", spot_in_seconds=14.0)
    machine.start()
    machine.wait_for(lambda: machine.events("drain.ended"), "the deadline")
    assert_drained(machine, logs)
    assert machine.stop() == 0


@pytest.mark.parametrize("ships_live", [True, False])
def test_a_drain_waits_for_no_min_age_and_what_is_not_sealed_by_its_end_counts_as_left(
    instance: Make, ships_live: bool
) -> None:
    more = "" if ships_live else "[termination]\nship_live_files = false\n"
    machine = instance(watch='min_age = "1h"', more=more)
    machine.write("app.log.2.gz", gzip.compress(b"compressed by the rotator\n"))
    machine.write("app.log.1", b"not compressed\n")
    held = machine.write("held.log.2.gz", gzip.compress(b"being compressed\n"))
    with held.open("ab"):
        machine.start()
        waiting = "shipper_waiting_files 3.0"
        machine.wait_for(lambda: waiting in machine.ask("/metrics"), "the scan")
        assert machine.files("DONE") == 0
        say(machine, spot="terminate", spot_in_seconds=14.0)
        machine.wait_for(lambda: machine.events("drain.ended"), "the deadline")
    [begun], [ended] = machine.events("drain.begun"), machine.events("drain.ended")
    assert begun["left_files"] == 3
    assert (ended["left_files"], ended["left_bytes"]) == (1, held.stat().st_size)
    assert (ended["level"], machine.files("DONE")) == ("warning", 2)


@pytest.mark.slow
def test_a_drain_of_two_gigabytes_in_two_minutes_ships_all_or_says_what_is_left(
    instance: Make, record_property: Callable[[str, object], None]
) -> None:
    """200 rotated and 5 live files; the daemon is killed when the machine would be gone."""
    machine = instance()
    logs = fill(machine, 200, 5, 2048 * MIB)
    started = time.monotonic()
    say(machine, spot="terminate", spot_in_seconds=120.0)
    machine.start()
    machine.wait_for(lambda: machine.events("drain.ended"), "the deadline", 180)
    noticed = time.monotonic() - started
    files = machine.files("DONE")
    machine.kill()
    left, left_bytes = assert_drained(machine, logs)
    record_property("seconds", noticed)
    print(f"{files} shipped, {left} files and {left_bytes} bytes left, {noticed:.0f} s")


def test_live_files_do_not_wait_until_a_long_scan_is_rested_from(
    instance: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan of some seconds would keep them waiting for longer than a shutdown lasts."""
    monkeypatch.setattr("shipper.services.finding.discovery.SHORTEST_REST_SECONDS", 600.0)
    machine = instance()
    machine.config.write_text(machine.config.read_text().replace('"1s"', '"10m"'))
    machine.write("app.log", LINES)
    inside = Inside(machine)
    running = inside.running()
    loop, instance_lookup = running._discovery, inside.services.instance_lookup
    made_at = loop.beaten_at
    running.begin()
    try:
        machine.wait_for(
            lambda: loop.beaten_at > made_at and instance_lookup.facts, "a scan, and its rest"
        )
        running.shut_down(18.0)
        machine.wait_for(lambda: inside.events("live.promised"), "the pass")
    finally:
        running.ask_to_stop(float("inf"))
        machine.wait_for(lambda: not running.left(), "the end of its loops")
        inside.services.close()
