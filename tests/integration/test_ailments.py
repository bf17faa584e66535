"""Whatever is not well is said by status, healthz and check; nothing says that all is well."""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.config.load import load
from shipper.core.types import WatchName
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.reports.checks import probes
from shipper.reports.inspect import candidates, status
from tests.fakes.examples import promise
from tests.fakes.servers import Request, ScriptedServer, http_answer
from tests.machines.here import Here
from tests.machines.instance import Instance
from tests.machines.machine import NOBODY, public_directory, unprivileged

Make = Callable[..., Instance]


def test_a_watch_that_cannot_be_read_is_not_well(instance: Make) -> None:
    machine = instance()
    machine.start()
    machine.logs.rmdir()
    machine.wait_for(lambda: "watch app: NotFound" in machine.ask("/healthz"), "the ailment")
    machine.logs.mkdir()
    machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")


def test_every_file_that_is_refused_is_told_by_code_and_example_until_it_is_mended(
    instance: Make,
) -> None:
    machine = instance()
    machine.write("good.log.1", b"a line\n")
    for number in range(3):
        (machine.logs / f"link{number}.log.1").symlink_to("good.log.1")
    os.link(machine.write("two.log.1", b"two names\n"), machine.logs / "names")
    os.mkfifo(machine.logs / "fifo.log.1")
    machine.start()
    machine.wait_until_shipped(1)
    said = machine.ask("/healthz")
    assert "watch app: 4 files, such as " in said
    assert "NotRegular" in said
    assert "watch app: 1 files, such as two.log.1: HardLinked: 2 names lead to it (hint" in said
    metrics = machine.ask("/metrics")
    assert 'shipper_refused_files{code="NotRegular",watch="app"} 4.0' in metrics
    assert 'shipper_refused_files{code="HardLinked",watch="app"} 1.0' in metrics
    assert "NOT WELL: watch app: 4 files" in machine.run("status", code=1)
    for path in (*machine.logs.glob("link*"), machine.logs / "names", machine.logs / "fifo.log.1"):
        path.unlink()
    machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")
    machine.wait_until_shipped(2)
    assert "shipper_refused_files{" not in machine.ask("/metrics")


def test_a_live_log_that_no_drain_could_take_is_told_as_a_rotated_one_is(
    instance: Make, here: Here
) -> None:
    machine = instance()
    machine.write("ok.log", b"a live line\n")
    os.link(machine.write("two.log", b"two names\n"), machine.logs / "names")
    (machine.logs / "far.log").symlink_to(machine.write("real.data", b"under no name\n"))
    os.mkfifo(machine.logs / "fifo.log")
    for link, target in (("same", "ok.log"), ("out", "/dev/null"), ("lost", "nowhere")):
        (machine.logs / f"{link}.log").symlink_to(target)
    machine.start()
    machine.wait_for(lambda: "two.log" in machine.ask("/healthz"), "the ailment")
    said = machine.ask("/healthz")
    assert "watch app: 1 files, such as two.log: HardLinked: 2 names lead to it (hint" in said
    assert "watch app: 2 files, such as f" in said
    assert "same.log" not in said
    metrics = machine.ask("/metrics")
    assert 'shipper_refused_files{code="NotRegular",watch="app"} 2.0' in metrics
    assert 'shipper_refused_files{code="HardLinked",watch="app"} 1.0' in metrics
    assert {one["path"] for one in machine.events("candidate.refused")} == {
        "two.log",
        "far.log",
        "fifo.log",
    }
    assert "NOT WELL: watch app: 1 files, such as two.log" in here.run(machine, "status", code=1)
    assert "WRONG watch app: " in here.run(machine, "check", "--offline", code=1)
    assert "two.log: cannot be shipped" in here.run(machine, "plan", code=1)
    for name, code in (("two", 1), ("far", 1), ("ok", 0), ("same", 0), ("out", 0), ("lost", 0)):
        here.run(machine, "explain", str(machine.logs / f"{name}.log"), code=code)
    assert machine.stop() == 0
    assert "0 shipped, 0 left, 0 not sealed yet, 0 with problems" in here.run(machine, "ship")
    outcome = "1 shipped, 0 left, 0 not sealed yet, 3 with problems"
    assert outcome in here.run(machine, "ship", "--live", code=1)
    for name in ("names", "far.log", "fifo.log"):
        (machine.logs / name).unlink()
    machine.start()
    machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")
    assert "shipper_refused_files{" not in machine.ask("/metrics")


