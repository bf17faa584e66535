"""A lost journal: what S3 has already is recognised, and nothing is sent again."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.core.birth import SLACK_SECONDS
from shipper.core.lifecycle import Retried
from shipper.core.types import AfterUpload, Compression, ListedObject, ObjectKey, Shipment, State
from shipper.ports import PortError
from shipper.services.sending import recognition
from tests.fakes.files import FakeFiles
from tests.machines.world import MIB, WATCH, Crash, Fuse, World, random_log

SMALL = b"a line\n" * 1000
LARGE = random_log(5, 15 * MIB)
TEXT = b"".join(b"%d: what happened then was this\n" % n for n in range(60_000))
TIMED = "{prefix}{watch}/{stem}.{mtime:%Y%m%dT%H%M%SZ}.{digest}{segment}{extension}"
RAW = replace(WATCH, compression=Compression.NONE)


def shipped(world: World, *bodies: bytes) -> World:
    """Everything is in S3, and the journal forgets it."""
    for number, body in enumerate(bodies):
        world.files.write(b"app-%d.log.1" % number, body)
    world.run(rounds=1)
    assert {row.state for row in world.rows()} == {State.DONE}
    world.lose_journal()
    world.store.calls.clear()
    world.log.records.clear()
    return world


def is_quiet(world: World) -> bool:
    """Nothing but listings went over the wire."""
    return set(world.store.operations()) == {"ListObjectsV2"}


def retried(world: World) -> Shipment:
    (parked,) = world.rows(State.PARKED)
    world.journal.record(parked, Retried(world.clock.now()))
    world.carry()
    (row,) = world.rows()
    return row


@pytest.mark.parametrize(
    ("compression", "is_md5"),
    [
        (Compression.ZSTD, True),
        (Compression.ZSTD, False),
        (Compression.GZIP, True),
        (Compression.NONE, True),
    ],
)
def test_what_s3_has_is_not_sent_again_after_the_journal_was_lost(
    tmp_path: Path, compression: Compression, is_md5: bool
) -> None:
    watch = replace(WATCH, compression=compression)
    world = shipped(World(tmp_path, watch=watch, etag_is_md5=is_md5), SMALL, LARGE, b"x")
    before = world.store.objects()
    world.run(rounds=1)
    assert world.store.operations() == ["ListObjectsV2"] * 4
    assert world.store.objects() == before
    assert [row.state for row in world.rows()] == [State.DONE] * 3
    assert len(world.log.of("object.recognised")) == 3
    assert world.is_empty_handed()
    assert world.signs_of_life >= 6
    sha256 = {row.raw_sha256 for row in world.rows()}
    assert len(sha256) == 3
    world.run(rounds=1)
    assert len(world.store.operations()) == 4


def test_what_s3_has_is_deleted_here_only_after_another_look(tmp_path: Path) -> None:
    watch = replace(WATCH, after_upload=AfterUpload.DELETE, delete_after_seconds=3600.0)
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log.1", SMALL)
    world.discover()
    world.carry()
    world.lose_journal()
    world.store.calls.clear()
    world.discover()
    world.carry()
    assert world.store.operations() == ["ListObjectsV2"] * 3
    assert world.files.paths() == [b"app.log.1"]
    world.clock.advance(hours=1)
    world.carry()
    assert world.files.paths() == []
    assert world.contents() == [SMALL]


def test_nothing_is_overwritten_where_conditions_are_ignored(tmp_path: Path) -> None:
    world = shipped(World(tmp_path, conditional_writes=False), SMALL, LARGE)
    world.run(rounds=1)
    assert is_quiet(world)


def test_what_s3_does_not_have_is_sent(tmp_path: Path) -> None:
    world = shipped(World(tmp_path), SMALL)
    world.files.write(b"app-1.log.1", LARGE)
    world.run(rounds=1)
    assert sorted(world.contents()) == sorted([SMALL, LARGE])
    assert world.store.operations().count("ListObjectsV2") == 3


def test_an_upload_that_was_under_way_is_begun_anew_and_the_old_one_is_left_alone(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", LARGE)
    world.discover()
    world.store.fail_next("CompleteMultipartUpload", PortError("Timeout"))
    world.carry()
    (abandoned,) = world.store.unfinished_uploads()
    world.lose_journal()
    world.run(rounds=1)
    assert world.contents() == [LARGE]
    assert world.store.unfinished_uploads() == [abandoned]


# Compressed since it was shipped.


def packed(world: World, body: bytes, content: bytes | None = None) -> World:
    """The log was shipped, then its rotator compressed it, and the journal was lost."""
    stat = world.files.write(b"app.log.1", body)
    world.run(rounds=1)
    world.files.delete(b"app.log.1")
    world.files.write(b"app.log.2.gz", content or gzip.compress(body, mtime=0))
    world.files.touch(b"app.log.2.gz", stat.mtime_ns)
    world.run(rounds=1)
    world.lose_journal()
    world.store.calls.clear()
    return world


@pytest.fixture
def timed(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.key_template = TIMED
    world.restart()
    return world


@pytest.mark.parametrize("body", [SMALL, LARGE[: 12 * MIB]], ids=["small", "whole frames"])
def test_a_copy_compressed_since_is_recognised_by_what_it_holds(timed: World, body: bytes) -> None:
    world = packed(timed, body)
    world.run(rounds=1)
    assert is_quiet(world)
    (row,) = world.rows()
    assert row.state is State.DUPLICATE
    assert world.store.objects().keys() == {row.detail}
    assert world.is_empty_handed()


def test_a_copy_of_something_else_is_shipped_as_it_is(timed: World) -> None:
    other = gzip.compress(SMALL.upper(), mtime=0)
    world = packed(timed, SMALL, other)
    assert len(world.store.objects()) == 2
    packed_key = next(key for key in world.store.objects() if key.endswith(".gz"))
    world.store.remove(packed_key)
    world.run(rounds=1)
    assert world.store.objects()[packed_key] == other


@pytest.mark.parametrize(
    ("content", "is_md5"),
    [
        (b"\x1f\x8b not gzip, and long enough to be one", True),
        (gzip.compress(bytes(MIB), mtime=0), True),
        (None, False),
    ],
    ids=["damaged", "too long", "etags tell nothing"],
)
def test_without_proof_the_copy_is_sent(
    tmp_path: Path, content: bytes | None, is_md5: bool
) -> None:
    world = World(tmp_path, etag_is_md5=is_md5)
    world.key_template = TIMED
    world.restart()
    packed(world, SMALL, content)
    for key in world.store.objects():
        if key.endswith(".gz"):
            world.store.remove(key)
    world.run(rounds=1)
    assert world.store.operations().count("PutObject") == 1
    assert [row.state for row in world.rows()] == [State.DONE]


def test_a_copy_with_another_time_has_no_original(timed: World) -> None:
    world = packed(timed, SMALL)
    world.files.touch(b"app.log.2.gz")
    world.run(rounds=1)
    assert world.store.operations().count("PutObject") == 1


def test_a_copy_touched_since_its_promise_has_no_original(timed: World) -> None:
    world = packed(timed, SMALL)
    world.discover()
    (row,) = world.rows()
    world.journal.touched(row.id, row.mtime_ns + 1)
    world.carry()
    assert world.store.operations().count("PutObject") == 1


def test_a_copy_that_cannot_be_read_is_tried_again(timed: World) -> None:
    world = packed(timed, SMALL)
    world.discover()
    page = world.store.page

    def paged(prefix: str, *, limit: int) -> list[ListedObject]:
        world.files.fail_reads(
            b"app.log.2.gz", PortError("Unreadable", "EIO") if limit > 1 else None
        )
        return page(prefix, limit=limit)

    world.store.page = paged  # type: ignore[method-assign]  # the disk fails from then on
    world.carry()
    (row,) = world.rows()
    assert (row.state, row.code) == (State.READY, "Unreadable")
    world.files.fail_reads(b"app.log.2.gz", None)
    world.store.page = page  # type: ignore[method-assign]
    world.run(rounds=1)
    assert is_quiet(world)


# A new instance has no predecessor.


def test_one_listing_shows_that_a_new_instance_has_no_predecessor(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.lose_journal()
    for number in range(20):
        world.files.write(b"app-%d.log.1" % number, b"%d\n" % number)
    world.discover()
    for _ in range(10):
        world.carrier.step()
    world.restart()
    world.run(rounds=1)
    assert len(world.contents()) == 20
    assert [one.key for one in world.store.calls if one.operation == "ListObjectsV2"] == [
        "logs/app/"
    ]


def test_files_of_the_days_after_are_not_looked_for(tmp_path: Path) -> None:
    world = shipped(World(tmp_path), SMALL)
    world.clock.advance(seconds=SLACK_SECONDS + 1)
    world.files.write(b"app-1.log.1", b"new\n")
    world.run(rounds=1)
    assert world.store.operations() == ["ListObjectsV2", "ListObjectsV2", "PutObject"]


def test_a_journal_that_does_not_know_its_birth_looks_for_nothing(tmp_path: Path) -> None:
    world = shipped(World(tmp_path), SMALL)
    with world.journal._database.transaction() as run:
        run("DELETE FROM meta WHERE name = ?", ("born_at",))
    world.run(rounds=1)
    assert world.store.operations() == ["PutObject", "ListObjectsV2", "ListObjectsV2"]
    assert world.contents() == [SMALL]


# Settings that have changed since.


@pytest.mark.parametrize("mib", [10, 64], ids=["as many parts", "one part"])
def test_another_part_size_is_found_out_by_the_number_of_parts(tmp_path: Path, mib: int) -> None:
    world = World(tmp_path, watch=RAW)
    world.part_size_bytes = mib * MIB
    world.restart()
    shipped(world, LARGE)
    world.part_size_bytes = 5 * MIB
    world.restart()
    world.run(rounds=1)
    assert is_quiet(world)
    assert [row.state for row in world.rows()] == [State.DONE]


def at_level(world: World, level: int) -> None:
    world.watch = replace(world.watch, compression_level=level)
    world.restart()


@pytest.mark.parametrize("compression", [Compression.ZSTD, Compression.GZIP])
def test_another_level_is_tried_where_that_is_cheap_and_then_also_where_it_is_not(
    tmp_path: Path, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, watch=replace(WATCH, compression=compression))
    at_level(world, 5)
    shipped(world, TEXT, TEXT * 2)
    monkeypatch.setattr(recognition, "CHEAP_BYTES", len(TEXT))
    at_level(world, 2)
    world.run(rounds=1)
    assert is_quiet(world)
    assert [row.state for row in world.rows()] == [State.DONE, State.DONE]


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """One large object, made at a level that is not the present one."""
    monkeypatch.setattr(recognition, "CHEAP_BYTES", len(TEXT) - 1)
    world = World(tmp_path)
    at_level(world, 4)
    shipped(world, TEXT)
    at_level(world, 2)
    world.run(rounds=1)
    return world


def test_an_object_made_otherwise_is_parked_and_nothing_is_sent(changed: World) -> None:
    assert is_quiet(changed)
    (parked,) = changed.rows()
    assert (parked.state, parked.code) == (State.PARKED, "NotRecognised")
    assert changed.store.objects().keys() == {parked.key}


def test_with_the_old_setting_a_retry_recognises_it(changed: World) -> None:
    at_level(changed, 4)
    assert retried(changed).state is State.DONE
    assert is_quiet(changed)


def test_the_second_retry_sends_it_under_another_key(changed: World) -> None:
    before = changed.store.objects()
    (parked,) = changed.rows()
    again = retried(changed)
    assert (again.state, again.code) == (State.PARKED, "KeyTaken")
    assert again.key != parked.key
    assert is_quiet(changed)
    assert retried(changed).state is State.DONE
    after = changed.store.objects()
    assert after.keys() == {parked.key, again.key}
    assert after[parked.key] == before[parked.key]


def test_another_object_under_the_key_is_never_taken_for_ours(tmp_path: Path) -> None:
    world = shipped(World(tmp_path, watch=RAW), SMALL)
    (key,) = world.store.objects()
    world.store.facts(key, SMALL.upper())
    world.store.fail_next("ListObjectsV2", PortError("Timeout"))
    world.discover()
    world.carry()
    (row,) = world.rows()
    assert (row.state, row.code) == (State.READY, "Timeout")
    world.run(rounds=10)
    (row,) = world.rows()
    assert (row.state, row.code, row.key) == (State.PARKED, "NotRecognised", key)
    assert is_quiet(world)
    assert "7000 bytes with ETag" in row.detail


# A bucket that encrypts with KMS by its own default.


@pytest.fixture
def default_kms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = shipped(World(tmp_path, etag_is_md5=False), SMALL)
    monkeypatch.setattr(type(world.store), "etag_is_md5", property(lambda store: True))
    world.restart()
    world.discover()
    world.carry()
    assert [row.code for row in world.rows()] == ["ObjectUndecided"]
    return world


def test_the_next_write_tells_that_etags_mean_nothing(default_kms: World) -> None:
    default_kms.files.write(b"app.log.1", b"new\n")
    default_kms.run(rounds=2)
    assert [row.state for row in default_kms.rows()] == [State.DONE, State.DONE]
    assert default_kms.store.operations().count("PutObject") == 1


def test_without_a_write_it_is_parked_until_an_operator_tells(
    default_kms: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_kms.run(rounds=10)
    assert [row.code for row in default_kms.rows()] == ["NotRecognised"]
    monkeypatch.setattr(type(default_kms.store), "etag_is_md5", property(lambda store: False))
    default_kms.restart()
    assert retried(default_kms).state is State.DONE
    assert is_quiet(default_kms)


# What may happen meanwhile.


def test_every_crash_point_recovers_without_a_write(tmp_path: Path) -> None:
    for n in range(1, 99):
        world = shipped(World(tmp_path / str(n)), SMALL, LARGE)
        fuse = Fuse(at=n)
        world.restart(fuse)
        try:
            world.run(rounds=1)
        except Crash:
            world.restart()
            world.run(rounds=1)
        assert is_quiet(world), fuse.burnt_at
        assert [row.state for row in world.rows()] == [State.DONE] * 2, fuse.burnt_at
        world.stop()
        if not fuse.burnt_at:
            assert n > 4
            return
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.write(b"app-0.log.1", b"shorter\n"),
        lambda files: files.write(b"app-0.log.1", LARGE[:-9] + b"rewritten"),
        lambda files: files.write(b"app-0.log.1", LARGE[:-9] + b"rewritten, longer"),
    ],
    ids=["cut", "rewritten", "rewritten and longer"],
)
def test_a_file_that_changes_while_it_is_compared_is_discovered_anew(
    tmp_path: Path, change: Callable[[FakeFiles], Any]
) -> None:
    world = shipped(World(tmp_path), LARGE)
    world.discover()
    frame, frames = world.carrier._recognition._tick, [0]

    def tick() -> None:
        frames[0] += 1
        if frames[0] == 3:
            change(world.files)
        frame()

    world.carrier._recognition._tick = tick
    world.carry()
    assert [row.state for row in world.rows()] == [State.SUPERSEDED]
    world.run(rounds=1)
    assert sorted(world.contents()) == sorted([LARGE, world.files.body(b"app-0.log.1")])


def test_stopping_does_not_wait_for_a_comparison(tmp_path: Path) -> None:
    world = shipped(World(tmp_path), LARGE)
    world.discover()
    world.stopping.set()
    world.carrier.step()
    assert [row.state for row in world.rows()] == [State.READY]
    assert len(world.log.of("shipment.interrupted")) == 1
    assert world.is_empty_handed()


def test_a_shut_gate_opens_when_something_was_recognised(tmp_path: Path) -> None:
    world = shipped(World(tmp_path), SMALL)
    world.discover()
    world.store.fail_next("ListObjectsV2", PortError("NoSuchBucket", status=404))
    world.carrier.step()
    assert world.gate.reason() is not None
    world.clock.advance(minutes=2)
    world.carry()
    assert world.gate.reason() is None
    assert [row.state for row in world.rows()] == [State.DONE]


def test_the_bytes_compared_are_those_of_one_page(tmp_path: Path) -> None:
    world = shipped(World(tmp_path), SMALL)
    (key,) = world.store.objects()
    assert [one.key for one in world.store.page("logs/", limit=1)] == [ObjectKey(key)]
