"""SIGHUP: another configuration in the same process, or a reason why not."""

import os
import resource
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import shipper
from shipper.daemon.reload import Refused, rehearse
from shipper.runtime.exit_codes import EXIT_BUG, EXIT_WRONG
from shipper.runtime.loops import Died
from tests.fakes.servers import Moto
from tests.fakes.slow_store import SlowStore
from tests.machines.inside import Inside
from tests.machines.instance import Instance
from tests.machines.manager import ServiceManager
from tests.performance.measuring import memory_of

Make = Callable[..., Instance]
MIB = 1024**2
GROWTH_BYTES = 4 * MIB
"""Less than one set of services takes: 20 that stayed would be far beyond it."""
ONE_MORE = 2
"""Connections that stand, and who answers just now; what 20 reloads left would be 20 and more."""


def hang_up(machine: Instance) -> None:
    assert machine.daemon is not None
    os.kill(machine.daemon.process.pid, signal.SIGHUP)


def reload(machine: Instance) -> None:
    """SIGHUP, and wait until it is done."""
    before = len(machine.events("daemon.reloaded"))
    hang_up(machine)
    machine.wait_for(lambda: len(machine.events("daemon.reloaded")) > before, "the reload")


def refusal(machine: Instance) -> list[str]:
    """SIGHUP, and the problems that it met."""
    before = len(machine.events("reload.refused"))
    hang_up(machine)
    machine.wait_for(lambda: len(machine.events("reload.refused")) > before, "the refusal")
    problems: list[str] = machine.events("reload.refused")[-1]["problems"]
    return problems


def edit(machine: Instance, old: str, new: str) -> None:
    text = machine.config.read_text()
    assert old in text
    machine.config.write_text(text.replace(old, new))


def add_watch(machine: Instance, name: str) -> Path:
    directory = machine.directory / name
    directory.mkdir()
    with machine.config.open("a") as config:
        config.write(f'[[watch]]\nname = "{name}"\ndirectory = "{directory}"\nsettle = "0.3s"\n')
    return directory


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_another_watch_is_taken_up_by_the_same_process(instance: Make, tmp_path: Path) -> None:
    with ServiceManager(tmp_path) as manager:
        machine = instance()
        machine.more_environment |= manager.environment
        daemon = machine.start()
        machine.wait_for(lambda: manager.times("READY"), "the daemon to be ready")
        pid = daemon.process.pid
        (add_watch(machine, "more") / "other.log.1").write_bytes(b"of another watch\n")
        reload(machine)
        machine.wait_until_shipped(1)
        status = machine.status()
        assert status is not None
        assert status["pid"] == pid
        assert machine.events("daemon.reloading")[0]["changed"] == ["watches"]
        assert machine.stop() == 0
    assert machine.contents() == [b"of another watch\n"]
    quiet = {"WATCHDOG", "STATUS", "EXTEND_TIMEOUT_USEC", "FDSTORE", "FDSTOREREMOVE"}
    said = [name for name in manager.names() if name not in quiet]
    assert said == ["READY", "RELOADING", "READY", "STOPPING"]


def test_a_reload_reads_variables_from_the_environment_of_the_daemon(instance: Make) -> None:
    machine = instance()
    machine.more_environment["APP"] = "shop"
    edit(machine, f'bucket = "{machine.bucket}"', f'bucket = "${{BUCKET:-{machine.bucket}}}"')
    machine.start()
    directory = add_watch(machine, "shop")
    edit(machine, 'name = "shop"', 'name = "the-${APP}"')
    (directory / "app.log.1").write_bytes(b"of a watch with a variable\n")
    reload(machine)
    machine.wait_until_shipped(1)
    assert [key.split("/")[1] for key in machine.moto.keys(machine.bucket)] == ["the-shop"]
    edit(machine, "${APP}", "${NONE}")
    [problem] = refusal(machine)
    assert "watch[1].name: the environment has no NONE" in problem
    assert machine.stop() == 0


