"""What is wrong with one destination is told of that one, and the others go on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.core.destinations import Destination
from shipper.core.lifecycle import AttemptFailed
from shipper.core.types import ObjectKey, WatchName
from tests.fakes.examples import promise
from tests.fakes.s3_stores import s3_store
from tests.fakes.servers import ScriptedServer
from tests.machines.inside import Inside
from tests.machines.instance import Instance

Make = Callable[..., Instance]
AUDIT = "audit-bucket"


def two(make: Make, tmp_path: Path, url: str, audit: str = "", bucket: str = AUDIT) -> Instance:
    """An instance with another watch, whose logs go to ``[destinations.audit]``."""
    logs = tmp_path / "audit-logs"
    logs.mkdir()
    machine: Instance = make(
        more=f'[destinations.audit]\nbucket = "{bucket}"\naddressing_style = "path"\n'
        f'endpoint_url = "{url}"\n{audit}\n'
        f'[[watch]]\nname = "audit"\ndirectory = "{logs}"\nsettle = "300ms"\n'
        f'destination = "audit"\n'
    )
    return machine


def test_what_fails_again_and_again_there_is_told_while_another_takes_everything(
    instance: Make, tmp_path: Path
) -> None:
    inside = Inside(two(instance, tmp_path, "http://127.0.0.1:1"))
    services, report = inside.services, inside.running().report
    here, there = services.destinations
    now = services.clock.now()
    stuck = promise(1, destination="audit", watch=WatchName("audit"))
    [row] = services.journal.promise([stuck], now=now - 600)
    failed = AttemptFailed("InternalError", "", now - 60)
    services.journal.record(row, failed, failed, failed)
    here.gate.passed("key")
    [told] = [line for line in report.ailments() if "failed 3 times" in line]
    assert told.startswith("1 files failed 3 times or more, and nothing passes to audit; such as ")
    there.gate.passed("key")
    assert not any("failed 3 times" in line for line in report.ailments())
    services.close()


def test_a_bucket_writes_no_object_with_the_settings_of_another_watch() -> None:
    store = s3_store("http://127.0.0.1:1", watches={WatchName("web"): Destination("bucket")})
    with pytest.raises(KeyError):
        store.put(ObjectKey("key"), b"", checksum="", metadata={}, watch=WatchName("audit"))


def test_ship_asks_a_destination_that_answers_nothing_from_the_start_once_for_each_file(
    instance: Make, tmp_path: Path
) -> None:
    with ScriptedServer(otherwise=lambda request: b"") as mute:
        machine = two(instance, tmp_path, mute.url)
        (tmp_path / "audit-logs" / "audit.log.1").write_bytes(b"audit\n")
        machine.write("app.log.1", b"app\n")
        machine.run("ship", code=1)
        assert [request.method for request in mute.requests] == ["PUT"]
    assert machine.contents() == [b"app\n"]
