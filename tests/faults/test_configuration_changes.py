"""SIGKILL in the midst of an upload, and a life with another configuration after it."""

import itertools
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.core.destinations import Destination, upload_settings_of
from shipper.core.lifecycle import UploadOpened
from shipper.core.types import (
    AfterUpload,
    ChecksumAlgorithm,
    Compression,
    ObjectKey,
    State,
    WatchName,
)
from shipper.ports import PortError
from shipper.services.sending.abandoned_uploads import abort_each
from shipper.services.sending.destination_change import move
from tests.fakes.log import RecordingLog
from tests.fakes.store import FakeStore
from tests.machines.world import MIB, WATCH, Crash, Fuse, World, random_log

LITTLE = 16 * MIB
BODY = random_log(7, 9 * MIB)
"""Two parts: one of two frames, and a last one."""
RAW: dict[str, Any] = {"compression": Compression.NONE}
TIMEOUT = PortError("Timeout", "no answer")
ELSEWHERE = Destination("another-bucket")


def killed_at_part(number: int) -> Callable[[str], None]:
    """Ends the process just before that part is sent."""
    parts = itertools.count(1)

    def effect(name: str) -> None:
        if name == "UploadPart.before" and next(parts) == number:
            raise Crash(name)

    return effect


def begun(directory: Path, *, part: int = 2, **fields: Any) -> World:
    """A world whose process was killed with all parts before this one stored."""
    world = World(directory, watch=replace(WATCH, **fields))
    world.files.write(b"app.log.1", BODY)
    world.discover()
    world.store.effect = killed_at_part(part)
    with pytest.raises(Crash):
        world.carry()
    return world


def sent_parts(world: World) -> list[int]:
    return [call.part for call in world.store.calls if call.operation == "UploadPart"]


def creates(world: World) -> int:
    return world.store.operations().count("CreateMultipartUpload")


