"""Trust policy, role policy and bucket policy, from the configuration: least privilege.

What the daemon asks for: PutObject (which covers multipart uploads) on the keys its template can
produce, and ListBucket below them and on ``destination.prefix`` itself, which the probe lists.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from shipper.core.access_points import access_point_of
from shipper.core.destinations import Destination
from shipper.core.object_keys import KeyBeginning, key_beginning
from shipper.core.tag_fields import ANY_VALUE
from shipper.iam.options import Condition, PolicyOptions, rules_of
from shipper.ports import PortError

Document = dict[str, Any]

_LITERAL = str.maketrans({"*": "${*}", "?": "${?}", "$": "${$}", ANY_VALUE: "*"})
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html"""

_DIRECTORIES = ("_manifests/", "_fleet/")
_OWN = "instance="
"""What is before the instance id, below a directory of shipper's own."""
_SERVICES = {"ecs": "ecs-tasks.amazonaws.com", "eks": "pods.eks.amazonaws.com"}

_ROLE_ID_LAST = re.compile(r"((?:.*/)?)AROA[A-Z0-9]+:", re.DOTALL)


def trust(destination: Destination, options: PolicyOptions) -> Document:
    """Who may assume the role: where shipper runs, or, of ``destination.role_arn``, its role."""
    statement: Document = {"Effect": "Allow", "Principal": {}, "Action": _assuming(options)}
    if not options.assumed_role:
        suffix = ".cn" if options.partition == "aws-cn" else ""
        service = _SERVICES.get(options.on, f"ec2.amazonaws.com{suffix}")
        statement["Principal"] = {"Service": service}
        return _document([statement])
    statement["Principal"] = {"AWS": options.role_arn}
    if destination.external_id:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": destination.external_id}}
    return _document([statement])


def _assuming(options: PolicyOptions) -> str | list[str]:
    """Pod Identity gives its sessions tags, and the sessions that follow from them.

    https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
    """
    return ["sts:AssumeRole", "sts:TagSession"] if options.on == "eks" else "sts:AssumeRole"


def policy(destination: Destination, options: PolicyOptions) -> Document:
    """What the instance's role may do; with ``assumed_role``, the role of ``role_arn``."""
    conditions = [rule.matches for rule in rules_of(options)]
    if destination.role_arn and not options.assumed_role:
        assume = _statement("Assume", _assuming(options), destination.role_arn, conditions)
        return _document([assume, *_completing(options)])
    if destination.expected_bucket_owner:
        owner = {"aws:ResourceAccount": destination.expected_bucket_owner}
        conditions.append({"StringEquals": owner})
    statements = _writing_and_listing(destination, options, conditions)
    if destination.kms_key_id:
        # Decrypt is for multipart uploads, whose parts S3 reads again.
        actions = ["kms:GenerateDataKey", "kms:Decrypt"]
        statements.append(_of_key(destination, options, "Encrypt", actions))
    return _document([*statements, *_completing(options)])


def reader(destination: Destination, options: PolicyOptions) -> Document:
    """What somebody may do who reads the logs, manifests and heartbeats, and changes nothing."""
    conditions = [rule.matches for rule in rules_of(options)]
    if destination.expected_bucket_owner:
        owner = {"aws:ResourceAccount": destination.expected_bucket_owner}
        conditions.append({"StringEquals": owner})
    bucket, begins = _bucket_arn(destination, options), _beginning(destination).text
    texts = {begins, destination.prefix}
    keys = [
        f"{literal(text)}*"
        for text in sorted(texts)
        if not any(other != text and text.startswith(other) for other in texts)
    ]
    objects = [f"{_objects_arn(destination, bucket)}{each}" for each in keys]
    listed: Condition = {"StringLike": {"s3:prefix": keys}}
    statements = [
        _statement("Read", "s3:GetObject", objects, conditions),
        _statement("List", "s3:ListBucket", bucket, [listed, *conditions]),
    ]
    if destination.kms_key_id:
        statements.append(_of_key(destination, options, "Decrypt", ["kms:Decrypt"]))
    return _document(statements)


