"""What is listed of a bucket, and whose a key is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.destinations import DEFAULT_KEY
from shipper.core.object_keys import (
    InstanceFacts,
    another_key,
    object_key,
    template_problems,
)
from shipper.core.own_keys import own_keys
from shipper.core.types import Compression, RelativePath, WatchName
from tests.fakes.examples import promise

FACTS = InstanceFacts("logs/", "i-1", region="eu-west-1", tags={"Env": "prod"})
WATCH = WatchName("app")
PATHS = [b"app.log.1", b"a/b/app.log-20261126", b"x..", b"weird \xff%.gz", b"app.log.2.zst"]
TEMPLATES = [
    DEFAULT_KEY,
    "{prefix}{instance_id}/{watch}/{stem}.{digest}{segment}{extension}",
    "{prefix}{watch}/dt={mtime:%Y/%m/%d}/{stem}-{instance_id}.{digest}{segment}{extension}",
    "{prefix}{tag:Env}/{region}/{directory}/{stem}.{digest}{segment}{extension}",
    "{prefix}{watch}={instance_id}.{mtime:%Y}.{digest}",
    "{digest}/{prefix}{instance_id}{stem}{segment}{extension}",
]


@pytest.mark.parametrize(
    ("template", "beginning", "are_alone"),
    [
        (DEFAULT_KEY, "logs/app/i-1/", True),
        ("{prefix}{instance_id}/{watch}/{digest}", "logs/i-1/app/", True),
        ("{prefix}{instance_id}/{watch}-{digest}", "logs/i-1/", True),
        ("{prefix}{watch}/dt={mtime}/{instance_id}/{digest}", "logs/app/dt=", False),
        ("{prefix}{watch}/{instance_id}{digest}/x", "logs/app/i-1", False),
        ("{prefix}{watch}/x{instance_id}/{digest}", "logs/app/xi-1/", False),
        ("{prefix}{watch}={instance_id}.{digest}", "logs/app=i-1", False),
        ("{prefix}{tag:Env}..{digest}/", "logs/prod", False),
        ("{digest}", "", False),
    ],
)
def test_what_is_listed_is_as_long_as_all_keys_have_it(
    template: str, beginning: str, *, are_alone: bool
) -> None:
    assert template_problems(template) == []
    found = own_keys(template, FACTS, WATCH)
    assert (found.beginning, found.are_alone) == (beginning, are_alone)


@given(
    st.sampled_from(TEMPLATES),
    st.sampled_from(PATHS),
    st.sampled_from([0, 77]),
    st.sampled_from([Compression.ZSTD, Compression.NONE]),
    st.integers(0, 3),
)
def test_every_key_that_is_made_is_listed_and_recognised(
    template: str, path: bytes, start: int, compression: Compression, again: int
) -> None:
    made = promise(watch=WATCH, path=RelativePath(path), raw_start=start, compression=compression)
    key = object_key(template, FACTS, made)
    for _ in range(again):
        key = another_key(key)
    own = own_keys(template, FACTS, WATCH)
    assert key.startswith(own.beginning)
    assert own.pattern is None or own.has(key)
    theirs = object_key(template, replace(FACTS, instance_id="i-12"), made)
    if theirs != object_key(template, FACTS, made):
        assert not own.has(theirs)


def test_a_template_without_the_instance_recognises_nothing() -> None:
    own = own_keys("{prefix}{watch}/{digest}", FACTS, WATCH)
    assert own.pattern is None
    assert not own.has("logs/app/0123456789ab")


def test_what_lies_in_the_instances_directory_is_its_own_whatever_it_looks_like() -> None:
    own = own_keys(DEFAULT_KEY, FACTS, WATCH)
    assert own.has("logs/app/i-1/who-wrote-this.txt")
    assert own.pattern is not None
    assert not own.pattern.fullmatch("logs/app/i-1/who-wrote-this.txt")
    assert not own.has("logs/app/i-12/dt=2026-11-26/x")
