"""The metrics of DESIGN's contract, collected when they are asked for.

What the journal counts (files, bytes, parked, gone) survives a restart. What a process counts
(requests, retries, refreshes) starts at zero with it, as Prometheus expects of counters.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shipper.core.lifecycle import ACKNOWLEDGED, UNSHIPPED
from shipper.core.types import State, Total
from shipper.edges.files.watcher import Unwatched
from shipper.runtime.services import Services

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


class _StatusCollector(Collector):
    def __init__(
        self, services: Services, unwatched: Callable[[], Mapping[str, Unwatched]]
    ) -> None:
        self._services = services
        self._unwatched = unwatched

    def collect(self) -> Iterator[Metric]:
        yield from self._from_journal()
        yield from self._held()
        yield from self._credentials()
        yield from self._counters()
        yield from self._switches()
        yield from self._discovery()

    def _from_journal(self) -> Iterator[Metric]:
        services, totals = self._services, self._services.journal.totals()
        watches: list[str] = [watch.name for watch in services.configuration.watches]
        for family, rows in (
            (GaugeMetricFamily, PER_WATCH),
            (CounterMetricFamily, PER_WATCH_TOTALS),
        ):
            for name, field, states, text in rows:
                samples = [((watch,), _sum(totals, watch, field, states)) for watch in watches]
                yield _labelled(family(name, text, labels=["watch"]), samples)
        oldest_at = services.journal.oldest_unshipped_at()
        age = 0.0 if oldest_at is None else max(0.0, services.clock.now() - oldest_at)
        yield GaugeMetricFamily(
            "shipper_oldest_unshipped_seconds", "Age of the oldest unshipped promise", age
        )
        yield GaugeMetricFamily(
            "shipper_last_success_timestamp_seconds",
            "When a shipment was last finished",
            services.journal.last_success_at() or 0.0,
        )

    def _held(self) -> Iterator[Metric]:
        held = self._services.held
        gauge = GaugeMetricFamily(
            "shipper_held_files", "Promised files that are kept from vanishing", labels=["kind"]
        )
        gauge.add_metric(["descriptor"], len(held.shipments()))
        yield gauge
        yield GaugeMetricFamily(
            "shipper_held_unlinked_bytes",
            "Disk that is taken only by what is held of deleted files",
            held.unlinked_bytes,
        )

    def _credentials(self) -> Iterator[Metric]:
        credentials = self._services.keeper.state()
        yield GaugeMetricFamily(
            "shipper_credentials_expiry_timestamp_seconds",
            "When the role credentials in use expire",
            credentials.expires_at or 0.0,
        )
        yield _labelled(
            GaugeMetricFamily(
                "shipper_credentials_state",
                "1 for the state the role credentials are in, with the failure's code",
                labels=["state", "code"],
            ),
            [((credentials.state.value, credentials.code), 1)],
        )
        yield GaugeMetricFamily(
            "shipper_clock_skew_seconds",
            "How far this machine's clock is behind AWS's",
            credentials.skew_seconds,
        )
        yield _labelled(
            CounterMetricFamily(
                "shipper_credentials_refreshes", "Refreshes of them", labels=["outcome"]
            ),
            [(("ok",), credentials.refreshes), (("failed",), credentials.failures)],
        )

    def _counters(self) -> Iterator[Metric]:
        counters = self._services.counters
        requests = CounterMetricFamily(
            "shipper_requests", "Requests to S3", labels=["operation", "code"]
        )
        answered = counters.requests().items()
        yield _labelled(
            requests, [((name, code or "ok"), count) for (name, code), count in answered]
        )
        retries = CounterMetricFamily("shipper_retries", "Calls repeated", labels=["code"])
        yield _labelled(retries, [((code,), count) for code, count in counters.retries().items()])

    def _switches(self) -> Iterator[Metric]:
        services = self._services
        is_open = services.gate.reason() is None and services.instance_lookup.facts is not None
        yield GaugeMetricFamily("shipper_gate_open", "1 while anything may be sent", is_open)
        yield GaugeMetricFamily(
            "shipper_draining",
            "1 while everything is shipped at once because the machine is about to end",
            services.termination.is_draining,
        )
        yield GaugeMetricFamily(
            "shipper_reload_refused",
            "1 while the configuration as it is written was refused at a reload",
            bool(services.counters.refusal),
        )

    def _discovery(self) -> Iterator[Metric]:
        discovery = self._services.discovery
        yield GaugeMetricFamily(
            "shipper_scan_seconds", "How long the last scan took", discovery.scan_seconds
        )
        yield GaugeMetricFamily(
            "shipper_waiting_files",
            "Rotated files that are not sealed yet",
            discovery.waiting_files,
        )
        yield GaugeMetricFamily(
            "shipper_oldest_waiting_seconds",
            "How long the first of them has been waiting",
            discovery.oldest_waiting_seconds,
        )
        yield CounterMetricFamily(
            "shipper_found_by_scan",
            "Promised files that no event had announced",
            discovery.found_by_scan,
        )
        unwatched = GaugeMetricFamily(
            "shipper_unwatched_directories",
            "Directories that give no events; scans do the work",
            labels=["watch", "reason"],
        )
        found = self._unwatched().items()
        yield _labelled(unwatched, [((name, one.code), 1) for name, one in found])


def _labelled(
    family: GaugeMetricFamily | CounterMetricFamily, samples: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    """The family with one sample for each tuple of label values."""
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def registry_for(
    services: Services, unwatched: Callable[[], Mapping[str, Unwatched]]
) -> CollectorRegistry:
    """A registry of its own, so that nothing global is counted."""
    registry = CollectorRegistry()
    registry.register(_StatusCollector(services, unwatched))
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The metrics in Prometheus' text format."""
    return generate_latest(registry)


def _sum(totals: Iterable[Total], watch: str, field: str, states: Iterable[State]) -> int:
    return sum(
        getattr(total, field) for total in totals if total.watch == watch and total.state in states
    )