def test_a_wrong_configuration_is_refused_with_all_its_problems_and_the_old_one_stays(
    instance: Make, tmp_path: Path
) -> None:
    with ServiceManager(tmp_path) as manager:
        machine = instance()
        machine.more_environment |= manager.environment
        machine.start()
        machine.wait_for(lambda: manager.times("READY"), "the daemon to be ready")
        good = machine.config.read_text()
        machine.config.write_text(good.replace("[scan]", "[scan]\nintervall = 3\nsettle = 1"))
        problems = refusal(machine)
        assert len(problems) == 2
        assert "intervall" in problems[0] + problems[1]
        machine.wait_for(lambda: len(manager.times("READY")) == 2, "the word that it went on")
        machine.wait_for(lambda: "intervall" in machine.ask("/healthz"), "the ailment")
        assert "shipper_reload_refused 1.0" in machine.ask("/metrics")
        machine.write("app.log.1", b"shipped all the same\n")
        machine.wait_until_shipped(1)
        assert machine.events("daemon.reloading") == []
        machine.config.write_text(good)
        reload(machine)
        machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")
        assert "shipper_reload_refused 0.0" in machine.ask("/metrics")
        assert machine.stop() == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("/state", "/elsewhere", "state_directory"),
        ('endpoint_url = "http:', 'endpoint_url = "http: //', "endpoint_url"),
        ("[destination]\n", '[destination]\nregion = "no/region at all"\n', "destination.region"),
        ("[log]\n", '[credentials]\nmetadata_endpoint = "nowhere"\n[log]\n', "metadata_endpoint"),
    ],
)
def test_what_cannot_be_taken_up_is_refused_before_anything_is_stopped(
    instance: Make, old: str, new: str, said: str
) -> None:
    machine = instance()
    machine.start()
    machine.wait_for(lambda: (machine.status() or {})["instance"], "it to know where it is")
    edit(machine, old, new)
    assert said in "".join(refusal(machine))
    assert machine.events("daemon.reloading") == []
    assert machine.stop() == 0


def test_a_destination_that_makes_no_client_is_refused_with_its_hint(instance: Make) -> None:
    machine = instance()
    text = machine.config.read_text().replace("[[watch]]", 'region = "-"\n[[watch]]', 1)
    machine.config.write_text(text)
    inside = Inside(machine)
    inside.services.instance_lookup.step()
    with pytest.raises(Refused, match=r"BadDestination.*hint: correct destination\.region"):
        inside.changes()
    inside.services.close()


def test_while_the_journals_disk_is_full_nothing_is_reloaded(instance: Make) -> None:
    """Also where no scan had anything to write since."""
    inside = Inside(instance())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(Refused, match=r"JournalUnwritable.*the next program could not open"):
            inside.changes()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert inside.changes() == []
    inside.services.close()


def test_while_the_machine_ends_nothing_is_reloaded(instance: Make) -> None:
    machine = instance()
    machine.start()
    machine.wait_for(lambda: machine.events("instance.identified"), "the instance")
    machine.imds.facts.spot, machine.imds.facts.spot_at = "terminate", time.time() + 120
    machine.wait_for(lambda: machine.events("drain.begun"), "the drain")
    assert refusal(machine) == ["the machine is about to end"]
    assert machine.stop() == 0


def test_it_listens_elsewhere_from_a_reload_on_and_nowhere_where_it_cannot(
    instance: Make,
) -> None:
    first, second = free_port(), free_port()
    machine = instance(more=f'[http]\nlisten = "127.0.0.1:{first}"\n')
    machine.start()
    socket.create_connection(("127.0.0.1", first), 10).close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        edit(machine, f":{first}", f":{number}")
        [problem] = refusal(machine)
        assert f"ListenFailed: 127.0.0.1:{number}" in problem
    socket.create_connection(("127.0.0.1", first), 10).close()
    edit(machine, f":{number}", f":{second}")
    reload(machine)
    socket.create_connection(("127.0.0.1", second), 10).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first), 10)
    assert machine.stop() == 0


