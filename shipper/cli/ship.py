"""``shipper ship``: one round for cron jobs, image builds and shutdown hooks."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shipper.runtime.services import Services

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
    from shipper.cli.progress import ProgressLine
    from shipper.config.load import load
    from shipper.daemon.once import ship_once
    from shipper.edges.secrecy import forbid_dumps
    from shipper.runtime.logs import log_of_process
    from shipper.runtime.wiring import build

    forbid_dumps()
    configuration = load(options.config, os.environ)
    termination = replace(configuration.termination, ship_live_files=options.live)
    configuration = replace(configuration, termination=termination)
    terminal = ProgressLine(sys.stderr)
    log, redactor = log_of_process(configuration.log.level, configuration.log.format, terminal)
    services = build(configuration, environment=os.environ, log=log, redactor=redactor)
    try:
        with terminal.shown(_progress(services)):
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


def _progress(services: "Services") -> Callable[[], str]:
    from shipper.core.lifecycle import ACKNOWLEDGED, UNSHIPPED
    from shipper.reports.in_flight import in_flight, rate, summed
    from shipper.reports.rows import size

    totals = services.journal.figures.totals
    files_before, bytes_before = summed(totals(), ACKNOWLEDGED)

    def say() -> str:
        found, largest = totals(), in_flight(services)["largest"]
        (files, done), (left, left_bytes) = summed(found, ACKNOWLEDGED), summed(found, UNSHIPPED)
        files, done = files - files_before, done - bytes_before
        if not files + left:
            return "looking for what is ready to ship"
        whole = done + left_bytes
        done += sum(one["raw_bytes_done"] for one in largest)
        speed = size(rate(services)["sent_bytes_per_second"])
        such = "".join(f"; {one['watch']}/{one['path']}" for one in largest[:1])
        return (
            f"{files:,} of {files + left:,} files, {size(done)} of {size(whole)}, {speed}/s{such}"
        )

    return say
