"""``shipper check``: one probe for each thing that shipper needs, with a hint where it fails."""

import argparse
import itertools
import os
from collections.abc import Container, Iterable

from shipper.ports import PortError
from shipper.runtime.exit_codes import EXIT_GOOD, EXIT_WRONG

SUMMARY = "probe configuration, directories, journal, metadata service, role and bucket"


def arguments(parser: argparse.ArgumentParser) -> None:
    for flag, says in (
        ("--offline", "run only the probes that need no network"),
        (
            "--for-image",
            "list what every instance made from this disk would carry, and whether it should",
        ),
        ("--health", "ask instead the running daemon whether it is well, as /healthz does"),
    ):
        parser.add_argument(flag, action="store_true", help=says)


def run(options: argparse.Namespace) -> int:
    """Run the probes, and ask the daemon where one runs; 1 when anything is wrong."""
    from shipper.config.load import load
    from shipper.config.units import text_from_seconds
    from shipper.edges.secrecy import forbid_dumps
    from shipper.reports.checks import WARNINGS, probes
    from shipper.reports.image_checks import image_findings
    from shipper.reports.inspect import health

    forbid_dumps()
    configuration = load(options.config, os.environ)
    print("ok    configuration")
    if options.for_image:
        return _said(image_findings(configuration), WARNINGS)
    if options.health:
        return _said(health(configuration, os.environ), ())
    results = probes(configuration, os.environ, offline=options.offline)
    code = _said(itertools.chain(results, health(configuration, os.environ)), WARNINGS)
    if not options.offline:
        print("skip  s3:PutObject: not probed; the first upload tells")
        if seconds := configuration.fleet.heartbeat_seconds:
            often = f"every {text_from_seconds(seconds)}"
            print(f"skip  heartbeats, {often}: not probed; `shipper status` tells of the first")
    return code


def _said(results: Iterable[tuple[str, PortError | None]], warnings: Container[str]) -> int:
    is_well = True
    for name, problem in results:
        if problem is None:
            print(f"ok    {name}")
            continue
        is_known = problem.code in warnings
        is_well = is_well and is_known
        said = ": ".join(filter(None, (name, problem.detail)))
        print(f"WARN  {said}" if is_known else f"WRONG {name}: {problem}")
        if problem.hint:
            print(f"      hint: {problem.hint}")
    return EXIT_GOOD if is_well else EXIT_WRONG
