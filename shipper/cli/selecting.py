"""The options that say which logs of a bucket are meant, and the segments that they mean."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shipper.cli.reading import add_reader_options, buckets_from

if TYPE_CHECKING:
    from shipper.archive.buckets import ReadBucket
    from shipper.archive.finding import Finder, Findings
    from shipper.core.archived_logs import ArchivedLog
    from shipper.core.archived_segments import ArchivedSegment, Selection
    from shipper.ports import Archive, PortError

FORMS = "2025-11-29, 2025-11-29T08:00 (UTC), 2025-11-29T08:00+01:00, 2h, 3d, today or yesterday"
TIMES = "Times are those of the files: when each was last written (mtime). Without a zone: UTC."
_AHEAD_SECONDS = 2 * 86_400.0
"""A host's clock may be ahead of this one's."""
_LAST_SECOND = 253_402_300_799.0


def add_selection(parser: argparse.ArgumentParser) -> None:
    for flag, metavar, says in (
        ("--instance", "ID", "of this instance"),
        ("--watch", "NAME", "of this watch"),
        ("--name", "GLOB", "with this name, rotated or not (access.log*); with a slash: path"),
        (
            "--from",
            "TIME",
            f"last written then or later (without --to: up to two days from now): {FORMS}",
        ),
        ("--to", "TIME", "last written before; a day is meant to its end"),
    ):
        parser.add_argument(flag, metavar=metavar, help=says)
    add_reader_options(parser)
    parser.epilog = TIMES


def add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "keys", nargs="*", metavar="KEY", help="objects, as `shipper find --keys` lists them"
    )


def selection_from(options: argparse.Namespace) -> "Selection":
    """The selection that was typed.

    Raises:
        PortError: ``BadOptions``: a time that is none, or the end is before the beginning.
    """
    from shipper.core.archived_segments import Selection
    from shipper.ports import PortError

    now = time.time()
    since_at = _instant(getattr(options, "from"), "--from", now, is_end=False)
    until_at = _instant(options.to, "--to", now, is_end=True)
    if since_at is not None and until_at is None:
        until_at = min(max(now, since_at) + _AHEAD_SECONDS, _LAST_SECOND)
    if since_at is not None and until_at is not None and since_at >= until_at:
        raise PortError("BadOptions", "--from is not before --to", f"times: {FORMS}")
    return Selection(
        options.instance or "", options.watch or "", options.name or "", since_at, until_at
    )


def _instant(text: str | None, flag: str, now: float, *, is_end: bool) -> float | None:
    from shipper.core.instants import instant_from
    from shipper.ports import PortError

    if text is None:
        return None
    found = instant_from(text, now, is_end=is_end)
    if found is None:
        raise PortError("BadOptions", f"{flag} {text!r} is no time", f"such as {FORMS}")
    return found


class Chosen:
    """What the options choose, in the buckets that they name."""

    def __init__(self, options: argparse.Namespace, buckets: "list[ReadBucket]") -> None:
        from shipper.archive.finding import Findings

        self._options = options
        self.buckets = buckets
        self._archives = {bucket.name: bucket.archive for bucket in buckets}
        self.findings: Findings = Findings()
        self.selection = selection_from(options)

    def archive(self, bucket: str) -> "Archive":
        return self._archives[bucket]

    def found(self, *, with_facts: bool, asks_each: bool) -> "Iterator[ArchivedSegment]":
        """In the order of their mtimes; what proves to be missing is a problem."""
        from shipper.archive.log_content import missing_segment

        yield from self._found(with_facts=with_facts, asks_each=asks_each)
        self.findings.problems += [str(missing_segment(one)) for one in self.findings.missing]

    def _found(self, *, with_facts: bool, asks_each: bool) -> "Iterator[ArchivedSegment]":
        from heapq import merge
        from operator import attrgetter

        streams = (
            self._finder(bucket, with_facts=with_facts, asks_each=asks_each).found()
            for bucket in self.buckets
        )
        return merge(*streams, key=attrgetter("mtime_ns"))

    def whole(self) -> "list[ArchivedSegment]":
        """With all that is known of each: those that the keys name, else those selected.

        Raises:
            PortError: ``BadOptions``, ``NothingFound``.
        """
        from shipper.ports import PortError

        keys = self._options.keys
        names = ("instance", "watch", "name", "from", "to")
        is_selected = any(getattr(self._options, name) is not None for name in names)
        if keys and is_selected:
            raise PortError("BadOptions", "keys and a selection are both given", "either of them")
        if not keys and not is_selected:
            hint = "--instance, --watch, --name, --from, --to, or keys"
            raise PortError("BadOptions", "which logs are meant?", hint)
        if any(self._archives[one.name] is not one.archive for one in self.buckets):
            hint = "name one of them: --bucket NAME --endpoint-url URL"
            raise PortError("BadOptions", "two servers have a bucket of one name", hint)
        found = [*(self._named(keys) if keys else self._found(with_facts=True, asks_each=True))]
        found += self.findings.missing
        if not found and not self.findings.problems:
            raise PortError("NothingFound", "no log is selected", "`shipper find` lists them")
        return found

    def logs(self, tell: "Callable[[PortError], None]") -> "list[ArchivedLog]":
        """What ``whole`` finds, as logs, by time. What cannot be told of them is told."""
        from shipper.archive.doubled_logs import DoubledLogs
        from shipper.archive.surroundings import selected_logs
        from shipper.core.archived_logs import logs_of
        from shipper.edges.decoder import streamed

        segments = self.whole()
        if self._options.keys:
            logs = logs_of(segments, may_begin_later=True)
        else:
            logs = selected_logs(segments, self.selection, self._by_key, self._facts_of)
        return DoubledLogs(self.archive, streamed, tell).once(logs)

    def _by_key(self, selection: "Selection") -> "Iterator[ArchivedSegment]":
        for bucket in self.buckets:
            yield from self._aside(bucket, selection, with_facts=False).found()

    def _facts_of(self, segments: "Sequence[ArchivedSegment]") -> "Iterator[ArchivedSegment]":
        from shipper.core.archived_segments import Selection

        for bucket in self.buckets:
            own = [one for one in segments if one.bucket == bucket.name]
            yield from self._aside(bucket, Selection(), with_facts=True).facts_of(own)

    def _named(self, keys: Iterable[str]) -> "Iterator[ArchivedSegment]":
        from shipper.ports import PortError

        by_bucket: dict[str, list[str]] = {}
        for key in keys:
            bucket, bare = self.buckets[0].name, key
            if key.startswith("s3://"):
                bucket, _, bare = key.removeprefix("s3://").partition("/")
            by_bucket.setdefault(bucket, []).append(bare)
        for name, own in by_bucket.items():
            where = next((one for one in self.buckets if one.name == name), None)
            if where is None:
                raise PortError("BadOptions", f"s3://{name} is not the bucket that is read")
            yield from self._finder(where, with_facts=True, asks_each=True).named(own)

    def _finder(self, bucket: "ReadBucket", *, with_facts: bool, asks_each: bool) -> "Finder":
        from shipper.archive.finding import Finder
        from shipper.edges.decoder import streamed

        return Finder(
            bucket,
            self.selection,
            self.findings,
            streamed,
            with_facts=with_facts,
            asks_each=asks_each,
        )

    def _aside(
        self, bucket: "ReadBucket", selection: "Selection", *, with_facts: bool
    ) -> "Finder":
        """Of what was not asked for: what comes up there is not said."""
        from shipper.archive.finding import Finder, Findings
        from shipper.edges.decoder import streamed

        own = Findings()
        return Finder(
            bucket, selection, own, streamed, with_facts=with_facts, asks_each=with_facts
        )


@contextmanager
def chosen_from(options: argparse.Namespace) -> Iterator[Chosen]:
    with buckets_from(options) as buckets:
        yield Chosen(options, buckets)


class Complaints:
    """What fails, said on stderr as it comes."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self.count = 0

    def tell(self, error: "PortError") -> None:
        from shipper.core.escapes import escaped

        self.count += 1
        hint = f"  hint: {error.hint}\n" if error.hint else ""
        self._write(escaped(f"shipper: {error}\n{hint}"))

    def tell_findings(self, findings: "Findings") -> None:
        from shipper.core.escapes import escaped

        self.count += len(findings.problems)
        for problem in findings.problems:
            self._write(escaped(f"shipper: {problem}\n"))
        if findings.strange_count:
            such = ", ".join(findings.strange)
            said = f"{findings.strange_count:,} objects are no logs of shipper's: {such}"
            self._write(escaped(f"shipper: {said}\n").replace("\n", " ").rstrip() + "\n")


def stderr_complaints() -> Complaints:
    return Complaints(sys.stderr.write)
