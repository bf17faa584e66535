"""``shipper iam``: what AWS must be told, from this configuration."""

import argparse
import json
import os
import sys
from typing import Any

SUMMARY = "roles, policies and the bucket for this configuration, with the least privilege"


def arguments(parser: argparse.ArgumentParser) -> None:
    from shipper.iam.options import DOCUMENTS, OPTIONS, PolicyOptions

    lines = [f"  {name:<15} {says}\n" for name, says in DOCUMENTS.items()]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "documents:\n" + "".join(lines)
    parser.add_argument("document", choices=tuple(DOCUMENTS), metavar=f"({' | '.join(DOCUMENTS)})")
    for option in OPTIONS:
        default = getattr(PolicyOptions(), option.field)
        typed: dict[str, Any] = {"metavar": option.metavar, "default": default}
        says = option.says
        if option.is_repeatable:
            typed, says = typed | {"action": "append", "default": []}, f"{says}; repeatable"
        elif option.choices:
            typed = {"choices": option.choices, "default": ""}
        elif default is False:
            typed = {"action": "store_true"}
        parser.add_argument(option.flag, dest=option.field, help=says, **typed)


def run(options: argparse.Namespace) -> int:
    """The document on stdout; what else should be known on stderr."""
    from shipper.config.load import load
    from shipper.core.tag_fields import with_any_tags
    from shipper.iam.options import OPTIONS, PolicyOptions, partition_of
    from shipper.iam.policies import bucket_policy, policy, trust
    from shipper.iam.refusals import notes, refuse
    from shipper.iam.steps import commands, template

    configuration = load(options.config, os.environ)
    destination = with_any_tags(configuration.destination)
    termination = configuration.termination
    typed: dict[str, Any] = {option.field: getattr(options, option.field) for option in OPTIONS}
    lists = {name: tuple(value) for name, value in typed.items() if isinstance(value, list)}
    typed["partition"] = options.partition or partition_of(destination)
    wanted = PolicyOptions(
        **(typed | lists),
        has_lifecycle_hook=bool(termination.lifecycle_hook),
        autoscaling_group=termination.autoscaling_group,
    )
    refuse(options.document, destination, wanted)
    if options.document == "commands":
        print(commands(destination, wanted))
    else:
        made = {"trust": trust, "policy": policy, "bucket-policy": bucket_policy}
        document = made.get(options.document, template)(destination, wanted)
        print(json.dumps(document, indent=2))
    for note in notes(options.document, destination, wanted):
        print(f"note: {note}", file=sys.stderr)
    return 0
