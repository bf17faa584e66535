"""Trust policy, role policy and bucket policy, from the configuration: least privilege.

A role's policy allows under every condition asked for; a bucket's policy also denies what misses
one of them, because another policy might allow it. An absent key makes an Allow fail by itself;
in a Deny ``StringNotEquals`` and ``NotIpAddress`` hold when it is absent, and the rest says
``IfExists`` or ``Null``.

What the daemon asks for: PutObject (which covers multipart uploads) on the keys its template can
produce, and ListBucket below them and on ``destination.prefix`` itself, which the probe lists.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from string import Formatter
from typing import Any

from shipper.core.types import Destination
from shipper.iam.options import Terms
from shipper.ports import PortError

Document = dict[str, Any]
Condition = dict[str, dict[str, Any]]

EC2 = {"aws-cn": "ec2.amazonaws.com.cn"}
"""EC2's name as a service, where it is not the usual one."""

_LITERAL = str.maketrans({"*": "${*}", "?": "${?}", "$": "${$}"})
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html"""

_ROLE_ID_LAST = re.compile(r"((?:.*/)?)AROA[A-Z0-9]+:", re.DOTALL)


def trust(destination: Destination, terms: Terms) -> Document:
    """Who may assume the role: EC2, or, of ``destination.role_arn``, the instance's role."""
    statement: Document = {
        "Effect": "Allow",
        "Principal": {"Service": EC2.get(terms.partition, "ec2.amazonaws.com")},
        "Action": "sts:AssumeRole",
    }
    if terms.assumed_role:
        statement["Principal"] = {"AWS": terms.role_arn}
        if destination.external_id:
            statement["Condition"] = {"StringEquals": {"sts:ExternalId": destination.external_id}}
    return _document([statement])


def policy(destination: Destination, terms: Terms) -> Document:
    """What the instance's role may do; with ``assumed_role``, the role of ``role_arn``."""
    conditions = [rule.matches for rule in _rules(terms)]
    if destination.role_arn and not terms.assumed_role:
        assume = _statement("Assume", "sts:AssumeRole", destination.role_arn, conditions)
        return _document([assume, *_completing(terms)])
    if destination.expected_bucket_owner:
        owner = {"aws:ResourceAccount": destination.expected_bucket_owner}
        conditions.append({"StringEquals": owner})
    statements = _writing_and_listing(destination, terms, conditions)
    if destination.kms_key_id:
        statements.append(_encrypting(destination, terms))
    return _document([*statements, *_completing(terms)])


def bucket_policy(destination: Destination, terms: Terms, principal: Any = None) -> Document:
    """The same from the bucket's side, and what no other policy can then allow.

    ``principal`` is the writing role's ARN, where it is not known as a text.
    """
    role = {"AWS": principal or destination.role_arn or terms.role_arn}
    rules = _rules(terms)
    bucket = _bucket_arn(destination, terms)
    everything = [bucket, f"{bucket}/*"]
    statements = [
        {**statement, "Principal": role}
        for statement in _writing_and_listing(destination, terms, [rule.matches for rule in rules])
    ]
    insecure = {"Bool": {"aws:SecureTransport": "false"}}
    statements.append(_denial("DenyWithoutTls", "*", "s3:*", everything, insecure))
    statements += [
        _denial(f"Deny{rule.name}", role, "s3:*", everything, rule.fails) for rule in rules
    ]
    if terms.write_once:
        unconditional = {
            "Null": {"s3:if-none-match": "true"},
            # Create and UploadPart cannot have the header; they create no object.
            "Bool": {"s3:ObjectCreationOperation": "true"},
        }
        objects = f"{bucket}/{literal(head_of(destination).text)}*"
        statements.append(_denial("DenyOverwriting", "*", "s3:PutObject", objects, unconditional))
    return _document(statements)


@dataclass(frozen=True, slots=True)
class Head:
    """What every key begins with, the field that follows it and the text behind that."""

    text: str
    field: str
    after: str


def head_of(destination: Destination) -> Head:
    """The longest text with which every key of the template is sure to begin.

    As ``core.keys`` makes them: ``..`` is encoded, leading slashes go. A dot at its end may
    become part of a ``..``; and where no directory follows, a taken key gets a number before
    its last dot, which may be one of the head's.
    """
    pieces = list(Formatter().parse(destination.key))
    # Escaped braces come as pieces without a field.
    at = next(at for at, piece in enumerate(pieces) if piece[1] not in ("prefix", None))
    text = "".join(
        words + (destination.prefix if field == "prefix" else "")
        for words, field, _, _ in pieces[:at]
    )
    text += pieces[at][0]
    rest = [words for words, _, _, _ in pieces[at + 1 :]]
    text = text.rstrip(".").replace("..", "%2E%2E").lstrip("/")
    if not any("/" in words for words in rest):
        directory, slash, name = text.rpartition("/")
        text = directory + slash + name.partition(".")[0]
    return Head(text, pieces[at][1] or "", rest[0] if rest else "")


def literal(text: str) -> str:
    """Text of which a policy takes every character as it is."""
    return text.translate(_LITERAL)


@dataclass(frozen=True, slots=True)
class _Rule:
    """One condition: as an Allow asks for it, and as a Deny sees it missing."""

    name: str
    matches: Condition
    fails: Condition


def _rules(terms: Terms) -> list[_Rule]:
    return [*_network_rules(terms), *_instance_rules(terms), *_request_rules(terms)]


def _network_rules(terms: Terms) -> Iterator[_Rule]:
    if terms.vpcs:
        yield _equals("OutsideVpc", "aws:SourceVpc", list(terms.vpcs))
    if terms.vpc_endpoints:
        yield _equals("OutsideVpcEndpoint", "aws:SourceVpce", list(terms.vpc_endpoints))
    if terms.source_ips:
        address = {"aws:SourceIp": list(terms.source_ips)}
        yield _Rule("OutsideNetwork", {"IpAddress": address}, {"NotIpAddress": address})