def test_where_no_drain_takes_live_logs_they_are_no_trouble(instance: Make, here: Here) -> None:
    machine = instance(more="[termination]\nship_live_files = false\n")
    os.link(machine.write("two.log", b"two names\n"), machine.logs / "names")
    machine.start()
    machine.wait_for(lambda: not (machine.status() or {})["ailments"], "health")
    assert "ok    watch app" in here.run(machine, "check", "--offline")
    assert machine.stop() == 0
    assert "1 with problems" in here.run(machine, "ship", "--live", code=1)


def test_check_names_the_rotated_logs_that_will_be_refused(instance: Make, here: Here) -> None:
    machine = instance()
    os.link(machine.write("two.log.1", b"two names\n"), machine.logs / "names")
    (machine.logs / "link.log.1").symlink_to("/etc/hostname")
    os.mkfifo(machine.logs / "fifo.log.1")
    report = here.run(machine, "check", "--offline", code=1)
    name = f"WRONG watch app: {machine.logs}: "
    assert f"{name}1 files, such as two.log.1: HardLinked: 2 names lead to it" in report
    assert f"{name}2 files, such as " in report
    assert "hint: set follow_hard_links = true" in report


def test_links_to_directories_are_shown_as_left_alone(
    instance: Make, here: Here, tmp_path: Path
) -> None:
    machine = instance(watch='exclude = ["no*"]')
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "app.log.1").write_bytes(b"nobody comes for it\n")
    machine.write("sub/app.log.1", b"a log\n")
    for link in ("current", "tomcat.log", "deploy", "more", "not.this"):
        (machine.logs / link).symlink_to(tmp_path / "far")
    (machine.logs / "same").symlink_to("sub")
    machine.start()
    machine.wait_until_shipped(1)
    machine.wait_for(lambda: (machine.status() or {})["scan"]["scans"] > 3, "cached scans")
    assert machine.ask("/healthz") == "ok\n"
    assert 'shipper_left_alone_files{watch="app"} 4.0' in machine.ask("/metrics")
    said = "left alone: app: 4 symbolic links to directories, which no scan follows; such as "
    for command in ("status", "plan", "check"):
        assert said in here.run(machine, command)
    assert "      hint: watch the directory it leads to" in here.run(machine, "check", "--offline")
    for name, code in (("current", 1), ("tomcat.log", 1), ("not.this", 0)):
        told = here.json(machine, "explain", str(machine.logs / name), code=code)
        assert told["answer"] == "left alone"
    assert here.json(machine, "status")["left_alone"] == {
        "app": {
            "files": 0,
            "older": 0,
            "looks_rotated": 0,
            "such_as": [],
            "links": 4,
            "links_such_as": (machine.status() or {})["left_alone"]["app"]["links_such_as"],
        }
    }
    (machine.logs / "old.log.1").symlink_to(tmp_path / "far")
    machine.wait_for(lambda: machine.ask("/healthz") != "ok\n", "a rotated name")
    assert "old.log.1: NotRegular: symbolic link to a directory" in machine.ask("/healthz")


def test_parked_files_and_old_ones_are_not_well(instance: Make) -> None:
    machine = instance()
    state = machine.directory / "state"
    state.mkdir()
    journal = Journal.open(str(state / "journal.db"), now=0.0)
    journal.origin.adopt("i-0aaaabbbbccccdddd")
    journal.promise([promise(watch=WatchName("removed"))], now=0.0)
    journal.close()
    machine.start()
    machine.wait_for(lambda: "files are parked" in machine.ask("/healthz"), "the parked file")
    assert "hours" in machine.ask("/healthz")
    said = machine.run("status", code=1)
    assert "NOT WELL: 1 files are parked, such as removed/app.log.1: WatchRemoved" in said
    assert "WatchRemoved" in said
    assert "hint: bring the watch back" in said


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http_answer(403, "", x_amz_request_id="R"), "Http403"),
        (http_answer(404, "<Error><Code>NoSu", x_amz_request_id="R"), "Http404"),
        (None, "Unreachable"),
    ],
)
def test_what_fails_again_and_again_while_nothing_passes_is_not_well(
    instance: Make, answer: bytes | None, code: str
) -> None:
    """Neither says whether it is an outage or a refusal, and one file shuts no gate."""
    machine = instance()
    good = machine.config.read_text()
    machine.write("app.log.1", b"waits\n")
    with ScriptedServer(otherwise=lambda request: answer or b"") as server:
        url = "http://127.0.0.1:9" if answer is None else server.url
        machine.config.write_text(good.replace(machine.moto.url, url))
        machine.start()
        machine.wait_for(lambda: "nothing passes" in machine.ask("/healthz"), "the ailment", 120)
        assert len(machine.events("attempt.failed")) >= 3, "what failed once needs time"
        said = machine.ask("/healthz")
        assert f"nothing passes; such as app/app.log.1: {code}: PutObject: " in said
        assert "(hint: " in said
        assert "1 files failed 3 times" in machine.run("check", "--health", code=1)
        assert machine.stop() == 0
    machine.config.write_text(good)
    machine.start()
    machine.wait_until_shipped(1)
    machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")


