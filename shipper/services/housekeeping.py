"""Housekeeping: due times that survive a clock that jumps, held files, and the journal's size.

``due_at`` is wall time because it must survive a reboot. When the clock is set, every due time
moves with it; when it was set unseen, no due time stays further off than the longest wait. Files
that are held for a finished shipment are dropped, and the rest is kept within its budget.

Once a day the journal forgets files that were finished ``REMEMBERED_SECONDS`` ago and are nowhere
in their watch any more. Once an hour it closes the logs that were shipped live and are nowhere
since the hour before: their copy would have been found by now, and a later one is another log's.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from shipper.core.backoff import LONGEST_SHIPMENT_RETRY_SECONDS
from shipper.core.types import ShipmentId, Watch, WatchName
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files, PortError
from shipper.services.bugs import Bugs
from shipper.services.expectations import note_expected
from shipper.services.sources.held_budget import HeldBudget
from shipper.services.sources.held_files import HeldFiles, needs_source
from shipper.services.sources.watch_roots import WatchRoots

STEP_SECONDS = 10.0
JUMP_SECONDS = 2.0
"""Smaller corrections are the time daemon's."""
REMEMBERED_SECONDS = 30 * 86_400.0
"""Long enough to know the compressed copy of a log that was shipped and deleted."""
FIRST_PRUNING_SECONDS = 3600.0
PRUNING_SECONDS = 86_400.0
CLOSING_SECONDS = 3600.0


class Housekeeping:
    """One thread's chores; see the module."""

    def __init__(
        self,
        *,
        watches: Sequence[Watch],
        files: Files,
        journal: Journal,
        held: HeldFiles,
        held_budget: HeldBudget,
        clock: Clock,
        longest_wait_seconds: float,
        roots: WatchRoots,
        bugs: Bugs,
        log: Any,
    ) -> None:
        self._watches = watches
        self._files = files
        self._journal = journal
        self._held = held
        self._held_budget = held_budget
        self._clock = clock
        self._longest_wait_seconds = max(longest_wait_seconds, LONGEST_SHIPMENT_RETRY_SECONDS)
        self._roots = roots
        self._bugs = bugs
        self._log = log
        self._offset: float | None = None
        self._prune_at = clock.monotonic() + FIRST_PRUNING_SECONDS
        self._close_at = clock.monotonic()
        self._missed: dict[WatchName, set[int]] = {}
        """The open logs that were nowhere an hour ago."""

    def step(self) -> float:
        """Look once; the seconds to wait before the next look."""
        for chore in (
            self._keep_due_times,
            self._drop_what_is_held_for_nothing,
            self._held_budget.enforce,
            self._note_expected,
            self._prune,
            self._close_logs,
        ):
            # A full disk of the journal's is said by discovery. The next step tries again.
            with suppress(PortError):
                self._bugs.contained(chore, lambda problem: None, chore=chore.__name__)
        return STEP_SECONDS

    def _keep_due_times(self) -> None:
        now, offset = self._clock.now(), self._clock.now() - self._clock.boottime()
        if self._offset is not None and abs(offset - self._offset) > JUMP_SECONDS:
            seconds = offset - self._offset
            self._journal.queue.rebase(seconds)
            self._log.warning("clock.jumped", seconds=round(seconds, 3))
        # Always, for what was written between the jump and this look has moved too far.
        self._journal.queue.clamp(now + self._longest_wait_seconds)
        self._offset = offset

    def _drop_what_is_held_for_nothing(self) -> None:
        for shipment_id in self._held.shipments():
            self._bugs.contained(
                partial(self._drop_if_settled, shipment_id),
                lambda problem: None,
                shipment=shipment_id,
            )

    def _drop_if_settled(self, shipment_id: ShipmentId) -> None:
        shipment = self._journal.shipment(shipment_id)
        if shipment is None or not needs_source(shipment):
            self._held.drop(shipment_id)

    def _note_expected(self) -> None:
        note_expected(self._watches, self._journal, self._clock.now())

    def _prune(self) -> None:
        if self._clock.monotonic() < self._prune_at:
            return
        self._prune_at = self._clock.monotonic() + PRUNING_SECONDS
        self._of_each_watch(self._forget, self._clock.now() - REMEMBERED_SECONDS)

    def _close_logs(self) -> None:
        if self._clock.monotonic() < self._close_at:
            return
        self._close_at = self._clock.monotonic() + CLOSING_SECONDS
        self._of_each_watch(self._close_missing, self._clock.now() - CLOSING_SECONDS)

    def _of_each_watch(self, chore: Callable[[Watch, float], None], before: float) -> None:
        for watch in self._watches:
            self._bugs.contained(
                partial(chore, watch, before), lambda problem: None, watch=watch.name
            )

    def _forget(self, watch: Watch, finished_before: float) -> None:
        away, standing = self._roots.away(watch), self._standing(watch)
        if standing is not None:
            away += self._roots.away(watch)  # it may change meanwhile
            rows = self._journal.forget(
                watch.name, standing, finished_before=finished_before, away=away
            )
            self._log.info("journal.pruned", watch=watch.name, rows=rows)

    def _close_missing(self, watch: Watch, finished_before: float) -> None:
        missed, away = self._missed.pop(watch.name, set()), self._roots.away(watch)
        if not self._journal.open_logs.are_any(watch.name, finished_before):
            return
        if (standing := self._standing(watch)) is not None:
            self._missed[watch.name] = self._journal.open_logs.close_missing(
                watch.name,
                standing,
                finished_before=finished_before,
                away=away + self._roots.away(watch),  # it may change meanwhile
                missed=missed,
            )

    def _standing(self, watch: Watch) -> dict[str, set[int]] | None:
        """The inodes of all files below the watch, by place; None if not all could be seen."""
        inodes: dict[str, set[int]] = {}
        for entry in self._files.scan(watch, lambda path, _: True):
            if isinstance(entry, PortError):
                return None
            inodes.setdefault(entry.place, set()).add(entry.stat.inode)
        return inodes
