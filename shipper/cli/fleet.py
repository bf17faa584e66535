"""``shipper fleet``: which instances of a fleet need somebody."""

import argparse
import json
import os
import shutil
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from shipper.ports import PortError

if TYPE_CHECKING:
    from shipper.archive.buckets import ReadBucket
    from shipper.archive.fleet import Survey
    from shipper.cli.layout import Line
    from shipper.core.fleet import Standing

SUMMARY = "show which instances of a fleet are late, ill or stopped, by their heartbeats"
HOUR_SECONDS = 3600.0


def arguments(parser: argparse.ArgumentParser) -> None:
    from shipper.cli.reading import add_reader_options

    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--ill", action="store_true", help="only those who need somebody")
    parser.add_argument(
        "--verbose", action="store_true", help="read also what those say that work imperfectly"
    )
    parser.add_argument(
        "--every",
        metavar="DURATION",
        help="how often they write: late is what is older than two of these (default: "
        "fleet.heartbeat of the configuration, else 1h)",
    )
    parser.add_argument(
        "--expect",
        metavar="FILE",
        help="a list of instance ids, or - for stdin: who never wrote is named, too",
    )
    add_reader_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print how the fleet does; 1 when an instance needs somebody."""
    from shipper.archive.fleet import survey
    from shipper.cli.reading import buckets_from, expected_instances

    expected = expected_instances(options.expect) if options.expect is not None else None
    every_seconds = _every(options.every)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # others' names
    with buckets_from(options) as buckets:
        bucket = buckets[0]  # where the daemon writes them
        interval_seconds = every_seconds or _configured(options)
        if "{tag:" in bucket.prefix:
            hint = "name one team's with --bucket and --prefix"
            raise PortError("BadOptions", f"each tag has its own prefix: {bucket.prefix}", hint)
        found = survey(
            bucket.archive,
            bucket.prefix,
            interval_seconds=interval_seconds,
            now=time.time(),
            expected=expected,
            is_thorough=options.verbose,
        )
    if not found.standings:
        detail = f"no heartbeat is below s3://{bucket.name}/{bucket.prefix}_fleet/"
        hint = 'the instances\' configuration needs [fleet] heartbeat = "1h"; is this the prefix?'
        raise PortError("NoHeartbeats", detail, hint)
    if options.json:
        document = _document(found, bucket, interval_seconds, only_needy=options.ill)
        print(json.dumps(document, indent=2))
    else:
        _show(found, interval_seconds, only_needy=options.ill)
    return 1 if found.needy else 0


def _every(text: str | None) -> float:
    """The seconds, 0 where nothing is said."""
    from shipper.config.units import seconds_from_text

    if text is None:
        return 0.0
    try:
        seconds = seconds_from_text(text)
    except ValueError as error:
        raise PortError("BadOptions", f"--every: {error}") from error
    if not seconds:
        raise PortError("BadOptions", "--every: nobody writes all the time", "such as 1h")
    return seconds


def _configured(options: argparse.Namespace) -> float:
    from shipper.config.load import load

    if options.bucket is not None:
        return HOUR_SECONDS
    return load(options.config, os.environ).fleet.heartbeat_seconds or HOUR_SECONDS


# As JSON.


def _document(
    found: "Survey", bucket: "ReadBucket", interval_seconds: float, *, only_needy: bool
) -> dict[str, Any]:
    return {
        "at": _instant(found.now),
        "bucket": bucket.name,
        "prefix": bucket.prefix,
        "interval_seconds": interval_seconds,
        "instances": [_row(one, found.now) for one in _shown(found, only_needy=only_needy)],
        "counts": _counts(found),
        "unexpected": None if found.unexpected is None else list(found.unexpected),
        "other_objects": found.others,
        "clock_behind_seconds": round(found.behind_seconds, 1),
    }


def _row(one: "Standing", now: float) -> dict[str, Any]:
    from dataclasses import asdict

    age = None if one.modified_at is None else round(now - one.modified_at, 1)
    return {
        "instance": one.instance,
        "state": one.word,
        "late": one.is_late,
        "needs_somebody": one.needs_somebody,
        "written_at": None if one.modified_at is None else _instant(one.modified_at),
        "age_seconds": age,
        "problem": one.problem,
        "heartbeat": asdict(one.heartbeat) if one.heartbeat is not None else None,
    }


def _instant(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _shown(found: "Survey", *, only_needy: bool) -> list["Standing"]:
    return [one for one in found.standings if one.needs_somebody or not only_needy]


def _counts(found: "Survey") -> dict[str, int]:
    counts = Counter(one.word for one in found.standings)
    return dict(sorted(counts.items(), key=lambda each: -each[1])) | {
        "late": sum(one.is_late for one in found.standings)
    }


# On a terminal, and in a file.


def _show(found: "Survey", interval_seconds: float, *, only_needy: bool) -> None:
    from shipper.cli.status import is_terminal

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = _lines(found, interval_seconds, width, only_needy=only_needy)
    if is_terminal():
        from rich.console import Console

        from shipper.cli.terminal import rendered

        Console(highlight=False).print(rendered(lines))
    else:
        for line in lines:
            print("".join(text for text, _ in line).rstrip())


def _lines(
    found: "Survey", interval_seconds: float, width: int | None, *, only_needy: bool
) -> "list[Line]":
    from shipper.cli.layout import counted, paragraph
    from shipper.core.fleet import LATE_INTERVALS
    from shipper.reports.rows import age

    lines = _table(_shown(found, only_needy=only_needy), found.now, width)
    if found.unexpected:
        names = ", ".join(found.unexpected)
        lines += paragraph(names, width, lead="writing, and not expected: ")
    if found.others:
        said = f"{counted(found.others, 'object')} there besides heartbeats"
        lines += paragraph(said, width, tone="dim")
    if found.behind_seconds:
        said = f"this machine's clock is {found.behind_seconds:.0f} s behind S3's"
        lines += paragraph(said, width, tone="bad")
    states = Counter("late" if one.is_late else one.word for one in found.standings)
    each = ", ".join(f"{count:,} {word}" for word, count in states.most_common())
    yardstick = f"late: older than {age(LATE_INTERVALS * interval_seconds)} (--every)"
    said = f"{counted(len(found.standings), 'instance')}: {each}; {yardstick}"
    verb = "needs" if found.needy == 1 else "need"
    needy = f"{found.needy:,} {verb} somebody; " if found.needy else "nobody is needed; "
    return [
        *lines,
        *paragraph(said, width, lead=needy, lead_tone="bad" if found.needy else "good"),
    ]


def _table(shown: list["Standing"], now: float, width: int | None) -> "list[Line]":
    from shipper.cli.layout import Tone, columns, cropped, cut

    rows = [("instance", "state", "written", "what it says")]
    rows += [_cells(one, now) for one in shown]
    wide = [min(40, max(columns(row[at]) for row in rows)) for at in range(3)]
    lines: list[Line] = []
    for number, row in enumerate(rows):
        cells = [cut(cell, size) for cell, size in zip(row, wide, strict=False)]
        text = "  ".join(
            cell + " " * (size - columns(cell)) for cell, size in zip(cells, wide, strict=True)
        )
        tone: Tone = "title"
        if number:
            tone = "bad" if shown[number - 1].needs_somebody else ""
        lines.append(cropped(((text, tone), (f"  {row[3]}", "")), width))
    return lines if shown else []


def _cells(one: "Standing", now: float) -> tuple[str, str, str, str]:
    from shipper.cli.layout import shown
    from shipper.core.heartbeats import State
    from shipper.reports.rows import age

    state = f"late, was {one.word}" if one.is_late else one.word
    written = "" if one.modified_at is None else f"{age(max(0.0, now - one.modified_at))} ago"
    said = one.problem or (f"stopped {written}: nobody ships there" * (one.word == State.STOPPED))
    if one.heartbeat is not None and one.heartbeat.reasons:
        reasons = one.heartbeat.reasons
        count = len(reasons) + one.heartbeat.reasons_left_out - 1
        said = reasons[0].text + (f" (and {count} more)" if count else "")
    return shown(one.instance), state, written, shown(said)
