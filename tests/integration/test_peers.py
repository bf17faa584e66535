"""What other shippers did to their users' logs, tried on this one: the experiments E1 to E7.

Each was run against the peers first, and each lost or mixed something there. A row is one of the
ranked table of what users lost. The slow S3 is a proxy that holds bodies back until it is told to
let go, so the middle of an upload lasts as long as a test needs.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shipper.core.types import WatchName, WriterTest
from tests.fakes.servers import Moto
from tests.fakes.slow_store import Lie, SlowStore
from tests.machines.instance import Instance
from tests.machines.machine import writing_child
from tests.machines.world import MIB, random_log

Make = Callable[..., Instance]
PARTS = '[uploads]\npart_size = "5MiB"\nconcurrent_parts = 1\n'
"""Two parts for ``BIG``, of which the second is read when the first has been sent."""
BIG = random_log(1, 13 * MIB)
OTHER = random_log(2, 13 * MIB)
INTERNAL_ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>InternalError</Code><Message>Please try again.</Message></Error>"
)


@pytest.fixture
def slow(moto: Moto) -> Iterator[SlowStore]:
    with SlowStore(moto) as store:
        yield store


@pytest.fixture
def machine(instance: Make, slow: SlowStore) -> Instance:
    """It ships through the slow store."""
    return instance(moto=slow.moto, more=PARTS)


@pytest.fixture
def rotate(logrotate: str, machine: Instance, tmp_path: Path) -> Callable[[str], None]:
    """Rotates ``app.log`` with the real logrotate and these directives."""

    def run(directives: str) -> None:
        configuration = tmp_path / "logrotate.conf"
        configuration.write_text(f"{machine.logs}/app.log {{\n  create\n{directives}\n}}\n")
        configuration.chmod(0o600)
        state = str(tmp_path / "state")
        subprocess.run([logrotate, "-f", "-s", state, str(configuration)], check=True)

    return run


def hold_upload_of(machine: Instance, slow: SlowStore, name: str, body: bytes) -> Path:
    """A rotated log in the middle of its upload: the first part is half sent."""
    machine.start()
    slow.hold()
    path = machine.write(name, body)
    machine.wait_for(slow.is_holding.is_set, "the upload to be under way")
    return path


def is_promised(machine: Instance, path: Path) -> bool:
    """Whether the journal knows the file."""
    with machine.journal() as journal:
        return journal is not None and bool(journal.known(WatchName("app"), path.stat().st_ino))


@pytest.mark.system
def test_e1_a_rename_shift_in_the_middle_of_an_upload_mixes_no_two_logs(
    machine: Instance, slow: SlowStore, rotate: Callable[[str], None]
) -> None:
    """Rows 7 and 29. ``upload_file`` opens the name again for each part: half this, half that."""
    path = hold_upload_of(machine, slow, "app.log.1", BIG)
    machine.write("app.log", OTHER)
    rotate("rotate 9")
    assert path.stat().st_size == len(OTHER)
    slow.let_go()
    machine.wait_until_shipped(2)
    assert sorted(machine.contents()) == sorted([BIG, OTHER])
    assert machine.files("SUPERSEDED", "GONE", "PARKED") == 0
    assert machine.moto.unfinished_uploads(machine.bucket) == []


def test_e2_what_is_appended_in_the_middle_of_an_upload_is_the_next_segment(
    machine: Instance, slow: SlowStore
) -> None:
    """Row 36. ``upload_file`` ships the size it saw first, and the end is lost for ever."""
    path = hold_upload_of(machine, slow, "app.log.1", BIG)
    with path.open("ab") as file:
        file.write(b"one more line\n")
    slow.let_go()
    machine.wait_until_shipped(2)
    keys = machine.moto.keys(machine.bucket)
    starts = {
        int(machine.moto.attributes(machine.bucket, key)["Metadata"]["raw-start"]): content
        for key, content in zip(keys, machine.contents(), strict=True)
    }
    assert starts == {0: BIG, len(BIG): b"one more line\n"}
    assert machine.files("SUPERSEDED", "GONE", "PARKED") == 0


@pytest.mark.parametrize("size", ["shorter", "as long", "longer"])
def test_e3_a_truncate_in_the_middle_of_an_upload_ends_it_and_hangs_nothing(
    machine: Instance, slow: SlowStore, size: str
) -> None:
    """Rows 6 and 32. ``upload_file`` waits for bytes that never come, to the read timeout."""
    rewritten = {"shorter": b"anew\n", "as long": OTHER, "longer": OTHER + b"anew\n"}[size]
    path = hold_upload_of(machine, slow, "app.log.1", BIG)
    os.truncate(path, 0)
    with path.open("ab") as file:
        file.write(rewritten)
    machine.write("another.log.1", b"waits for nobody\n")
    slow.let_go()
    machine.wait_until_shipped(2, seconds=55)  # a read timeout is longer
    assert sorted(machine.contents()) == sorted([rewritten, b"waits for nobody\n"])
    machine.wait_for(lambda: machine.files("GONE"), "the first upload to be given up")
    machine.wait_for(lambda: machine.events("source.vanished"), "the word of it")
    assert machine.files("GONE") == len(machine.events("source.vanished")) == 1
    machine.wait_for(
        lambda: not machine.moto.unfinished_uploads(machine.bucket), "the upload to be aborted"
    )


@pytest.mark.parametrize(
    ("request_of", "body"),
    [
        ("POST .*{}.*uploadId=", BIG),
        ("PUT .*{}.*partNumber=2", BIG),
        ("PUT .*{}", b"small\n"),
    ],
    ids=["complete", "part", "put"],
)
def test_e4_an_error_in_a_200_is_no_success_and_no_second_object(
    machine: Instance, slow: SlowStore, request_of: str, body: bytes
) -> None:
    """Rows 3, 12 and 13. The write was carried out all the same, or it was not."""
    for number, is_carried_out in enumerate((False, True)):
        lie = Lie(request_of.format(f"app{number}.log"), 200, INTERNAL_ERROR, is_carried_out)
        slow.lie(lie)
        machine.write(f"app{number}.log.1", b"%d\n" % number + body)
    machine.start()
    machine.wait_until_shipped(2)
    assert len(slow.told) == 2
    assert sorted(machine.contents()) == [b"0\n" + body, b"1\n" + body]
    assert machine.moto.unfinished_uploads(machine.bucket) == []


@pytest.mark.system
def test_e5_held_files_stop_no_logrotate_with_delaycompress_and_outlive_rotate_1(
    machine: Instance, slow: SlowStore, rotate: Callable[[str], None]
) -> None:
    """Rows 4 and 21. A hard link to ``.1`` would make logrotate refuse for ever; a held
    descriptor does not, and what logrotate deletes meanwhile is shipped from it.
    """
    machine.start()
    slow.hold()
    bodies = [b"rotation %d\n" % number * 1000 for number in range(4)]
    newest = machine.logs / "app.log.1"
    for body in bodies:
        machine.write("app.log", body)
        rotate("  rotate 1\n  compress\n  delaycompress")
        assert newest.read_bytes() == body
        machine.wait_for(lambda: is_promised(machine, newest), "the promise")
        assert newest.stat().st_nlink == 1
    assert sorted(path.name for path in machine.logs.iterdir()) == ["app.log", "app.log.1"]
    slow.let_go()
    machine.wait_until_shipped(len(bodies))
    machine.wait_for(lambda: not machine.files("READY", "UPLOADING"), "the copies")
    assert sorted(machine.contents()) == sorted(bodies)
    assert machine.files("SUPERSEDED", "GONE", "PARKED") == 0


SLOW_COMPRESSOR = """#!/bin/sh
gzip > {work}/whole
head -c 20000 {work}/whole
touch {work}/half
for i in $(seq 3000); do [ -e {work}/go ] && break; sleep 0.01; done
tail -c +20001 {work}/whole
"""


@pytest.mark.system
@pytest.mark.parametrize("include", ["", 'include = ["*.gz"]'], ids=["all", "archives"])
def test_e6_an_unfinished_archive_under_its_final_name_is_not_shipped(
    instance: Make, logrotate: str, tmp_path: Path, include: str
) -> None:
    """Rows 23 and 41. logrotate's compressor writes straight into ``.gz``, and sets the mtime
    back at the end; meanwhile ``.1`` stands beside it and is shipped, if it is asked for.
    """
    machine = instance(watch=include)
    compressor = tmp_path / "compressor"
    compressor.write_text(SLOW_COMPRESSOR.format(work=tmp_path))
    compressor.chmod(0o755)
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(
        f"{machine.logs}/app.log {{\n  rotate 9\n  create\n  compress\n"
        f"  compresscmd {compressor}\n  compressext .gz\n}}\n"
    )
    configuration.chmod(0o600)
    body = random_log(6, 100_000)
    machine.write("app.log", body)
    machine.start()
    state = str(tmp_path / "state")
    with subprocess.Popen([logrotate, "-f", "-s", state, str(configuration)]) as rotating:
        machine.wait_for((tmp_path / "half").exists, "a half archive")
        if not include:
            machine.wait_until_shipped(1)
        plan = machine.run("plan")
        (tmp_path / "go").touch()
    assert rotating.returncode == 0
    assert f"app.log.1.gz: not sealed yet\n    {WriterTest.OPEN.value}" in plan
    state_of_archive = "DONE" if include else "DUPLICATE"
    machine.wait_for(lambda: machine.files(state_of_archive), "the whole archive")
    assert machine.contents() == [body]


def test_e7_a_lease_tells_that_a_writer_is_left_and_when_there_is_none(instance: Make) -> None:
    """Rows 24 and 41. Many programs write into the renamed file long after the rotation."""
    machine = instance()
    path = machine.write("app.log", b"before the rotation\n")
    machine.start()
    with writing_child(path):
        rotated = path.rename(machine.logs / "app.log.1")
        with rotated.open("ab") as file:
            file.write(b"long after it\n")
        machine.write("other.log.1", b"nobody writes here\n")
        machine.wait_until_shipped(1)
        plan = machine.run("plan")
        assert machine.files("DONE") == 1
    assert f"app.log.1: not sealed yet\n    {WriterTest.OPEN.value}" in plan
    machine.wait_until_shipped(2)
    assert sorted(machine.contents()) == [
        b"before the rotation\nlong after it\n",
        b"nobody writes here\n",
    ]
    reasons = [event["sealed_because"] for event in machine.events("shipment.promised")]
    assert all(WriterTest.NONE.value in reason for reason in reasons)
