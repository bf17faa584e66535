"""Every command, as an operator types it."""

import contextlib
import gzip
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.cli.main import COMMANDS, main
from shipper.core.types import State
from shipper.demo.children import free_port
from shipper.ports import PortError
from shipper.reports.status import not_running
from shipper.runtime.state_directory import locked
from tests.fakes.punctual import Punctual
from tests.fakes.servers import ScriptedServer, http_answer
from tests.machines.here import Here
from tests.machines.instance import INSTANCE_ID, Instance
from tests.machines.machine import NOBODY, public_directory

Make = Callable[..., Instance]


def test_ship_does_one_round_and_says_what_it_came_to(instance: Make, here: Here) -> None:
    machine = instance()
    machine.write("app.log.1", b"one\n")
    assert "1 shipped, 0 left" in here.run(machine, "ship")
    assert machine.contents() == [b"one\n"]
    assert "0 shipped, 0 left" in here.run(machine, "ship")


def test_ship_fails_when_something_could_not_be_shipped(instance: Make, here: Here) -> None:
    machine = instance()
    (machine.logs / "link.log.1").symlink_to("/dev/null")
    assert "1 with problems" in here.run(machine, "ship", code=1)


def test_ship_fails_with_a_hint_when_there_is_no_metadata_service(
    instance: Make, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = instance()
    monkeypatch.setattr("shipper.daemon.once.IDENTIFY_SECONDS", 0.0)
    machine.imds.fault = lambda method, path: (404, "no such thing")
    assert "hint:" in here.run(machine, "ship", code=1)


def test_ship_and_run_keep_out_of_each_others_way(instance: Make) -> None:
    machine = instance()
    machine.start()
    assert "AlreadyRunning" in machine.run("ship", code=1)


def test_plan_shows_keys_and_reasons_and_changes_nothing(instance: Make, here: Here) -> None:
    machine = instance()
    machine.write("app.log.1", b"one\n")
    machine.write("app.log.2", b"")
    plan = here.run(machine, "plan")
    assert f"logs/app/{INSTANCE_ID}/dt=" in plan
    assert "nothing in it" in plan
    document = here.json(machine, "plan")
    candidates = document["candidates"]
    assert isinstance(candidates, list)
    assert {one["decision"] for one in candidates} == {"to be shipped", "nothing in it"}
    assert not (machine.directory / "state").exists()
    (machine.logs / "link.log.1").symlink_to("/dev/null")
    assert "hint:" in here.run(machine, "plan", code=1)
    here.json(machine, "plan", code=1)


def test_a_plan_without_a_metadata_service_says_so_in_its_keys(
    instance: Make, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = instance()
    machine.write("app.log.1", b"one\n")
    machine.imds.fault = lambda method, path: (404, "no such thing")
    assert "i-unknown" in here.run(machine, "plan")


def test_check_probes_everything_and_all_is_well(instance: Make, here: Here) -> None:
    machine = instance()
    report = here.run(machine, "check")
    for probe in ("configuration", "watch app", "journal", "metadata service", "role", "bucket"):
        assert f"ok    {probe}" in report
    assert "skip  s3:PutObject: not probed" in report
    assert "bucket" not in here.run(machine, "check", "--offline")


@pytest.mark.parametrize(("hours", "side"), [(26, "behind"), (-26, "ahead of")])
def test_check_says_how_wrong_the_clock_is_and_that_it_is_no_outage(
    instance: Make, here: Here, hours: int, side: str
) -> None:
    listing, told = (
        "<ListBucketResult><Name>b</Name></ListBucketResult>",
        {"x_amz_request_id": "R"},
    )
    refusal = "<Error><Code>RequestTimeTooSkewed</Code><Message>no</Message></Error>"
    s3 = Punctual(
        lambda: http_answer(200, listing, **told),
        lambda code: http_answer(403, refusal, **told),
        ahead_seconds=3600.0 * hours,
    )
    machine = instance()
    with ScriptedServer(otherwise=s3.answer) as server:
        text = machine.config.read_text().replace(machine.moto.url, server.url)
        machine.config.write_text(text)
        said = here.run(machine, "check", code=0)
    assert s3.refused == 1
    found = re.search(f"WARN  this machine's clock is ([0-9]+) seconds {side} AWS's", said)
    assert found, said
    assert abs(int(found[1]) - 3600 * 26) < 60
    assert "hint: this machine's clock is wrong: look at its time synchronisation" in said


def test_check_leaves_an_older_shippers_journal_to_the_start(instance: Make, here: Here) -> None:
    machine = instance()
    here.run(machine, "ship")
    with contextlib.closing(sqlite3.connect(machine.directory / "state/journal.db")) as journal:
        journal.execute("PRAGMA application_id = 0")
    assert "ok    journal" in here.run(machine, "check", "--offline")
    assert "JournalTooOld" in here.run(machine, "plan", code=1)


def test_check_names_what_is_wrong_with_a_hint(instance: Make, here: Here) -> None:
    machine = instance()
    machine.config.write_text(machine.config.read_text().replace(machine.bucket, "no-such-bucket"))
    report = here.run(machine, "check", code=1)
    assert "WRONG bucket no-such-bucket" in report
    assert "hint: create the bucket" in report
    machine.imds.facts.role = ""
    assert "WRONG role credentials: NoProfile" in here.run(machine, "check", code=1)
    machine.logs.rmdir()
    assert "hint: create it" in here.run(machine, "check", "--offline", code=1)


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_ran_leaves_a_journal_that_the_daemon_of_another_user_can_use(
    instance: Make, here: Here, program: Callable[[str], str]
) -> None:
    machine = instance()
    state = machine.directory / "state"
    state.mkdir(mode=0o700)
    os.chown(state, NOBODY, NOBODY)
    machine.write("app.log.1", b"one\n")
    here.run(machine, "ship")
    machine.start()
    machine.kill()  # leaves a WAL
    names = sorted(path.name for path in state.iterdir() if path.is_file())
    assert names == ["journal.db", "journal.db-shm", "journal.db-wal", "lock"]
    assert {path.stat().st_uid for path in state.iterdir() if path.is_file()} == {NOBODY}
    granted = "-all,+dac_read_search,+lease"  # as the unit
    machine.confined_by = [
        *(program("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *(f"--inh-caps={granted}", f"--ambient-caps={granted}"),
    ]
    machine.write("app.log.2", b"two\n")
    daemon = machine.start()
    assert f"Uid:\t{NOBODY}\t" in Path(f"/proc/{daemon.process.pid}/status").read_text()
    machine.wait_until_shipped(2)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_gives_a_link_away_and_not_the_file_that_it_leads_to(tmp_path: Path) -> None:
    """The owner of the directory may have put a link to a file of root's there."""
    with public_directory() as public:
        os.chown(public, NOBODY, NOBODY)
        roots = tmp_path / "shadow"
        roots.touch()
        (public / "lock").symlink_to(roots)
        os.close(locked(str(public)))
        assert roots.stat().st_uid == 0
        (public / "lock").unlink()
        (public / "lock").touch()
        os.close(locked(str(public)))
        assert (public / "lock").stat().st_uid == NOBODY


def test_check_says_whether_an_archive_can_work(instance: Make, here: Here) -> None:
    machine = instance(watch='after_upload = "archive"\narchive_directory = "/proc/nowhere"')
    assert "CrossDevice" in here.run(machine, "check", "--offline", code=1)
    text = machine.config.read_text()
    machine.config.write_text(text.replace("/proc/nowhere", f"{machine.directory}/old/logs"))
    assert "ok    archive" in here.run(machine, "check", "--offline")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_check_says_that_an_archive_is_behind_another_mount(instance: Make) -> None:
    """As the unit's ReadWritePaths= makes them; the kernel renames nothing from one to another."""
    machine = instance()
    archive = machine.directory / "archive"
    archive.mkdir()
    text = machine.config.read_text()
    more = f'after_upload = "archive"\narchive_directory = "{archive}"\n[scan]'
    machine.config.write_text(text.replace("[scan]", more))
    script = f'mount --bind {archive} {archive}; exec "$@"'
    check = [
        sys.executable,
        "-m",
        "shipper",
        "check",
        "--offline",
        "--config",
        str(machine.config),
    ]
    space = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh"]
    found = subprocess.run([*space, *check], capture_output=True, text=True, check=False)
    assert f"WRONG archive {archive}: CrossDevice: another mount" in found.stdout
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0


def test_check_says_that_a_watch_is_a_file(instance: Make, here: Here) -> None:
    machine = instance()
    machine.logs.rmdir()
    machine.logs.write_text("x")
    said = here.run(machine, "check", "--offline", code=1)
    assert "a file is in its place" in said
    assert "create it" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    ("ailing", "hint"),
    [
        ("head -c 9m /dev/zero >$state/filler || true", "free space"),
        ("mount -o remount,ro none $state", "mounted read-write"),
        ("true", ""),
    ],
)
def test_check_writes_to_the_disk_of_the_journal(instance: Make, ailing: str, hint: str) -> None:
    machine = instance()
    state = machine.directory / "state"
    state.mkdir(exist_ok=True)
    script = f'state={state}; mount -t tmpfs -o size=4m none $state; {ailing}; exec "$@"'
    check = f"{sys.executable} -m shipper check --offline --config {machine.config}".split()
    space = ["unshare", "--mount", "--propagation", "private", "sh", "-uc", script, "sh"]
    found = subprocess.run([*space, *check], capture_output=True, text=True, check=False)
    assert ("StateUnwritable" in found.stdout) is bool(hint), found
    assert hint in found.stdout


def test_check_finds_a_state_directory_that_cannot_be_made(instance: Make, here: Here) -> None:
    machine = instance()
    text = machine.config.read_text()
    machine.config.write_text(text.replace(f"{machine.directory}/state", "/proc/no/state"))
    assert "StateUnwritable" in here.run(machine, "check", "--offline", code=1)
    assert "StateUnwritable" in here.run(machine, "run", code=1)


def test_status_works_with_and_without_the_daemon(instance: Make, here: Here) -> None:
    machine = instance()
    assert "NoJournal" in here.run(machine, "status", code=1)
    machine.write("app.log.1", b"one\n")
    machine.start()
    machine.wait_until_shipped(1)
    running = here.json(machine, "status")
    assert "running, pid" in here.run(machine, "status")
    machine.stop()
    stopped = here.json(machine, "status", code=1)
    assert running.keys() > stopped.keys()
    assert (running["running"], stopped["running"]) == (True, False)
    assert (running["well"], stopped["well"]) == (True, False)
    assert "NOT RUNNING" in here.run(machine, "status", code=1)


def test_without_a_daemon_nothing_says_that_all_is_well(instance: Make, here: Here) -> None:
    machine = instance()
    machine.write("app.log.1", b"one\n")
    assert "1 shipped" in here.run(machine, "ship")
    machine.write("app.log.2", b"nobody comes for it\n")
    nobody = "no shipper runs here"
    assert f"NOT WELL: {nobody} (hint: `systemctl start" in here.run(machine, "status", code=1)
    assert f"WARN  daemon: {nobody}\n      hint:" in here.run(machine, "check")
    assert f"WRONG daemon: NotRunning: {nobody}" in here.run(machine, "check", "--health", code=1)
    with os.fdopen(locked(str(machine.directory / "state"))):
        at_work = "a shipper is at work here, but its socket cannot be asked"
        assert f"NOT WELL: {at_work}" in here.run(machine, "status", code=1)
        assert f"WARN  daemon: {at_work}" in here.run(machine, "check")


def test_check_names_an_address_that_another_listens_on(instance: Make, here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        machine = instance(more=f'[http]\nlisten = "127.0.0.1:{port}"\n')
        taken = f"WRONG http.listen: ListenFailed: 127.0.0.1:{port}: Address already in use"
        assert taken in here.run(machine, "check", code=1)
    assert "ListenFailed" not in here.run(machine, "check")


def test_check_is_not_well_while_the_running_daemon_sends_nothing(
    instance: Make, here: Here
) -> None:
    machine = instance()
    machine.config.write_text(machine.config.read_text().replace(machine.bucket, "no-such-bucket"))
    machine.write("app.log.1", b"waits\n")
    machine.start()
    machine.wait_for(
        lambda: "nothing is sent: NoSuchBucket" in machine.ask("/healthz"), "the gate to shut"
    )
    report = here.run(machine, "check", "--offline", code=1)
    assert "WRONG daemon: NotWell: nothing is sent: NoSuchBucket" in report


def test_an_empty_variable_is_an_unset_one_for_every_command(
    instance: Make, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = instance()
    for name in (
        "AWS_CA_BUNDLE",
        "AWS_EC2_INSTANCE_PROFILE_NAME",
        "https_proxy",
        "SHIPPER_CONFIG",
    ):
        monkeypatch.setenv(name, "")
    assert "ok    role credentials" in here.run(machine, "check")
    assert "AWS_CA_BUNDLE" not in os.environ


def test_where_shipper_is_installed_the_hint_ships_as_its_own_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shipper.core.hints.AS_SHIPPER", str(tmp_path / "as-shipper"))
    assert not_running(is_locked=False).hint.endswith("or `shipper ship` for once")
    (tmp_path / "as-shipper").touch()
    assert not_running(is_locked=False).hint.endswith("or `as-shipper shipper ship` for once")


def test_the_health_of_the_daemon_is_asked_of_the_daemon(instance: Make, here: Here) -> None:
    machine = instance()
    assert "WRONG daemon: NotRunning" in here.run(machine, "check", "--health", code=1)
    machine.start()
    machine.wait_for(lambda: machine.events("daemon.ready"), "the first scan")
    machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "a healthy daemon")
    machine.wait_for(
        lambda: (machine.status() or {})["credentials"]["state"] == "fresh", "credentials"
    )
    assert "ok    daemon" in here.run(machine, "check", "--health")
    machine.logs.rmdir()
    machine.wait_for(lambda: machine.ask("/healthz") != "ok\n", "a watch without its directory")
    assert "WRONG daemon: NotWell: watch app" in here.run(machine, "check", "--health", code=1)


def test_status_shows_what_is_parked_and_retry_brings_it_back(instance: Make, here: Here) -> None:
    machine = instance()
    machine.write("app.log.1", b"mine\n")
    plan = here.json(machine, "plan")["candidates"]
    assert isinstance(plan, list)
    s3 = machine.moto.client("s3")
    s3.put_object(Bucket=machine.bucket, Key=plan[0]["key"], Body=b"theirs")
    here.run(machine, "ship", code=1)
    status = here.run(machine, "status", code=1)
    assert "parked 1: app/app.log.1: PARKED" in status
    assert "KeyTaken" in status
    nothing = here.run(machine, "retry", "7", code=1)
    assert "no parked or lost shipment 7" in nothing
    assert "--all also tries at once what waits" in nothing
    assert "shipment 1 is ready again" in here.run(machine, "retry", "1")
    waiting = here.run(machine, "status", code=1)
    assert "unfinished 1" in waiting
    assert "no shipper runs, and 1 files wait" in waiting
    assert "1 shipped" in here.run(machine, "ship")
    assert "0 were parked, 0 waited" in here.run(machine, "retry", "--all")


def test_retry_works_while_the_daemon_runs(instance: Make, here: Here) -> None:
    machine = instance()
    machine.write("app.log.1", b"mine\n")
    plan = here.json(machine, "plan")["candidates"]
    assert isinstance(plan, list)
    s3 = machine.moto.client("s3")
    s3.put_object(Bucket=machine.bucket, Key=plan[0]["key"], Body=b"theirs")
    machine.start()
    machine.wait_for(lambda: machine.files(State.PARKED.value), "the shipment to be parked")
    here.run(machine, "retry", "--all")
    machine.write("app.log.2", b"nudges the workers\n")
    machine.wait_until_shipped(2)


def test_metrics_are_those_of_the_contract(instance: Make) -> None:
    port = free_port()
    machine = instance(more=f'[http]\nlisten = "127.0.0.1:{port}"\n')
    machine.start()
    machine.write("app.log.1", b"one\n")
    machine.wait_until_shipped(1)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"http://127.0.0.1:{port}/metrics", timeout=10
    ) as answer:
        text = answer.read().decode()
    assert text.count("\n") == machine.ask("/metrics").count("\n")
    assert 'shipper_shipped_files_total{watch="app"} 1.0' in text
    assert 'shipper_shipped_raw_bytes_total{watch="app"} 4.0' in text
    assert 'shipper_requests_total{code="ok",operation="PutObject"} 1.0' in text
    assert "shipper_gate_open 1.0" in text
    assert machine.ask("/nonsense").split() == ["/", "/metrics", "/status", "/healthz"]


def test_a_port_that_is_taken_is_said_clearly(instance: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        machine = instance(more=f'[http]\nlisten = "127.0.0.1:{port}"\n')
        text = machine.run("run", code=1)
    assert "ListenFailed" in text
    assert "hint: choose another http.listen" in text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [([], 64), (["fly"], 64), (["run", "--fast"], 64), (["status", "--config", "/nowhere"], 78)],
)
def test_a_wrong_command_line_has_its_own_exit_code(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit) if code == 78 else pytest.raises(SystemExit) as leaving:
        assert main(arguments) == code
    assert leaving is None or leaving.value.code == code
    error = capsys.readouterr().err
    assert error
    assert ("(`shipper --help` lists them)" in error) is (arguments == [])


@pytest.mark.parametrize("command", ["retry", "acknowledge"])
def test_what_is_no_id_is_refused_with_the_place_that_shows_ids(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([command, "app.log.1"])
    assert leaving.value.code == 64
    assert "'app.log.1' is no ID: `shipper status` shows IDs" in capsys.readouterr().err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as leaving:
            main([name, "--help"])
        assert leaving.value.code == 0
        assert "--config" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PortError("Gone", "what", "do this"), 1, "hint: do this"),
        (RuntimeError("boom"), 70, "bug"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_whatever_a_command_raises_becomes_words_and_an_exit_code(
    error: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr(COMMANDS["check"], "run", fail)
    assert main(["check"]) == code
    assert words in capfd.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error_worth_a_word(instance: Make) -> None:
    machine = instance()
    for number in range(3000):
        machine.write(f"app.log.{number}", b"x")
    command = [sys.executable, "-m", "shipper", "plan", "--config", str(machine.config)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | machine.environment,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 1


def test_a_broken_configuration_is_refused_by_every_command_with_every_problem(
    instance: Make, here: Here
) -> None:
    machine = instance()
    machine.config.write_text('[destination]\nbuckt = "x"\n[[watch]]\nsettle = 5\n')
    for command in ("run", "ship", "check", "plan", "status", "credentials"):
        text = here.run(machine, command, code=78)
        assert "did you mean 'bucket'?" in text
        assert "watch[0].directory: is missing" in text
        assert "watch[0].settle" in text


def test_what_waits_for_its_next_attempt_is_tried_at_every_start(
    instance: Make, here: Here
) -> None:
    machine = instance()
    machine.write("app.log.1", b"one\n")
    good = machine.config.read_text()
    machine.config.write_text(good.replace(machine.bucket, "no-such-bucket"))
    assert "0 shipped, 1 left" in here.run(machine, "ship", code=1)
    machine.config.write_text(good)
    assert "1 shipped, 0 left" in here.run(machine, "ship")


def test_a_running_daemon_that_cannot_be_asked_is_not_called_absent(
    instance: Make, here: Here
) -> None:
    machine = instance()
    machine.start()
    (machine.directory / "state" / "shipper.sock").unlink()
    machine.wait_for(lambda: machine.files() == 0, "the journal")
    said = here.run(machine, "status", code=1)
    assert "a shipper is at work here, but its socket cannot be asked" in said


def test_the_configuration_may_be_named_before_the_command(instance: Make) -> None:
    machine = instance()
    assert main(["--config", str(machine.config), "check", "--offline"]) == 0


def test_a_plan_names_the_log_that_a_copy_is_of_and_why_a_file_is_parked(
    instance: Make, here: Here
) -> None:
    machine = instance()
    body = b"a line of a log\n" * 1000
    log = machine.write("app.log.1", body)
    here.run(machine, "ship")
    copy = machine.write("app.log.2.gz", gzip.compress(body))
    os.utime(copy, ns=(log.stat().st_mtime_ns, log.stat().st_mtime_ns))
    log.unlink()
    here.run(machine, "ship")
    plan = here.json(machine, "plan")["candidates"]
    assert isinstance(plan, list)
    [row] = plan
    assert row["decision"] == "copy of a shipped log"
    assert row["key"] in machine.moto.keys(machine.bucket)


def test_a_log_that_was_lost_is_no_success(instance: Make, here: Here) -> None:
    machine = instance()
    log = machine.write("app.log.1", b"one\n")
    good = machine.config.read_text()
    machine.config.write_text(good.replace(machine.bucket, "no-such-bucket"))
    here.run(machine, "ship", code=1)
    machine.config.write_text(good)
    log.unlink()
    # It was sent: S3 may still be storing it. The second look decides.
    assert "1 left" in here.run(machine, "ship", code=1)
    here.run(machine, "retry", "--all")
    assert "1 gone before they were shipped" in here.run(machine, "ship", code=1)
    assert "shipper acknowledge" in here.run(machine, "status", code=1)
    assert "known to be lost" in here.run(machine, "acknowledge", "1")
    here.run(machine, "acknowledge", "1", code=1)
    assert "0 were lost" in here.run(machine, "acknowledge", "--all")
    assert here.json(machine, "status", code=1)["lost"] == []  # and no shipper runs


def test_a_full_disk_behind_stdout_is_said_in_a_line(instance: Make) -> None:
    machine = instance()
    command = [sys.executable, "-m", "shipper", "plan", "--config", str(machine.config)]
    with open("/dev/full", "w", encoding="utf-8") as full:
        found = subprocess.run(
            command,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | machine.environment,
            check=False,
        )
    assert found.returncode == 1
    assert "the output cannot be written" in found.stderr
    assert "Traceback" not in found.stderr


def test_check_opens_the_logs_and_looks_at_the_archive(instance: Make, here: Here) -> None:
    machine = instance(watch='after_upload = "archive"\narchive_directory = "/etc/hostname/x"')
    machine.write("app.log.1", b"one\n")
    assert "NotDirectory" in here.run(machine, "check", "--offline", code=1)


def test_a_metadata_service_that_only_an_operator_can_mend_is_not_waited_for(
    instance: Make, here: Here
) -> None:
    machine = instance()
    machine.imds.fault = lambda method, path: (403, "disabled")
    started = time.monotonic()
    assert "MetadataDisabled" in here.run(machine, "ship", code=1)
    assert time.monotonic() - started < 10