def policies(destinations: Iterable[Destination], options: PolicyOptions) -> Document:
    """As ``policy``, for all of these destinations."""
    return combined(policy(one, options) for one in destinations)


def with_own(
    targets: list[Destination], to: Destination, directory: str, options: PolicyOptions
) -> list[Destination]:
    """The destinations, with what shipper writes below ``directory`` of the prefix of ``to``, such
    as its manifests, where what logs need does not allow that."""
    own = replace(to, key=f"{{prefix}}{directory}{_OWN}{{instance_id}}/{{digest}}")
    beginning = _beginning(own).text
    is_allowed = not options.per_instance_prefix and any(
        one.bucket == to.bucket and beginning.startswith(_beginning(one).text) for one in targets
    )
    return targets if is_allowed else [*targets, own]


def combined(documents: Iterable[Document]) -> Document:
    """One document with the statements of all. Each has a name of its own."""
    found: dict[str, Document] = {}
    said: list[Document] = []
    for statement in (one for document in documents for one in document["Statement"]):
        name = statement.get("Sid", "")
        bare = {key: value for key, value in statement.items() if key != "Sid"}
        if bare in said:
            continue
        said.append(bare)
        number = 1 + sum(known == name or known.startswith(f"{name}-") for known in found)
        label = name if number == 1 else f"{name}-{number}"
        found[label] = {"Sid": label.replace("-", ""), **bare} if name else bare
    return _document([*found.values()])


def bucket_policy(
    destination: Destination, options: PolicyOptions, principal: Any = None
) -> Document:
    """The same from the bucket's side, and what no other policy can then allow.

    ``principal`` is the writing role's ARN, where it is not known as a text.
    """
    role = {"AWS": principal or destination.role_arn or options.role_arn}
    rules, bucket = rules_of(options), _bucket_arn(destination, options)
    everything, conditions = [bucket, f"{bucket}/*"], [rule.matches for rule in rules]
    allowed = _writing_and_listing(destination, options, conditions)
    statements = [{**statement, "Principal": role} for statement in allowed]
    insecure = {"Bool": {"aws:SecureTransport": "false"}}
    statements.append(_denial("DenyWithoutTls", "*", "s3:*", everything, insecure))
    statements += [
        _denial(f"Deny{rule.name}", role, "s3:*", everything, rule.fails) for rule in rules
    ]
    if options.write_once:
        unconditional = {
            "Null": {"s3:if-none-match": "true"},
            # Create and UploadPart cannot have the header; they create no object.
            "Bool": {"s3:ObjectCreationOperation": "true"},
        }
        objects = f"{bucket}/{literal(_beginning(destination).text)}*"
        statements.append(_denial("DenyOverwriting", "*", "s3:PutObject", objects, unconditional))
    return _document(statements)


def _beginning(destination: Destination) -> KeyBeginning:
    return key_beginning(destination.key, destination.prefix)


def literal(text: str) -> str:
    """Text of which a policy takes every character as it is, but for tags of the instance."""
    return text.translate(_LITERAL)


def _writing_and_listing(
    destination: Destination, options: PolicyOptions, conditions: list[Condition]
) -> list[Document]:
    bucket, keys = _bucket_arn(destination, options), _keys(destination, options)
    actions = ["s3:PutObject"]
    actions += ["s3:PutObjectTagging"] * bool(destination.tags)
    actions += ["s3:PutObjectAcl"] * bool(destination.acl)
    actions += ["s3:PutObjectRetention"] * bool(destination.object_lock_mode)
    is_listed = destination.prefix.startswith(_beginning(destination).text)
    probed = [literal(destination.prefix)] * (options.per_instance_prefix or not is_listed)
    below: Condition = {"StringLike": {"s3:prefix": [keys, *probed]}}
    return [
        _statement("Write", actions, f"{_objects_arn(destination, bucket)}{keys}", conditions),
        _statement("List", "s3:ListBucket", bucket, [below, *conditions]),
    ]