def test_the_file_that_has_waited_longest_is_named(instance: Make) -> None:
    machine = instance()
    machine.config.write_text(
        machine.config.read_text().replace(machine.moto.url, "http://127.0.0.1:9")
    )
    machine.write("app.log.1", b"waits\n")
    machine.start()
    machine.wait_for(lambda: machine.events("attempt.failed"), "an attempt")
    machine.kill()
    with contextlib.closing(sqlite3.connect(machine.directory / "state/journal.db")) as journal:
        journal.execute("UPDATE shipments SET promised_at = promised_at - 7200")
        journal.commit()
    machine.start()
    machine.wait_for(lambda: "hours" in machine.ask("/healthz"), "the ailment")
    said = "the oldest file has waited for 2.0 hours: app/app.log.1: Unreachable: PutObject: "
    [line] = [line for line in machine.ask("/healthz").splitlines() if line.startswith(said)]
    assert "(hint: " in line
    counted = 'shipper_refused_files{code="Unreachable",watch="app"} 1.0'
    machine.wait_for(lambda: counted in machine.ask("/metrics"), "the metric")


def patiently(machine: Instance, target: str) -> str:
    """The answer, or nothing where it takes longer than somebody waits: the journal is busy."""
    try:
        return machine.ask(target)
    except TimeoutError:
        return ""


def test_a_full_state_directory_is_not_well_and_nothing_is_lost(
    instance: Make, tmp_path: Path
) -> None:
    machine = instance()
    state = machine.directory / "state"
    machine.start()
    machine.wait_for(lambda: (machine.status() or {}).get("instance"), "its instance")
    machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")
    blocker = Journal.open(str(state / "journal.db"), now=0.0)
    with blocker._database.transaction():  # a writer that never ends, as a disk that never empties
        machine.write("app.log.1", b"waits\n")
        machine.wait_for(
            lambda: "nothing is promised: JournalUnwritable" in patiently(machine, "/healthz"),
            "the ailment",
        )
        counted = "shipper_ailments 1.0"
        machine.wait_for(lambda: counted in patiently(machine, "/metrics"), "the metric")
    blocker.close()
    machine.wait_until_shipped(1)
    assert machine.contents() == [b"waits\n"]
    machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")


