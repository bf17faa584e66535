"""``shipper plan``: every candidate, with its key or the reason why it has none."""

import argparse
import json
import os
import sys

SUMMARY = "every candidate: its key, or why not"


def arguments(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Print the plan; nothing is changed."""
    from shipper.app.config import load
    from shipper.app.look import candidates
    from shipper.core.keys import printable

    configuration = load(options.config, os.environ)
    rows, problems = [], 0
    for candidate in candidates(configuration, os.environ):
        problems += candidate.problem is not None
        known = candidate.promise or candidate.known
        rows.append(
            {
                "watch": candidate.watch.name,
                "path": printable(candidate.path),
                "decision": candidate.decision.value,
                "because": candidate.because,
                "key": known.key if known is not None else None,
                "hint": candidate.problem.hint if candidate.problem is not None else "",
            }
        )
    if options.json:
        json.dump({"candidates": rows}, sys.stdout, indent=2)
        print()
        return 1 if problems else 0
    for row in rows:
        print(f"{row['watch']}: {row['path'] or '(directory)'}: {row['decision']}")
        print(f"    {row['key'] or row['because']}")
        if row["hint"]:
            print(f"    hint: {row['hint']}")
    print(f"{len(rows)} candidates, {problems} with problems")
    return 1 if problems else 0