def set_on_watch(**fields: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.watch = replace(world.watch, **fields)

    return change


def set_on_world(**fields: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        for name, value in fields.items():
            setattr(world, name, value)

    return change


GOES_ON = {
    "larger parts": set_on_world(part_size_bytes=64 * MIB),
    "other level": set_on_watch(compression_level=3),
    "zstd to gzip": set_on_watch(compression=Compression.GZIP, compression_level=9),
    "zstd to none": set_on_watch(compression=Compression.NONE, compression_level=0),
    "little memory": set_on_world(memory_limit_bytes=13 * MIB, part_size_bytes=5 * MIB),
    "less memory than a part": set_on_world(memory_limit_bytes=6 * MIB),
    "other prefix": set_on_world(key_template="other/{watch}/{stem}.{digest}{segment}{extension}"),
    "removed afterwards": set_on_watch(after_upload=AfterUpload.DELETE),
}


@pytest.mark.parametrize("name", GOES_ON)
def test_an_upload_goes_on_behind_its_last_receipt(tmp_path: Path, name: str) -> None:
    world = begun(tmp_path)
    key = world.row(b"app.log.1").key
    before = len(sent_parts(world))
    GOES_ON[name](world)
    world.restart()
    world.run(rounds=1)
    assert world.contents() == [BODY]
    assert list(world.store.objects()) == [key]
    assert (before, sent_parts(world), creates(world)) == (1, [1, 2], 1)
    assert world.budget.is_idle


def test_a_level_that_only_the_other_format_knows_is_the_highest(tmp_path: Path) -> None:
    world = begun(tmp_path, compression=Compression.GZIP, compression_level=1)
    world.watch = replace(world.watch, compression=Compression.ZSTD, compression_level=19)
    world.restart()
    world.run(rounds=1)
    assert world.contents() == [BODY]
    assert creates(world) == 1


def test_a_hole_that_another_level_cuts_too_small_costs_one_upload(tmp_path: Path) -> None:
    """At level 9 the frames' second halves are found to be their first ones again."""
    body = b"".join(2 * random_log(seed, 2 * MIB) for seed in range(5))
    world = World(tmp_path)
    world.files.write(b"app.log.1", body)
    world.discover()
    world.store.effect = _failing_part(world, 1)
    assert world.carrier.step() == 0.0
    assert sorted(sent_parts(world)) == [1, 2]
    world.watch = replace(world.watch, compression_level=9)
    world.clock.advance(minutes=10)
    world.restart()
    world.run(rounds=1)
    assert world.contents() == [body]
    assert creates(world) == 2
    assert world.store.unfinished_uploads() == []


def test_a_hole_that_another_level_compresses_worse_is_one_longer_part(tmp_path: Path) -> None:
    """The last number of a hole takes all of it, however much more that is than it was."""
    body = b"".join(2 * random_log(seed, 2 * MIB) for seed in range(9))
    world = World(tmp_path, watch=replace(WATCH, compression_level=9))
    world.files.write(b"app.log.1", body)
    world.discover()
    world.store.effect = _failing_part(world, 1)
    assert world.carrier.step() == 0.0
    world.watch = replace(world.watch, compression_level=1)
    world.clock.advance(minutes=10)
    world.restart()
    world.run(rounds=1)
    assert world.contents() == [body]
    assert creates(world) == 1
    assert world.budget.is_idle


def test_a_hole_that_has_no_room_in_memory_any_more_is_begun_anew(tmp_path: Path) -> None:
    body = b"".join(2 * random_log(seed, 2 * MIB) for seed in range(9))
    world = World(tmp_path, watch=replace(WATCH, compression_level=9))
    world.files.write(b"app.log.1", body)
    world.discover()
    world.store.effect = _failing_part(world, 1)
    assert world.carrier.step() == 0.0
    world.watch = replace(world.watch, compression_level=1)
    world.memory_limit_bytes = LITTLE
    world.clock.advance(minutes=10)
    world.restart()
    world.run(rounds=2)
    assert world.contents() == [body]
    assert creates(world) == 2
    assert world.budget.is_idle


def test_an_upload_whose_part_size_the_journal_lost_is_begun_anew(tmp_path: Path) -> None:
    world = begun(tmp_path)
    world.stop()
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection, connection:
        connection.execute("UPDATE shipments SET part_size = 0")
    world.start()
    world.run(rounds=2)
    assert world.contents() == [BODY]
    assert creates(world) == 2


def _failing_part(world: World, number: int) -> Callable[[str], None]:
    parts = itertools.count(1)

    def effect(name: str) -> None:
        if name == "UploadPart.before" and next(parts) == number:
            world.store.fail_next("UploadPart", TIMEOUT)

    return effect


TERMS: dict[str, dict[str, Any]] = {
    "storage class": {"storage_class": "STANDARD_IA"},
    "encryption": {"server_side_encryption": "aws:kms"},
    "key of the encryption": {"server_side_encryption": "aws:kms", "kms_key_id": "alias/logs"},
    "bucket key": {"bucket_key_enabled": True},
    "ACL": {"acl": "bucket-owner-full-control"},
    "tags": {"tags": (("team", "web"),)},
}


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("part", [1, 2])
def test_what_is_settled_at_its_beginning_begins_an_upload_anew(
    tmp_path: Path, name: str, part: int
) -> None:
    world = begun(tmp_path, part=part, **RAW)
    (old,) = world.store.unfinished_uploads()
    world.destination = replace(world.destination, **TERMS[name])
    world.restart()
    world.run(rounds=1)
    assert world.contents() == [BODY]
    assert creates(world) == 2
    assert world.store.aborted == [old]
    (line,) = world.log.of("destination.changed")
    assert line["shipments"] == 1


@pytest.mark.parametrize("part", [1, 2])
def test_another_checksum_begins_an_upload_anew(tmp_path: Path, part: int) -> None:
    """Also one without a receipt: S3 would refuse its parts with a code that shuts the gate."""
    world = begun(tmp_path, part=part, **RAW)
    world.store._algorithm = ChecksumAlgorithm.SHA256
    world.restart()
    world.run(rounds=1)
    assert world.contents() == [BODY]
    assert creates(world) == 2
    assert world.store.unfinished_uploads() == []


def test_no_upload_is_aborted_while_the_daemon_stops() -> None:
    store, log = FakeStore(), RecordingLog()
    given_up = [
        (key, store.create_upload(key, metadata={}).result().upload_id)
        for key in (ObjectKey("first"), ObjectKey("second"))
    ]
    abort_each(store, given_up, is_stopping=lambda: bool(store.aborted), log=log)
    assert store.aborted == [given_up[0][1]]


def test_the_same_configuration_changes_nothing(tmp_path: Path) -> None:
    world = begun(tmp_path)
    world.restart()
    world.run(rounds=1)
    assert creates(world) == 1
    assert world.log.of("destination.changed") == []


# Another bucket.

DELETING: dict[str, Any] = {"after_upload": AfterUpload.DELETE, "compression": Compression.NONE}


def in_every_state(directory: Path) -> World:
    """One log in each state that is left when the daemon is stopped."""
    world = World(directory, watch=replace(WATCH, **DELETING))
    for path, body in [(b"app.log.4", b"verified\n"), (b"app.log.3", b"uploaded\n")]:
        world.files.write(path, body)
        world.discover()
        world.store.fail_next("ListObjectsV2", TIMEOUT) if b"up" in body else None
        world.carrier.step()
    world.files.write(b"app.log.2", BODY)
    world.files.write(b"app.log.1", b"ready\n")
    world.discover()
    world.store.effect = killed_at_part(2)
    world.store.fail_next("PutObject", TIMEOUT)
    world.store.fail_next("ListObjectsV2", TIMEOUT)
    with pytest.raises(Crash):
        world.carry()
    return world


def go_elsewhere(world: World, destination: Destination, store: FakeStore) -> FakeStore:
    """Point the next life to another bucket; the one that was left."""
    left, world.store, world.destination = world.store, store, destination
    world.restart()
    return left


def test_in_another_bucket_everything_comes_to_its_end(tmp_path: Path) -> None:
    world = in_every_state(tmp_path)
    states = {row.path: row.state for row in world.rows()}
    assert states == {
        b"app.log.1": State.READY,
        b"app.log.2": State.UPLOADING,
        b"app.log.3": State.UPLOADED,
        b"app.log.4": State.VERIFIED,
    }
    left = go_elsewhere(world, ELSEWHERE, FakeStore())
    world.run(rounds=2)
    assert sorted(world.contents()) == sorted([BODY, b"ready\n", b"uploaded\n", b"verified\n"])
    assert sorted(left.objects().values()) == sorted([b"verified\n", b"uploaded\n"])
    assert {row.state for row in world.rows()} == {State.DONE}
    assert world.files.paths() == []
    assert world.store.operations().count("AbortMultipartUpload") == 0
    assert len(left.unfinished_uploads()) == 1


def test_a_watch_takes_what_is_not_shipped_to_another_destination(tmp_path: Path) -> None:
    world = in_every_state(tmp_path)
    world.watch = replace(world.watch, destination="audit")
    left = go_elsewhere(world, world.destination, FakeStore())
    assert {row.destination for row in world.rows()} == {"audit"}
    (line,) = world.log.of("destination.changed")
    assert (line["destination"], line["shipments"]) == ("audit", 2)
    world.run(rounds=2)
    assert sorted(world.contents()) == sorted([BODY, b"ready\n", b"uploaded\n", b"verified\n"])
    assert {row.state for row in world.rows()} == {State.DONE}
    assert world.files.paths() == []
    assert world.store.operations().count("AbortMultipartUpload") == 0
    assert len(left.unfinished_uploads()) == 1
    assert world.journal.origin.settings() is not None


@pytest.mark.parametrize("is_own", [True, False])
def test_only_uploads_of_the_watch_whose_settings_changed_begin_anew(
    tmp_path: Path, is_own: bool
) -> None:
    world = begun(tmp_path, **RAW)
    other = replace(WATCH, name=WatchName("other"), include=("other*",))
    changed: dict[str, Any] = {"storage_class": "GLACIER_IR"}
    world.watch = replace(world.watch, **(changed if is_own else {}))
    world.beside = (replace(other, **({} if is_own else changed)),)
    world.restart()
    world.run(rounds=1)
    assert world.contents() == [BODY]
    assert creates(world) == (2 if is_own else 1)


def test_nothing_is_removed_that_the_present_bucket_does_not_show(tmp_path: Path) -> None:
    world = in_every_state(tmp_path)
    go_elsewhere(world, ELSEWHERE, FakeStore())
    world.store.outage = PortError("Unreachable")
    world.run(rounds=4)
    logs = [b"app.log.1", b"app.log.2", b"app.log.3", b"app.log.4"]
    assert sorted(world.files.paths()) == logs


def test_there_and_back_again(tmp_path: Path) -> None:
    world = in_every_state(tmp_path)
    left = go_elsewhere(world, ELSEWHERE, FakeStore())
    go_elsewhere(world, Destination("bucket"), left)
    left.effect = lambda name: None
    world.run(rounds=2)
    assert sorted(world.contents()) == sorted([BODY, b"ready\n", b"uploaded\n", b"verified\n"])
    assert {row.state for row in world.rows()} == {State.DONE}


def test_a_shipment_that_is_being_let_go_is_not_moved(tmp_path: Path) -> None:
    """S3 knows no upload of another bucket; should it stay, it is begun anew when that shows."""
    world = begun(tmp_path, **RAW)
    world.stop()
    world.store = FakeStore()
    world.start()
    (row,) = world.rows()
    assert world.journal.queue.claim_one(row.id) is not None
    terms = upload_settings_of(ELSEWHERE, {WATCH.name: ELSEWHERE}, ChecksumAlgorithm.CRC32)
    assert move(world.journal, "", terms, clock=world.clock, bugs=world.bugs, log=world.log) == []
    assert world.rows() == [row]
    world.journal.queue.release(row.id)
    world.run(rounds=1)
    assert world.contents() == [BODY]


def test_dying_while_the_journal_moves_is_made_up_for(tmp_path: Path) -> None:
    for number in itertools.count(1):
        world = World(tmp_path / str(number), watch=replace(WATCH, **DELETING))
        for path in (b"app.log.1", b"app.log.2"):
            world.files.write(path, path)
        world.discover()
        opened = world.rows()[1]
        world.store.fail_next("ListObjectsV2", TIMEOUT)
        world.carrier.step()
        upload_id = world.store.create_upload(opened.key, metadata={}).result().upload_id
        world.journal.record(opened, UploadOpened(upload_id, 5 * MIB))
        world.stop()
        left, world.store, world.destination = world.store, FakeStore(), ELSEWHERE
        fuse = Fuse(at=number)
        try:
            world.start(fuse)
        except Crash:
            world.restart()
            world.run(rounds=2)
            assert {row.state for row in world.rows()} == {State.DONE}
            assert sorted(world.contents()) == [b"app.log.1", b"app.log.2"]
            assert left.unfinished_uploads() == [upload_id]
        else:
            break
    assert number > 6
