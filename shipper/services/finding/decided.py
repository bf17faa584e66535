"""What was decided about files that came in segments, until one or its newest segment changes.

Else each scan would ask the journal for all segments of each.
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from shipper.core.identity import InodeSummary
from shipper.core.types import Entry, WatchName


class _Decision(Protocol):
    def is_lasting(self, newest_id: int) -> bool: ...


T = TypeVar("T", bound=_Decision)
_Key = tuple[WatchName, int, int]


class Decided(Generic[T]):
    """For the thread that scans. Bounded by what the last scan has met."""

    def __init__(self) -> None:
        self._before: dict[_Key, tuple[object, T]] = {}
        self._now: dict[_Key, tuple[object, T]] = {}

    def begin(self) -> None:
        """A scan begins; the next one forgets what it does not meet."""
        self._before, self._now = self._now, {}

    def again(
        self, entry: Entry, watch: WatchName, summary: InodeSummary, decide: Callable[..., T]
    ) -> T:
        """The same as in the last scan, or what ``decide`` says now."""
        facts: dict[str, Any] = {"is_unknown": summary.is_unknown}
        if not summary.newest:
            return decide(**facts)
        key = watch, entry.stat.device, entry.stat.inode
        seen, before = (entry, summary.newest), self._before.get(key)
        found = before[1] if before is not None and before[0] == seen else decide(**facts)
        if found.is_lasting(summary.newest_id):
            self._now[key] = seen, found
        return found
