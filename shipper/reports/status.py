"""The status: one document for ``status --json``, ``/status``, ``/healthz`` and the table.

With the daemon running it is drawn from the running services. Without, it is drawn from the
journal alone, and says so.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from shipper import __version__
from shipper.core.failures import MISCONFIGURED_CODES, hint_for
from shipper.core.lifecycle import UNSHIPPED
from shipper.core.object_keys import printable
from shipper.core.types import Shipment, State, Total
from shipper.edges.files.watcher import Unwatched, Watcher
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.reports.rows import failure, instant, shipment_row
from shipper.runtime.services import Services
from shipper.services.finding.candidates import Candidate
from shipper.services.sending.gate import Shut
from shipper.services.sources.watch_roots import DETAIL, HINT

SHOWN = 20
LATE_SECONDS = 3600.0
"""A file that is not in S3 after an hour is worth an operator's look, whatever the reason."""


class Report:
    """Draws the document from running services."""

    def __init__(
        self, services: Services, watcher: Watcher, *, stalled: Callable[[], list[str]]
    ) -> None:
        self.services = services
        self._watcher = watcher
        self._stalled = stalled

    def document(self) -> dict[str, Any]:
        """The whole status, ready for JSON."""
        services, shut = self.services, self.services.gate.reason()
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
            "termination": _drain(services),
            "problems": _problems(services.discovery.problems),
            "ailments": self.ailments(),
        }

    def _scan(self) -> dict[str, Any]:
        discovery = self.services.discovery
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

    def ailments(self) -> list[str]:
        """Why all is *not* well, each in one line; empty when it is."""
        services = self.services
        standstills: tuple[tuple[str, Shut | PortError | None], ...] = (
            ("nothing is sent", services.gate.reason()),
            ("nothing is promised", services.discovery.trouble),
            ("instance unknown", services.instance_lookup.problem),
        )
        lines = [f"loop {name} makes no progress" for name in self._stalled()]
        lines += [f"the configuration was refused: {each}" for each in services.counters.refusal]
        lines += [
            f"{what}: {failure(why.code, why.detail, why.hint)}"
            for what, why in standstills
            if why is not None
        ]
        lines += [
            f"watch {name}: {failure('OtherFileSystem', DETAIL, HINT)}"
            for name in list(services.disposal.roots.others)
        ]
        lines += [
            f"watch {one.watch.name}: {failure(one.problem.code, one.problem.detail)}"
            for one in services.discovery.problems
            if one.problem is not None and not one.path
        ]
        lines += lost_lines(services.journal)
        return lines + self._late() + self._unusable_credentials()

    def _late(self) -> list[str]:
        """Files that are parked, or have waited for too long."""
        lines, services = [], self.services
        now, totals = services.clock.now(), services.journal.totals()
        parked = sum(one.files for one in totals if one.state is State.PARKED)
        if parked:
            lines.append(f"{parked} files are parked (hint: `shipper status` says why)")
        oldest_at = services.journal.oldest_unshipped_at()
        if oldest_at is not None and now - oldest_at > LATE_SECONDS:
            lines.append(f"the oldest file has waited for {(now - oldest_at) / 3600:.1f} hours")
        waiting_seconds = services.discovery.oldest_waiting_seconds
        if waiting_seconds > LATE_SECONDS:
            lines.append(
                f"a rotated file has not been sealed for {waiting_seconds / 3600:.1f} hours"
                " (hint: `shipper plan` names it, `shipper explain` who writes to it)"
            )
        return lines

    def _unusable_credentials(self) -> list[str]:
        return [
            f"credentials {one.state.value}: {failure(one.code, one.detail, one.hint)}"
            for one in (keeper.state() for keeper in self.services.keepers)
            if not one.is_usable or one.code in MISCONFIGURED_CODES
        ]


def document_from(journal: Journal, now: float, *, is_locked: bool = False) -> dict[str, Any]:
    """The part of the status that the journal alone can tell.

    ``is_locked`` says that some shipper is at work here, although it could not be asked.
    """
    totals = journal.totals()
    oldest_at = journal.oldest_unshipped_at()
    files, raw_bytes = _unshipped(totals)
    ailments = [f"no shipper runs, and {files} files wait"] if files else []
    if is_locked:
        ailments = ["a shipper is at work here, but its socket cannot be asked"]
    ailments += lost_lines(journal)
    return {
        "ailments": ailments,
        "version": __version__,
        "at": instant(now),
        "running": False,
        "instance_id": journal.origin.instance_id(),
        "unshipped_files": files,
        "unshipped_bytes": raw_bytes,
        "oldest_unshipped_seconds": 0.0 if oldest_at is None else max(0.0, now - oldest_at),
        "watches": _by_watch(totals),
        "unfinished": [_row(shipment) for shipment in journal.unfinished(SHOWN)],
        "parked": [_row(shipment) for shipment in journal.parked(SHOWN)],
        "lost": [_row(shipment) for shipment in journal.lost(SHOWN)],
    }


def lost_lines(journal: Journal) -> list[str]:
    """The lost logs that nobody has acknowledged, in one line."""
    files, first = sum(journal.lost_files().values()), journal.lost(1)
    return [
        f"{files} files are lost, shipment {one.id} of {one.watch}/{printable(one.path)} for one"
        f" (hint: {hint_for(one.code)})"
        for one in first
    ]


def credentials_document(state: Any) -> dict[str, Any]:
    """A keeper's state for JSON; it never holds a secret."""
    document = asdict(state)
    document["state"] = state.state.value
    for name in ("issued_at", "expires_at", "next_refresh_at"):
        document[name] = instant(document[name] or None)
    return document


def _drain(services: Services) -> dict[str, Any]:
    drain = services.termination.drain
    if drain is None:
        return {"draining": False}
    return {
        "draining": True,
        "reason": drain.reason.value,
        "seconds_left": round(drain.deadline - services.clock.boottime(), 1),
    }


def headline(report: Report) -> str:
    """One line for ``systemctl status``."""
    ailments = report.ailments()
    if ailments:
        return ailments[0]
    files, raw_bytes = _unshipped(report.services.journal.totals())
    if files:
        return f"{files} files ({raw_bytes} bytes) to ship"
    waiting = report.services.discovery.waiting_files
    return f"{waiting} files not sealed yet" if waiting else "everything found is shipped"


def is_well(document: dict[str, Any]) -> bool:
    """Whether an operator has nothing to do."""
    return not (document["parked"] or document.get("problems") or document.get("ailments"))


def _unshipped(totals: list[Total]) -> tuple[int, int]:
    """Files and raw bytes that S3 has not acknowledged."""
    unshipped = [total for total in totals if total.state in UNSHIPPED]
    return sum(one.files for one in unshipped), sum(one.raw_bytes for one in unshipped)


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
    return row if shipment.state in (State.PARKED, State.GONE) else row | {"hint": ""}


def _problems(candidates: Iterable[Candidate]) -> list[dict[str, Any]]:
    return [
        {
            "watch": one.watch.name,
            "path": printable(one.path),
            "code": one.problem.code,
            "detail": one.problem.detail,
            "hint": one.problem.hint,
        }
        for one in candidates
        if one.problem is not None
    ]
