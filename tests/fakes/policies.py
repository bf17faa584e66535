"""A small evaluator of IAM policies: conditions, variables, wildcards, explicit denials.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import ipaddress
import json
import re
from typing import Any

from shipper.core.destinations import Destination
from shipper.iam.options import PolicyOptions

ACCOUNT = "123456789012"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/shipper"
ROLE_ID = "AROAEXAMPLEEXAMPLE123"
INSTANCE = "i-0123456789abcdef0"
OTHER_ROLE = "arn:aws:iam::999999999999:role/writer"
BUCKET = "arn:aws:s3:::my-bucket"
KEY = f"{BUCKET}/logs/nginx/access.log"
KMS_KEY = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"

PLAIN = Destination(bucket="my-bucket")
PER_INSTANCE = Destination(
    bucket="my-bucket",
    prefix=f"logs/{ROLE_ID}:",
    key="{prefix}{instance_id}/{watch}/{stem}.{digest}{extension}",
)
TERMS = PolicyOptions(account=ACCOUNT)
GOOD_REQUEST = {
    "aws:SecureTransport": "true",
    "aws:SourceVpc": "vpc-11111111",
    "aws:SourceVpce": "vpce-11111111",
    "aws:VpcSourceIp": "10.0.0.7",
    "aws:Ec2InstanceSourceVPC": "vpc-11111111",
    "aws:Ec2InstanceSourcePrivateIPv4": "10.0.0.7",
    "aws:PrincipalTag/team": "web",
    "aws:userid": f"{ROLE_ID}:{INSTANCE}",
    "ec2:RoleDelivery": "2.0",
    "s3:prefix": "logs/",
    "s3:if-none-match": "*",
    "s3:ObjectCreationOperation": "true",
}
_TOKEN = re.compile(r"\$\{([^}]*)\}|([*?])")


class _NoValueError(Exception):
    """A variable without a value: the statement does not count."""


def pattern(text: str, context: dict[str, str]) -> str:
    """A policy's text as a regular expression."""
    out, at = "", 0
    for token in _TOKEN.finditer(text):
        out += re.escape(text[at : token.start()])
        name, wildcard = token.groups()
        if wildcard:
            out += {"*": ".*", "?": "."}[wildcard]
        elif name in ("*", "?", "$"):
            out += re.escape(name)
        elif name in context:
            out += re.escape(context[name])
        else:
            raise _NoValueError(name)
        at = token.end()
    return out + re.escape(text[at:])


def is_like(text: str, value: str, context: dict[str, str]) -> bool:
    """StringLike, and how resources are compared."""
    return re.fullmatch(pattern(text, context), value, re.DOTALL) is not None


def is_equal(text: str, value: str, context: dict[str, str]) -> bool:
    """StringEquals: variables, no wildcards."""
    wild = {"*": "${*}", "?": "${?}"}
    escaped = re.sub(r"\$\{[^}]*\}|[*?]", lambda found: wild.get(found[0], found[0]), text)
    return is_like(escaped, value, context)


def is_inside(text: str, value: str, context: dict[str, str]) -> bool:
    """IpAddress."""
    return ipaddress.ip_address(value) in ipaddress.ip_network(text)


POSITIVE: dict[str, Any] = {
    "StringEquals": is_equal,
    "StringLike": is_like,
    "IpAddress": is_inside,
    "Bool": lambda text, value, context: text == value,
    "NumericGreaterThanEquals": lambda text, value, context: float(value) >= float(text),
    "NumericLessThan": lambda text, value, context: float(value) < float(text),
}
NEGATIVE = {"StringNotEquals": is_equal, "NotIpAddress": is_inside}


def matches(operator: str, key: str, wanted: Any, context: dict[str, str]) -> bool:
    """One operator on one key: any of the wanted values will do, or, negated, none may be."""
    texts = wanted if isinstance(wanted, list) else [wanted]
    value = context.get(key)
    name = operator.removeprefix("ForAnyValue:").removesuffix("IfExists")
    if name == "Null":
        return texts == [str(value is None).lower()]
    if name in NEGATIVE:
        met = [NEGATIVE[name](text, value or "", context) for text in texts if value is not None]
        return not any(met)
    if value is None:
        return operator.endswith("IfExists")
    return any(POSITIVE[name](text, value, context) for text in texts)


def counts(statement: dict[str, Any], action: str, resource: str, context: dict[str, str]) -> bool:
    """Whether the statement speaks of this request."""
    each = {
        name: value if isinstance(value, list) else [value]
        for name, value in statement.items()
        if name in ("Action", "Resource")
    }
    try:
        return (
            any(is_like(one, action, {}) for one in each["Action"])
            and any(is_like(one, resource, context) for one in each.get("Resource", [resource]))
            and all(
                matches(operator, key, wanted, context)
                for operator, keys in statement.get("Condition", {}).items()
                for key, wanted in keys.items()
            )
        )
    except _NoValueError:
        return False


def effects(
    document: dict[str, Any], action: str, resource: str, context: dict[str, str]
) -> set[str]:
    """The effects of every statement that counts; allowed is exactly ``{"Allow"}``."""
    assert json.loads(json.dumps(document))["Version"] == "2012-10-17"
    return {
        statement["Effect"]
        for statement in document["Statement"]
        if counts(statement, action, resource, context)
    }


def allows(document: dict[str, Any], action: str, resource: str, **changes: str | None) -> bool:
    """Whether a good request is allowed, with these keys changed (``__`` is ``:``) or absent."""
    changed = {name.replace("__", ":"): value for name, value in changes.items()}
    context = {
        name: value for name, value in (GOOD_REQUEST | changed).items() if value is not None
    }
    return effects(document, action, resource, context) == {"Allow"}


# The role's policy
