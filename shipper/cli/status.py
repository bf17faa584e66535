"""``shipper status``: what is shipped, what is not, and why."""

import argparse
import json
import os
import sys
import threading
from typing import Any

SUMMARY = "show what is shipped, what is not, and why"
WATCH_SECONDS = 2.0


def arguments(parser: argparse.ArgumentParser) -> None:
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
            text = "\033[H\033[2J" + text  # the cursor home, the screen cleared
        print(text, flush=True)
        if not options.watch:
            return 0 if document["well"] else 1
        threading.Event().wait(WATCH_SECONDS)


def table(document: dict[str, Any]) -> list[str]:
    """The document for people."""
    running = f"running, pid {document['pid']}" if document["running"] else "not running"
    instance = document["instance_id"] or "unknown instance"
    lines = [f"shipper {document['version']} on {instance}: {running}"]
    lines += _of_daemon(document) if document["running"] else []
    lines += [f"NOT WELL: {ailment}" for ailment in document["ailments"]]
    lines.append(
        f"unshipped: {document['unshipped_files']} files, {document['unshipped_bytes']} bytes, "
        f"oldest {document['oldest_unshipped_seconds']:.0f} s"
    )
    lines += _not_yet(document) if document["running"] else []
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


def _of_daemon(document: dict[str, Any]) -> list[str]:
    credentials, drain = document["credentials"], document["termination"]
    role, until = credentials["role"] or "?", credentials["expires_at"] or "?"
    lines = [f"credentials: {credentials['state']}, role {role}, until {until}"]
    lines += _explained(credentials) if credentials["code"] else []
    for name, one in document["scan"]["unwatched"].items():
        lines += [f"no events: {name}; scans do the work", *_explained(one)]
    for disk in document.get("disks", ()):
        early = ", what S3 has is removed early" if disk["removes_early"] else ""
        lines.append(f"disk of {disk['directory']}: {100 * disk['used_ratio']:.1f} % full{early}")
    if drain["draining"]:
        lines.append(
            f"draining, for {drain['reason']}: {drain['seconds_left']:.0f} s are left; "
            "small and old files first, then live ones"
        )
    return lines


def _not_yet(document: dict[str, Any]) -> list[str]:
    from shipper.reports.rows import left_alone_lines

    lines = left_alone_lines(document["left_alone"])
    waiting, held = document["scan"]["waiting_files"], document["held"]
    if waiting:
        lines.append(f"not sealed yet: {waiting} files (`shipper plan` names them, and why)")
    if any(held.values()):
        lines.append(
            f"held: {held['descriptors']} descriptors, "
            f"{held['unlinked_bytes']} bytes of deleted files"
        )
    return lines


def _rows(document: dict[str, Any]) -> list[str]:
    lines = []
    for title in ("lost", "parked", "unfinished"):
        for row in document[title]:
            lines.append(f"{title} {row['id']}: {row['watch']}/{row['path']}: {row['state']}")
            lines += _explained(row) if row["code"] else []
            if row["due_at"] and row["due_at"] > document["at"]:
                lines.append(f"    next attempt at {row['due_at']}")
    for problem in document.get("problems", []):
        lines.append(f"problem: {problem['watch']}/{problem['path']}")
        lines += _explained(problem)
    return lines


def _explained(row: dict[str, Any]) -> list[str]:
    from shipper.reports.rows import failure_lines

    return [f"    {line}" for line in failure_lines(row)]