def _instance_rules(terms: Terms) -> Iterator[_Rule]:
    """https://aws.amazon.com/blogs/security/how-to-use-policies-to-restrict-where-ec2-instance-credentials-can-be-used-from/"""
    if terms.only_from_instance:
        # First, because a statement with a variable that has no value may not count at all.
        outside, inside = {"aws:SourceVpc": "true"}, {"aws:SourceVpc": "false"}
        yield _Rule("WithoutVpcEndpoint", {"Null": inside}, {"Null": outside})
        yield _equals("OtherVpc", "aws:Ec2InstanceSourceVPC", "${aws:SourceVpc}")
        yield _equals("OtherInstance", "aws:Ec2InstanceSourcePrivateIPv4", "${aws:VpcSourceIp}")
    if terms.require_imdsv2:
        delivery = {"ec2:RoleDelivery": "2.0"}
        yield _Rule(
            "WithoutImdsV2",
            {"NumericGreaterThanEquals": delivery},
            {"NumericLessThanIfExists": delivery},
        )


def _request_rules(terms: Terms) -> Iterator[_Rule]:
    for number, (name, values) in enumerate(terms.tags.items(), 1):
        yield _equals(f"WithoutTag{number}", f"aws:PrincipalTag/{name}", values)
    if terms.require_tls:
        transport = "aws:SecureTransport"
        yield _Rule("Plain", {"Bool": {transport: "true"}}, {"Bool": {transport: "false"}})


def _equals(name: str, key: str, values: Any) -> _Rule:
    return _Rule(name, {"StringEquals": {key: values}}, {"StringNotEquals": {key: values}})


def _writing_and_listing(
    destination: Destination, terms: Terms, conditions: list[Condition]
) -> list[Document]:
    bucket, keys = _bucket_arn(destination, terms), _keys(destination, terms)
    actions = ["s3:PutObject"]
    actions += ["s3:PutObjectTagging"] * bool(destination.tags)
    actions += ["s3:PutObjectAcl"] * bool(destination.acl)
    listed = [keys]
    if terms.per_instance_prefix or not destination.prefix.startswith(head_of(destination).text):
        listed.append(literal(destination.prefix))
    below: Condition = {"StringLike": {"s3:prefix": listed}}
    return [
        _statement("Write", actions, f"{bucket}/{keys}", conditions),
        _statement("List", "s3:ListBucket", bucket, [below, *conditions]),
    ]


def _keys(destination: Destination, terms: Terms) -> str:
    """The pattern of the keys an instance may write."""
    head = head_of(destination)
    if not terms.per_instance_prefix:
        return f"{literal(head.text)}*"
    found = _ROLE_ID_LAST.fullmatch(head.text)
    if found is None or head.field != "instance_id" or not head.after.startswith("/"):
        raise PortError(
            "PrefixNotPerInstance",
            f"the policy allows what begins with ROLE_ID:INSTANCE_ID/, and keys begin with "
            f"{head.text}{{{head.field}}}{head.after}",
            'destination.prefix = "logs/ROLE_ID:" and destination.key = '
            '"{prefix}{instance_id}/{watch}/..."; ROLE_ID (AROA...) is what `aws iam get-role '
            f"--role-name {terms.role} --query Role.RoleId` says, once there is the role",
        )
    return f"{literal(found[1])}${{aws:userid}}/*"


def _encrypting(destination: Destination, terms: Terms) -> Document:
    """The key, and only through S3.

    S3 asks KMS in the role's name, from an address of its own: the other conditions, which judge
    the role's requests, would not hold.
    """
    scope, _, name = destination.kms_key_id.rpartition(":")
    if not scope:
        if not terms.account:
            raise PortError(
                "NeedsAccount",
                f"the ARN of the key {name} holds its account's id",
                "--account 123456789012, or the key's ARN as destination.kms_key_id",
            )
        region = destination.region or "*"
        scope = f"arn:{terms.partition}:kms:{region}:{terms.account}"
        name = name if name.startswith("alias/") else f"key/{name}"
    suffix = "*" if terms.partition == "aws-cn" else ""
    service = f"s3.{scope.split(':')[3]}.amazonaws.com{suffix}"
    conditions: list[Condition] = [{"StringLike": {"kms:ViaService": service}}]
    if name.startswith("alias/"):
        conditions.append({"ForAnyValue:StringEquals": {"kms:ResourceAliases": name}})
        name = "key/*"
    # Decrypt is for multipart uploads, whose parts S3 reads again.
    actions = ["kms:GenerateDataKey", "kms:Decrypt"]
    return _statement("Encrypt", actions, f"{scope}:{name}", conditions)


def _completing(terms: Terms) -> Iterator[Document]:
    """The lifecycle hook: of the instance's own role, and not reached as S3 is.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html
    """
    if terms.has_lifecycle_hook and not terms.assumed_role:
        actions = [
            "autoscaling:CompleteLifecycleAction",
            "autoscaling:RecordLifecycleActionHeartbeat",
        ]
        account, group = terms.account or "*", literal(terms.autoscaling_group) or "*"
        groups = f"autoscaling:*:{account}:autoScalingGroup:*:autoScalingGroupName/{group}"
        conditions = [rule.matches for rule in _request_rules(terms)]
        yield _statement("Lifecycle", actions, f"arn:{terms.partition}:{groups}", conditions)


def _bucket_arn(destination: Destination, terms: Terms) -> str:
    return f"arn:{terms.partition}:s3:::{destination.bucket}"


def _statement(
    name: str, actions: str | list[str], resource: str, conditions: list[Condition]
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
