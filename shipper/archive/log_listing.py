"""The logs of some prefixes, in byte order, without listing what shipper itself keeps there."""

from collections.abc import Iterator
from itertools import takewhile

from shipper.archive.buckets import ReadBucket
from shipper.archive.key_reading import KeyReader, expanded
from shipper.core.archived import ArchivedObject
from shipper.core.chains import RESERVED
from shipper.core.key_owners import disjoint
from shipper.ports import Archive


def logs(bucket: ReadBucket, below: set[str]) -> Iterator[ArchivedObject]:
    """Every log whose key begins with one of ``below``; those of other destinations are left
    out, as is what shipper keeps there."""
    skipped = (*(bucket.prefix + name for name in RESERVED), *bucket.others)
    for one in disjoint(below):
        yield from _without(skipped, bucket.archive, one)


def instance_prefixes(archive: Archive, keys: KeyReader, instance: str) -> Iterator[str]:
    """With what the keys of an instance's logs begin, by the templates; some are too short."""
    for parser in keys.parsers:
        steps = parser.steps(instance=instance)
        by_day = takewhile(lambda step: not step.is_period, steps)  # one listing has all days
        yield from (text for _, text in expanded(archive, [*by_day], keys))


def _without(reserved: tuple[str, ...], archive: Archive, below: str) -> Iterator[ArchivedObject]:
    after, is_over = "", False
    while not is_over:
        is_over = True
        for stored in archive.listed(below, after=after):
            skipped = [one for one in reserved if stored.key.startswith(one)]
            if skipped:
                after, is_over = skipped[0][:-1] + chr(ord(skipped[0][-1]) + 1), False
                break
            yield stored
