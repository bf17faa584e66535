"""The options of ``shipper iam``: one table of how each is typed, refused and made a condition.

A role's policy allows under every condition asked for. A bucket's policy also denies what misses
one of them, because another policy might allow it. An absent key makes an Allow fail by itself;
in a Deny ``StringNotEquals`` and ``NotIpAddress`` hold when it is absent, and the rest says
``IfExists`` or ``Null``.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from shipper.core.destinations import Destination
from shipper.ports import PortError

Condition = dict[str, dict[str, Any]]

DOCUMENTS = {
    "trust": "who may assume the role: EC2, or with --on ECS tasks or EKS Pod Identity",
    "policy": "what the role may do: write below the prefix, list it, use the KMS key",
    "bucket-policy": "the same from the bucket's side, and never without TLS",
    "commands": "the aws CLI's steps: role, profile, instances",
    "cloudformation": "one template: role, profile, bucket",
    "reader": "what somebody may do who reads the archive: get and list, and nothing else",
}
_EVERY = frozenset(DOCUMENTS)
_OF_THE_DAEMON = _EVERY - {"trust", "reader"}


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """The options as they were typed, and what the configuration adds."""

    role: str = "shipper"
    account: str = ""
    partition: str = "aws"
    vpcs: tuple[str, ...] = ()
    vpc_endpoints: tuple[str, ...] = ()
    source_ips: tuple[str, ...] = ()
    principal_tags: tuple[str, ...] = ()
    """``NAME=VALUE`` each."""
    only_from_instance: bool = False
    require_imdsv2: bool = False
    require_tls: bool = False
    per_instance_prefix: bool = False
    write_once: bool = False
    assumed_role: bool = False
    destination: str = ""
    """The one that is meant, as ``core.destinations.shown``; empty: all."""
    on: str = ""
    has_lifecycle_hook: bool = False
    autoscaling_group: str = ""

    @property
    def role_arn(self) -> str:
        """The instance's role."""
        if not self.account:
            raise PortError(
                "NeedsAccount",
                f"the ARN of the role {self.role} holds its account's id",
                "--account 123456789012; aws sts get-caller-identity says which",
            )
        return f"arn:{self.partition}:iam::{self.account}:role/{self.role}"

    @property
    def tags(self) -> dict[str, list[str]]:
        """The principal's tags, each with the values it may have."""
        found: dict[str, list[str]] = {}
        for tag in self.principal_tags:
            name, _, value = tag.partition("=")
            found.setdefault(name, []).append(value)
        return found


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition: as an Allow asks for it, and as a Deny sees it missing."""

    name: str
    matches: Condition
    fails: Condition


@dataclass(frozen=True, slots=True)
class Option:
    """One option of ``shipper iam``."""

    flag: str
    says: str
    metavar: str = ""
    form: str = "(?s).*"
    hint: str = ""
    choices: tuple[str, ...] = ()
    is_repeatable: bool = False
    documents: frozenset[str] = _EVERY - {"trust"}
    """The documents that it changes."""
    rules: Callable[[PolicyOptions], Iterable[Rule]] = lambda _: ()
    is_of_every_request: bool = False
    """Whether its rules hold for requests to other services than S3, too."""

    @property
    def field(self) -> str:
        """The field of ``PolicyOptions`` that it fills."""
        return self.flag.removeprefix("--").replace("-", "_") + "s" * self.is_repeatable

    def is_given(self, options: PolicyOptions) -> bool:
        return bool(getattr(options, self.field))

    def misspelt(self, options: PolicyOptions) -> Iterator[str]:
        """Its values that are not of its form."""
        value = getattr(options, self.field)
        for text in value if self.is_repeatable else (value,):
            if isinstance(text, str) and not re.fullmatch(self.form, text):
                yield text


def rules_of(options: PolicyOptions, *, for_s3: bool = True) -> list[Rule]:
    """The rules of all options given, or those alone that any request can meet."""
    return [
        rule
        for option in sorted(OPTIONS, key=lambda option: option.is_of_every_request)
        if option.is_given(options) and (for_s3 or option.is_of_every_request)
        for rule in option.rules(options)
    ]


def _rule(name: str, allow: str, deny: str, key: str, values: Any) -> Rule:
    return Rule(name, {allow: {key: values}}, {deny: {key: values}})


def _equals(name: str, key: str, values: Any) -> Rule:
    return _rule(name, "StringEquals", "StringNotEquals", key, values)


def _of_its_instance(_: PolicyOptions) -> Iterator[Rule]:
    """https://aws.amazon.com/blogs/security/how-to-use-policies-to-restrict-where-ec2-instance-credentials-can-be-used-from/"""
    # First, because a statement with a variable that has no value may not count at all.
    outside, inside = {"aws:SourceVpc": "true"}, {"aws:SourceVpc": "false"}
    yield Rule("WithoutVpcEndpoint", {"Null": inside}, {"Null": outside})
    yield _equals("OtherVpc", "aws:Ec2InstanceSourceVPC", "${aws:SourceVpc}")
    yield _equals("OtherInstance", "aws:Ec2InstanceSourcePrivateIPv4", "${aws:VpcSourceIp}")


