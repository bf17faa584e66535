"""``shipper find``: what there is in the bucket, newest last."""

import argparse
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from shipper.cli.selecting import Chosen, add_selection, chosen_from, stderr_complaints

if TYPE_CHECKING:
    from shipper.core.archived_segments import ArchivedSegment

_SECOND_NS = 1_000_000_000
SUMMARY = "list the logs in the bucket by instance, watch, name and time; newest last"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="one JSON document on stdout")
    how.add_argument("--keys", action="store_true", help="the keys alone, one a line")
    parser.add_argument(
        "--manifests",
        action="store_true",
        help="look into the manifests for path, range and SHA-256 of every log; of one "
        "--instance that is always done",
    )


def run(options: argparse.Namespace) -> int:
    """List; 1 if something could not be read."""
    with chosen_from(options) as chosen:
        with_facts = not options.keys and bool(options.manifests or options.instance)
        segments = chosen.found(with_facts=with_facts, asks_each=False)
        if options.json:
            _print_json(segments, chosen)
        elif options.keys:
            _print_keys(segments, is_one=len({one.name for one in chosen.buckets}) == 1)
        else:
            _print_table(segments)
        complaints = stderr_complaints()
        complaints.tell_findings(chosen.findings)
        return 1 if complaints.count else 0


def _print_keys(segments: "Iterable[ArchivedSegment]", *, is_one: bool) -> None:
    for one in segments:
        print(one.stored.key if is_one else one.label)


def _print_table(segments: "Iterable[ArchivedSegment]") -> None:
    from shipper.cli.layout import shown
    from shipper.core.archived_segments import iso
    from shipper.reports.rows import size

    line = "{:<20}  {:>9}  {:<19}  {:<12}  {}"
    count = 0
    for one in segments:
        if not count:
            print(line.format("LAST WRITTEN (UTC)", "STORED", "INSTANCE", "WATCH", "NAME"))
        count += 1
        name = (one.path or one.stem).decode("utf-8", "backslashreplace")
        start = f"  from byte {one.raw_start:,}" if one.raw_start else ""
        at = iso(one.mtime_ns)[:-5] + "Z"
        if one.until_ns - one.mtime_ns > _SECOND_NS:  # its key tells the day, or the hour
            at = at[:10]
        cells = (at, size(one.stored.size_bytes), one.instance, one.watch, name + start)
        print(shown(line.format(*cells)))
    if not count:
        print("nothing found", file=sys.stderr)


def _print_json(segments: "Iterable[ArchivedSegment]", chosen: Chosen) -> None:
    """Row by row: there may be millions."""
    print('{"objects": [', end="")
    for number, one in enumerate(segments):
        print(("," if number else "") + "\n" + json.dumps(row(one)), end="")
    strange, problems = chosen.findings.strange_count, chosen.findings.problems
    print(f'\n], "not_logs": {strange}, "problems": {json.dumps(problems)}}}')


def row(one: "ArchivedSegment") -> dict[str, Any]:
    """As ``docs/schemas/find.schema.json`` has it."""
    from urllib.parse import quote

    from shipper.core.archived_segments import iso

    return {
        "bucket": one.bucket,
        "key": one.stored.key,
        "instance": one.instance,
        "watch": one.watch,
        "name": quote(one.stem, safe="/ :@+,=~"),
        "path": quote(one.path, safe="/ :@+,=~") or None,
        "mtime": iso(one.mtime_ns),
        "mtime_ns": None if one.told_by == "key" else one.mtime_ns,
        "raw_start": one.raw_start,
        "raw_end": one.raw_end,
        "sha256": one.sha256 or None,
        "stored_bytes": one.stored.size_bytes,
        "etag": one.stored.etag,
        "storage_class": one.stored.storage_class,
        "told_by": one.told_by,
    }
