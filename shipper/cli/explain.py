"""``shipper explain``: everything about one path, above all why it is not yet in S3."""

import argparse
import json
import os
import sys
from functools import partial
from typing import Any

SUMMARY = "show everything about one path: watch, writers, shipments, and why it waits"

Line = tuple[str, str]
"""A label and a text. A line without a text is left out."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        type=_path,
        help="a file that is there now, or was; or a shipment's ID",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def _path(text: str) -> bytes:
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return os.fsencode(text)


def run(options: argparse.Namespace) -> int:
    """Print the explanation; 1 when an operator is needed."""
    from shipper.config.load import load
    from shipper.reports.explain import document_from
    from shipper.reports.inspect import path_of
    from shipper.reports.path_facts import gathered

    say = partial(print, file=sys.stderr)
    configuration = load(options.config, os.environ)
    path = options.path
    if path.isdigit() and not os.path.lexists(path):
        path = path_of(configuration, int(path)) or path
    document = document_from(gathered(configuration, os.environ, path, say))
    print(json.dumps(document, indent=2) if options.json else "\n".join(table(document)))
    return 0 if document["well"] else 1


def table(document: dict[str, Any]) -> list[str]:
    """The document for people."""
    watch, sealed, left_out = document["watch"], document["sealed"], document["shipments_left_out"]
    is_said_below = document["because"] in [part["because"] for part in (watch, sealed) if part]
    where = f"{watch['name']} on {watch['directory']}: {watch['because']}" if watch else "none"
    seconds = document["afterwards_in_seconds"]
    when = "" if seconds is None else f" in {duration(seconds)}"
    lines = [
        ("because", "" if is_said_below else document["because"]),
        *_failure(document),
        ("watch", where),
        ("file", _file(document["file"])),
        ("sealed", _sealed(sealed)),
        ("writers", _writers(document)),
        ("live", _live(document["live"])),
        ("now called", document["moved_to"] or ""),
        ("to ship", _promise(document["promise"])),
        *(line for row in document["shipments"] for line in _shipment(row)),
        ("", f"and {left_out} older ones of this name" if left_out else ""),
        ("afterwards", document["afterwards"] + when),
        ("daemon", "running" if document["daemon_runs"] else "not running"),
    ]
    head = f"{document['path']}: {document['answer']}"
    return [head, *(f"  {label:<12}{text}" for label, text in lines if text)]


def _failure(row: dict[str, Any]) -> list[Line]:
    from shipper.reports.rows import failure_lines

    return [("", text) for text in failure_lines(row)]


def _file(file: dict[str, Any] | None) -> str:
    if file is None:
        return "none"
    names = "" if file["links"] == 1 else f", {file['links']} names"
    return (
        f"{file['kind']}, {file['size_bytes']:,} bytes, inode {file['inode']}{names}, "
        f"written {file['modified_at']}, changed {file['changed_at']}"
    )


def _sealed(sealed: dict[str, Any] | None) -> str:
    if sealed is None:
        return ""
    if sealed["sealed"]:
        return f"yes: {sealed['because']}"
    wait = sealed["wait_seconds"]
    return f"no: {sealed['because']}; " + (
        "waits until it is closed" if wait is None else f"{duration(wait)} to wait at least"
    )


def _writers(document: dict[str, Any]) -> str:
    writers, sealed = document["writers"], document["sealed"]
    if writers is None:
        return ""
    if writers["seen"]:
        return ", ".join(f"pid {one['pid']} ({one['command']})" for one in writers["seen"])
    if writers["someone"]:
        part = "/proc shows it not" if writers["complete"] else "not all of /proc may be read"
        return f"someone, but {part}"
    if sealed is None or sealed["sealed"]:
        return ""
    return "none" if writers["complete"] else "none seen, but not all of /proc may be read"


def _live(live: dict[str, Any] | None) -> str:
    if live is None:
        return ""
    said = f"bytes {live['promised_to']:,} on, {live['left_bytes']:,} of them, are in no segment"
    wait, within = live["due_in_seconds"], live["due_within_seconds"]
    if wait is None:
        return said + "; they go when it is rotated, or the machine ends"
    most = f", {duration(within)} at most" if within else ""
    return f"{said}; the next one is due in {duration(wait)} at least{most}"


def _promise(promise: dict[str, Any] | None) -> str:
    if promise is None:
        return ""
    start, end = promise["raw_start"], promise["raw_end"]
    return (f"bytes {start:,} to {end:,}, " if start else "") + f"as {promise['key']}"


def _shipment(row: dict[str, Any]) -> list[Line]:
    what = f"{row['id']}: {row['state']}, bytes {row['raw_start']:,} to {row['raw_end']:,}"
    original, wait, finished_at = row["twin_of"], row["due_in_seconds"], row["finished_at"]
    due = f"due in {duration(wait)}" if wait else "due now"
    tried = f", {row['attempts']} attempts failed" if row["attempts"] else ""
    parts = f", {row['parts_stored']} parts stored" if row["parts_stored"] else ""
    return [
        ("shipment", f"{what} of {row['relation']}"),
        ("", row["key"] if original is None else f"copy of {original}"),
        ("", _continued(row)),
        ("", f"promised {row['promised_at']}: {row['sealed_because']}"),
        ("", "" if wait is None else f"{due}{tried}{parts}"),
        ("", "" if finished_at is None else f"finished {finished_at}"),
        *([] if original is not None else _failure(row)),
    ]


def _continued(row: dict[str, Any]) -> str:
    """Of a compressed copy that goes on."""
    if not row["continues"]:
        return ""
    start, end = row["decoded_start"], row["decoded_end"]
    return f"its content's bytes {start:,} to {end:,}, behind {row['continues']}"


def duration(seconds: float) -> str:
    """Seconds as the configuration writes them: ``2h5m``, ``43s``."""
    left, said = round(seconds), ""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        said += f"{count}{unit}" if count else ""
    return said or "a moment"