def test_check_sees_what_its_own_user_may_not_do(instance: Make) -> None:
    with public_directory() as public:
        (public / "logs").mkdir(mode=0o755)
        (public / "secret").mkdir(mode=0o755)
        (public / "secret" / "app.log.1").touch(mode=0)
        (public / "state").mkdir(mode=0o755)
        (public / "state" / "journal.db").touch(mode=0)
        text = instance().config.read_text()
        configuration = public / "shipper.toml"
        lines = [
            f'state_directory = "{public}/state"' if line.startswith("state_dir") else line
            for line in text.splitlines()
        ]
        lines = [
            f'directory = "{public}/logs"\nafter_upload = "delete"'
            if line.startswith("directory")
            else line
            for line in lines
        ]
        lines += ["[[watch]]", f'directory = "{public}/secret"']
        configuration.write_text("\n".join(lines))
        (public / "logs").chmod(0o555)
        with unprivileged():
            found = dict(probes(load(str(configuration), {}), {}, offline=True))
    codes = {name.partition(":")[0]: problem.code for name, problem in found.items() if problem}
    assert codes == {
        "journal": "StateUnwritable",
        "watch app": "RemoveDenied",
        "watch secret": "SourceUnreadable",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of another's")
@pytest.mark.parametrize("setting", ["", "after_upload_unproven = true"])
def test_check_says_which_setting_removes_files_that_may_have_writers(
    instance: Make, setting: str
) -> None:
    with public_directory() as public:
        (public / "app.log.1").touch()
        os.chown(public, NOBODY, NOBODY)
        configuration = public / "shipper.toml"
        text = instance().config.read_text().partition("[[watch]]")[0]
        text += f'[[watch]]\ndirectory = "{public}"\nafter_upload = "delete"\n{setting}\n'
        configuration.write_text(text)
        with unprivileged():
            found = dict(probes(load(str(configuration), {}), {}, offline=True))
    said = [problem for name, problem in found.items() if problem and "removal" in name]
    if setting:
        assert said == []
    else:
        assert [problem.code for problem in said] == ["WriterUnproven"]
        assert "after_upload_unproven = true" in said[0].hint


def test_a_plan_that_may_not_see_the_journal_says_so(instance: Make) -> None:
    machine = instance()
    with public_directory() as public:
        (public / "state").mkdir()
        (public / "state" / "journal.db").touch(mode=0)
        text = machine.config.read_text()
        (public / "c.toml").write_text(
            text.replace(str(machine.directory / "state"), f"{public}/state")
        )
        with unprivileged(), pytest.raises(PortError, match="NoJournal") as raised:
            list(candidates(load(str(public / "c.toml"), {}), {}, lambda text: None))
    assert "run as the user" in raised.value.hint


def test_a_state_directory_that_may_not_be_searched_is_not_taken_for_an_empty_one(
    instance: Make,
) -> None:
    machine = instance()
    with public_directory() as public:
        (public / "state").mkdir(mode=0o700)
        (public / "state" / "journal.db").touch()
        text = machine.config.read_text()
        (public / "c.toml").write_text(
            text.replace(str(machine.directory / "state"), f"{public}/state")
        )
        with unprivileged():
            configuration = load(str(public / "c.toml"), {})
            with pytest.raises(PortError, match="NoJournal") as raised:
                status(configuration, {})
            [(_, problem)] = [
                found for found in probes(configuration, {}, offline=True) if found[0] == "journal"
            ]
    assert "run as the user" in raised.value.hint
    assert problem is not None
    assert problem.code == "StateUnwritable"


def test_what_nobody_selects_is_shown_and_check_proposes_the_include(
    instance: Make, here: Here
) -> None:
    machine = instance(watch='include = ["app*"]\nexclude = ["secret*"]\nlive = ["now"]')
    for name in ("app.log.1", "other.log.1", "other.log.2", "core", "wtmp", "secret.1", "now"):
        machine.write(name, name.encode())
    (machine.logs / "link").symlink_to("wtmp")
    machine.start()
    machine.wait_until_shipped(1)
    machine.wait_for(lambda: (machine.status() or {})["scan"]["scans"] > 3, "cached scans")
    assert 'shipper_left_alone_files{watch="app"} 4.0' in machine.ask("/metrics")
    assert machine.ask("/healthz") == "ok\n"
    said = "4 files match nothing, 2 of them look rotated; such as other.log.1, other.log.2, core"
    for command in ("status", "plan", "check"):
        assert said in here.run(machine, command)
    checked = here.run(machine, "check")
    assert "WARN  left alone: app" in checked
    assert 'hint: include = ["app*", "other.log.*", "core"] would ship' in checked
    [event] = machine.events("files.left_alone")
    assert (event["files"], event["such_as"][:2]) == (2, ["other.log.1", "other.log.2"])
    machine.write("other.log.1", b"")
    (machine.logs / "other.log.1").unlink()
    machine.wait_for(lambda: 'left_alone_files{watch="app"} 3.0' in machine.ask("/metrics"), "3")


def test_check_sees_rotated_logs_below_a_watch_that_is_not_recursive(
    instance: Make, here: Here
) -> None:
    machine = instance(watch='recursive = false\nexclude = ["no*"]')
    for name in ("sub/app.log.1", "sub/no.log.1", "sub/readme"):
        machine.write(name, b"x")
    report = here.run(machine, "check", "--offline")
    assert "1 files match nothing, 1 of them look rotated; such as sub/app.log.1" in report
    assert "hint: recursive = true would ship" in report


@pytest.mark.parametrize(
    ("watch", "destination", "is_warned"),
    [
        ('after_upload = "delete"', 'checksum = "none"', True),
        ('after_upload = "archive"', 'checksum = "none"', True),
        ('after_upload = "delete"', 'checksum = "md5"', True),
        ('after_upload = "delete"', 'checksum = "none"\nsign_payloads = true', False),
        ('after_upload = "delete"', 'checksum = "crc32"', False),
        ('after_upload = "keep"', 'checksum = "none"', False),
    ],
)
def test_check_says_ahead_where_nothing_will_show_that_a_file_may_be_removed(
    instance: Make, here: Here, watch: str, destination: str, is_warned: bool
) -> None:
    machine = instance(watch=watch)
    if "archive" in watch:
        watch += f'\narchive_directory = "{machine.directory}/archive"'
    text = machine.config.read_text().replace('after_upload = "archive"', watch)
    machine.config.write_text(text.replace("[destination]", f"[destination]\n{destination}"))
    report = here.run(machine, "check", "--offline")
    assert ("WARN  watch app: after_upload =" in report) == is_warned
    assert ("sign_payloads = true" in report) == is_warned


def test_a_journal_that_lost_rows_is_said_once_and_all_is_sent_again(instance: Make) -> None:
    machine = instance()
    journal = machine.directory / "state" / "journal.db"
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_until_shipped(1)
    machine.kill()
    (journal.parent / "journal.db-wal").unlink()
    for losses in (1, 2):
        for _ in range(2):
            machine.start()
            machine.wait_until_shipped(1)
            assert machine.stop() == 0
            assert len(machine.events("journal.lost")) == losses
        journal.write_bytes(b"")
    lost = machine.events("journal.lost")
    assert [(one["level"], one["path"]) for one in lost] == [("error", str(journal))] * 2
    assert "it knows of 0 starts, the lock file beside it of 3" in lost[1]["detail"]
    assert machine.events("journal.set_aside") == []
    assert machine.contents() == [b"a line\n"]


DENIES = (
    "<Error><Code>AccessDenied</Code><Message>Access Denied</Message><RequestId>R</RequestId>"
    "</Error>"
)


def test_all_that_s3_refuses_is_counted_and_no_standstill_where_others_pass(
    instance: Make,
) -> None:
    """Held ones, too, and after a restart before anything is tried."""
    machine = instance()
    good = machine.config.read_text()
    for number in range(12):
        machine.write(f"secret{number}.log.1", b"%d\n" % number)
        machine.write(f"good{number}.log.1", b"good %d\n" % number)

    def answer(request: Request) -> bytes:
        if "/secret" in request.target:
            return http_answer(403, DENIES, x_amz_request_id="R")
        told = {
            name.replace("-", "_"): value
            for name, value in request.headers.items()
            if name.startswith("x-amz-checksum-")
        }
        etag = f'"{hashlib.md5(request.body).hexdigest()}"'
        return http_answer(200, "", ETag=etag, x_amz_request_id="R", **told)

    with ScriptedServer(otherwise=answer) as server:
        machine.config.write_text(good.replace(machine.moto.url, server.url))
        machine.start()
        counted = 'shipper_refused_files{code="AccessDenied",watch="app"} 12.0'
        for _ in range(2):
            machine.wait_for(lambda: counted in machine.ask("/metrics"), "the metric")
            said = machine.ask("/healthz")
            assert "nothing is sent" not in said
            assert "S3 refuses 12 files, such as " in said
            assert "AccessDenied" in said
            assert "(hint: " in said
            machine.wait_for(lambda: "shipper_gate_open 1.0" in machine.ask("/metrics"), "facts")
            machine.wait_for(lambda: machine.events("attempt.failed"), "an attempt")
            assert (machine.status() or {})["refused"] == {"app": {"AccessDenied": 12}}
            path = str(machine.directory / "logs" / "secret0.log.1")
            assert "AccessDenied" in machine.run("explain", path, code=1)
            assert machine.stop() == 0
            assert not machine.events("gate.shut")
            machine.start()
