"""Answers that were lost, and objects that are there already."""

from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.lifecycle import Retried
from shipper.core.types import (
    Compression,
    State,
    WatchName,
)
from shipper.ports import PortError
from tests.machines.world import MIB, WATCH, World, random_log

LARGE = random_log(7, 11 * MIB)
RAW = replace(WATCH, compression=Compression.NONE)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, watch=RAW)


def put(world: World, body: bytes = b"hello\n", name: bytes = b"app.log.1") -> None:
    world.files.write(name, body)
    world.discover()


@pytest.mark.parametrize("is_md5", [True, False])
@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("PutObject", b"small\n"),
        ("CreateMultipartUpload", LARGE),
        ("UploadPart", LARGE),
        ("CompleteMultipartUpload", LARGE),
    ],
)
def test_a_lost_answer_is_not_a_second_object(
    tmp_path: Path, operation: str, body: bytes, is_md5: bool
) -> None:
    world = World(tmp_path, watch=RAW, etag_is_md5=is_md5, repeats_complete=False)
    put(world, body)
    world.store.fail_next(operation, PortError("Timeout"), after_effect=True)
    world.run(rounds=2)
    assert world.contents() == [body]
    assert [row.state for row in world.rows()] == [State.DONE]


def test_somebody_elses_object_is_never_overwritten_and_a_retry_takes_another_key(
    world: World,
) -> None:
    put(world)
    (row,) = world.rows()
    world.store.place(row.key, b"not ours")
    world.carry()
    (parked,) = world.rows(State.PARKED)
    assert parked.code == "KeyTaken"
    assert parked.key != row.key
    world.journal.record(parked, Retried(world.clock.now()))
    world.carry()
    assert world.store.objects() == {row.key: b"not ours", parked.key: b"hello\n"}


def test_an_upload_that_was_aborted_underneath_is_begun_anew(world: World) -> None:
    put(world, LARGE)
    world.store.fail_next("CompleteMultipartUpload", PortError("Timeout"))
    world.carry()
    assert [row.state for row in world.rows()] == [State.UPLOADING]
    world.store.lose_uploads()
    world.run(rounds=2)
    assert world.contents() == [LARGE]


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "InvalidPart", "BadDigest"])
def test_an_unusable_upload_is_begun_anew(world: World, code: str) -> None:
    put(world, LARGE)
    world.store.fail_next("CompleteMultipartUpload", PortError(code, status=409))
    world.run(rounds=2)
    assert world.contents() == [LARGE]
    assert world.store.operations().count("CreateMultipartUpload") == 2
    assert len(world.store.aborted) == 1


def test_a_conflict_on_a_put_is_repeated(world: World) -> None:
    put(world)
    world.store.fail_next("PutObject", PortError("ConditionalRequestConflict", status=409))
    world.run(rounds=2)
    assert world.contents() == [b"hello\n"]


def test_a_taken_key_with_nothing_behind_it_is_tried_again(world: World) -> None:
    put(world)
    world.store.fail_next("PutObject", PortError("PreconditionFailed", status=412))
    world.run(rounds=2)
    assert world.contents() == [b"hello\n"]


@pytest.fixture
def kms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A bucket that encrypts with KMS by its own default; the configuration does not say so."""
    world = World(tmp_path, watch=RAW, etag_is_md5=False)
    monkeypatch.setattr(type(world.store), "etag_is_md5", property(lambda store: True))
    world.restart()
    world.files.write(b"app.log.1", b"hello\n")
    world.discover()
    world.store.fail_next("PutObject", PortError("Timeout"), after_effect=True)
    world.carry()
    return world


def test_a_lost_answer_of_a_bucket_with_kms_by_default_makes_no_second_object(kms: World) -> None:
    kms.clock.advance(minutes=1)
    kms.carry()
    assert kms.rows()[0].code == "ObjectUndecided"
    kms.files.write(b"app.log.2", b"another\n")
    kms.run(rounds=2)
    assert [row.state for row in kms.rows()] == [State.DONE, State.DONE]
    assert len(kms.contents()) == 2


def test_an_object_that_nothing_can_tell_about_is_parked_at_last(kms: World) -> None:
    kms.run(rounds=10)
    (row,) = kms.rows()
    assert (row.state, row.code) == (State.PARKED, "KeyTaken")


def test_one_odd_etag_does_not_unlearn_that_etags_are_md5s(world: World) -> None:
    answers, own, other = world.carrier.services.sender.lost_answers, "a" * 32, "b" * 32
    put(world)
    (row,) = world.rows()
    answers.learn(row, own, own, is_echoed=False)
    answers.learn(row, other, own, is_echoed=False)
    with pytest.raises(PortError, match="ChecksumMismatch"):
        answers.require_intact(row, other, own, is_echoed=False)


def test_what_etags_are_is_learned_for_each_kind_of_encryption(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one it is the bucket's default, which may be KMS; a watch may ask for AES256."""
    put(world)
    (row,) = world.rows()
    other = replace(row, watch=WatchName("other"))
    monkeypatch.setattr(
        type(world.store), "encryption", lambda store, watch: "AES256" if watch == "other" else ""
    )
    answers, own, odd = world.carrier.services.sender.lost_answers, "a" * 32, "b" * 32
    for one in (row, other):
        answers.learn(one, odd, own, is_echoed=False)
    answers.learn(other, own, own, is_echoed=False)
    answers.learn(row, odd, own, is_echoed=False)
    answers.require_intact(row, odd, own, is_echoed=False)
    with pytest.raises(PortError, match="ChecksumMismatch"):
        answers.require_intact(other, odd, own, is_echoed=False)
    told = world.journal.origin.answers()["etags_are_md5"]
    assert told == {"": False, "AES256": True}