def test_parts_in_flight_are_finished_and_nothing_is_sent_twice(
    instance: Make, moto: Moto
) -> None:
    with SlowStore(moto) as store:
        machine = instance(
            moto=store.moto,
            watch='compression = "none"',
            more='[uploads]\npart_size = "8MiB"\nconcurrent_parts = 1\n',
        )
        machine.start()
        store.hold()
        body = os.urandom(17 * MIB)
        machine.write("app.log.1", body)
        assert store.is_holding.wait(30)
        add_watch(machine, "more")
        hang_up(machine)
        machine.wait_for(lambda: machine.events("daemon.reloading"), "the reload to begin")
        assert machine.status() is not None, "it answers meanwhile"
        store.let_go()
        machine.wait_for(lambda: machine.events("daemon.reloaded"), "the reload to end")
        machine.wait_until_shipped(1)
        assert [event["part"] for event in machine.events("part.stored")] == [1, 2, 3]
        assert len(machine.events("upload.opened")) == 1
        assert machine.events("attempt.failed") == []
        assert machine.stop() == 0
    assert machine.contents() == [body]


def test_a_part_that_outlasts_the_grace_time_ends_a_reload_and_nothing_held_is_lost(
    instance: Make, moto: Moto, tmp_path: Path
) -> None:
    with ServiceManager(tmp_path) as manager, SlowStore(moto) as store:
        machine = instance(moto=store.moto, more="[uploads]\nconcurrent_files = 1\n")
        machine.more_environment |= manager.environment
        machine.start()
        store.hold()
        body = os.urandom(MIB)
        machine.write("app.log.1", body)
        assert store.is_holding.wait(30)
        path = machine.write("app.log.2", b"the only copy\n")
        machine.wait_for(lambda: len(manager.stored) == 2, "both to be held")
        path.unlink()
        hang_up(machine)
        assert machine.wait_until_stopped() == EXIT_WRONG
        [left] = machine.events("daemon.left")
        assert left["loops"]
        assert machine.events("daemon.reloaded") == []
        store.let_go()
        manager.settle()
        machine.confined_by = manager.passing()
        machine.start()
        machine.wait_until_shipped(2)
        assert machine.stop() == 0
    assert sorted(machine.contents()) == sorted([body, b"the only copy\n"])


def test_a_second_signal_during_a_reload_is_a_second_reload(instance: Make, moto: Moto) -> None:
    with SlowStore(moto) as store:
        machine = instance(moto=store.moto)
        machine.start()
        store.hold()
        machine.write("app.log.1", os.urandom(MIB))
        assert store.is_holding.wait(30)
        hang_up(machine)
        machine.wait_for(lambda: machine.events("daemon.reloading"), "the reload to begin")
        (add_watch(machine, "more") / "other.log.1").write_bytes(b"of another watch\n")
        hang_up(machine)
        store.let_go()
        machine.wait_for(lambda: len(machine.events("daemon.reloading")) == 2, "both reloads")
        machine.wait_until_shipped(2)
        assert machine.stop() == 0


def test_it_can_be_stopped_in_the_middle_of_a_reload(instance: Make, moto: Moto) -> None:
    with SlowStore(moto) as store:
        machine = instance(moto=store.moto)
        machine.start()
        store.hold()
        machine.write("app.log.1", os.urandom(MIB))
        assert store.is_holding.wait(30)
        hang_up(machine)
        machine.wait_for(lambda: machine.events("daemon.reloading"), "the reload to begin")
        assert machine.daemon is not None
        machine.daemon.process.send_signal(signal.SIGTERM)
        machine.wait_for(lambda: machine.events("daemon.stopping"), "the stop to begin")
        store.let_go()
        assert machine.wait_until_stopped() == 0
        assert machine.events("daemon.stopped")
        assert machine.files("DONE") == 1


def test_a_deleted_file_that_is_held_outlives_a_reload(instance: Make) -> None:
    machine = instance()
    good = machine.moto.url
    edit(machine, good, f"http://127.0.0.1:{free_port()}")
    machine.start()
    path = machine.write("app.log.1", b"nowhere else any more\n")
    machine.wait_for(lambda: machine.events("attempt.failed"), "the first attempt")
    path.unlink()
    text = machine.config.read_text().splitlines()
    fixed = [f'endpoint_url = "{good}"' if "endpoint_url" in line else line for line in text]
    machine.config.write_text("\n".join(fixed))
    reload(machine)
    machine.wait_until_shipped(1)
    assert machine.contents() == [b"nowhere else any more\n"]
    assert machine.stop() == 0


