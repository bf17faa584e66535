"""``shipper retry``: brings parked shipments back; the daemon may be running."""

import argparse
import os

SUMMARY = "try parked shipments again; with --all, what waits for its next attempt, too"


def arguments(parser: argparse.ArgumentParser) -> None:
    """An id, or ``--all``."""
    parser.epilog = "A daemon that runs takes them up within 30 seconds."
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "id", nargs="?", type=int, metavar="ID", help="as `shipper status` shows it"
    )
    which.add_argument("--all", action="store_true", help="all, parked or waiting")


def run(options: argparse.Namespace) -> int:
    """1 when the shipment asked for is not parked."""
    from shipper.config.load import load
    from shipper.reports.inspect import retry

    brought_back, hastened = retry(load(options.config, os.environ), options.id)
    for shipment in brought_back:
        print(f"shipment {shipment.id} is ready again: {shipment.key}")
    if options.all:
        print(f"{len(brought_back)} were parked, {hastened} waited for their next attempt")
        return 0
    if not brought_back:
        print(f"no parked shipment {options.id}; `shipper status` shows which are")
    return 0 if brought_back else 1
