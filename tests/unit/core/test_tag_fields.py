"""Instance tags in the bucket and the prefix: all of them, or no destination."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.destinations import Destination
from shipper.core.object_keys import InstanceFacts, filled, object_key
from shipper.core.tag_fields import (
    ANY_VALUE,
    has_any_tag,
    needed_tags,
    resolved,
    tags_of,
    unfit,
    with_any_tags,
)
from tests.fakes.examples import promise

TAGGED = Destination(bucket="logs-{tag:Env}-{tag:Team}", prefix="{tag:Team}/{tag:App name}/")
TAGS = {"Env": "prod", "Team": "web", "App name": "Shop 2"}


def test_the_tags_of_names_and_keys_are_asked_for() -> None:
    destination = Destination(bucket="b-{tag:A}", prefix="{tag:B}/", key="{tag:C}/{digest}")
    assert tags_of(destination) == {"A", "B", "C"}
    assert needed_tags(destination) == {"A", "B"}
    assert tags_of(Destination(bucket="b-1")) == frozenset()


def test_tags_stand_in_bucket_and_prefix() -> None:
    assert unfit(TAGGED, TAGS) == ""
    found = resolved(TAGGED, TAGS)
    assert (found.bucket, found.prefix) == ("logs-prod-web", "web/Shop 2/")


def test_a_key_begins_with_the_prefix_of_its_instance() -> None:
    facts = InstanceFacts(prefix="{tag:Team}/x/", instance_id="i-1", tags=TAGS)
    assert object_key("{prefix}{digest}", facts, promise()).startswith("web/x/")


def test_a_tag_that_is_not_known_stays_as_it_is_written() -> None:
    assert filled("a/{tag:X}/{tag:Env}/", TAGS) == "a/{tag:X}/prod/"


@pytest.mark.parametrize(
    ("destination", "tags", "what"),
    [
        (TAGGED, TAGS | {"Env": ""}, "destination.bucket needs the instance tag 'Env', and there"),
        (
            TAGGED,
            {"Env": "a", "Team": "b"},
            "destination.prefix needs the instance tag 'App name'",
        ),
        (
            TAGGED,
            TAGS | {"Env": "a/b"},
            "the instance tag 'Env' is no part of a bucket's name: 'a",
        ),
        (
            TAGGED,
            TAGS | {"Env": "a\n"},
            "the instance tag 'Env' is no part of a bucket's name: 'a",
        ),
        (TAGGED, TAGS | {"Env": "é"}, "the instance tag 'Env' is no part of a bucket's name"),
        (
            Destination(bucket="{tag:Env}"),
            {"Env": "ab"},
            "the instance's tags make 'ab', which is",
        ),
        (Destination(bucket="{tag:Env}"), {"Env": "a" * 64}, "the instance's tags make"),
        (
            Destination(bucket="{tag:Env}"),
            {"Env": "a--x-s3"},
            "the instance's tags make 'a--x-s3'",
        ),
    ],
)
def test_a_destination_that_is_none_is_explained(
    destination: Destination, tags: dict[str, str], what: str
) -> None:
    assert unfit(destination, tags).startswith(what)


def test_a_destination_without_tags_is_never_judged_by_them() -> None:
    assert unfit(Destination(bucket="arn:aws:s3:eu-central-1:1:accesspoint/a"), {}) == ""


@given(value=st.text(min_size=1))
def test_a_value_leads_to_no_other_prefix(value: str) -> None:
    prefix = resolved(Destination(bucket="b-1", prefix="a/{tag:T}/b/"), {"T": value}).prefix
    assert prefix.count("/") == 3
    assert prefix.split("/")[1] not in ("", ".", "..")


def test_any_tags_are_marked_for_policies() -> None:
    found = with_any_tags(TAGGED)
    assert (found.bucket, has_any_tag(found)) == (f"logs-{ANY_VALUE}-{ANY_VALUE}", True)
    assert not has_any_tag(with_any_tags(Destination(bucket="b-1")))
