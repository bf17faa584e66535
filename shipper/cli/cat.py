"""``shipper cat``: the plain content of logs on stdout, as ``cat`` would have given it there."""

import argparse
import sys
from contextlib import closing

from shipper.cli.selecting import add_keys, add_selection, chosen_from, stderr_complaints

SUMMARY = "write logs to stdout: decompressed, their segments joined, oldest first"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_keys(parser)
    add_selection(parser)
    parser.add_argument(
        "--gaps",
        action="store_true",
        help="go on behind a segment that is missing; it is said all the same",
    )


def run(options: argparse.Namespace) -> int:
    """Write; 1 if anything is missing, which is said on stderr."""
    from shipper.archive.log_content import LogReader, readable_logs
    from shipper.cli.progress import ProgressLine
    from shipper.edges.decoder import streamed

    complaints, out = stderr_complaints(), sys.stdout.buffer
    with chosen_from(options) as chosen:
        with ProgressLine(sys.stderr).shown(lambda: "looking for the logs"):
            logs = chosen.logs(complaints.tell)
        complaints.tell_findings(chosen.findings)
        logs = readable_logs(logs, complaints.tell, goes_on=options.gaps)
        reader = LogReader(chosen.archive, streamed, complaints.tell)
        with closing(reader.content(logs)) as content:
            for piece in content:
                out.write(piece)
        out.flush()
    return 1 if complaints.count else 0
