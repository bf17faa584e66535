"""What ImdsMetadata makes of paths, roles and documents, over real HTTP."""

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from shipper.edges.imds.asking import BODY_BYTES
from shipper.edges.imds.client import (
    endpoint_from,
)
from shipper.mock.imds import Facts
from shipper.ports import PortError
from tests.machines.bench import (
    ABSENT,
    EXTENDED,
    GOOD,
    GOOD_UNTIL,
    INFO,
    KEYS,
    LEGACY,
    NO_ROLE,
    THING,
    TOKEN,
    Bench,
    Reply,
)


def test_the_extended_path_comes_first_and_the_role_is_listed_once(bench: Bench) -> None:
    first = bench.metadata.credentials()
    assert bench.asked_since() == [TOKEN, EXTENDED, EXTENDED + "shipper"]
    assert (first.role, first.account_id) == ("shipper", "123456789012")
    assert bench.metadata.credentials() == first
    assert bench.asked == [EXTENDED + "shipper"]


def test_a_service_without_the_extended_path_is_remembered(bench: Bench) -> None:
    bench.service.facts.has_extended = False
    assert bench.metadata.credentials().account_id == ""
    assert bench.asked_since() == [TOKEN, EXTENDED, LEGACY, LEGACY + "shipper"]
    bench.service.facts = Facts(role="other")
    assert bench.metadata.credentials().role == "other"
    assert bench.asked == [LEGACY + "shipper", LEGACY, LEGACY + "other"]


def test_a_404_of_both_paths_is_no_proof_of_an_older_service(bench: Bench) -> None:
    bench.service.facts.role = ""
    assert bench.failure().code == "NoProfile"
    bench.service.facts.role = "shipper"
    assert bench.metadata.credentials().account_id == "123456789012"


@pytest.mark.parametrize("status", [403, 500])
def test_trouble_on_the_extended_path_does_not_lead_to_the_legacy_one(
    bench: Bench, status: int
) -> None:
    bench.answer(EXTENDED, (status, ""))
    bench.failure()
    bench.answer(EXTENDED)
    assert bench.metadata.credentials().account_id == "123456789012"
    assert LEGACY not in bench.asked


def test_a_role_that_was_replaced_is_listed_again(bench: Bench) -> None:
    bench.metadata.credentials()
    bench.asked_since()
    bench.service.facts.role = "other"
    assert bench.metadata.credentials().role == "other"
    assert bench.asked == [EXTENDED + "shipper", EXTENDED, EXTENDED + "other"]


@pytest.mark.parametrize("listing", ["\n  \n shipper \nother\n", "shipper\r\nother", "shipper"])
def test_the_first_line_with_a_name_is_the_role(bench: Bench, listing: str) -> None:
    bench.answer(EXTENDED, (200, listing))
    assert bench.metadata.credentials().role == "shipper"


def test_a_role_name_keeps_every_sign_that_iam_allows_in_the_path(bench: Bench) -> None:
    bench.service.facts.role = "a+b=c,d.e@f-g_h"
    assert bench.metadata.credentials().role == "a+b=c,d.e@f-g_h"
    assert bench.asked[-1] == EXTENDED + "a+b=c,d.e@f-g_h"


def test_a_configured_name_that_is_none_stays_one_part_of_the_path(bench: Bench) -> None:
    bench.failure(bench.another(profile_name="a/../b?c"))
    assert bench.asked[-1] == LEGACY + "a%2F..%2Fb%3Fc"


@pytest.mark.parametrize(
    "listing", ["a/b", "..", "<html>", "a b", "r\u00f6le", "a\x00b", "../user-data", "x" * 129]
)
def test_a_list_that_names_what_is_no_role_is_a_bad_answer(bench: Bench, listing: str) -> None:
    bench.answer(EXTENDED, (200, listing))
    assert bench.failure().code == "BadAnswer"
    assert not [asked for asked in bench.asked if asked.startswith(EXTENDED + "/")]


@pytest.mark.parametrize("first", [(404, ""), (200, ""), (200, "ghost")])
def test_a_role_that_is_not_there_for_a_moment_is_asked_for_again(
    bench: Bench, first: Reply
) -> None:
    bench.answer(EXTENDED, first, (200, "shipper"))
    bench.answer(LEGACY, (404, ""))
    assert bench.metadata.credentials().role == "shipper"
    assert len(bench.pauses) == 1


