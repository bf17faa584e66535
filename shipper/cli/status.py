"""``shipper status``: what is shipped, what is not, and why."""

import argparse
import json
import os
import sys
import threading
from typing import Any

SUMMARY = "show what is shipped, what is not, and why"

WATCH_SECONDS = 2.0
CLEAR = "\033[H\033[2J"


def arguments(parser: argparse.ArgumentParser) -> None:
    """``--json``, ``--watch``."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument(
        "--watch", action="store_true", help="repeat every two seconds, until Ctrl-C"
    )


def run(options: argparse.Namespace) -> int:
    """Ask the running daemon, else read the journal; 1 when an operator is needed."""
    from shipper.config.load import load
    from shipper.reports.inspect import status

    configuration = load(options.config, os.environ)
    while True:
        document = status(configuration, os.environ)
        text = json.dumps(document, indent=2) if options.json else "\n".join(table(document))
        if options.watch and sys.stdout.isatty():
            text = CLEAR + text
        print(text, flush=True)
        if not options.watch:
            return 0 if document["well"] else 1
        threading.Event().wait(WATCH_SECONDS)


def table(document: dict[str, Any]) -> list[str]:
    """The document for people."""
    running = f"running, pid {document['pid']}" if document["running"] else "not running"
    instance = document["instance_id"] or "unknown instance"
    lines = [f"shipper {document['version']} on {instance}: {running}"]
    lines += _credentials(document["credentials"]) if document["running"] else []
    for name, one in document.get("scan", {}).get("unwatched", {}).items():
        lines.append(f"no events: {name}; scans do the work")
        lines += _explained(one)
    lines += _drain(document.get("termination", {}))
    lines += [f"NOT WELL: {ailment}" for ailment in document["ailments"]]
    lines.append(
        f"unshipped: {document['unshipped_files']} files, {document['unshipped_bytes']} bytes, "
        f"oldest {document['oldest_unshipped_seconds']:.0f} s"
    )
    waiting = document.get("scan", {}).get("waiting_files", 0)
    if waiting:
        lines.append(f"not sealed yet: {waiting} files (`shipper plan` names them, and why)")
    held = document.get("held", {})
    if any(held.values()):
        lines.append(
            f"held: {held['descriptors']} descriptors, "
            f"{held['unlinked_bytes']} bytes of deleted files"
        )
    lines.append(
        f"{'watch':<20} {'state':<12} {'files':>9} {'raw bytes':>15} {'stored bytes':>15}"
    )
    for watch, states in sorted(document["watches"].items()):
        for state, total in sorted(states.items()):
            lines.append(
                f"{watch:<20} {state:<12} {total['files']:>9} {total['raw_bytes']:>15} "
                f"{total['stored_bytes']:>15}"
            )
    return lines + _rows(document)


def _credentials(credentials: dict[str, Any]) -> list[str]:
    role, until = credentials["role"] or "?", credentials["expires_at"] or "?"
    line = f"credentials: {credentials['state']}, role {role}, until {until}"
    return [line, *(_explained(credentials) if credentials["code"] else [])]


def _drain(drain: dict[str, Any]) -> list[str]:
    if not drain.get("draining"):
        return []
    left = f"{drain['seconds_left']:.0f} s are left"
    return [f"draining, for {drain['reason']}: {left}; small and old files first, then live ones"]


def _rows(document: dict[str, Any]) -> list[str]:
    lines = []
    for title in ("parked", "unfinished"):
        for row in document[title]:
            lines.append(f"{title} {row['id']}: {row['watch']}/{row['path']}: {row['state']}")
            lines += _explained(row) if row["code"] else []
            if row["due_at"]:
                lines.append(f"    next attempt at {row['due_at']}")
    for problem in document.get("problems", []):
        lines.append(f"problem: {problem['watch']}/{problem['path']}")
        lines += _explained(problem)
    return lines


def _explained(row: dict[str, Any]) -> list[str]:
    from shipper.reports.rows import failure_lines

    return [f"    {line}" for line in failure_lines(row)]
