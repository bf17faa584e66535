"""Role, profile and bucket as somebody makes them: steps for the aws CLI, or one template."""

import json
import shlex
from collections.abc import Iterator, Sequence

from shipper.core.destinations import Destination
from shipper.core.object_keys import tags_in
from shipper.core.tag_fields import has_any_tag
from shipper.iam.options import PolicyOptions
from shipper.iam.policies import Document, bucket_policy, combined, policies, trust

HOP_LIMIT = 2
"""A container's answers take one hop more than those of its host."""


def commands(destinations: Sequence[Destination], options: PolicyOptions) -> str:
    """A shell script. What it does by itself makes the role; the instances are left to choose."""
    steps = [*_role_steps(destinations, options), *_instance_steps(destinations, options)]
    # Whoever pastes them keeps the shell, whatever fails.
    return "\n".join(["(", *steps, ")"])


def template(destinations: Sequence[Destination], options: PolicyOptions) -> Document:
    """A CloudFormation template: role, profile and the buckets that are not another account's."""
    resources: Document = {
        "Role": _role(destinations, options),
        "InstanceProfile": {
            "Type": "AWS::IAM::InstanceProfile",
            "Properties": {"InstanceProfileName": options.role, "Roles": [{"Ref": "Role"}]},
        },
    }
    own = [one for one in destinations if not one.role_arn]
    role = {"Fn::GetAtt": ["Role", "Arn"]}
    for number, name in enumerate(dict.fromkeys(one.bucket for one in own), 1):
        ending, users = (
            str(number) if number > 1 else "",
            [one for one in own if one.bucket == name],
        )
        resources[f"Bucket{ending}"] = _bucket(users)
        allowed = combined(bucket_policy(one, options, principal=role) for one in users)
        resources[f"BucketPolicy{ending}"] = {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {"Bucket": {"Ref": f"Bucket{ending}"}, "PolicyDocument": allowed},
        }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "shipper: the role and the profile of its instances, and their bucket",
        "Resources": resources,
        "Outputs": {
            "InstanceProfileName": {
                "Description": "What an instance is started with",
                "Value": {"Ref": "InstanceProfile"},
            },
            "RoleId": {
                "Description": "What a prefix per instance begins with",
                "Value": {"Fn::GetAtt": ["Role", "RoleId"]},
            },
        },
    }


def _role(destinations: Sequence[Destination], options: PolicyOptions) -> Document:
    document = policies(destinations, options)
    properties: Document = {
        "RoleName": options.role,
        "AssumeRolePolicyDocument": trust(destinations[0], options),
        "Policies": [{"PolicyName": "shipper", "PolicyDocument": document}],
    }
    if options.tags:
        properties["Tags"] = _tags(options)
    return {"Type": "AWS::IAM::Role", "Properties": properties}


def _bucket(users: Sequence[Destination]) -> Document:
    """Kept when the stack is deleted: the logs are worth more than the stack."""
    destination = users[0]
    encryption: Document = {"SSEAlgorithm": destination.server_side_encryption or "AES256"}
    if destination.kms_key_id:
        encryption["KMSMasterKeyID"] = destination.kms_key_id
    rule: Document = {"ServerSideEncryptionByDefault": encryption}
    if destination.bucket_key_enabled:
        rule["BucketKeyEnabled"] = True
    takes_no_acls = {one.acl for one in users} <= {"", "bucket-owner-full-control"}
    lock = {"ObjectLockEnabled": True} if any(one.object_lock_mode for one in users) else {}
    ownership = f"BucketOwner{'Enforced' if takes_no_acls else 'Preferred'}"
    closed = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    incomplete = {
        "Id": "incomplete-uploads",
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    return {
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "BucketName": destination.bucket,
            **lock,
            "PublicAccessBlockConfiguration": dict.fromkeys(closed, True),
            "OwnershipControls": {"Rules": [{"ObjectOwnership": ownership}]},
            "VersioningConfiguration": {"Status": "Enabled"},
            "BucketEncryption": {"ServerSideEncryptionConfiguration": [rule]},
            "LifecycleConfiguration": {"Rules": [incomplete]},
        },
    }


def _tags(options: PolicyOptions) -> list[dict[str, str]]:
    """One value for each tag: the first that is allowed."""
    return [{"Key": name, "Value": values[0]} for name, values in options.tags.items()]


def _role_steps(destinations: Sequence[Destination], options: PolicyOptions) -> Iterator[str]:
    role, profile = ("--role-name", options.role), ("--instance-profile-name", options.role)
    tags = ("--tags", json.dumps(_tags(options))) if options.tags else ()
    may_assume = ("--assume-role-policy-document", json.dumps(trust(destinations[0], options)))
    may_do = ("--policy-document", json.dumps(policies(destinations, options)))
    yield "set -eu"
    yield "# 1. The role: who may assume it, and what it may do."
    yield _aws("iam", "create-role", *role, *may_assume, *tags)
    yield _aws("iam", "put-role-policy", *role, "--policy-name", "shipper", *may_do)
    yield "# 2. The instance profile, which carries the role to an instance."
    yield _aws("iam", "create-instance-profile", *profile)
    yield _aws("iam", "add-role-to-instance-profile", *profile, *role)
    yield _aws("iam", "wait", "instance-profile-exists", *profile)


def _instance_steps(destinations: Sequence[Destination], options: PolicyOptions) -> Iterator[str]:
    profile = f"--iam-instance-profile Name={shlex.quote(options.role)}"
    metadata = f"HttpEndpoint=enabled,HttpTokens=required,HttpPutResponseHopLimit={HOP_LIMIT}"
    modified = "--http-endpoint enabled --http-tokens required"
    hops = f"--http-put-response-hop-limit {HOP_LIMIT}"
    if any(tags_in(one.key) or has_any_tag(one) for one in destinations):
        metadata += ",InstanceMetadataTags=enabled"
        modified += " --instance-metadata-tags enabled"
    yield "# 3. One of these three, without the #. No instance needs a reboot."
    yield "# A new instance:"
    new = 'aws ec2 run-instances --image-id "$IMAGE_ID" --instance-type t3.micro'
    yield _left_out(new, profile, f"--metadata-options {metadata}")
    yield "# A running instance that has no profile:"
    associate = 'aws ec2 associate-iam-instance-profile --instance-id "$INSTANCE_ID"'
    yield _left_out(associate, profile)
    yield "# A running instance that has another one:"
    yield _left_out(
        "aws ec2 replace-iam-instance-profile-association",
        '--association-id "$(aws ec2 describe-iam-instance-profile-associations',
        '--filters "Name=instance-id,Values=$INSTANCE_ID" Name=state,Values=associated',
        "--query 'IamInstanceProfileAssociations[0].AssociationId' --output text)\"",
        profile,
    )
    yield "# 4. A running instance: IMDSv2 only, and one hop more for containers (else 1 will do)."
    modify = 'aws ec2 modify-instance-metadata-options --instance-id "$INSTANCE_ID"'
    yield _left_out(modify, modified, hops)


def _left_out(*lines: str) -> str:
    return "# " + " \\\n#   ".join(lines)


def _aws(*words: str) -> str:
    return shlex.join(("aws", *words))
