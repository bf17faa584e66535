"""``shipper explain``: one path in every situation it can be in."""

import contextlib
import gzip
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shipper.cli.main import main
from shipper.config.load import load
from shipper.core.types import FileId
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.files.open_file import stat_from_status
from shipper.ports import PortError
from shipper.reports import path_facts
from shipper.reports.inspect import journal_to_look_at
from shipper.reports.path_facts import Relation
from tests.fakes.examples import shipment
from tests.machines.here import Here
from tests.machines.instance import INSTANCE_ID, SETTLE_SECONDS, Instance
from tests.machines.machine import public_directory, unprivileged, writing_child
from tests.machines.world import WATCH

Make = Callable[..., Instance]
Explained = tuple[str, int]
"""The answer, and the exit code."""


def told(here: Here, machine: Instance, path: str | Path, code: int = 0) -> dict[str, Any]:
    """The document; and the text for people is made, too (a moment later, and files settle)."""
    document = here.json(machine, "explain", str(path), code=code)
    text = here.run(machine, "explain", str(path), code=code)
    assert f"{document['path']}: " in text
    return document


def settling(machine: Instance, settle: str) -> Instance:
    """The instance with another settle time."""
    text = machine.config.read_text().replace(f'"{SETTLE_SECONDS}s"', f'"{settle}"')
    machine.config.write_text(text)
    return machine


def test_every_situation_of_a_file_that_no_shipper_has_seen(instance: Make, here: Here) -> None:
    machine = settling(instance(watch='exclude = ["*.tmp.1"]\nrecursive = false'), "0s")
    logs = machine.logs
    for name in ("app.log.1", "app.log", "notes", "a.tmp.1", "sub/app.log.1", "two.log.1"):
        machine.write(name, b"x")
    machine.write("empty.log.1", b"")
    machine.write("busy.log.1", b"x")
    (logs / "link.log.1").symlink_to("app.log.1")
    (logs / "way").symlink_to(machine.directory)
    (machine.directory / "app.log.1").touch()
    os.mkfifo(logs / "fifo.log.1")
    os.link(logs / "two.log.1", machine.directory / "another name")
    expected: dict[str, Explained] = {
        "app.log.1": ("to be shipped", 1),  # and no shipper runs
        "empty.log.1": ("nothing in it", 0),
        "busy.log.1": ("not sealed yet", 1),
        "link.log.1": ("cannot be shipped", 1),
        "fifo.log.1": ("cannot be shipped", 1),
        "two.log.1": ("cannot be shipped", 1),
        "app.log": ("live", 0),
        "notes": ("left alone", 1),
        "a.tmp.1": ("left alone", 0),
        "sub/app.log.1": ("left alone", 0),
        "way/app.log.1": ("left alone", 1),
        "sub": ("a directory", 1),
        "/etc/passwd": ("outside of every watch", 1),
        "never.log.1": ("unknown", 1),
        "/never/app.log.1": ("unknown", 1),
    }
    with writing_child(logs / "busy.log.1"):
        found = {
            name: (told(here, machine, logs / name, code)["answer"], code)
            for name, (_, code) in expected.items()
        }
    assert found == expected


def test_what_is_wrong_is_said_with_a_code_and_a_hint(instance: Make, here: Here) -> None:
    machine = settling(instance(), "0s")
    machine.write("app.log.1", b"x")
    machine.write("two.log.1", b"x")
    os.link(machine.logs / "two.log.1", machine.directory / "another name")
    stopped = told(here, machine, machine.logs / "app.log.1", 1)
    assert (stopped["code"], stopped["daemon_runs"]) == ("NotRunning", False)
    linked = told(here, machine, machine.logs / "two.log.1", 1)
    assert (linked["code"], linked["file"]["links"]) == ("HardLinked", 2)
    assert "follow_hard_links" in linked["hint"]
    text = here.run(machine, "explain", str(machine.logs / "two.log.1"), code=1)
    assert "HardLinked: 2 names lead to it\n" in text
    assert "hint: set follow_hard_links = true" in text


