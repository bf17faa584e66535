"""What an operator asks of ``shipper iam`` beyond the configuration; what cannot be had, and what
should be known.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from shipper.core.types import Destination
from shipper.ports import PortError

PARTITIONS = ("aws", "aws-cn", "aws-us-gov")

_ROLE = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}")
_VPC = re.compile(r"vpc-[0-9a-f]{8,17}")
_VPC_ENDPOINT = re.compile(r"vpce-[0-9a-f]{8,17}")
_TAG = re.compile(r"[\w .:/+@-]{1,128}=[\w .:/=+@-]{0,256}")
"""https://docs.aws.amazon.com/IAM/latest/APIReference/API_Tag.html"""
_NEVER_SEEN = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8"),
        *("169.254.0.0/16", "fc00::/7", "fe80::/10", "::1/128"),
    )
)
"""Addresses that S3 sees only through a VPC endpoint, and then not as ``aws:SourceIp``."""

_CONDITIONS = frozenset(
    {"--vpc", "--vpc-endpoint", "--source-ip", "--principal-tag", "--only-from-instance"}
    | {"--require-imdsv2", "--require-tls"}
)
OPTIONS = {
    "trust": frozenset({"--assumed-role"}),
    "policy": _CONDITIONS | {"--per-instance-prefix", "--assumed-role"},
    "bucket-policy": _CONDITIONS | {"--per-instance-prefix", "--write-once"},
    "commands": _CONDITIONS | {"--per-instance-prefix"},
    "cloudformation": _CONDITIONS | {"--per-instance-prefix", "--write-once"},
}
"""The documents, and which options change each; --role, --account and --partition go with all."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The options of ``shipper iam``, as they were typed."""

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
    has_lifecycle_hook: bool = False
    """The configuration's, as is the next."""
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

    def used(self) -> set[str]:
        """The options that were given, as they are typed."""
        given = {
            "--vpc": self.vpcs,
            "--vpc-endpoint": self.vpc_endpoints,
            "--source-ip": self.source_ips,
            "--principal-tag": self.principal_tags,
            "--only-from-instance": self.only_from_instance,
            "--require-imdsv2": self.require_imdsv2,
            "--require-tls": self.require_tls,
            "--per-instance-prefix": self.per_instance_prefix,
            "--write-once": self.write_once,
            "--assumed-role": self.assumed_role,
        }
        return {option for option, value in given.items() if value}


def partition_of(destination: Destination) -> str:
    """The partition that the configuration's own ARNs or its region are in.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
    """
    for arn in (destination.role_arn, destination.kms_key_id):
        if arn.startswith("arn:"):
            return arn.split(":")[1]
    for start, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
        if destination.region.startswith(start):
            return partition
    return "aws"


def refuse(document: str, destination: Destination, terms: Terms) -> None:
    """Say what cannot be had together, before a document that locks everybody out is printed.

    Raises:
        PortError: ``BadOption``, ``BadBucket``.
    """
    for option in sorted(terms.used() - OPTIONS[document]):
        those = " | ".join(name for name, options in OPTIONS.items() if option in options)
        raise PortError(
            "BadOption", f"{option} changes nothing in {document}", f"it is for {those}"
        )
    for what, hint in (
        *_misspelt(destination, terms),
        *_on_network(document, destination, terms),
        *_on_roles(document, destination, terms),
        *_on_writing(document, destination, terms),
    ):
        raise PortError("BadOption", what, hint)
    if ":" in destination.bucket:
        what = f"{destination.bucket} is no bucket's name"
        raise PortError("BadBucket", what, "policies are written for buckets, by their names")
    if destination.bucket.endswith("--x-s3"):
        what = f"{destination.bucket} is a directory bucket, which has sessions for policies"
        raise PortError("BadBucket", what, "use a general purpose bucket")


_Problems = Iterator[tuple[str, str]]


def _misspelt(destination: Destination, terms: Terms) -> _Problems:
    vpc, endpoint = "such as vpc-0123456789abcdef0", "such as vpce-0123456789abcdef0"
    accounts = (terms.account,) if terms.account else ()
    for option, values, form, hint in (
        ("--role", (terms.role,), _ROLE, "letters, digits and +=,.@-_; at most 64"),
        ("--account", accounts, _ACCOUNT, "12 digits"),
        ("--vpc", terms.vpcs, _VPC, vpc),
        ("--vpc-endpoint", terms.vpc_endpoints, _VPC_ENDPOINT, endpoint),
        ("--principal-tag", terms.principal_tags, _TAG, "NAME=VALUE, such as team=web"),
    ):
        for value in values:
            if not form.fullmatch(value):
                yield f"{option} {value!r} cannot be", hint
    for cidr in terms.source_ips:
        yield from _wrong_network(cidr)
    if len({name.lower() for name in terms.tags}) < len(terms.tags):
        yield "--principal-tag: two names differ only in their letters' case", "IAM ignores case"
    partition = partition_of(destination)
    if partition not in ("aws", terms.partition):
        yield (
            f"--partition {terms.partition} contradicts the configuration",
            f"leave it out: it is {partition}",
        )


