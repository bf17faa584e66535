"""``shipper sql``: what DuckDB or Athena is told to read manifests and logs as tables."""

import argparse
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from shipper.cli.reading import add_reader_options
from shipper.ports import PortError

if TYPE_CHECKING:
    from shipper.archive.sql import Wanted

SUMMARY = "SQL over manifests and logs, for DuckDB or Athena: definitions and ready queries"
DIALECTS = ("duckdb", "athena")
QUERIES = ("overdue", "bytes", "hosts", "gaps", "missing", "losses", "lines")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dialect", choices=DIALECTS, metavar=f"({' | '.join(DIALECTS)})")
    parser.add_argument(
        "--query",
        choices=QUERIES,
        metavar="NAME",
        help=f"this one alone ({', '.join(QUERIES)}); with duckdb behind the definitions, which "
        "only Athena remembers",
    )
    for flag, metavar, says in (
        ("--instance", "ID", "read the manifests of this instance alone"),
        ("--watch", "NAME", "whose lines are read (default: the configuration's first)"),
        ("--location", "PLACE", "a copy of the whole bucket: a directory, or s3://ANOTHER/"),
        ("--key", "TEMPLATE", "with --bucket: how keys are made, or hive (default: the default)"),
    ):
        parser.add_argument(flag, metavar=metavar, help=says)
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    parser.add_argument(
        "--day", metavar="DAY", type=_day, default=yesterday, help="default: yesterday, in UTC"
    )
    parser.add_argument(
        "--expect-every",
        metavar="DURATION",
        type=_seconds,
        default=26 * 3600,
        help="what is older is overdue (default: 26h)",
    )
    add_reader_options(parser)


def run(options: argparse.Namespace) -> int:
    """The SQL on stdout. Nothing is asked, and no credentials are needed."""
    from shipper.archive.sql import script

    if options.watch and options.query not in (None, "lines"):
        raise _bad(f"--watch says nothing to --query {options.query}", "it is for lines alone")
    found = script(options.dialect, _wanted(options))
    named = found.queries if options.query is None else {options.query: ""}
    if missing := named.keys() - found.queries.keys():
        hint = "leave --query out: a comment in the SQL says why"
        raise _bad(f"there is no query {min(missing)} for keys of this layout", hint)
    is_alone = options.query is not None and options.dialect == "athena"
    texts = [found.queries[name] for name in named]
    print(*([] if is_alone else [found.definitions]), *texts, sep="\n", end="")
    return 0


def _wanted(options: argparse.Namespace) -> "Wanted":
    from shipper.archive.buckets import KeyLayout
    from shipper.archive.sql import Wanted, secret_for
    from shipper.cli.reading import destinations_from
    from shipper.core.destinations import LAYOUTS

    (destination, layouts), *others = destinations_from(options).items()
    if others:
        places = ", ".join(f"{one.bucket}/{one.prefix}" for one in (destination, *dict(others)))
        raise _bad(f"the configuration has several: {places}", "name one: --bucket and --prefix")
    if options.key:
        key = LAYOUTS.get(options.key, options.key)
        layouts = (KeyLayout(destination.prefix, _template(key, options.bucket)),)
    elif options.bucket:
        layouts = layouts[:1]  # the default
    root = (options.location or f"s3://{destination.bucket}").rstrip("/") + "/"
    is_in_s3 = root.startswith("s3://")
    if options.dialect == "athena" and (destination.endpoint_url or not is_in_s3):
        raise _bad("Athena reads AWS's S3 alone", "--location s3://BUCKET where a copy is there")
    for flag, text in (("--watch", options.watch), ("--instance", options.instance)):
        if text and not text.isprintable():
            raise _bad(f"{flag} {text!r} has what no name has", "watches are named by their owner")
    texts = [root, *(one.prefix for one in layouts), destination.prefix]
    if not "".join(texts).isprintable() or "{tag:" in "".join(texts) or "arn:" in root:
        raise _bad(
            f"no SQL can say where {destination.bucket}/{destination.prefix} is",
            "a bucket's name (or an access point's alias) and a prefix: --bucket and --prefix",
        )
    return Wanted(
        root=root,
        prefix=destination.prefix,
        layouts=layouts,
        day=options.day.isoformat(),
        expect_seconds=options.expect_every,
        watch=options.watch or layouts[0].watch or "WATCH",
        instance=options.instance or "",
        secret=secret_for(destination, options.profile or "") if is_in_s3 else "",
    )


def _template(key: str, bucket: str | None) -> str:
    from shipper.core.object_keys import template_problems

    if bucket is None:
        raise _bad("--key goes with --bucket", "the configuration says how its keys are made")
    for problem in template_problems(key):
        raise _bad(f"--key {problem}", "hive, or what destination.key says")
    return key


def _day(text: str) -> date:
    from shipper.core.instants import day_from

    found = day_from(text, datetime.now(UTC).timestamp())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; such as 2026-11-28 or today")
    return found.date()


def _seconds(text: str) -> int:
    from shipper.config.units import seconds_from_text

    try:
        return max(1, round(seconds_from_text(text)))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _bad(what: str, hint: str) -> PortError:
    return PortError("BadOptions", what, hint)
