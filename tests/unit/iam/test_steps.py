"""Roles to assume, refused combinations, commands and the template."""

import json
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from shipper.core.destinations import Destination
from shipper.iam.options import DOCUMENTS, PolicyOptions, partition_of
from shipper.iam.policies import bucket_policy, policy, trust
from shipper.iam.refusals import notes, refuse
from shipper.iam.steps import commands, template
from shipper.ports import PortError
from tests.fakes.policies import ACCOUNT, KEY, KMS_KEY, OTHER_ROLE, PLAIN, ROLE_ARN, TERMS, allows

ASSUMING = replace(PLAIN, role_arn=OTHER_ROLE, external_id="shared-secret")


def test_with_a_role_to_assume_the_instance_may_do_only_that() -> None:
    document = policy(ASSUMING, replace(TERMS, require_imdsv2=True))
    assert allows(document, "sts:AssumeRole", OTHER_ROLE)
    assert not allows(document, "sts:AssumeRole", OTHER_ROLE, ec2__RoleDelivery="1.0")
    assert not allows(document, "sts:AssumeRole", ROLE_ARN)
    assert not allows(document, "s3:PutObject", KEY)
    said = " ".join(notes("policy", ASSUMING, TERMS))
    assert OTHER_ROLE in said
    assert "--assumed-role" in said


def test_the_role_that_is_assumed_has_a_policy_and_a_trust_of_its_own() -> None:
    terms = replace(TERMS, assumed_role=True)
    assert policy(ASSUMING, terms) == policy(PLAIN, TERMS)
    [statement] = trust(ASSUMING, terms)["Statement"]
    assert statement["Principal"] == {"AWS": ROLE_ARN}
    assert statement["Condition"] == {"StringEquals": {"sts:ExternalId": "shared-secret"}}
    [statement] = trust(replace(ASSUMING, external_id=""), terms)["Statement"]
    assert "Condition" not in statement


def test_the_buckets_policy_names_the_role_that_is_assumed() -> None:
    document = bucket_policy(ASSUMING, PolicyOptions())
    assert document["Statement"][0]["Principal"] == {"AWS": OTHER_ROLE}


def test_the_template_for_a_role_to_assume_has_no_bucket() -> None:
    assert set(template([ASSUMING], TERMS)["Resources"]) == {"Role", "InstanceProfile"}


# Trust