def test_a_role_that_is_listed_and_unknown_is_no_role(bench: Bench) -> None:
    bench.answer(EXTENDED, (200, "ghost"))
    error = bench.failure()
    assert error.code == "NoRole"
    assert "'ghost'" in error.detail


@pytest.mark.parametrize("has_extended", [True, False])
def test_a_configured_name_is_not_listed(bench: Bench, has_extended: bool) -> None:
    bench.service.facts.has_extended = has_extended
    metadata = bench.another(profile_name="shipper")
    assert metadata.credentials() == metadata.credentials()
    once, again = EXTENDED + "shipper", LEGACY + "shipper"
    expected = [TOKEN, once, once] if has_extended else [TOKEN, once, again, again]
    assert bench.asked == expected


def test_a_configured_name_that_neither_path_knows_is_no_role(bench: Bench) -> None:
    error = bench.failure(bench.another(profile_name="ghost"))
    assert error.code == "NoRole"
    assert "'ghost'" in error.detail
    assert bench.asked == [TOKEN, *[EXTENDED + "ghost", LEGACY + "ghost"] * 2]


@pytest.mark.parametrize("listing", [(404, ""), (200, ""), (200, " \n")])
@pytest.mark.parametrize(
    ("info", "code", "detail", "command"),
    [
        (
            (404, ""),
            "NoProfile",
            "the instance has no instance profile",
            "aws ec2 associate-iam-instance-profile",
        ),
        (
            (
                200,
                json.dumps({"Code": "Success", "Message": NO_ROLE, "InstanceProfileArn": "a/p"}),
            ),
            "NoRole",
            NO_ROLE,
            "add-role-to-instance-profile --instance-profile-name p ",
        ),
        (
            (200, '{"Code": "InstanceProfileNotFound"}'),
            "ProfileDeleted",
            "InstanceProfileNotFound",
            "aws ec2 replace-iam-instance-profile-association",
        ),
        (
            (200, '{"Code": "Success"}'),
            "NoRole",
            "the instance profile has no role",
            "--instance-profile-name PROFILE ",
        ),
        ((200, "{}"), "NoRole", "the instance profile has no role", "add-role"),
    ],
)
def test_without_a_role_the_reason_is_told(
    bench: Bench, listing: Reply, info: Reply, code: str, detail: str, command: str
) -> None:
    bench.answer(EXTENDED, listing)
    bench.answer(LEGACY, listing)
    bench.answer(INFO, info)
    error = bench.failure()
    assert (error.code, error.detail) == (code, detail)
    assert command in error.hint


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        (
            {"Message": "EC2 cannot assume the role shipper"},
            ": EC2 cannot assume the role shipper",
        ),
        ({}, ""),
    ],
)
def test_a_broken_trust_policy_is_told_with_the_services_own_words(
    bench: Bench, message: dict[str, str], detail: str
) -> None:
    bench.service.facts.role_document = {"Code": "AssumeRoleUnauthorizedAccess", **message}
    error = bench.failure()
    assert (error.code, error.detail) == ("RoleUnusable", "AssumeRoleUnauthorizedAccess" + detail)
    assert "trust policy" in error.hint
    bench.service.facts.role_document = None
    assert bench.metadata.credentials().role == "shipper"


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("changes", "expires_at"),
    [
        ({}, GOOD_UNTIL),
        ({"Expiration": "2030-01-01T00:00:00.832308Z"}, GOOD_UNTIL + 0.832308),
        ({"Expiration": "2030-01-01T02:00:00+02:00"}, GOOD_UNTIL),
        ({"Expiration": "2030-01-01T00:00:00"}, GOOD_UNTIL),
        ({"Code": None, "Type": "AWS-HMAC", "Surprise": {"new": [1, None]}}, GOOD_UNTIL),
    ],
    ids=["plain", "fraction", "offset", "no offset", "unknown members"],
)
@pytest.mark.usefixtures("in_tokyo")
def test_a_role_document_is_understood(
    bench: Bench, changes: dict[str, Any], expires_at: float
) -> None:
    bench.service.facts.role_document = GOOD | changes
    found = bench.metadata.credentials()
    assert (found.access_key_id, found.session_token) == ("AK", "the-session")
    assert found.expires_at == pytest.approx(expires_at, abs=1e-6)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *itertools.product([*KEYS, "Expiration"], [ABSENT, None, "", 7, ["the-secret"]]),
        ("Expiration", "tomorrow"),
        ("Expiration", "the-secret"),
        *itertools.product(
            KEYS,
            ["the-secret\n", "the-\r\nsecret", "the secret", "s\u00e9cret", "\ud800secret", "\0"],
        ),
        ("AccountId", "1\n2"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_role_document_that_lacks_a_member_is_a_bad_answer(
    bench: Bench, member: str, value: object
) -> None:
    document = GOOD | {member: value}
    if value == ABSENT:
        del document[member]
    bench.service.facts.role_document = document
    error = bench.failure()
    assert error.code == "BadAnswer"
    assert member in error.detail


@pytest.mark.parametrize(
    "body", ["", "{", "<html>", "[1]", '"text"', "null", pytest.param("[" * 60_000, id="deep")]
)
def test_a_document_that_is_no_json_object_is_asked_for_again(bench: Bench, body: str) -> None:
    bench.answer(EXTENDED + "shipper", (200, body), (200, body), (200, json.dumps(GOOD)))
    assert bench.metadata.credentials().access_key_id == "AK"
    bench.answer(EXTENDED + "shipper", (200, body))
    assert bench.failure().code == "BadAnswer"


def test_an_answer_may_be_64_kib_long_and_not_a_byte_longer(bench: Bench) -> None:
    bench.answer(THING, (200, "x" * BODY_BYTES))
    assert bench.metadata.get("thing") == "x" * BODY_BYTES
    bench.answer(THING, (200, "x" * (BODY_BYTES + 1)))
    with pytest.raises(PortError, match=r"BadAnswer: .* more than 65536 bytes"):
        bench.metadata.get("thing")


def test_the_members_of_an_identity_document_are_optional_but_the_id(bench: Bench) -> None:
    path = "dynamic/instance-identity/document"
    bench.answer(f"GET {path}", (200, '{"instanceId": "i-9", "region": null}'))
    found = bench.metadata.instance()
    assert (found.instance_id, found.region, found.account_id) == ("i-9", "", "")
    for reply in ((200, '{"region": "eu-central-1"}'), (404, "")):
        bench.answer(f"GET {path}", reply)
        with pytest.raises(PortError, match="BadAnswer"):
            bench.metadata.instance()


URL, MODE = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
V4, V6 = "http://169.254.169.254", "http://[fd00:ec2::254]"


@pytest.mark.parametrize(
    ("configured", "mode", "environment", "expected"),
    [
        ("", "ipv4", {}, V4),
        ("", "ipv6", {}, V6),
        ("", "ipv4", {MODE: "IPv6"}, V6),
        ("", "ipv6", {MODE: "IPV4"}, V6),
        ("", "ipv6", {MODE: "", URL: ""}, V6),
        ("", "ipv4", {MODE: "ipv6", URL: "http://127.0.0.1:1338/"}, "http://127.0.0.1:1338"),
        ("https://c", "ipv6", {MODE: "ipv4", URL: "http://e"}, "https://c"),
        ("http://c", "ipv9", {MODE: "none", URL: "no URL"}, "http://c"),
    ],
)
def test_the_endpoint_is_the_one_nearest_to_the_operator(
    configured: str, mode: str, environment: dict[str, str], expected: str
) -> None:
    assert endpoint_from(configured, mode, environment) == expected


@pytest.mark.parametrize(
    ("configured", "environment", "named"),
    [
        ("", {MODE: "ipv5"}, "'ipv5'"),
        ("", {URL: "169.254.169.254"}, "'169.254.169.254'"),
        ("ftp://c", {URL: "http://e"}, "'ftp://c'"),
        ("http://", {}, "'http://'"),
        ("http://[::1", {}, "'http://[::1'"),
        ("http://c:port", {}, "'http://c:port'"),
    ],
)
def test_a_bad_endpoint_is_named(configured: str, environment: dict[str, str], named: str) -> None:
    with pytest.raises(PortError, match="BadEndpoint") as caught:
        endpoint_from(configured, "ipv4", environment)
    assert named in caught.value.detail
    assert URL in caught.value.hint
