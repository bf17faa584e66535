"""What every ``ObjectStore`` does: the fake in memory, and S3Store in front of moto.

Moto checks neither checksums nor sizes and answers 500 for an upload it does not know, so
those rules are tested on the fake only; real S3 has them.
"""

import itertools
import os
from dataclasses import dataclass

import pytest

from shipper.core.checksums import full_object_checksum, multipart_etag, single_etag
from shipper.core.destinations import etags_are_md5
from shipper.core.types import (
    NO_WATCH,
    ChecksumAlgorithm,
    ETag,
    ListedObject,
    ObjectKey,
    Receipt,
    UploadId,
)
from shipper.ports import ObjectStore, PortError
from tests.fakes.s3_stores import s3_store
from tests.fakes.servers import Moto
from tests.fakes.store import FakeStore, checksum_of

MIB = 1024**2
KEY = ObjectKey("logs/nginx/i-1/access.log.zst")
ODD_KEYS = (
    "logs/plus+and space",
    "logs/caf\u00e9 \U0001f4dc",
    "logs/percent%41%0A",
    "logs/quote\"'&<>;=@:,!*()~",
    "logs/a//b/./c",
)
BODIES = {"nothing": b"", "little": b"a line\n", "much": bytes(range(256)) * 8 * 1024}

_buckets = (f"contract-{os.getpid()}-{number}" for number in itertools.count())
"""Several workers share a server."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A store, and a look behind it."""

    store: ObjectStore
    moto: Moto | None
    bucket: str

    def objects(self) -> dict[str, bytes]:
        if self.moto is not None:
            return self.moto.objects(self.bucket)
        assert isinstance(self.store, FakeStore)
        return self.store.objects()

    def metadata(self, key: str) -> dict[str, str]:
        if self.moto is not None:
            found: dict[str, str] = self.moto.attributes(self.bucket, key)["Metadata"]
            return found
        assert isinstance(self.store, FakeStore)
        return self.store.metadata(key)

    def unfinished_uploads(self) -> list[str]:
        if self.moto is not None:
            return [upload_id for _, upload_id in self.moto.unfinished_uploads(self.bucket)]
        assert isinstance(self.store, FakeStore)
        return list(self.store.unfinished_uploads())

    def put(self, key: str, body: bytes) -> ETag:
        checksum = checksum_of(body, self.store.algorithm)
        return self.store.put(ObjectKey(key), body, checksum=checksum, metadata={}).result().etag

    def send_part(
        self, upload_id: UploadId, number: int, body: bytes | bytearray | memoryview
    ) -> Receipt:
        checksum = checksum_of(body, self.store.algorithm)
        etag, echoed = self.store.upload_part(
            KEY, upload_id, number, body, checksum=checksum
        ).result()
        assert echoed == checksum
        return Receipt(number, 0, len(body), len(body), ETag(etag), checksum)


@pytest.fixture
def algorithm(request: pytest.FixtureRequest) -> ChecksumAlgorithm:
    """CRC32, or each of them for tests that say ``each_algorithm``."""
    chosen: ChecksumAlgorithm = getattr(request, "param", ChecksumAlgorithm.CRC32)
    return chosen


each_algorithm = pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm), indirect=True)


@pytest.fixture(params=["fake", "moto"])
def bench(request: pytest.FixtureRequest, algorithm: ChecksumAlgorithm) -> Bench:
    if request.param == "fake":
        return Bench(FakeStore(algorithm=algorithm), None, "")
    moto: Moto = request.getfixturevalue("moto")
    bucket = next(_buckets)
    moto.create_bucket(bucket)
    return Bench(s3_store(moto.url, bucket=bucket, algorithm=algorithm), moto, bucket)


def full_checksum(store: ObjectStore, receipts: list[Receipt]) -> str:
    sizes = [(receipt.checksum, receipt.stored_bytes) for receipt in receipts]
    return full_object_checksum(store.algorithm, sizes)


@each_algorithm
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_put_stores_the_bytes_and_answers_with_their_etag(bench: Bench, body: bytes) -> None:
    checksum = checksum_of(body, bench.store.algorithm)
    stored = bench.store.put(KEY, body, checksum=checksum, metadata={"raw-end": "7"}).result()

    assert stored.etag == single_etag(body)
    assert stored.confirmed is (bench.store.algorithm is not ChecksumAlgorithm.NONE)
    assert bench.objects() == {KEY: body}
    assert bench.metadata(KEY) == {"raw-end": "7"}


@each_algorithm
def test_a_bytearray_is_as_good_as_bytes(bench: Bench) -> None:
    body = bytearray(BODIES["much"])
    bench.store.put(
        KEY, body, checksum=checksum_of(body, bench.store.algorithm), metadata={}
    ).result()
    assert bench.objects() == {KEY: bytes(body)}


def test_a_taken_key_is_never_overwritten(bench: Bench) -> None:
    bench.put(KEY, b"first")
    with pytest.raises(PortError, match="PreconditionFailed") as caught:
        bench.put(KEY, b"second")
    assert caught.value.status == 412
    assert bench.objects() == {KEY: b"first"}


