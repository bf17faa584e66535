"""What was shipped of files that were still written to, for who finds their bytes a second time.

A log that copytruncate copies goes on under its own inode, and what was shipped of it before is
the beginning of the copy. Nearly no journal has any such row, and nobody should pay for asking.
"""

from collections.abc import Callable
from typing import Any

from shipper.core.types import Shipment, WatchName
from shipper.journal import statements as sql
from shipper.journal.schema import shipment_from_row


class Live:
    """A part of the journal, in the same file and behind the same lock."""

    def __init__(self, *, query: Callable[..., list[Any]]) -> None:
        self._query = query
        self._is_any: bool | None = None

    def promised(self) -> None:
        """From now on there is something to find."""
        self._is_any = True

    def of(self, watch: WatchName, stem: bytes) -> list[Shipment]:
        """The live segments of a log that have not been found in a copy yet, newest first."""
        if self._is_any is None:
            self._is_any = bool(self._query(sql.SELECT_ANY_LIVE))
        if not self._is_any:
            return []
        return [shipment_from_row(row) for row in self._query(sql.SELECT_LIVE, watch, stem)]
