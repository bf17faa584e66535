"""``shipper audit``: the archive, compared with what its manifests say."""

import argparse
import time
from datetime import UTC, datetime

from shipper.cli import audit_manifests

SUMMARY = "compare the journal, the bucket and the disk; name what is missing or wrong"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument(
        "--since",
        metavar="TIME",
        type=since_at,
        default=0.0,
        help='what was found since then: "7d" ago, or 2026-11-29, or 2026-11-29T12:00Z',
    )
    audit_manifests.arguments(parser)


def since_at(text: str) -> float:
    """The instant that is meant: a duration before now, or a date with or without a time."""
    from shipper.config.units import seconds_from_text

    try:
        if text[:1].isdecimal() and text[-1:].isalpha() and text[-1] not in "Zz":
            return time.time() - seconds_from_text(text)
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=at.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        says = f'{text!r} is no time; write "7d", 2026-11-29 or 2026-11-29T12:00Z (UTC)'
        raise argparse.ArgumentTypeError(says) from None


def run(options: argparse.Namespace) -> int:
    return audit_manifests.run(options)
