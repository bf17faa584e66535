"""``shipper retry``: bring parked shipments back; the daemon may be running."""

import argparse
import os

SUMMARY = "try a parked or lost shipment again; with --all, all parked and waiting ones"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "A running daemon takes them up within 30 seconds."
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "id", nargs="?", type=shipment_id, metavar="ID", help="as `shipper status` shows it"
    )
    which.add_argument(
        "--all", action="store_true", help="every shipment that is parked or waits for an attempt"
    )


def shipment_id(text: str) -> int:
    """The number of a shipment."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no ID: `shipper status` shows IDs")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Bring them back; 1 when the shipment asked for is neither parked nor lost."""
    from shipper.config.load import load
    from shipper.reports.inspect import retry

    brought_back, made_due = retry(load(options.config, os.environ), options.id)
    for shipment in brought_back:
        print(f"shipment {shipment.id} is ready again: {shipment.key}")
    if options.all:
        print(f"{len(brought_back)} were parked, {made_due} waited for their next attempt")
        return 0
    if not brought_back:
        hint = "`shipper status` shows which are; --all also tries at once what waits"
        print(f"no parked or lost shipment {options.id}; {hint}")
    return 0 if brought_back else 1
