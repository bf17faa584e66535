"""The buckets of an audit, listed page by page below what this instance's keys begin with."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from shipper.core.archived import ArchivedObject
from shipper.core.chains import RESERVED
from shipper.core.key_owners import disjoint
from shipper.core.own_keys import OwnKeys
from shipper.core.types import ListedObject, ObjectKey
from shipper.ports import PortError

Page = Callable[[str, str], tuple[list[ArchivedObject], bool]]
"""The next objects below a prefix and behind a key, and whether there are more."""


class Listing:
    """The objects below several prefixes, in the order of their keys; for one thread.

    What cannot be listed is left out, and in ``failed`` by its prefix.
    """

    def __init__(self, page: Page, prefixes: Iterable[str]) -> None:
        self._page = page
        outermost = disjoint(set(prefixes))
        self.prefixes = outermost
        self.failed: dict[str, PortError] = {}
        self.count = 0
        self._ahead = outermost[::-1]
        self._objects: Iterator[ArchivedObject] = iter(())
        self._head: ArchivedObject | None = None

    def prefix_of(self, key: str) -> str | None:
        """The prefix that covers the key; it is found first the next time."""
        for at, prefix in enumerate(self.prefixes):
            if key.startswith(prefix):
                if at:
                    self.prefixes.insert(0, self.prefixes.pop(at))
                return prefix
        return None

    def insert(self, prefix: str) -> None:
        """List this one, too, which covers none of the others. All that comes before it must have
        been taken, and nothing behind it asked for."""
        self.prefixes.append(prefix)
        self._ahead.append(prefix)

    def before(self, key: str) -> Iterator[ArchivedObject]:
        """Take what comes before the key."""
        while (head := self._next(key)) is not None and head.key < key:
            self._head = None
            yield head

    def take(self, key: str) -> ArchivedObject | None:
        """The object under the key, once all before it were taken."""
        head = self._next(key)
        if head is None or head.key != key:
            return None
        self._head = None
        return head

    def rest(self) -> Iterator[ArchivedObject]:
        while (head := self._next(None)) is not None:
            self._head = None
            yield head

    def _next(self, until: str | None) -> ArchivedObject | None:
        """The next object; no prefix behind ``until`` is begun."""
        while self._head is None:
            self._head = next(self._objects, None)
            if self._head is None:
                if not self._ahead or (until is not None and self._ahead[-1] > until):
                    return None
                self._objects = self._listed(self._ahead.pop())
        return self._head

    def _listed(self, prefix: str) -> Iterator[ArchivedObject]:
        after, is_more = "", True
        try:
            while is_more:
                found, is_more = self._page(prefix, after)
                for one in found:
                    if one.key <= after or not one.key.startswith(prefix):
                        raise _unordered(f"{one.key} was listed behind {after or prefix}")
                    after = one.key
                    self.count += 1
                    yield one
                if is_more and not found:
                    raise _unordered("a page without keys says that there are more")
        except PortError as error:
            self.failed[prefix] = error


def _unordered(what: str) -> PortError:
    hint = "this server lists in no order of bytes, so its bucket cannot be audited"
    return PortError("ListingUnordered", what, hint)


@dataclass(kw_only=True, slots=True)
class Bucket:
    """One bucket, and what lies in it of this instance; several destinations may share it."""

    name: str
    destinations: list[str]
    keys: list[OwnKeys]
    roots: set[str]
    """The prefixes below which manifests and heartbeats lie."""
    listing: Listing
    find: Callable[[ObjectKey], ListedObject | None]
    moved_at: dict[str, float] = field(default_factory=dict)
    """By destination, when it became this bucket; what was shipped before is in another."""

    def is_reserved(self, key: str) -> bool:
        return any(key.startswith(root + name) for root in self.roots for name in RESERVED)

    def owner_of(self, key: str, *, strictly: bool) -> OwnKeys | None:
        """Whose the key is; ``strictly``, only by what keys look like."""
        for one in self.keys:
            if one.pattern is not None and one.pattern.fullmatch(key):
                return one
        others = () if strictly else self.keys
        return next((one for one in others if one.has(key)), None)

    def cover(self, prefix: str, key: str) -> str:
        """The prefix, or as much longer a directory of the key as covers none of today's
        prefixes; empty where there is none."""
        while prefix and any(one.startswith(prefix) for one in self.listing.prefixes):
            end = key.find("/", len(prefix)) + 1
            prefix = key[:end] if end else ""
        return prefix