def test_what_is_held_is_handed_from_program_to_program(instance: Make, tmp_path: Path) -> None:
    """Without systemd, too; the lock passes with it, and a third program has it as well."""
    machine = instance(facts={"role": ""})
    machine.start()
    bodies = [b"%d: nowhere else any more\n" % number for number in range(40)]
    for number, body in enumerate(bodies):
        machine.write(f"{number}.log.1", body)
    machine.wait_for(lambda: (machine.status() or {})["held"]["descriptors"] == 40, "all of them")
    for path in machine.logs.iterdir():
        path.unlink()
    for _ in range(2):
        reload(machine)
        assert machine.run("ship", code=1).count("AlreadyRunning") == 1
    machine.imds.facts.role = "shipper"
    machine.wait_until_shipped(40)
    assert sorted(machine.contents()) == sorted(bodies)
    assert machine.stop() == 0
    assert machine.events("held.unclaimed") == []


@pytest.mark.system
@pytest.mark.parametrize("seed", range(3))
def test_no_signal_is_lost_whenever_it_comes_in_a_reload(instance: Make, seed: int) -> None:
    """SIGHUP at random moments, then SIGTERM; it always ends, and well."""
    machine, rng = instance(), Random(seed)
    for _ in range(4):
        daemon = machine.start()
        for _ in range(rng.randrange(1, 4)):
            hang_up(machine)
            time.sleep(rng.random() * 0.4)  # the moment is what is tried
        daemon.process.send_signal(signal.SIGTERM)
        assert machine.wait_until_stopped() == 0
    assert len(machine.events("daemon.started")) == 4
    assert len(machine.events("daemon.stopped")) == 4


def test_a_burst_of_signals_ends_in_the_last_configuration(instance: Make) -> None:
    machine = instance()
    machine.start()
    for number in range(5):
        (add_watch(machine, f"more-{number}") / "other.log.1").write_bytes(b"%d\n" % number)
        hang_up(machine)
    machine.wait_until_shipped(5)
    assert machine.stop() == 0
    assert 1 <= len(machine.events("daemon.reloaded")) <= 5


@pytest.mark.usefixtures("handlers")
def test_a_program_that_is_gone_is_said_and_ends_the_process(instance: Make) -> None:
    machine: Instance = instance()
    inside = Inside(machine)
    daemon = inside.daemon()
    daemon._notices.put(signal.SIGHUP)
    with pytest.raises(SystemExit) as ended:
        daemon.run()
    assert ended.value.code == EXIT_WRONG
    assert [list(names) for names in inside.executed] == [["lock"]]
    [failed] = inside.events("reload.failed")
    assert failed["detail"] == "no program"
    os.close(inside.services.lock)


@pytest.mark.usefixtures("handlers")
def test_a_loop_that_dies_last_in_a_reload_ends_the_process_as_a_bug(instance: Make) -> None:
    machine: Instance = instance()
    inside = Inside(machine)
    daemon = inside.daemon()

    def left() -> list[str]:
        daemon._notices.put(Died("housekeeping", ZeroDivisionError("a bug")))
        return []

    daemon._workers.left = left  # type: ignore[method-assign]  # it died as the last one
    daemon._notices.put(signal.SIGHUP)
    assert daemon.run() == EXIT_BUG
    assert inside.executed == []


@pytest.mark.system
def test_nothing_piles_up_by_reloads(instance: Make) -> None:
    machine = instance()
    daemon = machine.start()
    pid = daemon.process.pid

    def taken() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))

    def ship_one(number: int) -> None:
        machine.write(f"app-{number}.log.1", b"line %d\n" % number)
        machine.wait_until_shipped(number)

    for number in (1, 2):
        ship_one(number)
        reload(machine)
    ship_one(3)
    before, memory = taken(), memory_of(pid)[0]
    for _ in range(20):
        reload(machine)
    ship_one(4)
    after = taken()
    assert all(abs(b - a) <= ONE_MORE for a, b in zip(before, after, strict=True)), (before, after)
    grown = memory_of(pid)[0] - memory
    print(f"descriptors and threads {before}, {after}; {grown / MIB:+.1f} MiB resident")
    assert grown < GROWTH_BYTES
    assert machine.stop() == 0


