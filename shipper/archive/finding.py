"""Finds the segments in a bucket: by narrow prefixes, by what keys, manifests and metadata tell.

One period of the key's template (a day, by default) is held at a time, sorted by mtime. So the
memory is that of one day of the selection, about a kilobyte an object; of a template whose
directories are not in the order of time, that of the whole selection.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import TypeVar

from shipper.archive.ahead import ahead, read_ahead
from shipper.archive.buckets import ReadBucket
from shipper.archive.key_reading import KeyReader, expanded
from shipper.archive.manifest_entries import ManifestEntries
from shipper.archive.stored_manifests import Decode
from shipper.core.archived import ArchivedObject
from shipper.core.archived_segments import (
    ArchivedSegment,
    Selection,
    is_of_key,
    segment_from_entry,
    segment_from_metadata,
)
from shipper.ports import PortError

T = TypeVar("T")
_Told = tuple[ArchivedObject, ArchivedSegment | None]
"""With what its key tells, if it tells enough."""
_TOGETHER = 1000
"""Segments that are looked up together."""
_MOST_NAMED = 5
_OF_ONE_OBJECT = frozenset({"NoSuchKey", "AccessDenied"})
"""What S3 says of one object, and not of all."""


@dataclass(slots=True)
class Findings:
    """What came up on the way, to be said at the end."""

    problems: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    """Objects that are none of shipper's: the first few."""
    strange_count: int = 0
    missing: list[ArchivedSegment] = field(default_factory=list)
    """Selected, named by a manifest that was read, and not in the bucket."""

    def add_strange(self, key: str) -> None:
        self.strange_count += 1
        if len(self.strange) < _MOST_NAMED:
            self.strange.append(key)


