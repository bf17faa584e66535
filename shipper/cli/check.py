"""``shipper check``: one probe for each thing that shipper needs, with a hint where it fails."""

import argparse
import itertools
import os
from collections.abc import Iterable

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
    from shipper.edges.secrecy import forbid_dumps
    from shipper.reports.checks import image_findings, probes
    from shipper.reports.inspect import health

    forbid_dumps()
    configuration = load(options.config, os.environ)
    print("ok    configuration")
    if options.for_image:
        return _said(image_findings(configuration))
    if options.health:
        detail = f"nobody answers for {configuration.state_directory}"
        nobody = PortError("NotRunning", detail, "start it, or ask as its own user")
        return _said(health(configuration, os.environ) or [("daemon", nobody)])
    results = probes(configuration, os.environ, offline=options.offline)
    code = _said(itertools.chain(results, health(configuration, os.environ)))
    if not options.offline:
        print("      not probed: s3:PutObject; the first upload tells")
    return code


def _said(results: Iterable[tuple[str, PortError | None]]) -> int:
    from shipper.reports.checks import WARNINGS

    is_well = True
    for name, problem in results:
        if problem is None:
            print(f"ok    {name}")
            continue
        is_known = problem.code in WARNINGS
        is_well = is_well and is_known
        print(f"WARN  {name}" if is_known else f"WRONG {name}: {problem}")
        if problem.hint:
            print(f"      hint: {problem.hint}")
    return EXIT_GOOD if is_well else EXIT_WRONG