def test_what_may_overwrite_does(bench: Bench) -> None:
    for body in (b"first", b"second"):
        checksum = checksum_of(body, bench.store.algorithm)
        bench.store.put(KEY, body, checksum=checksum, metadata={}, overwrites=True).result()
    assert bench.objects() == {KEY: b"second"}


def test_an_absent_key_is_not_found(bench: Bench) -> None:
    assert bench.store.find(KEY).result() is None


def test_a_key_is_found_with_size_and_etag(bench: Bench) -> None:
    etag = bench.put(KEY, b"a line\n")
    assert bench.store.find(KEY).result() == ListedObject(KEY, 7, etag)


def test_a_key_that_another_one_continues_is_not_found(bench: Bench) -> None:
    bench.put(KEY + ".2", b"another")
    assert bench.store.find(KEY).result() is None


def test_a_key_is_found_before_those_that_continue_it(bench: Bench) -> None:
    for suffix in (".2", "", "/below"):
        bench.put(KEY + suffix, suffix.encode())
    found = bench.store.find(KEY).result()
    assert found is not None
    assert found.size_bytes == 0


def test_a_page_is_the_first_objects_below_a_prefix_in_byte_order(bench: Bench) -> None:
    etags = {key: bench.put(key, key.encode()) for key in ("logs/b", "logs/a/2", "logs/a/1", "m")}
    found = [ListedObject(ObjectKey(key), len(key), etags[key]) for key in sorted(etags)]
    assert bench.store.page("logs/", limit=9) == found[:3]
    assert bench.store.page("logs/", limit=2) == found[:2]
    assert bench.store.page("logs/a/", limit=1) == found[:1]
    assert bench.store.page("", limit=9) == found
    assert bench.store.page("logs/c", limit=1) == []


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_stored_and_found_as_they_are(bench: Bench, key: str) -> None:
    bench.put(key, b"a line\n")
    found = bench.store.find(ObjectKey(key)).result()
    assert found is not None
    assert found.key == key
    assert list(bench.objects()) == [key]


@each_algorithm
def test_parts_become_one_object_with_the_metadata_of_its_beginning(bench: Bench) -> None:
    first, second = bytearray(b"1" * (5 * MIB)), bytearray(b"the end\n")
    upload_id = bench.store.create_upload(KEY, metadata={"raw-end": "9"}).result().upload_id
    receipts = [bench.send_part(upload_id, 3, first), bench.send_part(upload_id, 7, second)]

    checksum = full_checksum(bench.store, receipts)
    stored = bench.store.complete_upload(KEY, upload_id, receipts, checksum=checksum).result()

    assert stored.etag == multipart_etag(receipt.etag for receipt in receipts)
    assert bench.store.find(KEY).result() == ListedObject(KEY, 5 * MIB + 8, stored.etag)
    assert bench.objects() == {KEY: bytes(first + second)}
    assert bench.metadata(KEY) == {"raw-end": "9"}
    assert bench.unfinished_uploads() == []


@each_algorithm
def test_a_part_sent_again_replaces_itself(bench: Bench) -> None:
    upload_id = bench.store.create_upload(KEY, metadata={}).result().upload_id
    first = bench.send_part(upload_id, 1, b"same")
    again = bench.send_part(upload_id, 1, b"same")
    assert first == again

    bench.store.complete_upload(
        KEY, upload_id, [again], checksum=full_checksum(bench.store, [again])
    ).result()
    assert bench.objects() == {KEY: b"same"}


@each_algorithm
def test_a_complete_that_is_repeated_is_answered_again(bench: Bench) -> None:
    upload_id = bench.store.create_upload(KEY, metadata={}).result().upload_id
    receipts = [bench.send_part(upload_id, 1, b"only")]
    checksum = full_checksum(bench.store, receipts)
    answers = {
        bench.store.complete_upload(KEY, upload_id, receipts, checksum=checksum).result()
        for _ in range(2)
    }
    assert len(answers) == 1


def test_a_complete_never_overwrites_a_taken_key(bench: Bench) -> None:
    upload_id = bench.store.create_upload(KEY, metadata={}).result().upload_id
    receipts = [bench.send_part(upload_id, 1, b"late")]
    bench.put(KEY, b"first")
    with pytest.raises(PortError, match="PreconditionFailed"):
        bench.store.complete_upload(
            KEY, upload_id, receipts, checksum=full_checksum(bench.store, receipts)
        ).result()
    assert bench.objects() == {KEY: b"first"}


def test_parts_that_are_too_small_are_refused_at_the_end(bench: Bench) -> None:
    upload_id = bench.store.create_upload(KEY, metadata={}).result().upload_id
    receipts = [bench.send_part(upload_id, number, b"small") for number in (1, 2)]
    with pytest.raises(PortError, match="EntityTooSmall"):
        bench.store.complete_upload(
            KEY, upload_id, receipts, checksum=full_checksum(bench.store, receipts)
        ).result()
    assert bench.objects() == {}


