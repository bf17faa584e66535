"""The status: one document for ``status --json``, ``/status``, ``/healthz`` and the table.

With the daemon running it is drawn from the running services. Without, it is drawn from the
journal alone, and says so.
"""

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from shipper import __version__
from shipper.core.failures import MISCONFIGURED_CODES
from shipper.core.lifecycle import UNSHIPPED
from shipper.core.types import Shipment, State, Total
from shipper.edges.files.watcher import Unwatched, Watcher
from shipper.journal.journal import Journal
from shipper.ports import Clock
from shipper.reports.rows import failure, instant, problem_row, shipment_row
from shipper.runtime.services import Services
from shipper.services.termination import Termination

SHOWN = 20
LATE_SECONDS = 3600.0
"""A file that is not in S3 after an hour is worth an operator's look, whatever the reason."""


class Report:
    """Draws the document from running services."""

    def __init__(
        self, services: Services, watcher: Watcher, *, stalled: Callable[[], list[str]]
    ) -> None:
        self._services = services
        self.journal = services.journal
        self._watcher = watcher
        self._stalled = stalled

    def document(self) -> dict[str, Any]:
        """The whole status, ready for JSON."""
        services, shut = self._services, self._services.gate.reason()
        facts = services.instance_lookup.facts
        return document_from(services.journal, services.clock.now()) | {
            "running": True,
            "state_directory": services.configuration.state_directory,
            "pid": os.getpid(),
            "instance": asdict(facts) if facts is not None else None,
            "credentials": credentials_document(services.keeper.state()),
            "instance_credentials": credentials_document(services.keepers[0].state()),
            "gate": {"open": shut is None} | (asdict(shut) if shut is not None else {}),
            "scan": self._scan(),
            "held": {
                "descriptors": len(services.held.shipments()),
                "unlinked_bytes": services.held.unlinked_bytes,
            },
            "termination": drain_document(services.termination, services.clock),
            "problems": [
                problem_row(candidate, candidate.problem)
                for candidate in services.discovery.problems
                if candidate.problem is not None
            ],
            "ailments": self.ailments(),
        }

    def _scan(self) -> dict[str, Any]:
        discovery = self._services.discovery
        return {
            "scans": discovery.scans,
            "seconds": round(discovery.scan_seconds, 6),
            "waiting_files": discovery.waiting_files,
            "oldest_waiting_seconds": round(discovery.oldest_waiting_seconds, 3),
            "empty_files": discovery.empty_files,
            "unwatched": {
                name: asdict(one) | {"hint": one.hint} for name, one in self.unwatched().items()
            },
            "trouble": str(discovery.trouble or ""),
        }

    def unwatched(self) -> dict[str, Unwatched]:
        """The directories that give no events and are scanned instead, by watch."""
        return dict(self._watcher.unwatched)

    def waiting_files(self) -> int:
        """How many rotated files are not sealed yet."""
        return self._services.discovery.waiting_files

    def ailments(self) -> list[str]:
        """Why all is *not* well, each in one line; empty when it is."""
        services, shut = self._services, self._services.gate.reason()
        trouble, unknown = services.discovery.trouble, services.instance_lookup.problem
        lines = [f"loop {name} makes no progress" for name in self._stalled()]
        lines += [f"the configuration was refused: {each}" for each in services.counters.refusal]
        if shut is not None:
            lines.append(f"nothing is sent: {failure(shut.code, shut.detail, shut.hint)}")
        if trouble is not None:
            said = failure(trouble.code, trouble.detail, trouble.hint)
            lines.append(f"nothing is promised: {said}")
        if unknown is not None:
            said = failure(unknown.code, unknown.detail, unknown.hint)
            lines.append(f"instance unknown: {said}")
        lines += [
            f"watch {one.watch.name}: {failure(one.problem.code, one.problem.detail)}"
            for one in services.discovery.problems
            if one.problem is not None and not one.path
        ]
        return lines + self._late() + self._unusable_credentials()

    def _late(self) -> list[str]:
        """Files that are parked, or have waited for too long."""
        lines, now = [], self._services.clock.now()
        parked = sum(one.files for one in self.journal.totals() if one.state is State.PARKED)
        if parked:
            lines.append(f"{parked} files are parked (hint: `shipper status` says why)")
        oldest_at = self.journal.oldest_unshipped_at()
        if oldest_at is not None and now - oldest_at > LATE_SECONDS:
            lines.append(f"the oldest file has waited for {(now - oldest_at) / 3600:.1f} hours")
        waiting_seconds = self._services.discovery.oldest_waiting_seconds
        if waiting_seconds > LATE_SECONDS:
            lines.append(
                f"a rotated file has not been sealed for {waiting_seconds / 3600:.1f} hours"
                " (hint: `shipper plan` names it, `shipper explain` who writes to it)"
            )
        return lines

    def _unusable_credentials(self) -> list[str]:
        states = [keeper.state() for keeper in self._services.keepers]
        return [
            f"credentials {one.state.value}: {failure(one.code, one.detail, one.hint)}"
            for one in states
            if not one.is_usable or one.code in MISCONFIGURED_CODES
        ]


