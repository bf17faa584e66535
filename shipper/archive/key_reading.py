"""How the keys of a bucket are read: by the template that says most, where several can."""

import re
from collections.abc import Iterator, Sequence

from shipper.archive.buckets import ReadBucket
from shipper.core.archived import ArchivedObject
from shipper.core.archived_segments import ArchivedSegment, segment_from_key
from shipper.core.chains import RESERVED
from shipper.core.object_keys import TAG
from shipper.core.stored_keys import KeyParser, Step, StoredKey
from shipper.ports import Archive


class KeyReader:
    """The templates of a bucket, each once. ``parsers`` says how each one's keys are listed."""

    def __init__(self, bucket: ReadBucket) -> None:
        self._bucket = bucket
        watches: dict[tuple[str, str], set[str]] = {}
        for layout in bucket.layouts:
            watches.setdefault((layout.key, layout.prefix), set()).add(layout.watch)
        made = [
            (KeyParser(*one), named.pop() if len(named) == 1 else "")
            for one, named in watches.items()
        ]
        self._made = sorted(made, key=lambda one: -one[0].literal_length)
        self.parsers = [parser for parser, _ in self._made]
        prefix = "[^/]+".join(map(re.escape, TAG.split(bucket.prefix)[::2]))
        reserved = "|".join(map(re.escape, RESERVED))
        self._reserved = re.compile(f"{prefix}(?:{reserved})")

    def is_reserved(self, text: str) -> bool:
        """Whether it is shipper's own, and no log's."""
        return self._reserved.match(text) is not None

    def told(self, key: str) -> StoredKey | None:
        """What the first parser that reads the key tells of it."""
        found = self._read(key)
        return found[1] if found else None

    def watch(self, key: str) -> str:
        """Whose key it is; empty where that is not known."""
        found = self._read(key)
        return (found[1].watch or self._made[found[0]][1]) if found else ""

    def segment(self, stored: ArchivedObject) -> tuple[int, ArchivedSegment | None]:
        """The number of the parser that reads the key, and what it tells, if it tells enough.

        A key that none reads is the first one's.
        """
        found = self._read(stored.key)
        if found is None:
            return 0, None
        number, told = found
        return number, segment_from_key(self._bucket.name, stored, told, self._made[number][1])

    def _read(self, key: str) -> tuple[int, StoredKey] | None:
        every = ((number, parser.parsed(key)) for number, parser in enumerate(self.parsers))
        return next(((number, told) for number, told in every if told is not None), None)


def expanded(
    archive: Archive,
    steps: Sequence[Step],
    keys: KeyReader,
    text: str = "",
    period: tuple[str, ...] = (),
) -> Iterator[tuple[tuple[str, ...], str]]:
    """The prefixes that the steps lead to, each with its period, whose texts are in order."""
    if not steps:
        yield period, text
        return
    step, rest = steps[0], steps[1:]
    for more in step.texts:
        own = (*period, more) if step.is_period else period
        yield from expanded(archive, rest, keys, text + more, own)
    if step.texts:
        return
    for directory in archive.directories(text):
        more = directory[len(text) : -1]
        if step.takes(more) and not keys.is_reserved(directory):
            own = (*period, more) if step.is_period else period
            yield from expanded(archive, rest, keys, text + more, own)
