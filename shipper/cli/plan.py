"""``shipper plan``: what discovery would decide about every candidate now."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shipper.services.finding.candidates import Candidate

SUMMARY = "list every candidate with its key, or with the reason why it has none"


def arguments(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Print the plan; nothing is changed."""
    from shipper.config.load import load
    from shipper.reports.inspect import candidates

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    found = candidates(load(options.config, os.environ), os.environ, say)
    rows = [_row(candidate) for candidate in found]
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


def _row(candidate: "Candidate") -> dict[str, Any]:
    from shipper.core.failures import hint_for
    from shipper.core.object_keys import printable
    from shipper.services.finding.candidates import Decision

    known, problem, hint = candidate.known, "", ""
    if candidate.problem is not None:
        problem, hint = str(candidate.problem), candidate.problem.hint
    elif candidate.decision is Decision.PARKED and known is not None:
        problem, hint = f"{known.code}: {known.detail}", hint_for(known.code)
    row = candidate.promise or known
    key = str(row.key) if row is not None else None
    if candidate.decision is Decision.DUPLICATE and known is not None:
        key = known.detail  # of the log it is a copy of
    return {
        "watch": candidate.watch.name,
        "path": printable(candidate.path),
        "decision": candidate.decision.value,
        "because": candidate.because,
        "key": key,
        "problem": problem,
        "hint": hint,
    }
