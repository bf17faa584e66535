"""``shipper ship``: one round for cron jobs, image builds and shutdown hooks."""

import argparse
import os
from dataclasses import replace

SUMMARY = "ship once what is ready, then exit"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Stop the daemon first: only one shipper may use the state directory."
    parser.add_argument(
        "--live",
        action="store_true",
        help="also ship live files as they are now, for a machine that is about to end",
    )


def run(options: argparse.Namespace) -> int:
    """Ship one round; 0 when everything that was sealed is in S3."""
    from shipper.config.load import load
    from shipper.daemon.once import ship_once
    from shipper.edges.secrecy import forbid_dumps
    from shipper.runtime.logs import log_of_process
    from shipper.runtime.wiring import build

    forbid_dumps()
    configuration = load(options.config, os.environ)
    termination = replace(configuration.termination, ship_live_files=options.live)
    configuration = replace(configuration, termination=termination)
    log, redactor = log_of_process(configuration.log.level, configuration.log.format)
    services = build(configuration, environment=os.environ, log=log, redactor=redactor)
    try:
        outcome = ship_once(services)
    finally:
        services.close()
    print(
        f"{outcome.shipped} shipped, {outcome.left} left, {outcome.waiting} not sealed yet, "
        f"{outcome.problems} with problems, {outcome.gone} gone before they were shipped"
    )
    if outcome.unproven:
        print(
            f"{outcome.unproven} may still be written to, which cannot be told here: run as their "
            "owner, with CAP_LEASE, or leave them to the daemon"
        )
    return 0 if outcome.is_good else 1