def test_a_file_that_settles_says_how_much_longer(instance: Make, here: Here) -> None:
    machine = settling(instance(), "1h")
    path = machine.write("app.log.1", b"x")
    sealed = told(here, machine, path, 1)["sealed"]
    assert sealed["because"] == "settles after 3600 s of quiet"
    assert 3500 < sealed["wait_seconds"] <= 3600
    text = here.run(machine, "explain", str(path), code=1)
    assert "no: settles after 3600 s of quiet; " in text
    assert " to wait at least" in text


def test_a_writer_is_named_by_its_pid_and_command(instance: Make, here: Here) -> None:
    machine = instance()
    path = machine.write("app.log.1", b"x")
    with writing_child(path):
        machine.wait_for(lambda: is_quiet(path), "the settle time")
        document = told(here, machine, path, 1)
        text = here.run(machine, "explain", str(path), code=1)
    assert document["sealed"]["because"] == "open for writing"
    assert document["sealed"]["wait_seconds"] is None
    [writer] = document["writers"]["seen"]
    assert f"writers     pid {writer['pid']} (python" in text
    assert "waits until it is closed" in text


def is_quiet(path: Path) -> bool:
    """Whether the instance's settle time is over, for who looks at the file now."""
    return time.time() - path.stat().st_ctime > SETTLE_SECONDS


def test_names_of_any_bytes_and_relative_ones(instance: Make, here: Here) -> None:
    machine = settling(instance(), "0s")
    name = b"caf\xe9 \n\x1b[31m.log.1"
    path = machine.write(name, b"x")
    encoded = "caf%E9 %0A%1B[31m.log.1"
    assert told(here, machine, str(path), 1)["path"].endswith(f"/{encoded}")
    text = here.run(machine, "explain", str(path), code=1)
    assert "\x1b" not in text
    with contextlib.chdir(machine.logs):
        document = told(here, machine, os.fsdecode(name), 1)
    assert document["watch"]["path"] == encoded


def test_what_was_shipped_is_found_whatever_became_of_it(instance: Make, here: Here) -> None:
    machine = instance()
    names = ("same", "touched", "grown", "rewritten", "replaced", "moved", "other", "gone")
    paths = {name: machine.write(f"{name}.log.1", b"12345\n") for name in names}
    here.run(machine, "ship")
    os.utime(paths["touched"], (1, 1))
    with open(paths["grown"], "ab") as file:
        file.write(b"more\n")
    with open(paths["rewritten"], "r+b") as file:
        file.write(b"other\n")
    paths["replaced"].rename(machine.logs / "replaced.log.2")
    machine.write("replaced.log.1", b"new\n")
    paths["moved"].rename(machine.logs / "moved.log.2")
    paths["other"].rename(machine.logs / "other.log.2")
    (machine.logs / "other.log.2").write_bytes(b"not what it was\n")
    paths["gone"].unlink()
    machine.wait_for(lambda: is_quiet(machine.logs / "replaced.log.1"), "the settle time")

    documents = {
        name: told(here, machine, path, 1 if name in ("grown", "rewritten", "replaced") else 0)
        for name, path in paths.items()
    }
    answers = {name: document["answer"] for name, document in documents.items()}
    assert answers == {
        "same": "shipped",
        "touched": "shipped; touched since",
        "grown": "to be shipped",
        "rewritten": "to be shipped",
        "replaced": "to be shipped",
        "moved": "renamed",
        "other": "gone",
        "gone": "gone",
    }
    relations = {
        name: document["shipments"][0]["relation"] for name, document in documents.items()
    }
    namesake = "another file, last seen under this name"
    assert relations == {
        "same": "this file",
        "touched": "this file",
        "grown": "this file",
        "rewritten": "this inode, when it had other bytes",
        "replaced": namesake,
        "moved": namesake,
        "other": namesake,
        "gone": namesake,
    }
    assert documents["same"]["sealed"]["because"].startswith("quiet for")
    assert documents["grown"]["promise"]["raw_start"] == 6
    assert documents["moved"]["moved_to"] == "moved.log.2"
    shifted = told(here, machine, machine.logs / "moved.log.2")
    assert (shifted["answer"], shifted["shipments"][0]["path"]) == ("shipped", "moved.log.1")
    text = here.run(machine, "explain", str(paths["grown"]), code=1)
    assert "to ship     bytes 6 to 11, as logs/app/" in text
    assert f"/{INSTANCE_ID}/" in text
    shutil.rmtree(machine.logs)
    lost = told(here, machine, paths["same"], 1)
    assert (lost["answer"], lost["code"]) == ("not here", "Unreadable")


