"""The logs of some prefixes, in byte order, without listing what shipper itself keeps there."""

from collections.abc import Iterator, Sequence

from shipper.core.archived import ArchivedObject
from shipper.core.chains import RESERVED
from shipper.core.key_owners import disjoint
from shipper.ports import Archive


def logs(archive: Archive, prefix: str, below: set[str]) -> Iterator[ArchivedObject]:
    """Every log whose key begins with one of ``below``, which begin with the prefix."""
    for one in disjoint(below):
        yield from _without_reserved(archive, prefix, one)


def instance_directories(
    archive: Archive, prefix: str, places: Sequence[tuple[int, str]], instances: Sequence[str]
) -> set[str]:
    """Where the instances' logs are, by ``core.key_owners.instance_place`` of the templates."""
    found = set[str]()
    for at, start in places:
        directories = [prefix]
        for _ in range(at):
            directories = [
                below
                for one in directories
                for below in archive.directories(one)
                if not below.startswith(_reserved(prefix))
            ]
        found |= {f"{one}{start}{name}/" for one in directories for name in instances}
    return found


def _without_reserved(archive: Archive, prefix: str, below: str) -> Iterator[ArchivedObject]:
    after, is_over = "", False
    while not is_over:
        is_over = True
        for stored in archive.listed(below, after=after):
            skipped = [one for one in _reserved(prefix) if stored.key.startswith(one)]
            if skipped:
                after, is_over = f"{skipped[0][:-1]}0", False  # "0" comes next behind "/"
                break
            yield stored


def _reserved(prefix: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in RESERVED)
