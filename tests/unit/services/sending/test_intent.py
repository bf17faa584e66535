"""A write is journalled before it goes out, and looked for before its row ends."""

import gzip
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import AfterUpload, ChecksumAlgorithm, Compression, ETag, State, Watch
from shipper.ports import PortError
from tests.fakes.store import FakeStore
from tests.machines.world import MIB, WATCH, Crash, World, random_log

BODY = b"a line of the log\n" * 3000
LARGE = random_log(7, 11 * MIB)
RAW = replace(WATCH, compression=Compression.NONE)
DELETING = replace(RAW, after_upload=AfterUpload.DELETE)


def crash_at(name: str) -> object:
    def effect(happened: str) -> None:
        if happened == name:
            raise Crash(name)

    return effect


def stored_unheard(world: World, body: bytes, operation: str) -> None:
    """The object is there, and the process died before it heard of it."""
    world.files.write(b"app.log.1", body)
    world.discover()
    world.restart(crash_at(f"{operation}.after"))  # type: ignore[arg-type]
    with pytest.raises(Crash):
        world.run(rounds=1)


@pytest.mark.parametrize("is_md5", [True, False])
@pytest.mark.parametrize(
    ("operation", "body"), [("PutObject", BODY), ("CompleteMultipartUpload", LARGE)]
)
def test_a_log_that_was_stored_unheard_and_compressed_meanwhile_is_not_sent_again(
    tmp_path: Path, operation: str, body: bytes, is_md5: bool
) -> None:
    world = World(tmp_path, watch=RAW, etag_is_md5=is_md5)
    if not is_md5:
        world.destination = replace(world.destination, server_side_encryption="aws:kms")
    stored_unheard(world, body, operation)
    world.restart()
    world.files.write(b"app.log.2.gz", gzip.compress(body))
    world.files.touch(b"app.log.2.gz", world.rows()[0].mtime_ns)
    world.files.delete(b"app.log.1")
    if not is_md5:  # another log's write tells that ETags are no MD5s
        world.files.write(b"other.log.1", b"other\n")
    world.run(rounds=4)
    assert world.row(b"app.log.1").state is State.DONE
    assert world.row(b"app.log.2.gz").state is State.DUPLICATE
    assert world.contents().count(body) == 1
    assert world.log.of("source.vanished") == []


def test_a_row_whose_object_cannot_be_looked_for_waits(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    stored_unheard(world, BODY, "PutObject")
    world.restart()
    world.files.delete(b"app.log.1")
    world.store.outage = PortError("Unreachable")
    world.run(rounds=3)
    assert world.row(b"app.log.1").state is State.READY
    world.store.outage = None
    world.run(rounds=3)
    assert world.row(b"app.log.1").state is State.DONE


def test_a_log_that_never_arrived_is_gone_only_after_a_second_look(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    world.files.write(b"app.log.1", BODY)
    world.discover()
    world.restart(crash_at("PutObject.before"))  # type: ignore[arg-type]
    with pytest.raises(Crash):
        world.run(rounds=1)
    world.restart()
    world.files.delete(b"app.log.1")
    world.carry()
    assert world.row(b"app.log.1").code == "WriteUndecided"
    world.clock.advance(minutes=1)
    world.carry()
    assert world.row(b"app.log.1").state is State.GONE


def test_a_write_that_arrives_late_and_encoded_otherwise_is_still_ours(tmp_path: Path) -> None:
    """Its answer is lost, the next attempt compresses more, and then S3 says that it is there."""
    world = World(tmp_path)
    stored_unheard(world, BODY, "PutObject")
    ((key, first),) = world.store.objects().items()
    world.watch = replace(WATCH, compression_level=19)
    world.restart()
    world.run(rounds=2)
    assert world.store.objects() == {key: first}
    (row,) = world.rows()
    assert (row.state, row.stored_bytes) == (State.DONE, len(first))


def test_another_object_under_the_key_of_a_lost_log_is_not_ours(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    stored_unheard(world, BODY, "PutObject")
    world.store.place(world.row(b"app.log.1").key, b"theirs")
    world.restart()
    world.files.delete(b"app.log.1")
    world.run(rounds=2)
    assert world.row(b"app.log.1").state is State.GONE


class Flipping(FakeStore):
    """Stores the first body with a flipped bit, and says so in its ETag."""

    is_over = False

    def put(self, key, body, **more):  # type: ignore[no-untyped-def]
        if not self.is_over:
            self.is_over = True
            body = bytes([body[0] ^ 1]) + bytes(body[1:])
            more["checksum"] = ""
        return super().put(key, body, **more)


def flipping(tmp_path: Path) -> World:
    through = Flipping(algorithm=ChecksumAlgorithm.NONE, echoes_checksums=False)
    return World(
        tmp_path, watch=DELETING, through=lambda _: through, algorithm=ChecksumAlgorithm.NONE
    )


def test_a_flipped_byte_is_found_and_sent_again_and_nothing_is_deleted_for_it(
    tmp_path: Path,
) -> None:
    world = flipping(tmp_path)
    world.files.write(b"app.log.1", BODY)
    world.discover()
    world.carry()
    assert world.files.paths() == [b"app.log.1"]
    assert world.log.of("object.mismatched")
    world.run(rounds=3)
    store = world.carrier.store
    assert isinstance(store, Flipping)
    assert BODY in store.objects().values()
    assert world.rows()[0].state is State.DONE
    assert world.files.paths() == []


def test_a_flipped_part_is_sent_again(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW, echoes_checksums=False)
    upload_part = world.store.upload_part
    world.files.write(b"app.log.1", LARGE)
    etags = iter([ETag("0" * 32)])

    def flipped(*arguments, **more):  # type: ignore[no-untyped-def]
        etag, echoed = upload_part(*arguments, **more).result()
        answered: Future[tuple[str, str]] = Future()
        answered.set_result((next(etags, etag), echoed))
        return answered

    world.store.upload_part = flipped  # type: ignore[method-assign]
    world.run(rounds=3)
    assert world.contents() == [LARGE]
    assert world.rows()[0].state is State.DONE


@pytest.mark.parametrize("after_upload", [AfterUpload.DELETE, AfterUpload.ARCHIVE])
@pytest.mark.parametrize("algorithm", [ChecksumAlgorithm.NONE, ChecksumAlgorithm.CRC32])
def test_where_nothing_shows_what_was_stored_nothing_is_removed(
    tmp_path: Path, after_upload: AfterUpload, algorithm: ChecksumAlgorithm
) -> None:
    watch = replace(RAW, after_upload=after_upload, archive_directory="/logs/archive")
    world = World(
        tmp_path, watch=watch, etag_is_md5=False, echoes_checksums=False, algorithm=algorithm
    )
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=2)
    (row,) = world.rows()
    assert (row.state, row.code) == (State.PARKED, "ObjectUnproven")
    assert world.files.paths() == [b"app.log.1"]
    (line,) = world.log.of("shipment.parked")
    assert "sign_payloads" in str(line["hint"])


def test_with_signed_bodies_it_is_removed(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING, etag_is_md5=False, echoes_checksums=False)
    world.destination = replace(world.destination, sign_payloads=True)
    world.restart()
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=2)
    assert world.rows()[0].state is State.DONE
    assert world.files.paths() == []


def test_what_a_bucket_with_kms_echoes_is_proof_enough(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING, etag_is_md5=False)
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=2)
    assert world.rows()[0].state is State.DONE
    assert world.files.paths() == []


