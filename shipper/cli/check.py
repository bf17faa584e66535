"""``shipper check``: one probe each of everything shipper needs, each with a hint."""

import argparse
import os

SUMMARY = "configuration, directories, journal, metadata service, role, bucket: each probed"


def arguments(parser: argparse.ArgumentParser) -> None:
    """``--offline``."""
    parser.add_argument("--offline", action="store_true", help="only what needs no network")


def run(options: argparse.Namespace) -> int:
    """1 when any probe failed."""
    from shipper.app.config import load
    from shipper.app.probes import probes

    configuration = load(options.config, os.environ)
    print("ok    configuration")
    failed = False
    for name, problem in probes(configuration, os.environ, offline=options.offline):
        if problem is None:
            print(f"ok    {name}")
            continue
        failed = True
        print(f"WRONG {name}: {problem}")
        if problem.hint:
            print(f"      hint: {problem.hint}")
    if not options.offline:
        print("      not probed: s3:PutObject; the first upload tells")
    return 1 if failed else 0
