"""``shipper plan``: what discovery would decide about every candidate now."""

import argparse
import json
import os
import sys
from functools import partial
from typing import Any

from shipper.core.left_alone import LeftAlone
from shipper.core.types import WatchName

SUMMARY = "list every candidate with its key, or with the reason why it has none"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Print the plan; nothing is changed."""
    from shipper.config.load import load
    from shipper.reports.inspect import candidates
    from shipper.reports.rows import candidate_row, left_alone_lines, left_alone_row, live_lines

    say = partial(print, file=sys.stderr)
    left_alone: dict[WatchName, LeftAlone] = {}
    live: dict[str, Any] = {}
    found = candidates(load(options.config, os.environ), os.environ, say, left_alone, live)
    rows = [candidate_row(candidate) for candidate in found]
    problems = sum(bool(row["problem"]) for row in rows)
    unselected = {name: left_alone_row(one) for name, one in left_alone.items()}
    if options.json:
        print(json.dumps({"candidates": rows, "left_alone": unselected, "live": live}, indent=2))
        return 1 if problems else 0
    for row in rows:
        print(f"{row['watch']}: {row['path'] or '(directory)'}: {row['decision']}")
        hint = row["hint"] and f"hint: {row['hint']}"
        for said in filter(None, (row["key"], row["problem"] or row["because"], hint)):
            print(f"    {said}")
    for line in left_alone_lines(unselected):
        print(line)
    for line in live_lines(live):
        print(line)
    print(f"{len(rows)} candidates, {problems} with problems")
    return 1 if problems else 0
