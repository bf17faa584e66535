"""The policies: what they allow and deny, judged by a small evaluator of AWS's rules.

The evaluator knows what moto's does not: conditions, variables, escapes and explicit denials.
"""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.destinations import HIVE_KEY, Destination
from shipper.core.manifests import DIRECTORY
from shipper.core.object_keys import InstanceFacts, another_key, key_beginning, object_key
from shipper.core.types import Compression, FileId, RelativePath, WatchName
from shipper.iam.options import PolicyOptions
from shipper.iam.policies import bucket_policy, combined, policies, policy, reader, with_own
from shipper.ports import PortError
from tests.fakes.examples import promise
from tests.fakes.policies import (
    ACCOUNT,
    BUCKET,
    GOOD_REQUEST,
    INSTANCE,
    KEY,
    KMS_KEY,
    PER_INSTANCE,
    PLAIN,
    ROLE_ARN,
    ROLE_ID,
    TERMS,
    allows,
    effects,
)


def test_the_policy_allows_what_the_daemon_needs_and_nothing_else() -> None:
    document = policy(PLAIN, TERMS)
    assert allows(document, "s3:PutObject", KEY)
    assert allows(document, "s3:ListBucket", BUCKET)
    for action in ("s3:GetObject", "s3:DeleteObject", "s3:PutObjectTagging", "s3:PutObjectAcl"):
        assert not allows(document, action, KEY), action
    assert not allows(document, "s3:PutObject", f"{BUCKET}/other/access.log")
    assert not allows(document, "s3:PutObject", "arn:aws:s3:::my-bucket-2/logs/x")


@pytest.mark.parametrize("prefix", ["", "other/", "log"])
def test_what_is_not_below_the_prefix_cannot_be_listed(prefix: str) -> None:
    assert not allows(policy(PLAIN, TERMS), "s3:ListBucket", BUCKET, s3__prefix=prefix)


def test_a_listing_that_names_no_prefix_is_denied() -> None:
    assert not allows(policy(PLAIN, TERMS), "s3:ListBucket", BUCKET, s3__prefix=None)


def test_tags_and_acls_may_be_set_only_when_they_are_configured() -> None:
    tagging = policy(replace(PLAIN, tags=(("team", "web"),)), TERMS)
    assert allows(tagging, "s3:PutObjectTagging", KEY)
    assert not allows(tagging, "s3:PutObjectAcl", KEY)
    owning = policy(replace(PLAIN, acl="bucket-owner-full-control"), TERMS)
    assert allows(owning, "s3:PutObjectAcl", KEY)
    assert not allows(owning, "s3:PutObjectTagging", KEY)


def test_the_bucket_must_be_of_the_expected_owner() -> None:
    document = policy(replace(PLAIN, expected_bucket_owner=ACCOUNT), TERMS)
    for action, resource in (("s3:PutObject", KEY), ("s3:ListBucket", BUCKET)):
        assert allows(document, action, resource, aws__ResourceAccount=ACCOUNT)
        assert not allows(document, action, resource, aws__ResourceAccount="999999999999")


@pytest.mark.parametrize("role_arn", ["", ROLE_ARN])
def test_the_lifecycle_action_may_be_completed_only_when_a_hook_is_configured(
    role_arn: str,
) -> None:
    destination = replace(PLAIN, role_arn=role_arn)
    group = (
        "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:x:autoScalingGroupName/"
    )
    hooked = replace(TERMS, has_lifecycle_hook=True, autoscaling_group="web")
    actions = ("autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat")
    for action in actions:
        assert allows(policy(destination, hooked), action, f"{group}web")
        assert not allows(policy(destination, hooked), action, f"{group}other")
        assert not allows(policy(destination, TERMS), action, f"{group}web")
        anywhere = replace(hooked, autoscaling_group="")
        assert allows(policy(destination, anywhere), action, f"{group}other")
        assert not allows(
            policy(destination, replace(hooked, assumed_role=True)), action, f"{group}web"
        )


# The key


def kms(key_id: str, **changes: Any) -> dict[str, Any]:
    """The policy with this key."""
    destination = replace(PLAIN, server_side_encryption="aws:kms", kms_key_id=key_id)
    return policy(replace(destination, **changes), TERMS)


def test_the_key_may_be_used_through_s3_and_not_otherwise() -> None:
    document, through_s3 = kms(KMS_KEY), "s3.eu-central-1.amazonaws.com"
    for action in ("kms:GenerateDataKey", "kms:Decrypt"):
        assert allows(document, action, KMS_KEY, kms__ViaService=through_s3)
        assert not allows(document, action, KMS_KEY)
    assert not allows(document, "kms:Encrypt", KMS_KEY, kms__ViaService=through_s3)
    assert not allows(document, "kms:Decrypt", f"{KMS_KEY[:-1]}6", kms__ViaService=through_s3)


