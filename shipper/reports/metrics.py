"""The Prometheus metrics, measured when they are asked for; ``docs/observability.md`` lists them.

What the journal counts (files, bytes, parked, gone) survives a restart. What a process counts
(requests, retries, refreshes) starts at zero with it, as Prometheus expects of counters.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from shipper.core.backoff import CredentialsState
from shipper.core.destinations import shown
from shipper.core.lifecycle import ACKNOWLEDGED, UNSHIPPED
from shipper.core.types import State
from shipper.reports.rows import refused_files, unshipped_ages, waited_seconds
from shipper.reports.status import Report
from shipper.reports.watched import expected
from shipper.services.credentials import KeeperState

if TYPE_CHECKING:
    from shipper.services.manifests import ManifestState
    from shipper.services.sources.high_water import Disk

PER_WATCH = (
    ("shipper_unshipped_files", "files", UNSHIPPED, "Promised files S3 has not acknowledged"),
    ("shipper_unshipped_bytes", "raw_bytes", UNSHIPPED, "Raw bytes of the same"),
    ("shipper_parked_files", "files", {State.PARKED}, "Files that wait for an operator"),
)
PER_WATCH_TOTALS = (
    ("shipper_shipped_files", "files", ACKNOWLEDGED, "Files S3 has acknowledged"),
    ("shipper_shipped_raw_bytes", "raw_bytes", ACKNOWLEDGED, "Raw bytes of the same"),
    ("shipper_shipped_bytes", "stored_bytes", ACKNOWLEDGED, "Bytes of the same as S3 stores them"),
    ("shipper_gone_files", "files", {State.GONE}, "Files that vanished before they were shipped"),
)


def page(report: Report) -> bytes:
    """All of them, in Prometheus's text format."""
    return generate_latest(Metrics(report))