def document_from(journal: Journal, now: float, *, is_locked: bool = False) -> dict[str, Any]:
    """The part of the status that the journal alone can tell.

    ``is_locked`` says that some shipper is at work here, although it could not be asked.
    """
    totals = journal.totals()
    oldest_at = journal.oldest_unshipped_at()
    unshipped = sum(t.files for t in totals if t.state in UNSHIPPED)
    ailments = []
    if is_locked:
        ailments = ["a shipper is at work here, but its socket cannot be asked"]
    elif unshipped:
        ailments = [f"no shipper runs, and {unshipped} files wait"]
    return {
        "ailments": ailments,
        "version": __version__,
        "at": instant(now),
        "running": False,
        "instance_id": journal.origin.instance_id(),
        "unshipped_files": unshipped,
        "unshipped_bytes": sum(t.raw_bytes for t in totals if t.state in UNSHIPPED),
        "oldest_unshipped_seconds": 0.0 if oldest_at is None else max(0.0, now - oldest_at),
        "watches": _by_watch(totals),
        "unfinished": [_row(shipment) for shipment in journal.unfinished(SHOWN)],
        "parked": [_row(shipment) for shipment in journal.parked(SHOWN)],
    }


def credentials_document(state: Any) -> dict[str, Any]:
    """A keeper's state for JSON; it never holds a secret."""
    document = asdict(state)
    document["state"] = state.state.value
    for name in ("issued_at", "expires_at", "next_refresh_at"):
        document[name] = instant(document[name] or None)
    return document


def drain_document(termination: Termination, clock: Clock) -> dict[str, Any]:
    """The drain that is going on, for JSON."""
    drain = termination.drain
    if drain is None:
        return {"draining": False}
    return {
        "draining": True,
        "reason": drain.reason.value,
        "seconds_left": round(drain.deadline - clock.boottime(), 1),
    }


def headline(report: Report) -> str:
    """One line for ``systemctl status``."""
    ailments = report.ailments()
    if ailments:
        return ailments[0]
    journal = report.journal
    unshipped = [total for total in journal.totals() if total.state in UNSHIPPED]
    files, raw = sum(t.files for t in unshipped), sum(t.raw_bytes for t in unshipped)
    if files:
        return f"{files} files ({raw} bytes) to ship"
    waiting = report.waiting_files()
    return f"{waiting} files not sealed yet" if waiting else "everything found is shipped"


def is_well(document: dict[str, Any]) -> bool:
    """Whether an operator has nothing to do."""
    return not (document["parked"] or document.get("problems") or document.get("ailments"))


def _by_watch(totals: list[Total]) -> dict[str, dict[str, dict[str, int]]]:
    watches: dict[str, dict[str, dict[str, int]]] = {}
    for total in totals:
        watches.setdefault(total.watch, {})[total.state.value] = {
            "files": total.files,
            "raw_bytes": total.raw_bytes,
            "stored_bytes": total.stored_bytes,
        }
    return watches


def _row(shipment: Shipment) -> dict[str, Any]:
    row = shipment_row(shipment) | {"watch": shipment.watch, "raw_bytes": shipment.raw_bytes}
    return row if shipment.state is State.PARKED else row | {"hint": ""}