def test_without_a_key_of_ones_own_there_is_no_statement_about_kms() -> None:
    assert "kms" not in json.dumps(policy(replace(PLAIN, server_side_encryption="aws:kms"), TERMS))


def test_a_keys_id_is_completed_with_the_account_and_the_region() -> None:
    name = KMS_KEY.partition("/")[2]
    through_s3 = "s3.eu-central-1.amazonaws.com"
    for region in ("eu-central-1", ""):
        document = kms(name, region=region)
        assert allows(document, "kms:Decrypt", KMS_KEY, kms__ViaService=through_s3)
    with pytest.raises(PortError, match="NeedsAccount"):
        policy(replace(PLAIN, server_side_encryption="aws:kms", kms_key_id=name), PolicyOptions())


@pytest.mark.parametrize("name", ["alias/logs", f"arn:aws:kms:eu-central-1:{ACCOUNT}:alias/logs"])
def test_an_alias_stands_for_the_key_that_has_it(name: str) -> None:
    document, through_s3 = kms(name, region="eu-central-1"), "s3.eu-central-1.amazonaws.com"
    context = {"kms__ViaService": through_s3, "kms__ResourceAliases": "alias/logs"}
    assert allows(document, "kms:Decrypt", KMS_KEY, **context)
    context["kms__ResourceAliases"] = "alias/other"
    assert not allows(document, "kms:Decrypt", KMS_KEY, **context)


# Keys and prefixes

TEMPLATES = (
    Destination.__dataclass_fields__["key"].default,
    HIVE_KEY,
    "{prefix}{digest}",
    "{prefix}{stem}.{digest}",
    "{prefix}.{stem}{digest}{extension}",
    "fleet/{prefix}{region}/{digest}{extension}",
    "a.b{digest}",
    "x.7.{digest}",
    "*{{?}}$/{stem}.{digest}",
    "{stem}/{prefix}{digest}",
    "..{prefix}./{directory}/{digest}",
)
PREFIXES = st.text(alphabet="ab7.*?$/{}ü: ", max_size=8)


def key_of(destination: Destination, path: bytes, directory: bytes) -> Any:
    """A key as the daemon makes it."""
    return object_key(
        destination.key,
        InstanceFacts(prefix=destination.prefix, instance_id=INSTANCE, region="eu-central-1"),
        promise(
            watch=WatchName("nginx"),
            path=RelativePath(directory + b"/" + path if directory else path),
            file_id=FileId(7, 4, "head"),
            mtime_ns=1_764_000_000_000_000_000,
            compression=Compression.NONE,
        ),
    )


@given(
    prefix=PREFIXES,
    key=st.sampled_from(TEMPLATES),
    path=st.sampled_from([b"access.log.1", b".hidden", b"a", b"...", b"a.gz"]),
    directory=st.sampled_from([b"", b"site", b".git"]),
)
def test_whatever_key_a_template_makes_may_be_written_and_looked_for(
    prefix: str, key: str, path: bytes, directory: bytes
) -> None:
    destination = replace(PLAIN, prefix=prefix, key=key)
    document = policy(destination, TERMS)
    made = key_of(destination, path, directory)
    for one in (made, another_key(made), another_key(another_key(made))):
        assert allows(document, "s3:PutObject", f"{BUCKET}/{one}"), one
        assert allows(document, "s3:ListBucket", BUCKET, s3__prefix=one)
    assert allows(document, "s3:ListBucket", BUCKET, s3__prefix=prefix), "the probe"


@pytest.mark.parametrize(
    ("prefix", "key", "head"),
    [
        ("logs/", TEMPLATES[0], "logs/"),
        ("", TEMPLATES[0], ""),
        ("logs/", "fleet/{prefix}web/{stem}.{digest}", "fleet/logs/web/"),
        ("logs/", "archive/{watch}/{digest}", "archive/"),
        ("logs/../", TEMPLATES[0], "logs/%2E%2E/"),
        ("{x}/", "{prefix}{{y}}/{digest}", "{x}/{y}/"),
        ("a.", TEMPLATES[0], "a"),
    ],
)
def test_the_head_is_all_of_the_template_that_never_varies(
    prefix: str, key: str, head: str
) -> None:
    assert key_beginning(key, prefix).text == head