def test_what_is_parked_lost_or_failing_needs_an_operator(instance: Make, here: Here) -> None:
    machine = instance()
    parked = machine.write("parked.log.1", b"mine\n")
    plan = here.json(machine, "plan")["candidates"]
    assert isinstance(plan, list)
    s3 = machine.moto.client("s3")
    s3.put_object(Bucket=machine.bucket, Key=plan[0]["key"], Body=b"theirs")
    here.run(machine, "ship", code=1)
    document = told(here, machine, parked, 1)
    assert (document["answer"], document["code"]) == ("parked", "KeyTaken")
    assert "shipper retry" in document["hint"]
    parked.unlink()
    assert told(here, machine, parked, 1)["code"] == "KeyTaken"

    failing, lost = machine.write("failing.log.1", b"f\n"), machine.write("lost.log.1", b"l\n")
    good = machine.config.read_text()
    machine.config.write_text(good.replace(machine.bucket, "no-such-bucket"))
    here.run(machine, "ship", code=1)
    document = told(here, machine, failing, 1)
    assert (document["answer"], document["because"]) == ("on its way", "READY")
    assert document["code"] == "NotRunning"
    [row] = document["shipments"]
    assert row["code"] in ("NoSuchBucket", "")
    lost.unlink()
    assert told(here, machine, lost, 1)["code"] == "NotRunning"
    machine.config.write_text(good)
    here.run(machine, "ship", code=1)
    document = told(here, machine, lost, 1)
    [row] = document["shipments"]
    assert row["code"] == "WriteUndecided"  # it was under way: S3 is asked once more, later
    assert told(here, machine, failing)["answer"] == "shipped"


def test_a_twin_names_the_log_it_is_a_copy_of(instance: Make, here: Here) -> None:
    machine = instance()
    body = b"a line of a log\n" * 1000
    log = machine.write("app.log.1", body)
    here.run(machine, "ship")
    copy = machine.write("app.log.1.gz", gzip.compress(body, mtime=0))
    os.utime(copy, ns=(log.stat().st_mtime_ns, log.stat().st_mtime_ns))
    here.run(machine, "ship")
    document = told(here, machine, copy)
    assert document["answer"] == "copy of a shipped log"
    assert document["shipments"][-1]["twin_of"] in machine.moto.keys(machine.bucket)
    assert "copy of logs/app/" in here.run(machine, "explain", str(copy))


def test_what_becomes_of_a_file_is_said_with_the_time_that_is_left(
    instance: Make, here: Here
) -> None:
    machine = settling(instance(watch='after_upload = "delete"\ndelete_after = "1h"'), "0s")
    path = machine.write("app.log.1", b"x")
    assert "deleted 3600 s after" in told(here, machine, path, 1)["afterwards"]
    here.run(machine, "ship")
    document = told(here, machine, path)
    assert document["afterwards"] == "deleted"
    assert 3000 < document["afterwards_in_seconds"] <= 3600
    assert "afterwards  deleted in " in here.run(machine, "explain", str(path))


