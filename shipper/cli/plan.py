"""``shipper plan``: what discovery would decide about every candidate now."""

import argparse
import json
import os
import sys
from contextlib import nullcontext
from functools import partial
from typing import Any

from shipper.core.scan_cache import ScanCache
from shipper.core.types import WatchName

SUMMARY = "list every candidate with its key, or with the reason why it has none"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Print the plan; nothing is changed."""
    from shipper.cli.progress import ProgressLine
    from shipper.config.load import load
    from shipper.reports.inspect import candidates
    from shipper.reports.rows import (
        candidate_row,
        left_alone_lines,
        left_alone_row,
        live_lines,
        matching_lines,
    )

    terminal = ProgressLine(sys.stderr)
    say = partial(print, file=terminal)
    seen: dict[WatchName, ScanCache] = {}
    live: dict[str, Any] = {}
    configuration = load(options.config, os.environ)
    found = candidates(configuration, os.environ, say, seen, live)
    rows = list[dict[str, Any]]()

    def far() -> str:
        return f"{len(rows):,} candidates so far; {rows[-1]['path'] if rows else ''}"

    with nullcontext() if options.json else terminal.shown(far):
        for candidate in found:
            bucket = configuration.destination_of(candidate.watch).bucket
            rows.append(candidate_row(candidate) | {"bucket": bucket})
    problems = sum(bool(row["problem"]) for row in rows)
    unselected = {name: left_alone_row(one.left_alone) for name, one in seen.items()}
    matching = {
        watch.name: {
            "directory": watch.whole_directory,
            "count": len(seen[watch.name].directories),
        }
        for watch in configuration.watches
        if watch.pattern
    }
    if options.json:
        document = {
            "candidates": rows,
            "left_alone": unselected,
            "matching": matching,
            "live": live,
        }
        print(json.dumps(document, indent=2))
        return 1 if problems else 0
    _tell(rows, with_bucket=len(configuration.used_destinations) > 1)
    for line in matching_lines(matching) + left_alone_lines(unselected) + live_lines(live):
        print(line)
    print(f"{len(rows)} candidates, {problems} with problems")
    return 1 if problems else 0


def _tell(rows: list[dict[str, Any]], *, with_bucket: bool) -> None:
    from shipper.reports.rows import OLD

    for row in rows:
        if row["decision"] == OLD:  # years of logs, whose count is said at the end
            continue
        print(f"{row['watch']}: {row['path'] or '(directory)'}: {row['decision']}")
        hint = row["hint"] and f"hint: {row['hint']}"
        key = f"s3://{row['bucket']}/{row['key']}" if with_bucket and row["key"] else row["key"]
        for said in filter(None, (key, row["problem"] or row["because"], hint)):
            print(f"    {said}")
