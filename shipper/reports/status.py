"""The status: one document for ``status --json``, ``/status``, ``/healthz`` and the table.

With the daemon running it is drawn from the running services. Without, it is drawn from the
journal alone, and says so.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple
from typing import Any

from shipper import __version__
from shipper.core import hints
from shipper.core.backoff import CredentialsState, failed_since
from shipper.core.destinations import shown
from shipper.core.failures import MISCONFIGURED_CODES, REMOVAL_WAITS_CODES, hint_for
from shipper.core.lifecycle import UNSHIPPED
from shipper.core.types import Shipment, State, Total, WatchName, WriterTest
from shipper.edges.files.watcher import Unwatched, Watcher
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.reports.in_flight import in_flight, rate, summed
from shipper.reports.rows import (
    failure,
    instant,
    left_alone_row,
    named,
    plain,
    refused_by_s3,
    refused_files,
    shipment_row,
    skew_line,
    unshipped_ages,
    waited_seconds,
)
from shipper.reports.status_rows import (
    by_code,
    credentials_document,
    destination_row,
    drain_row,
    gate_row,
    heartbeat_lines,
    heartbeat_row,
    manifest_lines,
    manifest_rows,
    problem_rows,
)
from shipper.reports.watched import overdue_lines, watched_document
from shipper.runtime.services import DestinationServices, Services
from shipper.services.finding.refusals import LATE_SECONDS, NOT_SEALED
from shipper.services.sending.gate import Shut
from shipper.services.sources.watch_roots import other_root

SHOWN = 20
FAILING_ATTEMPTS = 3


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
        services = self.services
        shut = next((why for one in services.destinations if (why := one.shut())), None)
        facts = services.instance_lookup.facts
        document = document_from(services.journal, services.clock.now())
        watches: dict[str, Any] = {watch.name: {} for watch in services.configuration.watches}
        return document | {
            "running": True,
            "state_directory": services.configuration.state_directory,
            "pid": os.getpid(),
            "instance": asdict(facts) if facts is not None else None,
            "credentials": credentials_document(services.destinations[0].keeper.state()),
            "instance_credentials": credentials_document(services.keepers[0].state()),
            "gate": gate_row(shut),
            "destinations": {
                shown(one.name): destination_row(one) for one in services.destinations
            },
            "watches": watches | document["watches"],
            "in_flight": in_flight(services),
            "rate": rate(services),
            "scan": self._scan(),
            "unshipped_age_seconds": _rounded(unshipped_ages(services)),
            "held": {
                "descriptors": len(services.held.shipments()),
                "unlinked_bytes": services.held.unlinked_bytes,
            },
            "disks": _disks(services),
            "manifests": manifest_rows(services),
            "termination": drain_row(services),
            "problems": problem_rows(services.discovery.problems),
            "left_alone": {
                name: left_alone_row(found)
                for name, found in services.discovery.left_alone.items()
            },
            "refused": by_code(refused_files(services)),
            "clock_skew_seconds": round(services.skew_seconds(), 1),
            "heartbeat": heartbeat_row(services),
            "ailments": self.ailments(),
            "imperfections": self.imperfections(),
            **watched_document(services),
        }

    def _scan(self) -> dict[str, Any]:
        discovery = self.services.discovery
        return {
            "scans": discovery.scans,
            "seconds": round(discovery.scan_seconds, 6),
            "waiting_files": discovery.waiting_files,
            "oldest_waiting_seconds": round(discovery.oldest_waiting_seconds, 3),
            "empty_files": discovery.empty_files,
            "unremoved_files": discovery.unremoved_files,
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
            *((f"nothing is sent{self._to(one)}", one.shut()) for one in services.destinations),
            ("nothing is promised", services.discovery.trouble),
            (_unconfirmed(services), services.instance_lookup.problem),
        )
        lines = [f"loop {name} makes no progress" for name in self._stalled()]
        lines += [f"the configuration was refused: {each}" for each in services.counters.refusal]
        lines += [
            f"{what}: {failure(why.code, why.detail, why.hint)}"
            for what, why in standstills
            if why is not None
        ]
        lines += [
            f"watch {watch.name}: {failure(why.code, why.detail, why.hint)}"
            for watch in services.configuration.watches
            for place in services.disposal.roots.others.get(watch.name, ())
            for why in [other_root(watch, place)]
        ]
        high_water = services.high_water
        if high_water is not None and (why := high_water.problem) is not None:
            lines.append(f"disks: {failure(why.code, why.detail, why.hint)}")
        disks = high_water.disks if high_water is not None else ()
        lines += [
            f"disk of {one.directory}: {failure('', one.detail, one.hint)}"
            for one in disks
            if one.is_filled or one.problem is not None
        ]
        return (
            lines
            + lost_lines(services.journal)
            + self._refused_files()
            + self._refused()
            + overdue_lines(services)
            + manifest_lines(services, are_ill=True)
            + self._failing()
            + self._late()
            + self._unusable_credentials()
        )

    def imperfections(self) -> list[str]:
        """What an operator should mend although everything is shipped: no outage."""
        services = self.services
        why = skew_line(services.skew_seconds())
        clock = [f"{why} (hint: {hints.CLOCK})"] if why else []
        return clock + manifest_lines(services, are_ill=False) + heartbeat_lines(services)

    def _refused(self) -> list[str]:
        """What S3 refuses while other files pass."""
        services, journal = self.services, self.services.journal
        passing = [one for one in services.destinations if one.gate.reason() is None]
        shut = {
            name
            for one in services.destinations
            if one.gate.reason() is not None
            for name in one.watches
        }
        files = Counter[str]()
        for (watch, code), count in refused_by_s3(services).items():
            files[code] += count if passing and watch not in shut else 0
        such = {
            code: (one.key, failure(code, one.detail, hint_for(code, one.detail)))
            for code in files
            for one in journal.figures.failed(code)
        } | {
            one.code: (one.key, failure(*astuple(one)[1:4]))
            for each in passing
            for _, one in each.gate.standing()
        }
        return [
            f"S3 refuses {count} files, such as {plain(such[code][0])}: {such[code][1]}"
            for code, count in files.items()
            if count and code in such
        ]

    def _to(self, one: DestinationServices) -> str:
        """Which destination, where there are others."""
        return f" to {shown(one.name)}" if len(self.services.destinations) > 1 else ""

    def _refused_files(self) -> list[str]:
        """What cannot be promised: one line for each watch and code, with an example."""
        lines = []
        for (watch, _), refused in self.services.discovery.refusals.items():
            example, problem = refused.example, refused.example.problem
            if problem is None:
                continue  # parked or late, which is said of all watches together
            said = failure(problem.code, problem.detail, problem.hint)
            name = f", such as {named(example.path)}" if example.path else ""
            such = f"{refused.files} files{name}: " if name or refused.files > 1 else ""
            lines.append(f"watch {watch}: {such}{said}")
        return lines

    def _failing(self) -> list[str]:
        """What fails again and again while nothing passes, and the gate is open all the same."""
        lines = []
        for to in self.services.destinations:
            found = to.journal.figures.failing(FAILING_ATTEMPTS, to.name)
            if found is None or to.gate.reason() is not None:
                continue
            files, one = found
            failed_at = max(one.promised_at, failed_since(one.due_at or 0.0, one.attempts))
            if failed_at > to.gate.passed_at:
                such = f"{files} files failed {FAILING_ATTEMPTS} times or more, and nothing passes"
                lines.append(f"{such}{self._to(to)}; such as {_named(one)}")
        return lines

    def _late(self) -> list[str]:
        """Files that are parked, or have waited for too long."""
        services = self.services
        now, totals = services.clock.now(), services.journal.figures.totals()
        parked = sum(one.files for one in totals if one.state is State.PARKED)
        first = services.journal.parked(1) if parked else []
        lines = [f"{parked} files are parked, such as {_named(one)}" for one in first]
        oldest = services.journal.figures.oldest_unshipped()
        waited = waited_seconds(oldest, now)
        if oldest is not None and waited > LATE_SECONDS:
            hours = waited / 3600
            lines.append(f"the oldest file has waited for {hours:.1f} hours: {_named(oldest)}")
        unremoved = services.discovery.unremoved_files
        if unremoved:
            why = failure("WriterUnproven", WriterTest.UNKNOWN.value, hint_for("WriterUnproven"))
            lines.append(f"{unremoved} shipped or empty files are not removed: {why}")
        waiting_seconds = services.discovery.oldest_waiting_seconds
        if waiting_seconds > LATE_SECONDS:
            late = [
                f"{refused.files} in watch {watch}, such as {named(refused.example.path)}: "
                f"{refused.example.because}"
                for (watch, code), refused in services.discovery.refusals.items()
                if code == NOT_SEALED
            ]
            lines.append(
                f"rotated files are not sealed for up to {waiting_seconds / 3600:.1f} hours now: "
                f"{'; '.join(late)} (hint: `shipper explain` names who writes to one)"
            )
        return lines

    def _unusable_credentials(self) -> list[str]:
        services = self.services
        lines = []
        for keeper in services.keepers:
            one = keeper.state()
            users = [shown(each.name) for each in services.destinations if each.keeper is keeper]
            is_bad = not one.is_usable or one.state is CredentialsState.EXTENDED
            if is_bad or one.code in MISCONFIGURED_CODES:
                has_several = len(services.destinations) > 1
                whose = f" for {', '.join(users)}" if has_several and users else ""
                said = failure(one.code, one.detail, one.hint)
                lines.append(f"credentials{whose} {one.state.value}: {said}")
        return lines


def document_from(journal: Journal, now: float, *, is_locked: bool = False) -> dict[str, Any]:
    """The part of the status that the journal alone can tell.

    ``is_locked`` says that some shipper is at work here, although it could not be asked.
    """
    totals = journal.figures.totals()
    files, raw_bytes = summed(totals, UNSHIPPED)
    missing = not_running(is_locked=is_locked, files=files)
    return {
        "ailments": [failure("", missing.detail, missing.hint), *lost_lines(journal)],
        "version": __version__,
        "at": instant(now),
        "running": False,
        "instance_id": journal.origin.instance_id(),
        "unshipped_files": files,
        "unshipped_bytes": raw_bytes,
        "oldest_unshipped_seconds": waited_seconds(journal.figures.oldest_unshipped(), now),
        "unshipped_age_seconds": _rounded(
            {watch: now - at for watch, at in journal.figures.unsent_since().items()}
        ),
        "watches": _by_watch(totals),
        "unfinished": [_row(shipment) for shipment in journal.unfinished(SHOWN)],
        "parked": [_row(shipment) for shipment in journal.parked(SHOWN)],
        "lost": [_row(shipment) for shipment in journal.lost(SHOWN)],
    }


def not_running(*, is_locked: bool, files: int = 0) -> PortError:
    """That no daemon answers; ``is_locked`` as in ``document_from``, ``files`` wait for one."""
    if is_locked:
        detail = "a shipper is at work here, but its socket cannot be asked"
        return PortError("NotRunning", detail, "ask as its own user")
    detail = "no shipper runs" + (f", and {files} files wait" if files else " here")
    once = "as-shipper shipper ship" if os.path.exists(hints.AS_SHIPPER) else "shipper ship"
    return PortError("NotRunning", detail, f"`systemctl start shipper`, or `{once}` for once")


def lost_lines(journal: Journal) -> list[str]:
    """The lost logs that nobody has acknowledged, in one line."""
    files, first = sum(journal.figures.lost_files().values()), journal.lost(1)
    return [
        f"{files} files are lost, shipment {one.id} of {one.watch}/{named(one.path)} for one"
        f" (hint: {hint_for(one.code)})"
        for one in first
    ]


def _named(one: Shipment) -> str:
    """A shipment that is not in S3, and why."""
    hint = hint_for(one.code, one.detail) or "`shipper explain` tells more"
    why = failure(one.code or "not tried yet", one.detail, hint)
    return f"{one.watch}/{named(one.path)}: {why}"


def _disks(services: Services) -> list[dict[str, Any]]:
    """The file systems that have a high water, as the last look found them."""
    return [
        {
            "directory": one.directory,
            "used_ratio": round(one.space.used_ratio, 4),
            "unshipped_files": one.unshipped_files,
            "unshipped_bytes": one.unshipped_bytes,
            "removes_early": one.is_shrinking,
            "filled": one.is_filled,
        }
        for one in (services.high_water.disks if services.high_water is not None else ())
    ]


def headline(report: Report) -> str:
    """One line for ``systemctl status``."""
    ailments = report.ailments()
    if ailments:
        return ailments[0]
    files, raw_bytes = summed(report.services.journal.figures.totals(), UNSHIPPED)
    if files:
        return f"{files} files ({raw_bytes} bytes) to ship"
    waiting = report.services.discovery.waiting_files
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


def _rounded(ages: Mapping[WatchName, float]) -> dict[str, float]:
    return {watch: round(max(0.0, seconds), 1) for watch, seconds in ages.items()}


def _row(shipment: Shipment) -> dict[str, Any]:
    row = shipment_row(shipment) | {"watch": shipment.watch, "raw_bytes": shipment.raw_bytes}
    is_shown = shipment.state in (State.PARKED, State.GONE)
    is_shown = is_shown or shipment.code in REMOVAL_WAITS_CODES
    return row if is_shown else row | {"hint": ""}


def _unconfirmed(services: Services) -> str:
    remembered = services.instance_lookup.remembered
    if remembered is None:
        return "instance unknown"
    return f"nothing is sent, for it is not confirmed that this is {remembered.instance_id}"