class Metrics(Collector):
    """Reads the running services."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._services = report.services

    def collect(self) -> Iterator[Metric]:
        yield from self._of_watches()
        yield from self._of_daemon()
        yield from self._of_credentials()
        yield from self._of_heartbeats()
        yield from self._of_counters()
        yield from self._of_scans()
        high_water = self._services.high_water
        yield from _of_disks(high_water.disks if high_water is not None else ())
        writer = self._services.manifests
        yield from _of_manifests(writer.states() if writer is not None else ())

    def _of_watches(self) -> Iterator[Metric]:
        totals = self._services.journal.figures.totals()
        for family, rows in ((Gauge, PER_WATCH), (Counter, PER_WATCH_TOTALS)):
            for name, field, states, text in rows:
                counts = {(watch.name,): 0 for watch in self._services.configuration.watches}
                for total in totals:
                    if (total.watch,) in counts and total.state in states:
                        counts[total.watch,] += getattr(total, field)
                yield _filled(family(name, text, labels=["watch"]), counts)
        lost = {(watch.name,): 0 for watch in self._services.configuration.watches}
        lost |= {
            (name,): files for name, files in self._services.journal.figures.lost_files().items()
        }
        text = "Age of the oldest byte that is not in S3, live files included"
        ages = {(name,): age for name, age in unshipped_ages(self._services).items()}
        yield _filled(Gauge("shipper_unshipped_age_seconds", text, labels=["watch"]), ages)
        text = "Files that are lost, and that no operator has acknowledged"
        yield _filled(Gauge("shipper_lost_files", text, labels=["watch"]), lost)

    def _of_daemon(self) -> Iterator[Metric]:
        services, journal = self._services, self._services.journal
        oldest, success_at = (
            journal.figures.oldest_unshipped(),
            journal.figures.last_success_at() or 0.0,
        )
        age = waited_seconds(oldest, services.clock.now())
        yield Gauge("shipper_oldest_unshipped_seconds", "Age of the oldest unshipped promise", age)
        text = "When a shipment was last finished"
        yield Gauge("shipper_last_success_timestamp_seconds", text, success_at)
        text = "When this process began, or its last reload"
        yield Gauge("shipper_start_timestamp_seconds", text, services.counters.started_at)
        text = "What /healthz says is wrong, in lines"
        yield Gauge("shipper_ailments", text, len(self._report.ailments()))
        text = "Disk that is taken only by what is held of deleted files"
        yield Gauge("shipper_held_unlinked_bytes", text, services.held.unlinked_bytes)
        gates = {
            (shown(one.name),): services.instance_lookup.facts is not None
            and one.gate.reason() is None
            for one in services.destinations
        }
        text = "1 while anything may be sent, to every destination"
        yield Gauge("shipper_gate_open", text, all(gates.values()))
        text = "1 while anything may be sent to this destination"
        each = Gauge("shipper_destination_gate_open", text, labels=["destination"])
        yield _filled(each, gates)
        text = "1 while everything is shipped at once because the machine is about to end"
        yield Gauge("shipper_draining", text, services.termination.is_draining)
        text = "1 while the configuration as it is written was refused at a reload"
        yield Gauge("shipper_reload_refused", text, bool(services.counters.refusal))

    def _of_credentials(self) -> Iterator[Metric]:
        keepers = {id(one.keeper): one.keeper for one in self._services.destinations}
        states = [keeper.state() for keeper in keepers.values()]
        credentials = max(states, key=_badness)
        text = "When the role credentials in use expire"
        expiry = credentials.expires_at or 0.0
        yield Gauge("shipper_credentials_expiry_timestamp_seconds", text, expiry)
        text = "1 for the state the role credentials are in, with the failure's code"
        state = Gauge("shipper_credentials_state", text, labels=["state", "code"])
        yield _filled(state, {(credentials.state.value, credentials.code): 1})
        text = "How far this machine's clock is behind AWS's"
        yield Gauge("shipper_clock_skew_seconds", text, self._services.skew_seconds())
        outcomes = {
            ("ok",): sum(one.refreshes for one in states),
            ("failed",): sum(one.failures for one in states),
        }
        text = "Refreshes of them"
        refreshes = Counter("shipper_credentials_refreshes", text, labels=["outcome"])
        yield _filled(refreshes, outcomes)

    def _of_scans(self) -> Iterator[Metric]:
        found = self._services.discovery
        yield Gauge("shipper_scan_seconds", "How long the last scan took", found.scan_seconds)
        text = "Rotated files that are not sealed yet"
        yield Gauge("shipper_waiting_files", text, found.waiting_files)
        text = "How long the first of them has been waiting"
        yield Gauge("shipper_oldest_waiting_seconds", text, found.oldest_waiting_seconds)
        text = "Promised files that no event had announced"
        yield Counter("shipper_found_by_scan", text, found.found_by_scan)
        text = "Directories that give no events; scans do the work"
        unwatched = Gauge("shipper_unwatched_directories", text, labels=["watch", "reason"])
        reasons = {(name, one.code): 1 for name, one in self._report.unwatched().items()}
        yield _filled(unwatched, reasons)
        text = "Regular files that are neither rotated, live nor excluded; links to directories"
        left_alone = Gauge("shipper_left_alone_files", text, labels=["watch"])
        alone = {(name,): one.files + one.links for name, one in found.left_alone.items()}
        yield _filled(left_alone, alone)
        text = "Rotated files that ignore_older leaves alone"
        ignored = Gauge("shipper_ignored_files", text, labels=["watch"])
        older = {(name,): one.older for name, one in found.left_alone.items()}
        yield _filled(ignored, older)
        text = "Directories that match the globs in a watch's directory"
        matching = Gauge("shipper_matching_directories", text, labels=["watch"])
        counts = {(name,): len(one) for name, one in found.directories.items()}
        yield _filled(matching, counts)
        text = "For how long a log is overdue by expect_every"
        overdue = Gauge("shipper_overdue_seconds", text, labels=["watch"])
        now, logs = self._services.clock.now(), expected(self._services)
        late = {(name,): one.overdue_seconds(now) for name, one in logs.items()}
        yield _filled(overdue, late)
        text = "Files that should be in S3 and are not, beyond those that only need time"
        refused = Gauge("shipper_refused_files", text, labels=["watch", "code"])
        yield _filled(refused, refused_files(self._services))

    def _of_heartbeats(self) -> Iterator[Metric]:
        heartbeats = self._services.heartbeats
        outcomes, arrived_at = dict[tuple[str], int](), dict[tuple[()], float]()
        if heartbeats is not None:
            told = heartbeats.told
            outcomes = {("ok",): told.arrived, ("failed",): told.failed}
            arrived_at = {(): told.arrived_at}
        text = "Heartbeats that went out"
        yield _filled(Counter("shipper_heartbeats", text, labels=["outcome"]), outcomes)
        text = "When S3 last took a heartbeat"
        latest = Gauge("shipper_heartbeat_last_success_timestamp_seconds", text, labels=[])
        yield _filled(latest, arrived_at)

    def _of_counters(self) -> Iterator[Metric]:
        services = self._services
        text = "Bugs of shipper that a file, a shipment or a chore met"
        yield Counter("shipper_bugs", text, services.bugs.count)
        text = "Promised files that are kept from vanishing"
        held = Gauge("shipper_held_files", text, labels=["kind"])
        yield _filled(held, {("descriptor",): len(services.held.shipments())})
        answers = services.counters.requests().items()
        requests = Counter("shipper_requests", "Requests to S3", labels=["operation", "code"])
        yield _filled(requests, {(name, code or "ok"): count for (name, code), count in answers})
        repeated = services.counters.retries().items()
        retries = Counter("shipper_retries", "Calls repeated", labels=["code"])
        yield _filled(retries, {(code,): count for code, count in repeated})


def _badness(one: KeeperState) -> tuple[bool, int]:
    """Those of several destinations are as good as the worst."""
    return not one.is_usable, [*CredentialsState].index(one.state)


def _of_disks(disks: "Sequence[Disk]") -> Iterator[Metric]:
    text = "How full a file system of the watches is, by bytes or by inodes"
    used = Gauge("shipper_disk_used_ratio", text, labels=["directory"])
    yield _filled(used, {(one.directory,): one.space.used_ratio for one in disks})
    text = "Raw bytes of what its watches have promised and S3 has not acknowledged"
    unshipped = Gauge("shipper_disk_unshipped_bytes", text, labels=["directory"])
    yield _filled(unshipped, {(one.directory,): one.unshipped_bytes for one in disks})


def _of_manifests(states: "Sequence[ManifestState]") -> Iterator[Metric]:
    outcomes = {
        ("stored",): sum(one.stored for one in states),
        ("failed",): sum(one.failed for one in states),
    }
    yield _filled(Counter("shipper_manifests", "Manifests sent", labels=["outcome"]), outcomes)
    text = "When S3 last took a manifest"
    stored = Gauge("shipper_manifest_last_success_timestamp_seconds", text, labels=["destination"])
    yield _filled(stored, {(shown(one.target.name),): one.chain.stored_at for one in states})
    text = "What the next manifests are to tell of"
    pending = Gauge("shipper_manifest_pending_entries", text, labels=["destination"])
    yield _filled(
        pending,
        {(shown(one.target.name),): one.target.journal.manifests.pending() for one in states},
    )


def _filled(family: Gauge | Counter, samples: Mapping[Any, float]) -> Metric:
    """The family with one sample for each tuple of label values."""
    for labels, value in samples.items():
        family.add_metric(labels, value)
    return family
