"""``shipper audit --manifests``: from anywhere, whether the archive is what the manifests say."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from secrets import token_hex
from typing import TYPE_CHECKING

from shipper.cli.reading import add_reader_options, buckets_from, expected_instances

if TYPE_CHECKING:
    from shipper.archive.audited_chains import Counts
    from shipper.archive.buckets import ReadBucket
    from shipper.archive.proof import Proof
    from shipper.core.findings import Code, Finding

DEFAULT_SLACK = "15m"
_ONLY_HERE = (
    *("instance", "content", "seed", "expect"),
    *("bucket", "prefix", "region", "profile", "endpoint-url"),
)
MOST_SHOWN = 100
"""Findings of one kind, for people; ``--json`` has all."""
Found = Iterator[tuple[str, "Finding"]]
"""With the names of their buckets."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What belongs to ``--manifests``."""
    group = parser.add_argument_group(
        "with --manifests",
        "From anywhere, with a reader's credentials: the chains of manifests are verified and "
        "compared with what the bucket holds.",
    )
    group.add_argument("--manifests", action="store_true", help="audit by the manifests")
    group.add_argument(
        "--instance", action="append", default=[], metavar="ID", help="only this one; repeatable"
    )
    group.add_argument(
        "--content",
        type=percentage,
        default=0.0,
        metavar="SAMPLE%",
        help="fetch so many of the objects and compare their SHA-256: 1%%, 100%%",
    )
    group.add_argument(
        "--seed", default="", metavar="TEXT", help="sample as the audit that printed it did"
    )
    group.add_argument(
        "--expect",
        metavar="FILE|-",
        help="instance ids that must be there, one a line",
    )
    group.add_argument(
        "--slack",
        type=duration,
        default=DEFAULT_SLACK,
        metavar="DURATION",
        help=f"how long verifying an object may take (default: {DEFAULT_SLACK})",
    )
    add_reader_options(parser)


def percentage(text: str) -> float:
    """``2.5%`` as 2.5."""
    number = text.strip().removesuffix("%")
    try:
        percent = float(number)
    except ValueError:
        percent = -1.0
    if not 0 < percent <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no sample: write 1% or 100%")
    return percent


def duration(text: str) -> float:
    from shipper.config.units import seconds_from_text

    try:
        return seconds_from_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def check(options: argparse.Namespace) -> None:
    """Refuse what goes with one of the two audits and was given to the other.

    Raises:
        PortError: ``BadOptions``.
    """
    from shipper.ports import PortError

    given = ["--watch"] if options.manifests else [f"--{name}" for name in _ONLY_HERE]
    for option in given:
        if getattr(options, option[2:].replace("-", "_")):
            which = "does not go" if options.manifests else "goes only"
            raise PortError("BadOptions", f"{option} {which} with --manifests")


def run(options: argparse.Namespace) -> int:
    """Verify, compare, and say what was found; 1 if anything is wrong."""
    expected = frozenset(expected_instances(options.expect) if options.expect else ())
    options.seed = options.seed or (token_hex(4) if options.content else "")
    with ExitStack() as stack:
        buckets = stack.enter_context(buckets_from(options))
        proofs = [(bucket, _proof(bucket, options, expected, stack)) for bucket in buckets]
        found = (
            (bucket.name, finding) for bucket, proof in proofs for finding in proof.findings()
        )
        if options.json:
            return _print_json(found, proofs, options.seed)
        return _print_text(found, proofs, options.seed)


def _proof(
    bucket: "ReadBucket", options: argparse.Namespace, expected: frozenset[str], stack: ExitStack
) -> "Proof":
    from shipper.archive.audited_chains import Scope
    from shipper.archive.entry_spill import EntrySpill
    from shipper.archive.proof import Proof
    from shipper.core.chains import Limits
    from shipper.edges.decoder import streamed
    from shipper.ports import PortError

    if "{tag:" in bucket.prefix:
        hint = "name one with --bucket and --prefix"
        raise PortError("NoBucket", f"only instances know their prefix: {bucket.prefix}", hint)
    scope = Scope(
        limits=Limits(time.time(), options.slack, is_partial=options.since > 0),
        since=options.since,
        instances=tuple(options.instance),
        expected=expected,
        sample_percent=options.content,
        seed=options.seed,
    )
    return Proof(bucket, scope, streamed, stack.enter_context(EntrySpill()))


# For programs.


def _print_json(found: Found, proofs: list[tuple["ReadBucket", "Proof"]], seed: str) -> int:
    """One document; findings are written as they are found, however many they are, and it is
    whole even where an error ends the audit."""
    from shipper.ports import PortError

    kinds, wrong, problem = Counter[str](), 0, None
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    print(f'{{\n  "at": "{at}",\n  "findings": [', end="")
    try:
        for bucket, finding in found:
            document = json.dumps(_document(bucket, finding))
            print("," * bool(kinds) + f"\n    {document}", end="")
            kinds[finding.code] += 1
            wrong += finding.is_wrong
    except PortError as error:
        problem = error
    rest = {
        "seed": seed,
        "problem": str(problem or ""),
        "counts": dict(sorted(kinds.items())),
        "buckets": [
            {"bucket": bucket.name, "prefix": bucket.prefix, **asdict(proof.counts)}
            for bucket, proof in proofs
        ],
        "well": not wrong and not problem,
    }
    print("\n  ],\n  " + json.dumps(rest, indent=2)[1:].strip())
    if problem is not None:
        raise problem
    return 1 if wrong else 0


