"""What ``shipper iam`` refuses to print, and what it says beside a document."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from shipper.config.schema import suggestion
from shipper.core.access_points import ALIAS_END, access_point_of
from shipper.core.destinations import Destination
from shipper.core.tag_fields import ANY_VALUE, has_any_tag
from shipper.iam.options import DOCUMENTS, OPTIONS, PolicyOptions, partition_of
from shipper.ports import PortError

_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8"),
        *("169.254.0.0/16", "fc00::/7", "fe80::/10", "::1/128"),
    )
)
"""Addresses that S3 sees only through a VPC endpoint, and then not as ``aws:SourceIp``."""
_Problems = Iterator[tuple[str, str]]


def wanted(
    document: str, targets: Mapping[str, Sequence[Destination]], options: PolicyOptions
) -> list[Destination]:
    """The destinations that the document is about, of these by their shown names.

    Raises:
        PortError: ``BadOption``; there is no such one, or the document can be about one only.
    """
    if options.destination and options.destination not in targets:
        what = f"--destination {options.destination}: no watch uses it"
        raise PortError("BadOption", what, suggestion(options.destination, [*targets]))
    named = [options.destination] if options.destination else [*targets]
    found = [one for name in named for one in targets[name]]
    if options.assumed_role:
        found = [one for one in found if one.role_arn] or found
        is_one = len({(one.role_arn, one.external_id) for one in found}) == 1
    else:
        is_one = document != "bucket-policy" or len({one.bucket for one in found}) == 1
    if not is_one:
        names = " | ".join(targets)
        what = f"{document}: it is for one {'role' if options.assumed_role else 'bucket'}"
        raise PortError("BadOption", what, f"choose by --destination NAME: {names}")
    return list(dict.fromkeys(found))


def refuse(document: str, destination: Destination, options: PolicyOptions) -> None:
    """Say what cannot be had together, before a document that locks everybody out is printed.

    Raises:
        PortError: ``BadOption``, ``BadBucket``.
    """
    for option in sorted(OPTIONS, key=lambda option: option.flag):
        if option.is_given(options) and document not in option.documents:
            those = " | ".join(name for name in DOCUMENTS if name in option.documents)
            what = f"{option.flag} changes nothing in {document}"
            raise PortError("BadOption", what, f"it is for {those}")
    for option in OPTIONS:
        for text in option.misspelt(options):
            raise PortError("BadOption", f"{option.flag} {text!r} cannot be", option.hint)
    for what, hint in (
        *_of_addresses(options),
        *_of_names(destination, options),
        *_of_tls(document, destination, options),
        *_of_roles(document, destination, options),
        *_of_bucket(document, destination, options),
    ):
        raise PortError("BadOption", what, hint)
    _refuse_name(document, destination)


def _refuse_name(document: str, destination: Destination) -> None:
    is_of_bucket = document in ("bucket-policy", "cloudformation")
    if is_of_bucket and access_point_of(destination.bucket):
        what = f"{destination.bucket} is an access point, not the bucket behind it"
        raise PortError("BadBucket", what, "print it with the bucket's name as destination.bucket")
    if is_of_bucket and ANY_VALUE in destination.bucket:
        what = f"destination.bucket holds an instance tag, and {document} is for one bucket"
        raise PortError("BadBucket", what, "print it with the bucket's name as destination.bucket")
    if destination.bucket.endswith(ALIAS_END) and document != "trust":
        what = f"{destination.bucket} is an access point's alias, which policies do not know"
        raise PortError("BadBucket", what, "the access point's ARN as destination.bucket")


def _of_addresses(options: PolicyOptions) -> _Problems:
    for cidr in options.source_ips:
        try:
            network = ipaddress.ip_network(cidr)
        except ValueError as error:
            yield f"--source-ip: {error}", "such as 203.0.113.0/24"
            continue
        for private in _PRIVATE:
            if network.version == private.version and network.subnet_of(private):  # type: ignore[arg-type]  # the versions are the same
                hint = "the address of the NAT gateway; or --vpc, with a VPC endpoint"
                yield f"--source-ip {cidr}: S3 sees public addresses only", hint
    through = ("--only-from-instance", "--vpc", "--vpc-endpoint")
    given = [option.flag for option in OPTIONS if option.is_given(options)]
    for flag in (flag for flag in through if flag in given and options.source_ips):
        what = f"--source-ip and {flag} never hold together"
        yield what, "a request through a VPC endpoint has no aws:SourceIp: choose one of them"


def _of_names(destination: Destination, options: PolicyOptions) -> _Problems:
    if len({name.lower() for name in options.tags}) < len(options.tags):
        yield "--principal-tag: two names differ only in their letters' case", "IAM ignores case"
    partition = partition_of(destination)
    if partition not in ("aws", options.partition):
        what = f"--partition {options.partition} contradicts the configuration"
        yield what, f"leave it out: it is {partition}"


def _of_tls(document: str, destination: Destination, options: PolicyOptions) -> _Problems:
    is_asked_for = options.require_tls or document in ("bucket-policy", "cloudformation")
    if is_asked_for and destination.endpoint_url.lower().startswith("http:"):
        what = f"{destination.endpoint_url} is not TLS, and would be refused"
        yield what, "write destination.endpoint_url with https, or leave it out for AWS"


def _of_roles(document: str, destination: Destination, options: PolicyOptions) -> _Problems:
    if options.assumed_role and not destination.role_arn:
        yield "--assumed-role: there is none", "set destination.role_arn, or leave the option out"
    if options.per_instance_prefix and destination.role_arn:
        what = "--per-instance-prefix: aws:userid of an assumed role ends with a name that the "
        hint = "it protects only without destination.role_arn"
        yield what + "instance chooses itself", hint
    is_assumed = options.assumed_role or document == "bucket-policy"
    if (
        destination.role_arn
        and is_assumed
        and (options.only_from_instance or options.require_imdsv2)
    ):
        flag = "--only-from-instance" if options.only_from_instance else "--require-imdsv2"
        what = f"{flag}: credentials of an assumed role do not say how the instance's"
        hint = f"put it where they do: `shipper iam policy {flag}`"
        yield f"{what} were delivered, nor to which instance", hint


def _of_bucket(document: str, destination: Destination, options: PolicyOptions) -> _Problems:
    if options.write_once and not destination.conditional_writes:
        what = "--write-once refuses writes without If-None-Match"
        yield what, "set destination.conditional_writes = true"
    if document == "cloudformation" and destination.acl.startswith("public-"):
        what = f"acl = {destination.acl!r}: the template's bucket blocks public access"
        yield what, "leave destination.acl out, or make the bucket yourself"
    if options.write_once and document == "cloudformation" and destination.role_arn:
        what = "--write-once: with destination.role_arn the template has no bucket"
        yield what, "`shipper iam bucket-policy --write-once`, in the bucket's account"


def notes(document: str, destination: Destination, options: PolicyOptions) -> Iterator[str]:
    """What the document cannot say itself."""
    is_assuming = (
        bool(destination.role_arn)
        and not options.assumed_role
        and document in ("policy", "commands", "cloudformation")
    )
    if is_assuming:
        yield (
            f"the policy for the bucket belongs to {destination.role_arn}: `shipper iam policy "
            "--assumed-role` and `shipper iam trust --assumed-role`"
        )
    if access_point_of(destination.bucket) and document != "trust":
        yield (
            "an access point allows only what the bucket behind it allows, too: delegate in the "
            "bucket's policy (s3:DataAccessPointAccount)"
        )
    if has_any_tag(destination) and document != "trust":
        yield (
            "where destination.bucket or destination.prefix holds an instance tag, the policy has "
            "`*`: whoever may tag the instance chooses among all that match"
        )
    if options.vpcs or options.vpc_endpoints or options.only_from_instance:
        if is_assuming:
            yield "the conditions judge requests to STS: the VPC endpoint must be one for STS"
        else:
            verb = "read" if document == "reader" else "written"
            yield f"nothing can be {verb} but through a VPC endpoint for S3 (a gateway will do)"
    if options.only_from_instance:
        yield "a container with a network interface of its own counts as another machine"
    yield from _notes_on_documents(document, options)
    if destination.kms_key_id and not is_assuming and document not in ("trust", "bucket-policy"):
        yield "the key's own policy must allow the role (or its account) the same"


def _notes_on_documents(document: str, options: PolicyOptions) -> Iterator[str]:
    if options.per_instance_prefix:
        yield (
            "destination.prefix holds the role's id: a role that is made anew has another one, "
            "and the prefix must change with it"
        )
        yield "the names below the prefix, not what is in them, can be listed by every instance"
    if document == "bucket-policy":
        yield "put-bucket-policy replaces the bucket's whole policy: add these statements to it"
    if options.write_once:
        yield "nobody can copy objects below the prefix any more, with or without a condition"