class Finder:
    """Of one bucket. ``with_facts``: path, range and exact mtime are looked up where no key tells
    them: in manifests, and in an object's own metadata if ``asks_each``. Both are looked into
    where a key does not tell whether its object is selected."""

    def __init__(
        self,
        bucket: ReadBucket,
        selection: Selection,
        findings: Findings,
        decode: Decode,
        *,
        with_facts: bool,
        asks_each: bool = False,
    ) -> None:
        self._bucket = bucket
        self._archive = bucket.archive
        self._selection = selection
        self._findings = findings
        self._keys = KeyReader(bucket)
        self._manifests = ManifestEntries(bucket, decode, selection.takes)
        self._with_facts = with_facts
        self._asks_each = asks_each
        self._unread = set[str]()
        self._without_watch = 0

    def found(self) -> Iterator[ArchivedSegment]:
        """The selected segments in the order of their mtimes; behind them, those that came while
        the bucket was listed."""
        streams = [self._below(number) for number in range(len(self._keys.parsers))]
        yield from heapq.merge(*streams, key=attrgetter("mtime_ns"))
        for one, stored in ahead(
            lambda one: self._stored(one.stored.key), self._manifests.unseen()
        ):
            if stored is None:
                self._findings.missing.append(replace(one, is_missing=True))
            else:
                yield replace(one, stored=stored)
        if self._without_watch:
            self._findings.problems.append(
                f"{self._without_watch:,} objects are left out: neither their keys nor manifests "
                "tell of which watch they are"
            )

    def named(self, keys: Iterable[str]) -> Iterator[ArchivedSegment]:
        """The segments that these keys name.

        Raises:
            PortError: ``NoSuchKey``, ``NotOurs``.
        """
        for some in _together(ahead(self._listed_one, keys)):
            yield from self._known([(one, self._keys.segment(one)[1]) for _, one in some])
        if self._findings.strange:
            hint = "`shipper find --keys` lists what can be read"
            raise PortError("NotOurs", f"{self._findings.strange[0]}: no log of shipper's", hint)

    def facts_of(self, segments: Iterable[ArchivedSegment]) -> Iterator[ArchivedSegment]:
        """The same with what else is to be known of them."""
        for some in _together(segments):
            yield from self._known([(one.stored, one) for one in some])

    def _stored(self, key: str) -> ArchivedObject | None:
        first = next(iter(self._archive.listed(key)), None)
        return first if first is not None and first.key == key else None

    def _listed_one(self, key: str) -> ArchivedObject:
        found = self._stored(key)
        if found is not None:
            return found
        raise PortError("NoSuchKey", key, "`shipper find --keys` lists those there are")

    def _below(self, number: int) -> Iterator[ArchivedSegment]:
        """Those that one template made, period by period."""
        steps = self._keys.parsers[number].steps(
            watch=self._selection.watch,
            instance=self._selection.instance,
            since_at=self._selection.since_at,
            until_at=self._selection.until_at,
        )
        prefixes = sorted(expanded(self._archive, steps, self._keys))
        for _, period in groupby(prefixes, key=itemgetter(0)):
            segments = list[ArchivedSegment]()
            for some in _together(self._listed([prefix for _, prefix in period], number)):
                segments += filter(self._takes, self._known(some))
            yield from sorted(segments, key=attrgetter("mtime_ns"))

    def _listed(self, prefixes: Sequence[str], number: int) -> Iterator[_Told]:
        """The objects whose keys are this template's to read, with what these tell.

        What no template reads is taken once, by whichever finds it first.
        """
        for _, stored in read_ahead(self._archive.listed(prefix) for prefix in prefixes):
            if isinstance(stored, PortError):
                raise stored
            if self._keys.is_reserved(stored.key):
                continue
            owner, segment = self._keys.segment(stored)
            if segment is None and stored.key not in self._unread:
                self._unread.add(stored.key)
                yield stored, None
            elif segment is not None and owner == number:
                yield stored, segment

    def _known(self, some: Sequence[_Told]) -> Iterator[ArchivedSegment]:
        """With what else is to be known of them; without what is no log of shipper's."""
        for stored, _ in some:
            if not stored.key.isprintable():  # shipper's always are
                self._findings.add_strange(stored.key)
        some = [told for told in some if told[0].key.isprintable()]
        segments: dict[str, ArchivedSegment] = {
            stored.key: one
            for stored, one in some
            if one is not None and self._selection.takes(one)
        }
        self._manifests.see(stored.key for stored, _ in some)
        needed = [one for one in segments.values() if self._with_facts or self._is_open(one)]
        entries = self._manifests.of(needed, self._findings.problems)
        segments |= {
            key: segment_from_entry(segments[key], entry) for key, entry in entries.items()
        }
        asked = [
            stored
            for stored, one in some
            if one is None or self._is_asked(segments.get(stored.key))
        ]
        for stored, found in ahead(self._from_metadata, asked):
            segments.pop(stored.key, None)
            if isinstance(found, ArchivedSegment):
                segments[stored.key] = found
            elif found is None:
                self._findings.add_strange(stored.key)
            else:
                self._findings.problems.append(str(found))
        yield from segments.values()

    def _is_open(self, segment: ArchivedSegment) -> bool:
        return not self._selection.is_decided(segment)

    def _is_asked(self, segment: ArchivedSegment | None) -> bool:
        if segment is None or segment.told_by != "key":
            return False
        return self._asks_each or self._is_open(segment)

    def _takes(self, segment: ArchivedSegment) -> bool:
        if segment.watch or not self._selection.watch:
            return self._selection.takes(segment)
        self._without_watch += replace(self._selection, watch="").takes(segment)
        return False

    def _from_metadata(self, stored: ArchivedObject) -> ArchivedSegment | PortError | None:
        try:
            metadata = self._archive.metadata(stored.key)
        except PortError as error:
            if error.code not in _OF_ONE_OBJECT:
                raise
            return error
        watch, told = self._keys.watch(stored.key), self._keys.told(stored.key)
        found = segment_from_metadata(self._bucket.name, stored, metadata, watch)
        if found is not None and told is not None and not is_of_key(found, told):
            return PortError("NotOurs", f"{stored.key}: its metadata are of another log")
        return found


def _together(items: Iterable[T]) -> Iterator[list[T]]:
    some = list[T]()
    for item in items:
        some.append(item)
        if len(some) == _TOGETHER:
            yield some
            some = []
    if some:
        yield some
