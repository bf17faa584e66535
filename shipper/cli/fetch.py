"""``shipper fetch``: logs given back as files."""

import argparse
import sys

from shipper.cli.selecting import Complaints, add_keys, add_selection, chosen_from

SUMMARY = "restore logs below a directory: by instance and source path, with their mtimes"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_keys(parser)
    parser.add_argument("--into", metavar="DIR", required=True, help="made if it is missing")
    add_selection(parser)


def run(options: argparse.Namespace) -> int:
    """Restore; 1 if any log could not be."""
    from shipper.archive.restoring import Restorer
    from shipper.cli.progress import ProgressLine
    from shipper.edges.decoder import streamed
    from shipper.edges.files.restored_files import RestoreDirectory
    from shipper.reports.rows import size

    terminal = ProgressLine(sys.stderr)
    complaints = Complaints(terminal.write)
    with chosen_from(options) as chosen, RestoreDirectory(options.into) as directory:
        with terminal.shown(lambda: "looking for the logs"):
            logs = chosen.logs(complaints.tell)
        complaints.tell_findings(chosen.findings)
        restorer = Restorer(chosen.archive, streamed, directory, complaints.tell)
        outcome, whole = restorer.outcome, sum(log.raw_bytes for log in logs)

        def far() -> str:
            done = outcome.restored + outcome.already_there + outcome.failed
            written = f"{size(outcome.written_bytes)} of at most {size(whole)}"
            return f"{done:,} of {len(logs):,} logs, {written}"

        with terminal.shown(far):
            restorer.restore(logs)
    said = f"{outcome.restored:,} restored ({size(outcome.written_bytes)} written)"
    print(f"{said}, {outcome.already_there:,} already there, {outcome.failed:,} failed")
    if outcome.unverified:
        print(f"{outcome.unverified:,} could not be verified: no manifest names them")
    return 1 if complaints.count else 0
