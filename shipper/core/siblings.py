"""The names that stand beside a file in its directory, as one scan lists them.

They are listed only when a name asks for them, and are forgotten with the directory's scan: about
100 bytes for each name of one directory.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from shipper.core.rotated_names import without_compression


class Listed(NamedTuple):
    name: bytes
    is_link: bool


class Siblings:
    """Belongs to the thread that scans. Where the listing fails there are none."""

    def __init__(
        self,
        listing: Callable[[], Iterable[Listed]] = tuple,
        is_shifting: Callable[[bytes], bool] = lambda series: False,
    ) -> None:
        self._listing = listing
        self.is_shifting = is_shifting
        """Whether a series of ``core.shifting`` was seen to shift."""

    @cached_property
    def names(self) -> dict[bytes, bool]:
        """Every name, and whether it is a symbolic link."""
        return dict(self._listing())

    @cached_property
    def _families(self) -> dict[bytes, list[bytes]]:
        families: dict[bytes, list[bytes]] = {}
        for name in self.names:
            families.setdefault(_family(name), []).append(name)
        return families

    def family(self, name: bytes) -> Sequence[bytes]:
        """The names that differ from this one in digits, separators and compression only."""
        return self._families.get(_family(name), ())


NO_SIBLINGS = Siblings()


def _family(name: bytes) -> bytes:
    return without_compression(name).translate(None, b"0123456789-_.:TZ")
