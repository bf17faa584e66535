"""``shipper audit``: the journal, the bucket and the disk, compared by listing alone.

With ``--manifests`` it is another audit, from anywhere: ``cli.audit_manifests``.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from shipper.cli import audit_manifests
from shipper.runtime.exit_codes import EXIT_GOOD, EXIT_WRONG

if TYPE_CHECKING:
    from shipper.reports.audit import Progress

SUMMARY = "compare the journal, the bucket and the disk; name what is missing or wrong"
_TIMES = "7d (ago), 2026-11-29, or 2026-11-29T12:00 (UTC)"
_BAR = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "It lists the bucket (s3:ListBucket) and changes nothing. The daemon may run."
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--watch", metavar="NAME", help="only what this watch ships")
    parser.add_argument(
        "--since",
        metavar="TIME",
        type=since_at,
        default=0.0,
        help=f"what was found since then: {_TIMES}",
    )
    audit_manifests.arguments(parser)


def since_at(text: str) -> float:
    """The instant that is meant."""
    from shipper.core.instants import instant_from

    at = instant_from(text, time.time())
    if at is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write {_TIMES}")
    return at


def run(options: argparse.Namespace) -> int:
    """Audit this host, or the archive; 1 when something is wrong, or could not be looked at."""
    audit_manifests.check(options)
    if options.manifests:
        return audit_manifests.run(options)
    document = _document_of_host(options)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        for line in lines_of(document):
            print(line)
    return EXIT_GOOD if document["well"] else EXIT_WRONG


def _document_of_host(options: argparse.Namespace) -> dict[str, Any]:
    from shipper.cli.progress import ProgressLine
    from shipper.config.load import load
    from shipper.core.types import WatchName
    from shipper.edges.secrecy import forbid_dumps
    from shipper.reports.audit import Asked, Progress
    from shipper.reports.audit_wiring import audit_of

    forbid_dumps()
    configuration = load(options.config, os.environ)
    watch = None if options.watch is None else WatchName(options.watch)
    progress, terminal = Progress(), ProgressLine(sys.stderr)
    with (
        audit_of(configuration, os.environ, Asked(watch, options.since), progress) as audit,
        nullcontext() if options.json else terminal.shown(lambda: bar(progress)),
    ):
        audit.run()
        return audit.document()


def bar(progress: "Progress") -> str:
    """How far it is. The objects are not known ahead, the shipments are."""
    share = min(1.0, progress.rows / max(1, progress.rows_in_all))
    done = "#" * round(share * _BAR)
    return (
        f"[{done:.<{_BAR}}] {100 * share:3.0f} %  {progress.rows:,} of "
        f"{progress.rows_in_all:,} shipments, {progress.objects:,} objects"
    )


def lines_of(document: dict[str, Any]) -> Iterator[str]:
    """The document for people: a table of what is wrong, hints, and what was counted."""
    from shipper.cli.layout import shown
    from shipper.reports.audit import COUNTED

    rows = [[one["kind"], one["watch"], one["name"]] for one in document["findings"]]
    wide = [max((len(row[at]) for row in rows), default=0) for at in range(2)]
    for (kind, watch, name), one in zip(rows, document["findings"], strict=True):
        yield shown(f"{kind:{wide[0]}}  {watch:{wide[1]}}  {name}")
        notice = "" if one["is_wrong"] else "a notice: "
        yield shown(f"{'':{sum(wide) + 4}}{notice}{one['detail']}")
    for kind, total in document["totals"].items():
        named = sum(row[0] == kind for row in rows)
        more = f", {named:,} of them shown" if named < total else ""
        yield f"{total:,} {kind}{more}"
        yield shown(f"  hint: {document['hints'][kind]}")
    for one in document["problems"]:
        yield shown(f"WRONG {one['name']}: {one['code']}: {one['detail']}")
        yield shown(f"  hint: {one['hint']}")
    for name, count in document["counts"].items():
        if count:
            yield f"{count:,} {COUNTED[name]}"
    what = f"{document['shipments']:,} shipments and {document['objects']:,} objects"
    yield f"{what}: {'nothing is wrong' if document['well'] else 'see above'}"