@pytest.mark.parametrize(
    ("prefix", "neighbour"),
    [
        ("a*/", "ab/x"),
        ("a?/", "ab/x"),
        ("$/", "x/x"),
        ("${aws:userid}/", f"{ROLE_ID}:{INSTANCE}/x"),
    ],
)
def test_what_policies_take_for_wildcards_is_only_itself_in_a_prefix(
    prefix: str, neighbour: str
) -> None:
    document = policy(replace(PLAIN, prefix=prefix), TERMS)
    assert allows(document, "s3:PutObject", f"{BUCKET}/{prefix}x")
    assert allows(document, "s3:ListBucket", BUCKET, s3__prefix=f"{prefix}x")
    assert not allows(document, "s3:PutObject", f"{BUCKET}/{neighbour}")
    assert not allows(document, "s3:ListBucket", BUCKET, s3__prefix=neighbour)


# A prefix for each instance


def test_an_instance_writes_below_its_own_prefix_and_not_below_its_neighbours() -> None:
    document = policy(PER_INSTANCE, replace(TERMS, per_instance_prefix=True))
    mine = key_of(PER_INSTANCE, b"a.log.1", b"")
    theirs = mine.replace(INSTANCE, "i-0ffffffffffffffff")
    assert allows(document, "s3:PutObject", f"{BUCKET}/{mine}")
    assert allows(document, "s3:ListBucket", BUCKET, s3__prefix=mine)
    assert allows(document, "s3:ListBucket", BUCKET, s3__prefix=PER_INSTANCE.prefix), "the probe"
    assert not allows(document, "s3:PutObject", f"{BUCKET}/{theirs}")
    assert not allows(document, "s3:ListBucket", BUCKET, s3__prefix=theirs)
    assert not allows(document, "s3:PutObject", f"{BUCKET}/logs/x")


@pytest.mark.parametrize(
    "destination",
    [
        PLAIN,
        replace(PER_INSTANCE, prefix="logs/"),
        replace(PER_INSTANCE, prefix=f"logs/x{ROLE_ID}:"),
        replace(PER_INSTANCE, key="{prefix}{watch}/{instance_id}/{digest}"),
        replace(PER_INSTANCE, key="{prefix}{instance_id}{stem}/{digest}"),
    ],
)
def test_a_prefix_that_is_not_the_instances_is_explained(destination: Destination) -> None:
    with pytest.raises(PortError, match="PrefixNotPerInstance") as refused:
        policy(destination, replace(TERMS, per_instance_prefix=True))
    assert 'destination.prefix = "logs/ROLE_ID:"' in refused.value.hint
    assert "aws iam get-role --role-name shipper" in refused.value.hint


def test_write_once_covers_every_instance_of_the_role() -> None:
    terms = replace(TERMS, per_instance_prefix=True, write_once=True)
    document = bucket_policy(PER_INSTANCE, terms)
    theirs = f"{BUCKET}/logs/{ROLE_ID}:i-0ffffffffffffffff/x"
    context = {k: v for k, v in GOOD_REQUEST.items() if k != "s3:if-none-match"}
    assert effects(document, "s3:PutObject", theirs, context) == {"Deny"}


# Conditions

CONDITIONS: list[tuple[dict[str, Any], dict[str, str | None]]] = [
    ({"vpcs": ("vpc-11111111", "vpc-22222222")}, {"aws:SourceVpc": "vpc-33333333"}),
    ({"vpcs": ("vpc-11111111",)}, {"aws:SourceVpc": None}),
    ({"vpc_endpoints": ("vpce-11111111",)}, {"aws:SourceVpce": "vpce-22222222"}),
    ({"vpc_endpoints": ("vpce-11111111",)}, {"aws:SourceVpce": None}),
    ({"principal_tags": ("team=web",)}, {"aws:PrincipalTag/team": "db"}),
    ({"principal_tags": ("team=web", "team=www")}, {"aws:PrincipalTag/team": None}),
    ({"require_imdsv2": True}, {"ec2:RoleDelivery": "1.0"}),
    ({"require_imdsv2": True}, {"ec2:RoleDelivery": None}),
    ({"require_tls": True}, {"aws:SecureTransport": "false"}),
    ({"only_from_instance": True}, {"aws:SourceVpc": "vpc-22222222"}),
    ({"only_from_instance": True}, {"aws:VpcSourceIp": "10.0.0.8"}),
    ({"only_from_instance": True}, {"aws:SourceVpc": None, "aws:VpcSourceIp": None}),
    ({"only_from_instance": True}, {"aws:Ec2InstanceSourceVPC": None}),
    ({"only_from_instance": True}, {"aws:Ec2InstanceSourcePrivateIPv4": None}),
]


