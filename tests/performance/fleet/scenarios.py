"""What happens to a fleet, and what came of it.

A scenario of ``aggregate`` n runs one host for n, against an n-th of what the bucket and STS
answer; rates and totals are multiplied by n afterwards. Hosts share nothing but the bucket and
STS, so that changes no host's decisions.
"""

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
    ends_at: float = 600.0
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
    delays: list[float]
    """From its rotation to its object, of each file, sorted, in seconds."""
    last_at: float
    partitions: int
    left: int

    @property
    def catch_up_seconds(self) -> float:
        return self.last_at - self.scenario.measured_from

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
    timeline, rng = Timeline(), Random(seed)
    share = scenario.aggregate
    model = replace(
        scenario.bucket,
        puts_a_second=scenario.bucket.puts_a_second / share,
        lists_a_second=scenario.bucket.lists_a_second / share,
    )
    bucket, sts = Bucket(model, timeline, rng), Sts(scenario, timeline)
    watches = {
        WatchName(f"watch-{number}"): Watch(
            f"/var/log/{number}",
            name=WatchName(f"watch-{number}"),
            after_upload=scenario.after_upload,
        )
        for number in range(WATCHES)
    }
    world = World(
        timeline=timeline,
        bucket=bucket,
        rng=rng,
        watches=watches,
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
    delays = sorted(at - rotated[key] for key, at in bucket.stored.items())
    return Outcome(
        scenario=scenario,
        hosts=hosts,
        files=len(rotated) * share,
        stored=len(bucket.stored) * share,
        traffic=bucket.traffic,
        sts=sts.traffic,
        tries=sorted(bucket.tries.values()),
        delays=delays,
        last_at=max(bucket.stored.values(), default=0.0),
        partitions=bucket.partitions,
        left=sum(host.rows.count for host in fleet),
    )


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

    def rotate_on(at: float) -> None:
        rotate(at)
        if at + pause < scenario.ends_at:
            timeline.at(at + pause, partial(rotate_on, at + pause))

    booted_at = rng.random() * LONGEST_USE_SECONDS if scenario.brown_out else 0.0
    timeline.at(booted_at, host.keep)
    for _ in range(int(scenario.backlog_hours * scenario.files_an_hour)):
        at = -rng.random() * scenario.backlog_hours * 3600.0
        rotated[host.promise(rotated_at=at, promised_at=at + SETTLE_SECONDS)] = at
    if scenario.files_at_once:
        rotate(
            scenario.rotated_at + rng.random() * scenario.rotated_within, scenario.files_at_once
        )
    if scenario.files_an_hour:
        pause = 3600.0 / scenario.files_an_hour
        rotate_on(scenario.rotated_at + rng.random() * pause)
