"""``shipper plan``: what discovery would decide about every candidate now."""

import argparse
import json
import os
import sys

SUMMARY = "list every candidate with its key, or with the reason why it has none"


def arguments(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Print the plan; nothing is changed."""
    from shipper.config.load import load
    from shipper.reports.inspect import candidates
    from shipper.reports.rows import candidate_row

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    found = candidates(load(options.config, os.environ), os.environ, say)
    rows = [candidate_row(candidate) for candidate in found]
    problems = sum(bool(row["problem"]) for row in rows)
    if options.json:
        json.dump({"candidates": rows}, sys.stdout, indent=2)
        print()
        return 1 if problems else 0
    for row in rows:
        print(f"{row['watch']}: {row['path'] or '(directory)'}: {row['decision']}")
        for said in (row["key"], row["problem"] or row["because"]):
            if said:
                print(f"    {said}")
        if row["hint"]:
            print(f"    hint: {row['hint']}")
    print(f"{len(rows)} candidates, {problems} with problems")
    return 1 if problems else 0