def _of_tags(options: PolicyOptions) -> Iterator[Rule]:
    for number, (name, values) in enumerate(options.tags.items(), 1):
        yield _equals(f"WithoutTag{number}", f"aws:PrincipalTag/{name}", values)


def _of_tls(_: PolicyOptions) -> Iterator[Rule]:
    key = "aws:SecureTransport"
    yield Rule("Plain", {"Bool": {key: "true"}}, {"Bool": {key: "false"}})


OPTIONS = (
    Option(
        *("--role", "default: shipper", "NAME", r"(?a)[\w+=,.@-]{1,64}"),
        hint="letters, digits and +=,.@-_; at most 64",
        documents=_EVERY,
    ),
    Option(
        *("--account", "where an ARN needs it", "ID", "([0-9]{12})?", "12 digits"),
        documents=_EVERY,
    ),
    Option(
        *("--partition", "default: the configuration's"),
        choices=("aws", "aws-cn", "aws-us-gov"),
        documents=_EVERY,
    ),
    Option(
        *("--vpc", "only from this VPC", "ID", "vpc-[0-9a-f]{8,17}"),
        hint="such as vpc-0123456789abcdef0",
        is_repeatable=True,
        rules=lambda given: [_equals("OutsideVpc", "aws:SourceVpc", [*given.vpcs])],
    ),
    Option(
        *("--vpc-endpoint", "only through this VPC endpoint", "ID", "vpce-[0-9a-f]{8,17}"),
        hint="such as vpce-0123456789abcdef0",
        is_repeatable=True,
        rules=lambda given: [
            _equals("OutsideVpcEndpoint", "aws:SourceVpce", [*given.vpc_endpoints])
        ],
    ),
    Option(
        *("--source-ip", "only from these public addresses", "CIDR"),
        is_repeatable=True,
        rules=lambda given: [
            _rule(
                "OutsideNetwork", "IpAddress", "NotIpAddress", "aws:SourceIp", [*given.source_ips]
            )
        ],
    ),
    Option(
        *("--principal-tag", "only a role with this tag", "NAME=VALUE"),
        # https://docs.aws.amazon.com/IAM/latest/APIReference/API_Tag.html
        form=r"[\w .:/+@-]{1,128}=[\w .:/=+@-]{0,256}",
        hint="NAME=VALUE, such as team=web",
        is_repeatable=True,
        rules=_of_tags,
        is_of_every_request=True,
    ),
    Option(
        *("--only-from-instance", "only from the instance the credentials were given to"),
        documents=_OF_THE_DAEMON,
        rules=_of_its_instance,
    ),
    Option(
        *("--require-imdsv2", "only with credentials that IMDSv2 delivered"),
        documents=_OF_THE_DAEMON,
        rules=lambda _: [
            _rule(
                *("WithoutImdsV2", "NumericGreaterThanEquals", "NumericLessThanIfExists"),
                *("ec2:RoleDelivery", "2.0"),
            )
        ],
    ),
    Option("--require-tls", "only over TLS", rules=_of_tls, is_of_every_request=True),
    Option(
        *("--per-instance-prefix", "each instance only below a prefix of its own"),
        documents=_OF_THE_DAEMON,
    ),
    Option(
        *("--write-once", "the bucket refuses writes that could replace an object"),
        documents=frozenset({"bucket-policy", "cloudformation"}),
    ),
    Option(
        *("--on", "where shipper runs; default: ec2"),
        choices=("ec2", "ecs", "eks"),
        documents=frozenset({"trust", "policy"}),
    ),
    Option(
        *("--assumed-role", "for the role of destination.role_arn"),
        documents=frozenset({"trust", "policy"}),
    ),
    Option(
        *("--destination", "only what this destination needs: its name, or default", "NAME"),
        documents=_EVERY,
    ),
)
"""In the order of ``--help``."""


def partition_of(destination: Destination) -> str:
    """The partition that the configuration's own ARNs or its region are in.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
    """
    for arn in (destination.role_arn, destination.kms_key_id, destination.bucket):
        if arn.startswith("arn:"):
            return arn.split(":")[1]
    starts = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
    found = (name for start, name in starts.items() if destination.region.startswith(start))
    return next(found, "aws")
