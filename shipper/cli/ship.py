"""``shipper ship``: one round, for cron, image bakes and shutdown hooks."""

import argparse
import os
import sys

SUMMARY = "ship what is ready once, then exit"


def arguments(parser: argparse.ArgumentParser) -> None:
    """``--live``."""
    parser.epilog = "Not while the daemon runs: stop it first."
    parser.add_argument(
        "--live", action="store_true", help="live files, too, as they are now: nothing comes after"
    )


def run(options: argparse.Namespace) -> int:
    """Exit 0 when everything that was sealed is in S3."""
    from shipper.config.load import load
    from shipper.daemon.once import ship_once
    from shipper.runtime.logs import Redactor, make_logger
    from shipper.runtime.wiring import build

    configuration = load(options.config, os.environ)
    redactor = Redactor()
    log = make_logger(configuration.log.level, configuration.log.format, sys.stderr, redactor)
    services = build(configuration, environment=os.environ, log=log, redactor=redactor)
    try:
        outcome = ship_once(services, live=options.live)
    finally:
        services.close()
    print(
        f"{outcome.shipped} shipped, {outcome.left} left, {outcome.waiting} not sealed yet, "
        f"{outcome.problems} with problems, {outcome.gone} gone before they were shipped"
    )
    if outcome.unproven:
        print(
            f"of {outcome.unproven} nobody can tell whether they are still written: run as their "
            "owner, with CAP_LEASE, or leave it to the daemon"
        )
    return 0 if outcome.is_good else 1