def test_an_archived_file_is_known_there_and_by_its_old_name(instance: Make, here: Here) -> None:
    machine = instance()
    archive = machine.directory / "archive"
    text = machine.config.read_text().replace(
        "[scan]",
        f'after_upload = "archive"\narchive_directory = "{archive}"\ndelete_after = "0s"\n[scan]',
    )
    machine.config.write_text(text)
    path = machine.write("app.log.1", b"x")
    here.run(machine, "ship")
    assert not path.exists()
    assert told(here, machine, path)["answer"] == "gone"
    document = told(here, machine, archive / "app.log.1")
    assert document["answer"] == "archived"
    assert document["shipments"][0]["relation"] == "this file"
    (archive / "stranger").touch()
    assert told(here, machine, archive / "stranger")["answer"] == "left alone"


def test_with_a_running_daemon_what_holds_it_up_holds_up_its_files(
    instance: Make, here: Here
) -> None:
    machine = instance()
    good = machine.config.read_text()
    machine.config.write_text(good.replace(machine.bucket, "no-such-bucket"))
    path = machine.write("app.log.1", b"x")
    machine.start()
    machine.wait_for(lambda: machine.events("gate.shut"), "the gate to be shut")
    document = told(here, machine, path, 1)
    assert (document["answer"], document["code"]) == ("on its way", "NoSuchBucket")
    assert document["daemon_runs"]
    assert document["hint"]
    text = here.run(machine, "explain", str(path), code=1)
    [keys, *_] = machine.imds.issued
    for secret in (keys.secret_access_key, keys.session_token):
        assert secret not in text + str(document)
    (machine.directory / "state" / "shipper.sock").unlink()
    assert told(here, machine, path)["daemon_runs"], "it cannot be asked, but it is there"


def test_with_a_running_daemon_a_shipped_file_is_well(instance: Make, here: Here) -> None:
    machine = instance(more="[termination]\nspot = false\nautoscaling = false\n")
    path = machine.write("app.log.1", b"x")
    machine.start()
    machine.wait_until_shipped(1)
    asked = machine.imds.requests.total()
    assert told(here, machine, path)["answer"] == "shipped"
    with writing_child(path):
        grown = told(here, machine, path)
    assert grown["writers"]["seen"], "and whoever has opened it again is named"
    assert machine.imds.requests.total() == asked, "the daemon knows the instance"


def test_a_daemon_that_does_not_know_its_instance_promises_nothing(
    instance: Make, here: Here
) -> None:
    machine = instance()
    machine.imds.fault = lambda method, path: (404, "no such thing")
    path = machine.write("app.log.1", b"x")
    machine.start()
    machine.wait_for(lambda: is_quiet(path), "the settle time")
    document = told(here, machine, path, 1)
    assert document["code"] == "InstanceUnknown"
    assert document["sealed"]["because"] == "the instance is not known yet"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_journal_that_may_not_be_read_is_not_taken_for_an_empty_one(instance: Make) -> None:
    machine = instance()
    configuration = load(str(machine.config), {})
    (machine.directory / "state").mkdir(mode=0o700)
    with (
        unprivileged(),
        pytest.raises(PortError, match="NoJournal"),
        journal_to_look_at(configuration),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_that_may_not_be_read_is_matched_by_its_inode_alone() -> None:
    with public_directory() as logs:
        path = os.fsencode(logs / "app.log.1")
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            stat = stat_from_status(os.fstat(file.fileno()))
        with unprivileged(), path_facts._opened(DirectoryFiles(), WATCH, path, stat) as source:
            assert source is None
            row = shipment(file_id=FileId(stat.inode, 4, "head"))
            assert path_facts._relation(row, stat, source) is Relation.UNREAD


@pytest.mark.parametrize("arguments", [["explain"], ["explain", ""], ["explain", "a", "b"]])
def test_without_one_path_the_command_line_is_wrong(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 64
