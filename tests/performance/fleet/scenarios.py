"""What happens to a fleet, and what came of it.

A scenario of ``aggregate`` n runs one host for n, against an n-th of what the bucket and STS
answer; rates and totals are multiplied by n afterwards. Hosts share nothing but the bucket and
STS, so that changes no host's decisions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from shipper.core.backoff import LONGEST_USE_SECONDS, start_splay
from shipper.core.types import AfterUpload, ObjectKey, RoleCredentials, Watch, WatchName
from shipper.ports import PortError
from shipper.services.finding.discovery import SHORTEST_REST_SECONDS
from tests.performance.fleet.bucket import Bucket, BucketModel, Tokens, Traffic
from tests.performance.fleet.host import Host, World
from tests.performance.fleet.timeline import Timeline

HOSTS = 10_000
WATCHES = 10
SETTLE_SECONDS = 5.0
ROTATION_SECONDS = 1.0
"""Within so long all hosts rotate: cron's jobs begin in the first second of a minute."""
STS_A_SECOND = 600.0
"""AssumeRole's quota for an account and region."""
ROLE_SECONDS = 3600.0
"""How long an assumed role lives that a role assumed."""
LONG_SECONDS = 1e9


@dataclass(frozen=True, kw_only=True)
class Scenario:
    name: str
    title: str
    splay_seconds: float = 0.0
    rotated_at: float = 0.0
    """When hosts begin to rotate."""
    rotated_within: float = ROTATION_SECONDS
    files_at_once: int = WATCHES
    """What each host rotates at once, at the beginning; 0 for none."""
    files_an_hour: float = 0.0
    """What each host rotates besides, evenly, each host at its own minutes."""
    backlog_hours: float = 0.0
    """The hours of such files that have been waiting since before the beginning."""
    bucket: BucketModel = field(default_factory=BucketModel)
    brown_out: tuple[float, float] | None = None
    """While STS answers nobody; then credentials are refreshed in this scenario."""
    ends_at: float = 0.0
    """When what is to be waited for has happened; it is over once all is shipped after that."""
    after_upload: AfterUpload = AfterUpload.KEEP
    aggregate: int = 1
    measured_from: float = 0.0
    """When there is a way again: times to catch up count from here."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Rates and totals are those of the whole fleet."""

    scenario: Scenario
    hosts: int
    files: int
    stored: int
    traffic: Traffic
    sts: Traffic
    tries: list[int]
    """Of each file, sorted."""
    stored_at: list[float]
    """Of each file that was stored after ``measured_from``: how long after, sorted."""
    partitions: int
    left: int
    """Rows that are not over."""

    def per_second(self, *outcomes: str) -> list[tuple[int, int]]:
        """How many of these outcomes there were in each second."""
        n, seconds = self.scenario.aggregate, self.traffic.seconds
        last = max((max(seconds[one], default=0) for one in outcomes if one in seconds), default=0)
        return [
            (at, n * sum(seconds[one][at] for one in outcomes if one in seconds))
            for at in range(last + 1)
        ]

    def total(self, *outcomes: str) -> int:
        return self.scenario.aggregate * self.traffic.total(*outcomes)

    def peak(self, *outcomes: str) -> int:
        return self.scenario.aggregate * self.traffic.peak(*outcomes)


class Sts:
    """Hands out credentials of an hour, up to its quota, but in a brown-out."""

    def __init__(self, scenario: Scenario, timeline: Timeline) -> None:
        self._scenario, self._timeline = scenario, timeline
        self._tokens = Tokens(STS_A_SECOND / scenario.aggregate)
        self._issued = 0
        self.traffic = Traffic()

    def credentials(self) -> RoleCredentials:
        now, brown_out = self._timeline.seconds, self._scenario.brown_out
        if brown_out is None:
            return self._issue(LONG_SECONDS)
        if brown_out[0] <= now < brown_out[1]:
            self.traffic.count("failed", now)
            raise PortError("Timeout", "no answer")
        if not self._tokens.take(now):
            self.traffic.count("throttled", now)
            raise PortError("Throttling", "Rate exceeded", status=400)
        self.traffic.count("issued", now)
        return self._issue(ROLE_SECONDS)

    def _issue(self, seconds: float) -> RoleCredentials:
        self._issued += 1
        expires_at = self._timeline.now() + seconds
        return RoleCredentials(f"key-{self._issued}", "", f"token-{self._issued}", expires_at)


def run(scenario: Scenario, *, seed: int, hosts: int = HOSTS) -> Outcome:
    """Let it happen to so many hosts."""
    timeline, rng, share = Timeline(), Random(seed), scenario.aggregate
    bucket, sts = Bucket(_model(scenario), timeline, rng), Sts(scenario, timeline)
    world = World(
        timeline=timeline,
        bucket=bucket,
        rng=rng,
        watches=_watches(scenario),
        source=sts,
        refreshes=scenario.brown_out is not None,
    )
    count = hosts // share
    fleet = [Host(number, count, world) for number in range(count)]
    rotated: dict[ObjectKey, float] = {}
    for host in fleet:
        _schedule(host, scenario, timeline, rng, rotated)
    timeline.run(scenario.ends_at)
    timeline.run(LONG_SECONDS, lambda: world.refreshes and len(bucket.stored) == len(rotated))
    since = scenario.measured_from
    return Outcome(
        scenario=scenario,
        hosts=hosts,
        files=len(rotated) * share,
        stored=len(bucket.stored) * share,
        traffic=bucket.traffic,
        sts=sts.traffic,
        tries=sorted(bucket.tries.values()),
        stored_at=sorted(at - since for at in bucket.stored.values() if at >= since),
        partitions=bucket.partitions,
        left=sum(host.rows.count for host in fleet),
    )