class KmsByDefault(FakeStore):
    """Nothing in shipper's configuration says that its ETags are no MD5s."""

    etag_is_md5 = True


def with_kms(tmp_path: Path, watch: Watch) -> World:
    bucket = KmsByDefault(etag_is_md5=False)
    world = World(tmp_path, watch=watch, through=lambda _: bucket)
    world.store = bucket
    return world


@pytest.mark.parametrize("life", ["same", "next"])
def test_what_etags_mean_to_a_bucket_with_kms_is_known_after_a_restart(
    tmp_path: Path, life: str
) -> None:
    """No write of this life tells; the log's only write was heard of in the last one."""
    world = with_kms(tmp_path, DELETING)
    world.files.write(b"before.log.1", b"before\n")
    world.run(rounds=1)
    world.files.write(b"app.log.1", BODY)
    world.discover()
    world.store.fail_next("ListObjectsV2", PortError("Unreachable"))
    world.carry()
    assert world.row(b"app.log.1").state is State.UPLOADED
    if life == "next":
        world.restart()
    world.run(rounds=2)
    assert world.log.of("object.mismatched") == []
    assert sorted(world.contents()) == sorted([BODY, b"before\n"])
    assert (world.row(b"app.log.1").state, world.files.paths()) == (State.DONE, [])


def test_a_log_that_was_stored_unheard_is_known_by_its_size_after_a_restart(
    tmp_path: Path,
) -> None:
    world = with_kms(tmp_path, RAW)
    world.files.write(b"before.log.1", b"before\n")
    world.run(rounds=1)
    stored_unheard(world, BODY, "PutObject")
    world.restart()
    world.files.delete(b"app.log.1")
    world.run(rounds=8)
    assert world.row(b"app.log.1").state is State.DONE
    assert world.log.of("source.vanished") == []


def test_another_destination_is_asked_anew_what_it_checks(tmp_path: Path) -> None:
    world = with_kms(tmp_path, RAW)
    world.files.write(b"before.log.1", b"before\n")
    world.run(rounds=1)
    assert world.journal.origin.answers() == {"etags_are_md5": {"": False}, "is_vouched_for": True}
    world.destination = replace(world.destination, bucket="another")
    world.restart()
    assert world.journal.origin.answers() == {}


def test_nothing_is_removed_before_a_write_has_told_what_s3_checks(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING, etag_is_md5=False)
    world.destination = replace(world.destination, server_side_encryption="aws:kms")
    stored_unheard(world, BODY, "PutObject")
    world.restart()
    world.run(rounds=2)
    [row] = world.rows()
    assert (row.state, row.code) == (State.UPLOADED, "ObjectUndecided")
    assert world.files.paths() == [b"app.log.1"]
    world.files.write(b"other.log.1", b"other\n")
    world.run(rounds=3)
    assert world.row(b"app.log.1").state is State.DONE
    assert world.files.paths() == []