@pytest.mark.parametrize(
    ("partition", "service"),
    [
        ("aws", "ec2.amazonaws.com"),
        ("aws-us-gov", "ec2.amazonaws.com"),
        ("aws-cn", "ec2.amazonaws.com.cn"),
    ],
)
def test_ec2_and_nobody_else_may_assume_the_role(partition: str, service: str) -> None:
    document = trust(PLAIN, PolicyOptions(partition=partition))
    assert document["Statement"] == [
        {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    ]


@pytest.mark.parametrize("partition", ["aws", "aws-cn"])
def test_ecs_tasks_or_pods_may_assume_a_containers_role(partition: str) -> None:
    [tasks] = trust(PLAIN, PolicyOptions(on="ecs", partition=partition))["Statement"]
    assert tasks["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert tasks["Action"] == "sts:AssumeRole"
    [pods] = trust(PLAIN, PolicyOptions(on="eks", partition=partition))["Statement"]
    assert pods["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert pods["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert trust(PLAIN, PolicyOptions(on="ec2")) == trust(PLAIN, PolicyOptions())


def test_a_session_with_tags_may_take_them_into_the_role_that_it_assumes() -> None:
    terms = replace(TERMS, on="eks")
    document = policy(ASSUMING, terms)
    assert allows(document, "sts:TagSession", OTHER_ROLE)
    assert not allows(policy(ASSUMING, TERMS), "sts:TagSession", OTHER_ROLE)
    [statement] = trust(ASSUMING, replace(terms, assumed_role=True))["Statement"]
    assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert statement["Principal"] == {"AWS": ROLE_ARN}


def test_every_arn_is_of_the_partition() -> None:
    terms = replace(TERMS, partition="aws-cn", write_once=True, only_from_instance=True)
    destination = replace(PLAIN, server_side_encryption="aws:kms", kms_key_id="alias/logs")
    for document in (policy(destination, terms), bucket_policy(destination, terms)):
        text = json.dumps(document)
        assert "arn:aws-cn:" in text
        assert "arn:aws:" not in text
    assert "amazonaws.com*" in json.dumps(policy(destination, terms))


# What cannot be had

HTTP = replace(PLAIN, endpoint_url="http://127.0.0.1:9000")


@pytest.mark.parametrize(
    ("document", "destination", "terms", "words"),
    [
        ("trust", PLAIN, {"vpcs": ("vpc-11111111",)}, "--vpc changes nothing in trust"),
        ("policy", PLAIN, {"write_once": True}, "--write-once changes nothing"),
        ("policy", PLAIN, {"role": "a b"}, "--role"),
        ("policy", PLAIN, {"role": ""}, "--role"),
        ("policy", PLAIN, {"account": "12"}, "--account"),
        ("policy", PLAIN, {"vpcs": ("vpce-11111111",)}, "--vpc "),
        ("policy", PLAIN, {"vpc_endpoints": ("vpc-11111111",)}, "--vpc-endpoint"),
        ("policy", PLAIN, {"principal_tags": ("team",)}, "--principal-tag"),
        ("policy", PLAIN, {"principal_tags": ("=web",)}, "--principal-tag"),
        ("policy", PLAIN, {"source_ips": ("203.0.113.1/24",)}, "host bits"),
        ("policy", PLAIN, {"source_ips": ("10.1.0.0/16",)}, "public addresses"),
        ("policy", PLAIN, {"source_ips": ("fd00::/8",)}, "public addresses"),
        (
            "policy",
            PLAIN,
            {"source_ips": ("203.0.113.0/24",), "vpcs": ("vpc-11111111",)},
            "never hold together",
        ),
        (
            "bucket-policy",
            PLAIN,
            {"source_ips": ("203.0.113.0/24",), "only_from_instance": True},
            "never hold together",
        ),
        ("policy", HTTP, {"require_tls": True}, "is not TLS"),
        ("bucket-policy", HTTP, {}, "is not TLS"),
        ("cloudformation", HTTP, {}, "is not TLS"),
        ("policy", PLAIN, {"assumed_role": True}, "there is none"),
        ("policy", ASSUMING, {"per_instance_prefix": True}, "chooses itself"),
        ("policy", ASSUMING, {"assumed_role": True, "require_imdsv2": True}, "assumed role"),
        ("bucket-policy", ASSUMING, {"only_from_instance": True}, "assumed role"),
        ("cloudformation", ASSUMING, {"write_once": True}, "no bucket"),
        (
            "bucket-policy",
            replace(PLAIN, conditional_writes=False),
            {"write_once": True},
            "If-None-Match",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_hint(
    document: str, destination: Destination, terms: dict[str, Any], words: str
) -> None:
    with pytest.raises(PortError, match="BadOption") as refused:
        refuse(document, destination, replace(TERMS, **terms))
    assert words in refused.value.detail
    assert refused.value.hint


ACCESS_POINT = f"arn:aws:s3:eu-central-1:{ACCOUNT}:accesspoint:logs"


@pytest.mark.parametrize("document", ["bucket-policy", "cloudformation"])
def test_an_access_point_is_no_bucket(document: str) -> None:
    with pytest.raises(PortError, match="BadBucket"):
        refuse(document, replace(PLAIN, bucket=ACCESS_POINT), TERMS)


def test_an_access_points_alias_is_in_no_policy() -> None:
    aliased = replace(PLAIN, bucket="logs-abcdefghijklmnop-s3alias")
    refuse("trust", aliased, TERMS)
    with pytest.raises(PortError, match="alias"):
        refuse("policy", aliased, TERMS)


def test_the_policy_for_an_access_point_names_its_objects_as_aws_does() -> None:
    destination = replace(PLAIN, bucket=ACCESS_POINT)
    refuse("policy", destination, TERMS)
    write, listing = policy(destination, TERMS)["Statement"][:2]
    arn = f"arn:aws:s3:eu-central-1:{ACCOUNT}:accesspoint/logs"
    assert write["Resource"].startswith(f"{arn}/object/")
    assert listing["Resource"] == arn
    assert any("delegate" in note for note in notes("policy", destination, TERMS))
    assert partition_of(replace(PLAIN, bucket=arn.replace("aws:", "aws-cn:", 1))) == "aws-cn"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_document_can_be_had_without_options(document: str) -> None:
    refuse(document, PLAIN, TERMS)
    refuse(
        document, HTTP if document in ("trust", "policy", "commands") else PLAIN, PolicyOptions()
    )


def test_a_vpc_endpoint_is_asked_for_where_it_is_needed() -> None:
    terms = replace(TERMS, vpcs=("vpc-11111111",))
    assert any("endpoint for S3" in note for note in notes("policy", PLAIN, terms))
    assert any("for STS" in note for note in notes("policy", ASSUMING, terms))
    assumed = replace(terms, assumed_role=True)
    assert any("endpoint for S3" in note for note in notes("policy", ASSUMING, assumed))
    assert list(notes("policy", PLAIN, TERMS)) == []


# Steps and template


def test_the_commands_carry_tags_and_ask_for_them_in_the_metadata_when_keys_use_them() -> None:
    plain = commands([PLAIN], TERMS)
    assert "--tags" not in plain
    assert "metadata-tags" not in plain.lower()
    destination = replace(PLAIN, key="{prefix}{tag:Name}/{digest}")
    text = commands([destination], replace(TERMS, principal_tags=("team=web", "team=www")))
    assert """--tags '[{"Key": "team", "Value": "web"}]'""" in text
    assert "InstanceMetadataTags=enabled" in text
    assert "--instance-metadata-tags enabled" in text


def test_whoever_pastes_the_commands_keeps_the_shell_when_one_fails() -> None:
    script = "aws() { echo once; false; }\n" + commands([PLAIN], TERMS) + "\necho $? here"
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert found.stdout == "once\n1 here\n"


def test_the_template_encrypts_and_owns_as_the_configuration_says() -> None:
    plain = template([PLAIN], TERMS)["Resources"]["Bucket"]["Properties"]
    [rule] = plain["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    assert "BucketOwnerEnforced" in json.dumps(plain["OwnershipControls"])
    destination = replace(
        PLAIN,
        server_side_encryption="aws:kms",
        kms_key_id=KMS_KEY,
        bucket_key_enabled=True,
        acl="log-delivery-write",
    )
    made = template([destination], TERMS)["Resources"]["Bucket"]["Properties"]
    [rule] = made["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == KMS_KEY
    assert rule["BucketKeyEnabled"] is True
    assert "BucketOwnerPreferred" in json.dumps(made["OwnershipControls"])


def test_the_bucket_of_the_template_outlives_it() -> None:
    bucket = template([PLAIN], TERMS)["Resources"]["Bucket"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"


# The evaluator itself


@pytest.mark.parametrize(
    ("changes", "partition"),
    [
        ({}, "aws"),
        ({"region": "cn-north-1"}, "aws-cn"),
        ({"region": "us-gov-west-1"}, "aws-us-gov"),
        ({"role_arn": "arn:aws-cn:iam::123456789012:role/x"}, "aws-cn"),
        ({"kms_key_id": "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/x"}, "aws-us-gov"),
        ({"kms_key_id": "alias/x", "region": "eu-west-1"}, "aws"),
    ],
)
def test_the_partition_is_the_configurations(changes: dict[str, str], partition: str) -> None:
    assert partition_of(replace(PLAIN, **changes)) == partition  # type: ignore[arg-type]  # texts


@pytest.mark.parametrize(
    ("document", "changes", "terms", "said"),
    [
        ("policy", {"region": "cn-north-1"}, {}, "contradicts the configuration"),
        ("commands", {}, {"principal_tags": ("Team=a", "team=b")}, "letters' case"),
        ("cloudformation", {"acl": "public-read"}, {}, "blocks public access"),
    ],
)
def test_what_aws_would_refuse_is_refused_here(
    document: str, changes: dict[str, str], terms: dict[str, Any], said: str
) -> None:
    with pytest.raises(PortError) as raised:
        refuse(document, replace(PLAIN, **changes), replace(TERMS, **terms))  # type: ignore[arg-type]  # texts
    assert said in raised.value.detail
    assert raised.value.hint