@pytest.mark.parametrize(("options", "missed"), CONDITIONS)
def test_a_condition_that_is_missed_closes_the_role_and_the_bucket(
    options: dict[str, Any], missed: dict[str, str | None]
) -> None:
    terms = replace(TERMS, **options)
    bad = {name: value for name, value in (GOOD_REQUEST | missed).items() if value is not None}
    for action, resource in (("s3:PutObject", KEY), ("s3:ListBucket", BUCKET)):
        assert effects(policy(PLAIN, terms), action, resource, GOOD_REQUEST) == {"Allow"}
        assert effects(policy(PLAIN, terms), action, resource, bad) == set()
        from_bucket = bucket_policy(PLAIN, terms)
        assert effects(from_bucket, action, resource, GOOD_REQUEST) == {"Allow"}
        assert effects(from_bucket, action, resource, bad) == {"Deny"}


def test_addresses_are_judged_as_s3_sees_them() -> None:
    terms = replace(TERMS, source_ips=("203.0.113.0/24", "2001:db8::/32"))
    for document, closed in (
        (policy(PLAIN, terms), set()),
        (bucket_policy(PLAIN, terms), {"Deny"}),
    ):
        for context, expected in (
            ({"aws:SourceIp": "203.0.113.9"}, {"Allow"}),
            ({"aws:SourceIp": "198.51.100.1"}, closed),
            ({}, closed),
        ):
            found = effects(document, "s3:PutObject", KEY, GOOD_REQUEST | context)
            assert found == expected, context


def test_all_conditions_together_leave_the_good_request_alone() -> None:
    merged: dict[str, Any] = {}
    for options, _ in CONDITIONS:
        merged |= options
    terms = replace(TERMS, **merged)
    assert allows(policy(PLAIN, terms), "s3:PutObject", KEY)
    assert allows(bucket_policy(PLAIN, terms), "s3:PutObject", KEY)


# The bucket's policy


def test_the_bucket_takes_nothing_without_tls_from_anybody() -> None:
    document = bucket_policy(PLAIN, TERMS)
    assert not allows(document, "s3:PutObject", KEY, aws__SecureTransport="false")
    [denial] = [each for each in document["Statement"] if each["Effect"] == "Deny"]
    assert denial["Principal"] == "*"


def test_only_the_role_is_allowed_and_bound_by_its_conditions() -> None:
    document = bucket_policy(PLAIN, replace(TERMS, vpcs=("vpc-11111111",)))
    of_role = [each["Sid"] for each in document["Statement"] if each["Principal"] != "*"]
    assert of_role == ["ShipperWrite", "ShipperList", "DenyOutsideVpc"]
    assert all(
        each["Principal"] == {"AWS": ROLE_ARN}
        for each in document["Statement"]
        if each["Sid"] in of_role
    )


def test_what_is_written_once_is_never_replaced_and_parts_still_come_in() -> None:
    document = bucket_policy(PLAIN, replace(TERMS, write_once=True))
    assert allows(document, "s3:PutObject", KEY)
    assert not allows(document, "s3:PutObject", KEY, **{"s3__if-none-match": None})
    part = {"s3__if-none-match": None, "s3__ObjectCreationOperation": "false"}
    assert allows(document, "s3:PutObject", KEY, **part)


def test_without_an_account_the_bucket_cannot_name_the_role() -> None:
    with pytest.raises(PortError, match="NeedsAccount"):
        bucket_policy(PLAIN, PolicyOptions())


# Another account's role


def test_one_policy_has_what_all_destinations_need() -> None:
    audit = Destination("audit", prefix="a/", object_lock_mode="GOVERNANCE", acl="private")
    web = replace(PLAIN, prefix="web/", tags=(("team", "web"),))
    hop = replace(PLAIN, bucket="far", role_arn="arn:aws:iam::210987654321:role/writer")
    document = policies([PLAIN, web, audit, PLAIN, hop], TERMS)
    assert allows(document, "s3:PutObject", KEY)
    assert allows(document, "s3:PutObjectTagging", f"{BUCKET}/web/x")
    assert not allows(document, "s3:PutObjectTagging", KEY)
    assert allows(document, "s3:PutObjectRetention", "arn:aws:s3:::audit/a/x")
    assert not allows(document, "s3:PutObjectRetention", KEY)
    assert allows(document, "s3:ListBucket", "arn:aws:s3:::audit", s3__prefix="a/")
    assert not allows(document, "s3:PutObject", "arn:aws:s3:::far/logs/x")
    assert allows(document, "sts:AssumeRole", hop.role_arn)
    names = [one["Sid"] for one in document["Statement"]]
    assert len({*names}) == len(names)
    assert all(name.isalnum() for name in names)
    assert [name for name in names if "Write" in name] == [
        "ShipperWrite",
        "ShipperWrite2",
        "ShipperWrite3",
    ]
    assert document["Statement"][:2] == policy(PLAIN, TERMS)["Statement"]