def test_a_part_with_another_etag_is_invalid(bench: Bench) -> None:
    upload_id = bench.store.create_upload(KEY, metadata={}).result().upload_id
    receipts = [bench.send_part(upload_id, 1, b"sent")]
    bench.send_part(upload_id, 1, b"another")
    with pytest.raises(PortError, match="InvalidPart"):
        bench.store.complete_upload(
            KEY, upload_id, receipts, checksum=full_checksum(bench.store, receipts)
        ).result()


def test_an_aborted_upload_is_gone(bench: Bench) -> None:
    upload_id = bench.store.create_upload(KEY, metadata={}).result().upload_id
    assert bench.unfinished_uploads() == [upload_id]
    bench.store.abort_upload(KEY, upload_id)
    assert bench.unfinished_uploads() == []
    with pytest.raises(PortError, match="NoSuchUpload"):
        bench.store.abort_upload(KEY, upload_id)


def test_a_probe_of_a_good_bucket_is_silent(bench: Bench) -> None:
    bench.store.probe()


def test_md5_etags_are_promised_and_given(bench: Bench) -> None:
    assert etags_are_md5(bench.store.encryption(NO_WATCH))
    assert bench.put(KEY, b"a line\n") == single_etag(b"a line\n")


def test_a_store_says_that_its_writes_replace_nothing(bench: Bench) -> None:
    assert bench.store.is_conditional


class TestTheFakeAlone:
    """S3's rules that moto does not know, and the failures on demand."""

    @each_algorithm
    def test_a_wrong_checksum_is_a_bad_digest(self, algorithm: ChecksumAlgorithm) -> None:
        if algorithm is ChecksumAlgorithm.NONE:
            return
        store = FakeStore(algorithm=algorithm)
        with pytest.raises(PortError, match="BadDigest"):
            store.put(
                KEY, b"sent", checksum=checksum_of(b"meant", algorithm), metadata={}
            ).result()
        assert store.objects() == {}

    def test_a_wrong_size_of_the_whole_is_refused(self) -> None:
        store = FakeStore()
        upload_id = store.create_upload(KEY, metadata={}).result().upload_id
        etag, checksum = store.upload_part(
            KEY, upload_id, 1, b"four", checksum=checksum_of(b"four", store.algorithm)
        ).result()
        receipt = Receipt(1, 0, 4, 5, ETag(etag), checksum)
        with pytest.raises(PortError, match="InvalidRequest"):
            store.complete_upload(KEY, upload_id, [receipt], checksum="").result()

    def test_an_upload_that_was_lost_takes_no_part(self) -> None:
        store = FakeStore()
        upload_id = store.create_upload(KEY, metadata={}).result().upload_id
        store.lose_uploads()
        with pytest.raises(PortError, match="NoSuchUpload"):
            store.upload_part(KEY, upload_id, 1, b"x", checksum="").result()

    def test_a_server_may_forget_a_completed_upload(self) -> None:
        store = FakeStore(repeats_complete=False)
        upload_id = store.create_upload(KEY, metadata={}).result().upload_id
        etag, _ = store.upload_part(KEY, upload_id, 1, b"x", checksum="").result()
        receipts = [Receipt(1, 0, 1, 1, ETag(etag), "")]
        store.complete_upload(KEY, upload_id, receipts, checksum="").result()
        with pytest.raises(PortError, match="NoSuchUpload"):
            store.complete_upload(KEY, upload_id, receipts, checksum="").result()

    def test_a_lost_request_has_no_effect(self) -> None:
        store = FakeStore()
        store.fail_next("PutObject", PortError("Timeout"))
        with pytest.raises(PortError, match="Timeout"):
            store.put(KEY, b"x", checksum="", metadata={}).result()
        assert store.objects() == {}
        store.put(KEY, b"x", checksum="", metadata={}).result()
        assert store.operations() == ["PutObject", "PutObject"]

    def test_a_lost_answer_has_had_its_effect(self) -> None:
        store = FakeStore()
        store.fail_next("PutObject", PortError("Timeout"), after_effect=True)
        with pytest.raises(PortError, match="Timeout"):
            store.put(KEY, b"x", checksum="", metadata={}).result()
        assert store.objects() == {KEY: b"x"}

    def test_every_side_effect_is_told_before_and_after(self) -> None:
        told: list[str] = []
        store = FakeStore(effect=told.append)
        store.put(KEY, b"x", checksum="", metadata={}).result()
        store.find(KEY).result()
        assert told == ["PutObject.before", "PutObject.after"]

    def test_an_outage_fails_everything_until_it_is_over(self) -> None:
        store = FakeStore()
        store.outage = PortError("Unreachable")
        with pytest.raises(PortError, match="Unreachable"):
            store.probe()
        store.outage = None
        store.probe()

    def test_under_kms_etags_are_no_md5(self) -> None:
        store = FakeStore(etag_is_md5=False)
        assert not store.etag_is_md5
        assert store.put(KEY, b"x", checksum="", metadata={}).result().etag != single_etag(b"x")
