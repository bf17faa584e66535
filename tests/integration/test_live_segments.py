"""Live logs in segments: the real daemon, the real logrotate, and a kill -9 at the wrong time."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machines.here import Here
from tests.machines.instance import Instance
from tests.programs import eager

Make = Callable[..., Instance]
WATCH = 'live_bytes = "64KiB"\n'
LINE = b"a line of a log that is shipped while it is written\n"


def lines(name: str, size_bytes: int = 70_000) -> bytes:
    """So many bytes of lines, each unlike all others."""
    whole = b""
    while len(whole) < size_bytes:
        whole += b"%s %06d %s" % (name.encode(), len(whole), LINE)
    return whole


def append(machine: Instance, body: bytes) -> None:
    with (machine.logs / "app.log").open("ab") as log:
        log.write(body)


def rotate(machine: Instance, logrotate: str, *how: str) -> None:
    """One run of logrotate, over the live log."""
    path = machine.directory / "logrotate.conf"
    said = "".join(f"  {line}\n" for line in (*how, "rotate 5"))
    path.write_text(f'"{machine.logs}/app.log" {{\n{said}}}\n')
    path.chmod(0o600)
    state = str(machine.directory / "logrotate.state")
    subprocess.run([logrotate, "-f", "-s", state, str(path)], check=True)


@pytest.mark.parametrize("how", ["create", "copytruncate"])
@pytest.mark.parametrize("compression", ["compress", "nocompress"])
def test_a_log_is_shipped_as_it_is_written_and_then_only_its_rest(
    instance: Make, logrotate: str, how: str, compression: str
) -> None:
    machine = instance(watch=WATCH)
    machine.confined_by = [sys.executable, eager.__file__]
    machine.write("app.log", b"")
    machine.start()
    first, second, rest = lines("first"), lines("second"), b"the rest\n"
    append(machine, first)
    machine.wait_for(lambda: machine.contents() == [first], "the first segment")
    machine.kill()
    machine.start()
    append(machine, second)
    machine.wait_for(lambda: len(machine.contents()) == 2, "the second one")
    append(machine, rest)
    rotate(machine, logrotate, how, compression)
    machine.wait_for(lambda: len(machine.contents()) == 3, "the rest")
    assert machine.stop() == 0
    assert sorted(machine.contents()) == sorted([first, second, rest])
    ends = sorted(key.rpartition(".at")[2] for key in machine.moto.objects(machine.bucket))
    assert any(end.startswith(f"{len(first + second)}.zst") for end in ends)


def test_a_compressed_copy_is_explained_by_the_log_that_it_goes_on_from(
    instance: Make, here: Here, logrotate: str
) -> None:
    machine = instance(watch=WATCH + 'live_interval = "5m"\n')
    machine.write("app.log", lines("first"))
    machine.start()
    machine.wait_for(lambda: len(machine.contents()) == 1, "the first segment")
    append(machine, b"the rest\n")
    said = here.run(machine, "explain", str(machine.logs / "app.log"))
    assert "9 of them, are in no segment; the next one is due in" in said
    assert "live: app: 1 logs go in segments; at most 8,640 requests" in here.run(machine, "plan")
    machine.wait_for(lambda: _age(machine) > 0, "the age of the rest")
    rotate(machine, logrotate, "create", "compress")
    machine.wait_for(lambda: len(machine.contents()) == 2, "the rest")
    machine.wait_for(lambda: _age(machine) == 0, "nothing to wait any more")
    archive = machine.logs / "app.log.1.gz"
    assert gzip.decompress(archive.read_bytes()).endswith(b"the rest\n")
    assert "its content's bytes 70" in here.run(machine, "explain", str(archive))


def _age(machine: Instance) -> float:
    """As the metric tells it."""
    page = machine.ask("/metrics").splitlines()
    name = 'shipper_unshipped_age_seconds{watch="app"} '
    return float(next(line for line in page if line.startswith(name)).removeprefix(name))


def test_what_ship_finds_of_a_log_in_segments_is_only_the_rest(
    instance: Make, here: Here, tmp_path: Path
) -> None:
    machine = instance(watch=WATCH)
    log = machine.write("app.log", lines("first"))
    here.run(machine, "ship", "--live")
    append(machine, b"the rest\n")
    subprocess.run(["gzip", "-S", ".1.gz", log], check=True)
    assert "1 shipped, 0 left" in here.run(machine, "ship")
    assert sorted(machine.contents()) == sorted([lines("first"), b"the rest\n"])


def test_a_log_that_came_whole_is_asked_for_before_it_goes_and_sent_again(instance: Make) -> None:
    machine = instance(
        watch='live_bytes = "64KiB"\nafter_upload = "delete"\ndelete_after = "3s"\n'
    )
    machine.confined_by = [sys.executable, eager.__file__]
    machine.write("app.log", b"")
    machine.start()
    body = lines("first")
    append(machine, body)
    machine.wait_for(lambda: machine.contents() == [body], "the segment")
    machine.wait_for(lambda: machine.files("DONE") == 1, "the segment's end")
    for key in list(machine.moto.objects(machine.bucket)):
        machine.moto.client("s3").delete_object(Bucket=machine.bucket, Key=key)
    log = machine.logs / "app.log.1"
    (machine.logs / "app.log").rename(log)
    machine.wait_for(lambda: not log.exists(), "its removal")
    assert machine.contents() == [body], "S3 had lost it"