def test_a_statement_that_allows_more_is_kept_beside_the_narrower_one() -> None:
    wide = {"Sid": "Write", "Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}
    narrow = wide | {"Condition": {"StringEquals": {"s3:ResourceAccount": "111111111111"}}}
    said = combined({"Statement": [one]} for one in (narrow, wide, narrow))["Statement"]
    assert said == [narrow, wide | {"Sid": "Write2"}]


# What shipper writes beside logs.

MANIFEST = "_manifests/instance=i-1/epoch=E/00000001.jsonl.zst"


def with_manifests(
    *targets: Destination, to: Destination = PLAIN, options: PolicyOptions = TERMS
) -> list[Destination]:
    return with_own([*targets], to, DIRECTORY, options)


def test_where_logs_may_be_written_below_the_prefix_manifests_may_be() -> None:
    assert with_manifests(PLAIN) == [PLAIN]
    assert allows(policy(PLAIN, TERMS), "s3:PutObject", f"{BUCKET}/logs/{MANIFEST}")


@pytest.mark.parametrize(
    "logs",
    [replace(PLAIN, key="all/{watch}/{digest}"), replace(PLAIN, prefix="other/")],
    ids=["another key", "a prefix of the watch's own"],
)
def test_where_logs_go_elsewhere_manifests_have_statements_of_their_own(
    logs: Destination,
) -> None:
    document = policies(with_manifests(logs), TERMS)
    key = f"{BUCKET}/logs/{MANIFEST}"
    assert not allows(policies([logs], TERMS), "s3:PutObject", key)
    assert allows(document, "s3:PutObject", key)
    assert allows(document, "s3:ListBucket", BUCKET, s3__prefix=f"logs/{MANIFEST}")
    for other in ("logs/_manifests/x", "logs/x", "logs/_fleet/instance=i-1/x"):
        assert not allows(document, "s3:PutObject", f"{BUCKET}/{other}")
    once = combined(
        bucket_policy(one, replace(TERMS, write_once=True)) for one in with_manifests(logs)
    )
    assert sum("DenyOverwriting" in one.get("Sid", "") for one in once["Statement"]) == 2


def test_a_prefix_for_each_instance_leaves_manifests_of_every_instance_to_all() -> None:
    options = replace(TERMS, per_instance_prefix=True)
    prefix = PER_INSTANCE.prefix
    found = with_manifests(PER_INSTANCE, to=PER_INSTANCE, options=options)
    document = policies(found, options)
    assert allows(document, "s3:PutObject", f"{BUCKET}/{prefix}{MANIFEST}")
    assert not allows(document, "s3:PutObject", f"{BUCKET}/{prefix}_other/instance=i-1/x")


def test_a_reader_lists_and_gets_logs_manifests_and_heartbeats_and_changes_nothing() -> None:
    document = reader(replace(PLAIN, kms_key_id=KMS_KEY), TERMS)
    for key in (KEY, f"{BUCKET}/logs/_manifests/x", f"{BUCKET}/logs/_fleet/x"):
        assert allows(document, "s3:GetObject", key)
        for action in ("s3:PutObject", "s3:DeleteObject", "s3:RestoreObject", "s3:PutObjectAcl"):
            assert not allows(document, action, key), action
    assert allows(document, "s3:ListBucket", BUCKET)
    assert not allows(document, "s3:ListBucket", BUCKET, s3__prefix="")
    assert not allows(document, "s3:GetObject", f"{BUCKET}/other/x")
    assert [one["Action"] for one in document["Statement"]] == [
        "s3:GetObject",
        "s3:ListBucket",
        ["kms:Decrypt"],
    ]


def test_a_reader_needs_both_where_keys_begin_beside_the_prefix() -> None:
    beside = replace(PLAIN, key="fleet/{prefix}{digest}", expected_bucket_owner=ACCOUNT)
    read, listed = reader(beside, TERMS)["Statement"]

    assert read["Resource"] == [f"{BUCKET}/fleet/logs/*", f"{BUCKET}/logs/*"]
    assert listed["Condition"]["StringLike"]["s3:prefix"] == ["fleet/logs/*", "logs/*"]
    assert listed["Condition"]["StringEquals"] == {"aws:ResourceAccount": ACCOUNT}
