"""``shipper acknowledge``: note that a log is lost for good; the daemon may be running."""

import argparse
import os

from shipper.cli.retry import shipment_id

SUMMARY = "note that a lost log is known to be lost, so that `status` is well again"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Its row stays in the journal, as GONE. `shipper retry ID` looks for it again."
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "id", nargs="?", type=shipment_id, metavar="ID", help="as `shipper status` shows it"
    )
    which.add_argument("--all", action="store_true", help="every lost log")


def run(options: argparse.Namespace) -> int:
    """Acknowledge; 1 when the shipment asked for is not lost, or is acknowledged already."""
    from shipper.config.load import load
    from shipper.reports.inspect import acknowledge

    acknowledged = acknowledge(load(options.config, os.environ), options.id)
    for shipment in acknowledged:
        print(f"shipment {shipment.id} is known to be lost: {shipment.key}")
    if options.all:
        print(f"{len(acknowledged)} were lost")
        return 0
    if not acknowledged:
        print(f"no lost shipment {options.id}; `shipper status` shows which are")
    return 0 if acknowledged else 1
