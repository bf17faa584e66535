"""What manifests say of objects, with as few of them read as can be.

An object is in the first manifest that was written after it, or in one soon after: it is verified
within moments, or when an outage has ended. So of each object the next ``LOOKED_AT`` are read.
Who writes over an object makes it newer than its manifest. So of those that are not found, the
next ones after the log's own time are read, too.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import product

from shipper.archive.buckets import ReadBucket
from shipper.archive.key_reading import KeyReader, expanded
from shipper.archive.stored_manifests import Decode, Entry, links
from shipper.core.archived import ArchivedObject
from shipper.core.archived_segments import ArchivedSegment, segment_from_entry
from shipper.core.manifests import ManifestName, ObjectEntry, instance_prefix, name_from_key
from shipper.core.object_keys import fact
from shipper.core.stored_keys import KeyParser
from shipper.core.types import ETag, ObjectKey

LOOKED_AT = 4


class ManifestEntries:
    """Of one bucket. The listings of the instances' manifests are kept."""

    def __init__(
        self, bucket: ReadBucket, decode: Decode, takes: Callable[[ArchivedSegment], bool]
    ) -> None:
        self._bucket = bucket
        self._decode = decode
        self._takes = takes
        self._seen = set[int]()
        self._unseen = dict[str, ArchivedSegment]()
        self._prefixes: list[str] | None = None
        self._written: dict[str, list[tuple[float, ManifestName, ArchivedObject]]] = {}

    def see(self, keys: Iterable[str]) -> None:
        """A listing has these."""
        for key in keys:
            self._seen.add(hash(key))
            self._unseen.pop(key, None)

    def unseen(self) -> list[ArchivedSegment]:
        """What is selected by the manifests that were read, and no listing had."""
        return list(self._unseen.values())

    def of(
        self, segments: Sequence[ArchivedSegment], problems: list[str]
    ) -> dict[str, ObjectEntry]:
        """The entries by key; what is wrong with a manifest is added to the problems."""
        found, read = dict[str, ObjectEntry](), set[str]()
        wanted = {one.stored.key: one for one in segments}
        instances = {fact(one.instance): one.instance for one in segments}

        def add(name: ManifestName, entry: Entry) -> None:
            if not isinstance(entry, ObjectEntry):
                return
            one = wanted.get(ObjectKey(entry.key))
            # A host speaks of its own logs alone.
            if one and name.instance == fact(one.instance):
                found[entry.key] = entry
            elif hash(entry.key) not in self._seen and entry.key not in self._unseen:
                self._add_unseen(instances[name.instance], entry)

        for when, number in product((_sent_at, _written_at), range(LOOKED_AT)):
            needed = {
                name.key: (name, stored)
                for key, one in wanted.items()
                if key not in found
                for _, name, stored in self._after(one, when(one))[number : number + 1]
                if name.key not in read
            }
            every = [needed[key] for key in sorted(needed)]
            read |= needed.keys()
            of_these = links(self._bucket.archive, every, self._decode, add)
            problems += [f"{link.name.key}: {link.problem}" for link in of_these if link.problem]
        return found

    def _add_unseen(self, instance: str, entry: ObjectEntry) -> None:
        stored = ArchivedObject(ObjectKey(entry.key), entry.size, ETag(entry.etag), 0.0)
        bare = ArchivedSegment(self._bucket.name, stored, instance, "", b"", 0, "manifest")
        segment = segment_from_entry(bare, entry)
        if self._takes(segment):
            self._unseen[entry.key] = segment

    def _after(
        self, segment: ArchivedSegment, at: float
    ) -> list[tuple[float, ManifestName, ArchivedObject]]:
        """The manifests that may have it, in the order in which they were written."""
        if segment.instance not in self._written:
            self._written[segment.instance] = self._listed(segment.instance)
        written = self._written[segment.instance]
        first = bisect_left(written, at, key=lambda one: one[0])
        return written[first : first + LOOKED_AT]

    def _listed(self, instance: str) -> list[tuple[float, ManifestName, ArchivedObject]]:
        if self._prefixes is None:
            steps = KeyParser("{prefix}", self._bucket.prefix).steps()
            found = expanded(self._bucket.archive, steps, KeyReader(self._bucket))
            self._prefixes = [prefix for _, prefix in found]
        written = [
            (stored.modified_at, name, stored)
            for prefix in self._prefixes
            for stored in self._bucket.archive.listed(instance_prefix(prefix, instance))
            if (name := name_from_key(stored.key)) is not None
        ]
        return sorted(written, key=lambda one: (one[0], one[1].key))


def _sent_at(segment: ArchivedSegment) -> float:
    return segment.stored.modified_at


def _written_at(segment: ArchivedSegment) -> float:
    return segment.mtime_ns / 1e9
