"""Where a watch's logs go, and what they are written with."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.destinations import (
    MINIMA,
    OVERRIDES,
    STORAGE_CLASSES,
    Destination,
    etags_are_md5,
    for_watch,
    shown,
    table_of,
    upload_settings_of,
)
from shipper.core.object_keys import InstanceFacts, destined
from shipper.core.types import ChecksumAlgorithm, Watch, WatchName

WATCH = Watch(name=WatchName("web"), directory="/logs")
KMS = Destination("b", server_side_encryption="aws:kms", kms_key_id="k", bucket_key_enabled=True)
OTHERS = {
    "prefix": "web/",
    "key": "{digest}",
    "storage_class": "GLACIER_IR",
    "server_side_encryption": "aws:kms:dsse",
    "kms_key_id": "alias/web",
    "acl": "private",
    "tags": (("a", "1"),),
    "object_lock_mode": "GOVERNANCE",
    "object_lock_retain_seconds": 86_400.0,
    "content_type": "text/plain",
    "content_encoding": "zstd",
}


def test_these_are_all_overrides() -> None:
    assert set(OTHERS) == set(OVERRIDES)


@given(st.sets(st.sampled_from(sorted(OTHERS))))
def test_what_a_watch_says_counts_and_all_else_is_the_destinations(names: set[str]) -> None:
    given_ones = {name: OTHERS[name] for name in names}
    found = for_watch(KMS, replace(WATCH, **given_ones))  # type: ignore[arg-type]  # of each its own type
    assert found == replace(KMS, **given_ones)  # type: ignore[arg-type]  # as above


def test_a_watch_that_wants_no_kms_does_not_inherit_the_key() -> None:
    found = for_watch(KMS, replace(WATCH, server_side_encryption="AES256"))
    assert (found.server_side_encryption, found.kms_key_id) == ("AES256", "")
    assert not found.bucket_key_enabled


@pytest.mark.parametrize("name", sorted(set(OTHERS) - {"prefix", "key"}))
def test_uploads_depend_on_each_setting_of_an_object(name: str) -> None:
    def digest(watch: Watch) -> str:
        watches = {watch.name: for_watch(KMS, watch)}
        return upload_settings_of(KMS, watches, ChecksumAlgorithm.CRC32).digests[watch.name]

    assert digest(WATCH) != digest(replace(WATCH, **{name: OTHERS[name]}))  # type: ignore[arg-type]  # as above


def test_names_as_they_are_shown() -> None:
    assert (shown(""), shown("audit")) == ("default", "audit")
    assert (table_of(""), table_of("audit")) == ("destination", "destinations.audit")


def test_under_kms_no_etag_is_an_md5() -> None:
    assert [etags_are_md5(one) for one in ("", "AES256", "aws:kms", "aws:kms:dsse")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_configured_region_wins() -> None:
    facts = InstanceFacts(prefix="logs/", instance_id="i-1", region="eu-central-1")
    assert destined(facts, Destination("b")).region == "eu-central-1"
    there = destined(facts, Destination("b", prefix="x/", region="us-west-2"))
    assert (there.region, there.prefix) == ("us-west-2", "x/")


def test_the_storage_classes_are_those_of_botocore() -> None:
    from botocore.session import Session

    model = Session().get_service_model("s3")
    known = {*model.shape_for("StorageClass").enum}  # type: ignore[attr-defined]  # of a StringShape
    assert {*STORAGE_CLASSES} <= known
    assert all(name.startswith("AWS_BACKUP_") for name in known - {*STORAGE_CLASSES})
    assert set(MINIMA) < {*STORAGE_CLASSES}
