"""``shipper explain``: everything about one path, above all why it is not yet in S3."""

import argparse
import json
import os
import sys
from typing import Any

SUMMARY = "show everything about one path: watch, writers, shipments, and why it waits"

LABEL_COLUMNS = 12


def arguments(parser: argparse.ArgumentParser) -> None:
    """A path, ``--json``."""
    parser.add_argument(
        "path", metavar="PATH", type=_path, help="a file that is there now, or was"
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
    from shipper.reports.path_facts import gathered

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    configuration = load(options.config, os.environ)
    document = document_from(gathered(configuration, os.environ, options.path, say))
    text = json.dumps(document, indent=2) if options.json else "\n".join(table(document))
    print(text)
    return 0 if document["well"] else 1


def table(document: dict[str, Any]) -> list[str]:
    """The document for people."""
    lines = [f"{document['path']}: {document['answer']}"]
    lines += _line("because", _because(document))
    lines += _explained(document)
    lines += _line("watch", _watch(document["watch"]))
    lines += _line("file", _file(document["file"]))
    lines += _line("sealed", _sealed(document["sealed"]))
    lines += _line("writers", _writers(document))
    lines += _line("now called", document["moved_to"] or "")
    lines += _line("to ship", _promise(document["promise"]))
    for row in document["shipments"]:
        lines += _shipment(row)
    if document["shipments_left_out"]:
        lines += _line("", f"and {document['shipments_left_out']} older ones of this name")
    lines += _line("afterwards", _afterwards(document))
    return lines + _line("daemon", "running" if document["daemon_runs"] else "not running")


def _because(document: dict[str, Any]) -> str:
    """What the lines below do not say anyway."""
    said = [part["because"] for part in (document["watch"], document["sealed"]) if part]
    return "" if document["because"] in said else document["because"]


def _line(label: str, text: str) -> list[str]:
    return [f"  {label:<{LABEL_COLUMNS}}{text}"] if text else []


def _explained(row: dict[str, Any]) -> list[str]:
    from shipper.reports.rows import failure_lines

    return [line for text in failure_lines(row) for line in _line("", text)]


def _watch(watch: dict[str, Any] | None) -> str:
    return f"{watch['name']} on {watch['directory']}: {watch['because']}" if watch else "none"


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


def _promise(promise: dict[str, Any] | None) -> str:
    if promise is None:
        return ""
    start, end = promise["raw_start"], promise["raw_end"]
    part = f"bytes {start:,} to {end:,}, " if start else ""
    return f"{part}as {promise['key']}"


def _shipment(row: dict[str, Any]) -> list[str]:
    what = f"{row['id']}: {row['state']}, bytes {row['raw_start']:,} to {row['raw_end']:,}"
    lines = _line("shipment", f"{what} of {row['relation']}")
    lines += _line("", row["key"] if row["twin_of"] is None else f"twin of {row['twin_of']}")
    lines += _line("", f"promised {row['promised_at']}: {row['sealed_because']}")
    if row["due_in_seconds"] is not None:
        tried = f", {row['attempts']} attempts failed" if row["attempts"] else ""
        parts = f", {row['parts_stored']} parts stored" if row["parts_stored"] else ""
        wait = row["due_in_seconds"]
        due = f"due in {duration(wait)}" if wait else "due now"
        lines += _line("", f"{due}{tried}{parts}")
    if row["finished_at"] is not None:
        lines += _line("", f"finished {row['finished_at']}")
    return lines if row["twin_of"] is not None else lines + _explained(row)


def _afterwards(document: dict[str, Any]) -> str:
    seconds = document["afterwards_in_seconds"]
    text: str = document["afterwards"]
    return text if seconds is None else f"{text} in {duration(seconds)}"


def duration(seconds: float) -> str:
    """Seconds as the configuration writes them: ``2h5m``, ``43s``."""
    left, said = round(seconds), ""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        said += f"{count}{unit}" if count else ""
    return said or "a moment"
