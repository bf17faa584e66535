"""`shipper check --for-image`: what a snapshot of this disk would carry along."""

import contextlib
import sqlite3
from collections.abc import Callable

from shipper.core.lifecycle import Rejected
from shipper.journal.journal import Journal
from tests.machines.here import Here
from tests.machines.instance import INSTANCE_ID, Instance

Make = Callable[..., Instance]


def looked(here: Here, machine: Instance, code: int = 0) -> str:
    """What the command says of the machine."""
    return here.run(machine, "check", "--for-image", code=code)


def test_a_disk_on_which_nothing_was_shipped_carries_nothing(instance: Make, here: Here) -> None:
    machine = instance()
    report = looked(here, machine)
    for line in ("instance id: none", "finished: 0", "unfinished: 0", "not shipped: 0"):
        assert line in report
    assert "credentials: none" in report
    assert not (machine.directory / "state").exists()
    machine.logs.rmdir()
    assert "not shipped: 0" in looked(here, machine)


def test_a_log_that_is_not_in_s3_should_not_be_in_an_image(instance: Make, here: Here) -> None:
    machine = instance()
    machine.write("app.log.1", b"a line\n")
    report = looked(here, machine, code=1)
    assert "WRONG rotated logs, not shipped: 1: NotShipped\n      hint: `shipper ship`" in report
    (machine.logs / "app.log.2").symlink_to("/etc/hostname")
    assert "not shipped: 2" in looked(here, machine, code=1)


def test_what_is_shipped_may_be_in_an_image(instance: Make, here: Here) -> None:
    machine = instance()
    machine.write("app.log.1", b"a line\n")
    here.run(machine, "ship")
    report = looked(here, machine)
    assert f"ok    instance id: {INSTANCE_ID}" in report
    assert "ok    journal rows, finished: 1" in report


def test_what_is_begun_should_not_be_in_an_image(instance: Make, here: Here) -> None:
    machine = instance()
    machine.write("app.log.1", b"a line\n")
    text = machine.config.read_text()
    machine.config.write_text(text.replace(machine.bucket, "no-such-bucket"))
    here.run(machine, "ship", code=1)
    assert "WRONG journal rows, unfinished: 1: Unfinished" in looked(here, machine, code=1)
    journal = Journal.open(str(machine.directory / "state" / "journal.db"), now=0.0)
    [shipment] = journal.unfinished(2)
    journal.record(shipment, Rejected("SourceUnreadable", "permission denied"))
    journal.close()
    report = looked(here, machine, code=1)
    assert "ok    journal rows, unfinished: 0" in report
    assert "WRONG journal rows, parked: 1: Parked" in report


def test_no_image_is_made_under_a_daemon_that_runs(instance: Make, here: Here) -> None:
    machine = instance()
    machine.start()
    assert "WRONG no shipper at work: AlreadyRunning" in looked(here, machine, code=1)


def test_no_secret_is_in_the_state_directory(instance: Make, here: Here) -> None:
    """So an image can carry none; the rows are read as SQLite has them, too."""
    machine = instance()
    machine.write("app.log.1", b"a line\n" * 1000)
    here.run(machine, "ship")
    state = machine.directory / "state"
    with contextlib.closing(sqlite3.connect(state / "journal.db")) as rows:
        dump = "\n".join(rows.iterdump())
    files = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
    assert machine.bucket in dump
    for keys in machine.imds.issued:
        for secret in (keys.secret_access_key, keys.session_token):
            assert secret not in dump
            assert secret.encode() not in files