def _document(bucket: str, finding: "Finding") -> dict[str, object]:
    from shipper.core.findings import HINTS

    return {
        "code": finding.code,
        "is_wrong": finding.is_wrong,
        "bucket": bucket,
        "instance": finding.instance,
        "key": finding.key,
        "detail": finding.detail,
        "hint": HINTS[finding.code],
    }


# For people.


def _print_text(found: Found, proofs: list[tuple["ReadBucket", "Proof"]], seed: str) -> int:
    from shipper.cli.layout import counted, shown
    from shipper.cli.progress import ProgressLine
    from shipper.core.findings import NOTICES, Code

    kinds, firsts = Counter[Code](), dict[Code, list[str]]()
    with ProgressLine(sys.stderr).shown(_far(proofs)):
        for name, finding in found:
            kinds[finding.code] += 1
            lines = firsts.setdefault(finding.code, [])
            if len(lines) < MOST_SHOWN:
                lines.append(_text(name, finding))
    _say_findings(kinds, firsts)
    for bucket, proof in proofs:
        for text in _summary(f"s3://{bucket.name}/{bucket.prefix}", proof.counts):
            print(shown(text))
    if seed:
        print(shown(f"sampled with --seed {seed}"))
    wrong = sum(kinds[code] for code in Code if code not in NOTICES)
    print(counted(wrong, "finding") if wrong else "nothing is wrong")
    return 1 if wrong else 0


def _say_findings(kinds: "Counter[Code]", firsts: "dict[Code, list[str]]") -> None:
    """Each kind with what it is about, and then the kinds in a table."""
    from shipper.cli.layout import shown, table
    from shipper.core.findings import HINTS, NOTICES, Code

    rows = [("found", "count", "")]
    for code in filter(kinds.__contains__, Code):
        notice = "a notice" if code in NOTICES else ""
        rows.append((code, f"{kinds[code]:,}", notice))
        print(f"{code}:")
        for line in firsts[code]:
            print(f"    {shown(line).encode('utf-8', 'backslashreplace').decode()}")
        if kinds[code] > MOST_SHOWN:
            print(f"    and {kinds[code] - MOST_SHOWN:,} more; --json has all")
        print(f"    hint: {HINTS[code]}")
    if kinds:
        print(*("".join(text for text, _ in spans) for spans in table(rows, None)), sep="\n")


def _text(bucket: str, finding: "Finding") -> str:
    where = f"s3://{bucket}/{finding.key}" if finding.key else ""
    return ": ".join(filter(None, (finding.instance, where, finding.detail)))


def _far(proofs: list[tuple["ReadBucket", "Proof"]]) -> Callable[[], str]:
    def far() -> str:
        counts = [proof.counts for _, proof in proofs]
        return (
            f"{sum(one.manifests for one in counts):,} manifests with "
            f"{sum(one.entries for one in counts):,} entries; "
            f"{sum(one.objects for one in counts):,} objects listed, "
            f"{sum(one.compared for one in counts):,} fetched"
        )

    return far


def _summary(where: str, counts: "Counts") -> Iterator[str]:
    from shipper.cli.layout import counted

    yield (
        f"{where}: {counted(counts.instances, 'instance')}, {counted(counts.epochs, 'epoch')}, "
        f"{counted(counts.manifests, 'manifest')}; {counted(counts.named, 'object')} named: "
        f"{counts.matched:,} as told, {counts.missing:,} missing, {counts.altered:,} altered; "
        f"{counted(counts.objects, 'object')} listed"
    )
    said = {
        "before": "from before the first manifest",
        "pending": "too new to be in one",
        "journal-lost": "known only to a journal that was lost",
        "in-hole": "perhaps in a manifest that is missing or altered",
    }
    rest = [f"{count:,} {said[why]}" for why, count in sorted(counts.unentered.items())]
    if counts.outside:
        rest.append(f"{counts.outside:,} entries of objects elsewhere")
    if counts.too_old:
        rest.append(f"{counts.too_old:,} from before --since")
    if rest:
        yield f"    not compared: {', '.join(rest)}"
    if counts.losses:
        losses = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.losses.items()))
        yield f"    losses that the manifests tell of: {losses}"
    if counts.compared:
        yield f"    content: {counts.compared:,} objects, {counts.compared_bytes:,} raw bytes"
    for count, says in (
        (counts.by_size, "matched by size alone: {:,} have no ETag"),
        (counts.not_restored, "content: {:,} are archived, and must be restored first"),
        (counts.without_digest, "content: {:,} have no SHA-256 in their manifest"),
    ):
        if count:
            yield f"    {says.format(count)}"