def _model(scenario: Scenario) -> BucketModel:
    whole, share = scenario.bucket, scenario.aggregate
    rates = whole.puts_a_second / share, whole.lists_a_second / share
    return replace(whole, puts_a_second=rates[0], lists_a_second=rates[1])


def _watches(scenario: Scenario) -> dict[WatchName, Watch]:
    names = [WatchName(f"watch-{number}") for number in range(WATCHES)]
    return {
        name: Watch(f"/var/log/{name}", name=name, after_upload=scenario.after_upload)
        for name in names
    }


def _schedule(
    host: Host,
    scenario: Scenario,
    timeline: Timeline,
    rng: Random,
    rotated: dict[ObjectKey, float],
) -> None:
    """Let a host's credentials be refreshed, and its files be rotated, sealed and promised."""

    def promise(files: int, at: float) -> None:
        splay = start_splay(scenario.splay_seconds, rng.random(), is_draining=False)
        for _ in range(files):
            rotated[host.promise(rotated_at=at, due_in=splay)] = at

    def rotate(at: float, files: int = 1) -> None:
        found_in = SETTLE_SECONDS + rng.random() * SHORTEST_REST_SECONDS
        timeline.at(at + found_in, partial(promise, files, at))

    booted_at = rng.random() * LONGEST_USE_SECONDS if scenario.brown_out else 0.0
    timeline.at(booted_at, host.keep)
    for at in _backlog(scenario, rng):
        rotated[host.promise(rotated_at=at, promised_at=at + SETTLE_SECONDS)] = at
    if scenario.files_at_once:
        rotate(
            scenario.rotated_at + rng.random() * scenario.rotated_within, scenario.files_at_once
        )
    if scenario.files_an_hour:
        pause = 3600.0 / scenario.files_an_hour
        begin = scenario.rotated_at + rng.random() * pause
        _repeat(timeline, rotate, begin, pause, scenario.ends_at)


def _repeat(
    timeline: Timeline, event: Callable[[float], None], at: float, pause: float, end: float
) -> None:
    """Have it happen again and again, and let each time plan the next one."""

    def happen() -> None:
        event(timeline.seconds)
        if timeline.seconds + pause < end:
            timeline.after(pause, happen)

    timeline.at(at, happen)


def _backlog(scenario: Scenario, rng: Random) -> list[float]:
    files = int(scenario.backlog_hours * scenario.files_an_hour)
    return [-rng.random() * scenario.backlog_hours * 3600.0 for _ in range(files)]


MIDNIGHT = Scenario(name="midnight", title="All rotate within a second", aggregate=50)
_SPREAD = replace(MIDNIGHT, aggregate=10)
"""A host for 50 would send 500 requests in one instant, which no host of the fleet does."""
_BEGINS = BucketModel(outages=((0.0, 600.0),))
"""The last ten minutes of an outage: gates have found their pace within two."""
_HOURLY = Scenario(
    name="outage-hourly",
    title="Six hours without S3, 50 files an hour",
    files_at_once=0,
    files_an_hour=50.0,
    backlog_hours=6.0,
    bucket=_BEGINS,
    measured_from=600.0,
    ends_at=900.0,
    aggregate=200,
)
SCENARIOS = (
    MIDNIGHT,
    replace(
        _SPREAD,
        name="splay-30s",
        title='The same, `start_splay = "30s"`',
        splay_seconds=30.0,
        aggregate=4,
    ),
    replace(
        _SPREAD,
        name="splay-1m",
        title='The same, `start_splay = "1m"`',
        splay_seconds=60.0,
        aggregate=4,
    ),
    replace(
        _SPREAD,
        name="timer",
        title="All rotate within an hour (`logrotate.timer`)",
        rotated_within=3600.0,
    ),
    replace(
        MIDNIGHT,
        name="delete",
        title='Within a second, `after_upload = "delete"`',
        after_upload=AfterUpload.DELETE,
    ),
    replace(
        MIDNIGHT,
        name="lists",
        title="The same, and 1,000 listings/s are allowed",
        after_upload=AfterUpload.DELETE,
        bucket=BucketModel(lists_a_second=1000.0),
    ),
    replace(
        MIDNIGHT,
        name="outage-daily",
        title="Six hours without S3 over midnight, daily logs",
        bucket=_BEGINS,
        measured_from=600.0,
    ),
    _HOURLY,
    replace(
        _HOURLY,
        name="outage-splitting",
        title="The same, partitions split after 5 minutes of 503",
        bucket=replace(_BEGINS, split_seconds=300.0),
        aggregate=250,
    ),
    Scenario(
        name="brown-out",
        title="Two hours without STS, 50 files an hour",
        files_at_once=0,
        files_an_hour=50.0,
        rotated_at=3600.0,
        brown_out=(3600.0, 3 * 3600.0),
        measured_from=3 * 3600.0,
        ends_at=3 * 3600.0 + 300.0,
        aggregate=250,
    ),
)