def _wrong_network(cidr: str) -> _Problems:
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        yield f"--source-ip: {error}", "such as 203.0.113.0/24"
        return
    for private in _NEVER_SEEN:
        if network.version == private.version and network.subnet_of(private):  # type: ignore[arg-type]  # the versions are the same
            hint = "the address of the NAT gateway; or --vpc, with a VPC endpoint"
            yield f"--source-ip {cidr}: S3 sees public addresses only", hint


def _on_network(document: str, destination: Destination, terms: Terms) -> _Problems:
    through_endpoint = terms.used() & {"--vpc", "--vpc-endpoint", "--only-from-instance"}
    if terms.source_ips and through_endpoint:
        what = f"--source-ip and {min(through_endpoint)} never hold together"
        yield what, "a request through a VPC endpoint has no aws:SourceIp: choose one of them"
    asks_for_tls = terms.require_tls or document in ("bucket-policy", "cloudformation")
    if asks_for_tls and destination.endpoint_url.lower().startswith("http:"):
        what = f"{destination.endpoint_url} is not TLS, and would be refused"
        yield what, "write destination.endpoint_url with https, or leave it out for AWS"


def _on_roles(document: str, destination: Destination, terms: Terms) -> _Problems:
    if terms.assumed_role and not destination.role_arn:
        yield "--assumed-role: there is none", "set destination.role_arn, or leave the option out"
    if terms.per_instance_prefix and destination.role_arn:
        what = "--per-instance-prefix: aws:userid of an assumed role ends with a name that the "
        hint = "it protects only without destination.role_arn"
        yield what + "instance chooses itself", hint
    of_instance = terms.used() & {"--require-imdsv2", "--only-from-instance"}
    is_assumed = destination.role_arn and (terms.assumed_role or document == "bucket-policy")
    if is_assumed and of_instance:
        what = f"{min(of_instance)}: credentials of an assumed role do not say how the instance's"
        hint = f"put it where they do: `shipper iam policy {min(of_instance)}`"
        yield f"{what} were delivered, nor to which instance", hint


def _on_writing(document: str, destination: Destination, terms: Terms) -> _Problems:
    if terms.write_once and not destination.conditional_writes:
        what = "--write-once refuses writes without If-None-Match"
        yield what, "set destination.conditional_writes = true"
    if document == "cloudformation" and destination.acl.startswith("public-"):
        what = f"acl = {destination.acl!r}: the template's bucket blocks public access"
        yield what, "leave destination.acl out, or make the bucket yourself"
    if terms.write_once and document == "cloudformation" and destination.role_arn:
        what = "--write-once: with destination.role_arn the template has no bucket"
        yield what, "`shipper iam bucket-policy --write-once`, in the bucket's account"


def notes(document: str, destination: Destination, terms: Terms) -> Iterator[str]:
    """What the document cannot say itself."""
    is_assuming = (
        bool(destination.role_arn)
        and not terms.assumed_role
        and document in ("policy", "commands", "cloudformation")
    )
    if is_assuming:
        yield (
            f"the policy for the bucket belongs to {destination.role_arn}: `shipper iam policy "
            "--assumed-role` and `shipper iam trust --assumed-role`"
        )
    if terms.vpcs or terms.vpc_endpoints or terms.only_from_instance:
        if is_assuming:
            yield "the conditions judge requests to STS: the VPC endpoint must be one for STS"
        else:
            yield "nothing can be written but through a VPC endpoint for S3 (a gateway will do)"
    if terms.only_from_instance:
        yield "a container with a network interface of its own counts as another machine"
    yield from _notes_on_documents(document, terms)
    if destination.kms_key_id and not is_assuming and document not in ("trust", "bucket-policy"):
        yield "the key's own policy must allow the role (or its account) the same"


def _notes_on_documents(document: str, terms: Terms) -> Iterator[str]:
    if terms.per_instance_prefix:
        yield (
            "destination.prefix holds the role's id: a role that is made anew has another one, "
            "and the prefix must change with it"
        )
        yield "the names below the prefix, not what is in them, can be listed by every instance"
    if document == "bucket-policy":
        yield "put-bucket-policy replaces the bucket's whole policy: add these statements to it"
    if terms.write_once:
        yield "nobody can copy objects below the prefix any more, with or without a condition"