def _keys(destination: Destination, options: PolicyOptions) -> str:
    """The pattern of the keys an instance may write."""
    head = _beginning(destination)
    if not options.per_instance_prefix:
        return f"{literal(head.text)}*"
    if head.text.endswith(tuple(f"{name}{_OWN}" for name in _DIRECTORIES)):
        return f"{literal(head.text)}*"  # no variable is the instance id alone
    found = _ROLE_ID_LAST.fullmatch(head.text)
    if found is None or head.field != "instance_id" or not head.after.startswith("/"):
        raise PortError(
            "PrefixNotPerInstance",
            f"the policy allows what begins with ROLE_ID:INSTANCE_ID/, and keys begin with "
            f"{head.text}{{{head.field}}}{head.after}",
            'destination.prefix = "logs/ROLE_ID:" and destination.key = '
            '"{prefix}{instance_id}/{watch}/..."; ROLE_ID (AROA...) is what `aws iam get-role '
            f"--role-name {options.role} --query Role.RoleId` says, once there is the role",
        )
    return f"{literal(found[1])}${{aws:userid}}/*"


def _of_key(
    destination: Destination, options: PolicyOptions, statement: str, actions: list[str]
) -> Document:
    """The key, and only through S3.

    S3 asks KMS in the role's name, from an address of its own: the other conditions, which judge
    the role's requests, would not hold.
    """
    scope, _, name = destination.kms_key_id.rpartition(":")
    if not scope:
        if not options.account:
            raise PortError(
                "NeedsAccount",
                f"the ARN of the key {name} holds its account's id",
                "--account 123456789012, or the key's ARN as destination.kms_key_id",
            )
        region = destination.region or "*"
        scope = f"arn:{options.partition}:kms:{region}:{options.account}"
        name = name if name.startswith("alias/") else f"key/{name}"
    suffix = "*" if options.partition == "aws-cn" else ""
    service = f"s3.{scope.split(':')[3]}.amazonaws.com{suffix}"
    conditions: list[Condition] = [{"StringLike": {"kms:ViaService": service}}]
    if name.startswith("alias/"):
        conditions.append({"ForAnyValue:StringEquals": {"kms:ResourceAliases": name}})
        name = "key/*"
    return _statement(statement, actions, f"{scope}:{name}", conditions)


def _completing(options: PolicyOptions) -> Iterator[Document]:
    """The lifecycle hook: of the instance's own role, and not reached as S3 is.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html
    """
    if options.has_lifecycle_hook and not options.assumed_role:
        names = ("CompleteLifecycleAction", "RecordLifecycleActionHeartbeat")
        actions = [f"autoscaling:{name}" for name in names]
        account, group = options.account or "*", literal(options.autoscaling_group) or "*"
        groups = f"autoscaling:*:{account}:autoScalingGroup:*:autoScalingGroupName/{group}"
        conditions = [rule.matches for rule in rules_of(options, for_s3=False)]
        yield _statement("Lifecycle", actions, f"arn:{options.partition}:{groups}", conditions)


def _objects_arn(destination: Destination, bucket: str) -> str:
    """What the ARNs of its objects begin with."""
    return f"{bucket}/object/" if access_point_of(destination.bucket) else f"{bucket}/"


def _bucket_arn(destination: Destination, options: PolicyOptions) -> str:
    access_point = access_point_of(destination.bucket)
    if access_point is not None:
        return access_point.arn
    return f"arn:{options.partition}:s3:::{literal(destination.bucket)}"


def _statement(
    name: str, actions: str | list[str], resource: str | list[str], conditions: list[Condition]
) -> Document:
    merged: Condition = {}
    for condition in conditions:
        for operator, keys in condition.items():
            merged.setdefault(operator, {}).update(keys)
    statement: Document = {
        "Sid": f"Shipper{name}",
        "Effect": "Allow",
        "Action": actions,
        "Resource": resource,
    }
    return {**statement, "Condition": merged} if merged else statement


def _denial(
    name: str, principal: Any, action: str, resource: str | list[str], condition: Condition
) -> Document:
    return {
        "Sid": name,
        "Effect": "Deny",
        "Principal": principal,
        "Action": action,
        "Resource": resource,
        "Condition": condition,
    }


def _document(statements: list[Document]) -> Document:
    return {"Version": "2012-10-17", "Statement": statements}
