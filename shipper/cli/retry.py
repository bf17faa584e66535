"""``shipper retry``: brings parked shipments back; the daemon may be running."""

import argparse
import os

SUMMARY = "try parked shipments again"


def arguments(parser: argparse.ArgumentParser) -> None:
    """An id, or ``--all``."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "id", nargs="?", type=int, metavar="ID", help="as `shipper status` shows it"
    )
    which.add_argument("--all", action="store_true", help="every parked shipment")


def run(options: argparse.Namespace) -> int:
    """1 when there was nothing to bring back."""
    from shipper.app.config import load
    from shipper.app.look import retry

    brought_back = retry(load(options.config, os.environ), options.id)
    for shipment in brought_back:
        print(f"shipment {shipment.id} is ready again: {shipment.key}")
    if not brought_back:
        print("no parked shipment" + ("" if options.id is None else f" {options.id}"))
    return 0 if brought_back else 1
