"""``shipper iam``: what AWS must be told, from this configuration."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shipper.config.load import Configuration
    from shipper.core.destinations import Destination

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
    from shipper.iam.options import OPTIONS, PolicyOptions, partition_of
    from shipper.iam.policies import bucket_policy, combined, policy, reader, trust
    from shipper.iam.refusals import notes, refuse, wanted
    from shipper.iam.steps import commands, template

    configuration = load(options.config, os.environ)
    termination, targets = configuration.termination, _targets(configuration, options)
    typed: dict[str, Any] = {option.field: getattr(options, option.field) for option in OPTIONS}
    lists = {name: tuple(value) for name, value in typed.items() if isinstance(value, list)}
    typed["partition"] = options.partition or partition_of(next(iter(targets.values()))[0])
    given = PolicyOptions(
        **(typed | lists),
        has_lifecycle_hook=bool(termination.lifecycle_hook),
        autoscaling_group=termination.autoscaling_group,
    )
    found = wanted(options.document, targets, given)
    for one in found:
        refuse(options.document, one, given)
    match options.document:
        case "commands":
            print(commands(found, given))
        case "trust":
            print(json.dumps(trust(found[0], given), indent=2))
        case "policy" | "reader" | "bucket-policy":
            kinds = {"policy": policy, "reader": reader, "bucket-policy": bucket_policy}
            document = combined(kinds[options.document](one, given) for one in found)
            print(json.dumps(document, indent=2))
        case _:
            print(json.dumps(template(found, given), indent=2))
    said = [note for one in found for note in notes(options.document, one, given)]
    for note in dict.fromkeys(said):
        print(f"note: {note}", file=sys.stderr)
    return 0


def _targets(
    configuration: "Configuration", options: argparse.Namespace
) -> dict[str, "list[Destination]"]:
    """By shown name, the destinations as each watch, manifests and heartbeats use them."""
    from shipper.core.destinations import for_heartbeats, shown
    from shipper.core.manifests import DIRECTORY
    from shipper.core.tag_fields import with_any_tags
    from shipper.iam.options import PolicyOptions
    from shipper.iam.policies import with_own

    targets: dict[str, list[Destination]] = {}
    for watch in configuration.watches:
        own = with_any_tags(configuration.destination_of(watch))
        targets.setdefault(shown(watch.destination), []).append(own)
    asked = PolicyOptions(per_instance_prefix=options.per_instance_prefix)
    used = [
        (shown(name), with_any_tags(one)) for name, one in configuration.used_destinations.items()
    ]
    if configuration.manifest.interval_seconds:
        for name, one in used:
            targets[name] = with_own(targets[name], one, DIRECTORY, asked)
    if configuration.fleet.heartbeat_seconds:
        name, one = used[0]
        targets[name] = with_own(targets[name], for_heartbeats(one), "_fleet/", asked)
    return targets
