"""``shipper iam``: what AWS must be told, from this configuration."""

import argparse
import json
import os
import sys

SUMMARY = "roles, policies and the bucket for this configuration, with the least privilege"

DOCUMENTS = """documents:
  trust           who may assume the role: EC2
  policy          what the role may do: write below the prefix, list it, use the KMS key
  bucket-policy   the same from the bucket's side, and never without TLS
  commands        the aws CLI's steps: role, profile, instances
  cloudformation  one template: role, profile, bucket
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The document, and the conditions in it."""
    from shipper.iam.options import OPTIONS, PARTITIONS

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = DOCUMENTS
    parser.add_argument("document", choices=OPTIONS, metavar=f"({' | '.join(OPTIONS)})")
    parser.add_argument("--role", default="shipper", metavar="NAME", help="default: shipper")
    parser.add_argument("--account", default="", metavar="ID", help="where an ARN needs it")
    parser.add_argument(
        "--partition", default="", choices=PARTITIONS, help="default: the configuration's"
    )
    for option, metavar, words in (
        ("--vpc", "ID", "only from this VPC"),
        ("--vpc-endpoint", "ID", "only through this VPC endpoint"),
        ("--source-ip", "CIDR", "only from these public addresses"),
        ("--principal-tag", "NAME=VALUE", "only a role with this tag"),
    ):
        parser.add_argument(
            option, action="append", default=[], metavar=metavar, help=f"{words}; repeatable"
        )
    for option, words in (
        ("--only-from-instance", "only from the instance the credentials were given to"),
        ("--require-imdsv2", "only with credentials that IMDSv2 delivered"),
        ("--require-tls", "only over TLS"),
        ("--per-instance-prefix", "each instance only below a prefix of its own"),
        ("--write-once", "the bucket refuses writes that could replace an object"),
        ("--assumed-role", "for the role of destination.role_arn"),
    ):
        parser.add_argument(option, action="store_true", help=words)


def run(options: argparse.Namespace) -> int:
    """The document on stdout; what else should be known on stderr."""
    from shipper.config.load import load
    from shipper.iam import policies as iam
    from shipper.iam import steps as iam_steps
    from shipper.iam.options import Terms, notes, partition_of, refuse

    configuration = load(options.config, os.environ)
    destination = configuration.destination
    terms = Terms(
        role=options.role,
        account=options.account,
        partition=options.partition or partition_of(destination),
        vpcs=tuple(options.vpc),
        vpc_endpoints=tuple(options.vpc_endpoint),
        source_ips=tuple(options.source_ip),
        principal_tags=tuple(options.principal_tag),
        only_from_instance=options.only_from_instance,
        require_imdsv2=options.require_imdsv2,
        require_tls=options.require_tls,
        per_instance_prefix=options.per_instance_prefix,
        write_once=options.write_once,
        assumed_role=options.assumed_role,
        has_lifecycle_hook=bool(configuration.termination.lifecycle_hook),
        autoscaling_group=configuration.termination.autoscaling_group,
    )
    refuse(options.document, destination, terms)
    if options.document == "commands":
        print(iam_steps.commands(destination, terms))
    else:
        make = {
            "trust": iam.trust,
            "policy": iam.policy,
            "bucket-policy": iam.bucket_policy,
            "cloudformation": iam_steps.template,
        }[options.document]
        json.dump(make(destination, terms), sys.stdout, indent=2)
        print()
    for note in notes(options.document, destination, terms):
        print(f"note: {note}", file=sys.stderr)
    return 0