def test_a_reload_before_anybody_listens_waits_until_somebody_does(instance: Make) -> None:
    """The signal is blocked from the command's first line; it neither ends nor is lost."""
    machine = instance()
    daemon = machine.start()
    blocked = f"/proc/{daemon.process.pid}/status"
    caught = int(Path(blocked).read_text().partition("SigCgt:\t")[2].split()[0], 16)
    assert caught >> (signal.SIGHUP - 1) & 1

    def is_let_in() -> bool:
        mask = int(Path(blocked).read_text().partition("SigBlk:\t")[2].split()[0], 16)
        return not mask >> (signal.SIGHUP - 1) & 1

    machine.wait_for(is_let_in, "the main thread to wait for signals")
    assert machine.stop() == 0


def upgraded(machine: Instance, tmp_path: Path) -> Path:
    """A copy of the package, which the daemon runs from its next start on."""
    root = Path(shipper.__file__).parent
    copy = tmp_path / "package" / "shipper"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("__pycache__"))
    machine.more_environment |= {"PYTHONPATH": str(copy.parent), "PYTHONSAFEPATH": "1"}
    return copy


@pytest.mark.parametrize("module", ["journal/queue.py", "daemon/workers.py"])
def test_a_program_that_is_just_being_unpacked_is_not_executed(
    instance: Make, tmp_path: Path, module: str
) -> None:
    machine = instance()
    missing = upgraded(machine, tmp_path) / module
    machine.start()
    text = missing.read_text()
    missing.unlink()
    [problem] = refusal(machine)
    assert "the program on disk would not start: it ends with 70" in problem
    assert "ModuleNotFoundError" in problem
    missing.write_text(text)
    reload(machine)
    assert machine.stop() == 0


def test_a_configuration_that_only_the_program_on_disk_refuses_is_refused(
    instance: Make, tmp_path: Path
) -> None:
    machine = instance()
    limits = upgraded(machine, tmp_path) / "config" / "load.py"
    machine.start()
    limits.write_text(
        limits.read_text()
        + "\n_load = load\n\n\ndef load(*arguments):\n"
        + '    _load(*arguments)\n    raise ConfigError(("watch.settle: is no more",))\n'
    )
    [problem] = refusal(machine)
    assert "it ends with 78" in problem
    assert "watch.settle: is no more" in problem
    assert machine.stop() == 0


def test_a_program_that_does_not_say_whether_it_would_start_is_not_executed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shipper.daemon.reload.REHEARSAL_SECONDS", 0.2)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", "import time; time.sleep(60)"])
    assert "timed out" in rehearse(os.environ)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert "No such file" in rehearse(os.environ)


def test_a_configuration_that_is_broken_after_it_was_accepted_costs_nothing_held(
    instance: Make, moto: Moto, tmp_path: Path
) -> None:
    """It ends with 1 until it is mended: after 78 systemd would close what it keeps."""
    with ServiceManager(tmp_path) as manager, SlowStore(moto) as store:
        machine = instance(moto=store.moto, more="[uploads]\nconcurrent_files = 1\n")
        machine.more_environment |= manager.environment
        daemon = machine.start()
        store.hold()
        machine.write("app.log.1", os.urandom(MIB))
        assert store.is_holding.wait(30)
        path = machine.write("app.log.2", b"the only copy\n")
        machine.wait_for(lambda: len(manager.stored) == 2, "both to be held")
        path.unlink()
        good = machine.config.read_text()
        hang_up(machine)
        machine.wait_for(lambda: machine.events("daemon.reloading"), "the reload to begin")
        machine.config.write_text(good + "[upload]\n")
        store.let_go()
        assert machine.wait_until_stopped() == EXIT_WRONG
        manager.settle()
        assert "upload" in daemon.lines()[-1]
        machine.config.write_text(good)
        machine.confined_by = manager.passing()
        machine.start()
        machine.wait_until_shipped(2)
        assert machine.stop() == 0
    assert b"the only copy\n" in machine.contents()
