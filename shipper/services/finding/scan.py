"""What one scan has found so far, and what it says of what it leaves alone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from shipper.core.left_alone import LeftAlone
from shipper.core.object_keys import printable
from shipper.core.types import FileStat, Promise, RelativePath, ShipmentId, WatchName
from shipper.ports import PortError, Source
from shipper.services.finding.candidate import Candidate, Decision
from shipper.services.finding.live_logs import LogKey
from shipper.services.finding.refusals import Refusals, count
from shipper.services.finding.segments import about_promise

PROBLEMS_SHOWN = 100


class Fresh(NamedTuple):
    """What is to be promised; its source is held or closed afterwards."""

    promise: Promise
    source: Source
    found: Candidate


def about(fresh: Fresh) -> dict[str, Any]:
    return about_promise(fresh.promise)


class Scan:
    def __init__(self, started: float, started_at: float, instance_id: str) -> None:
        self.started = started
        self._times = started, started_at
        self.instance_id = instance_id
        """Whose keys it made; empty while that was not known when it began."""
        self.refusals: Refusals = {}
        self.fresh: list[Fresh] = []
        self.moves: dict[ShipmentId, RelativePath] = {}
        self.touches: list[tuple[ShipmentId, int, int]] = []
        self.problems: list[Candidate] = []
        self.missed: set[WatchName] = set()
        """The watches of which not every directory could be looked at."""
        self.waits: list[float] = []
        self.oldest_waiting_seconds = 0.0
        self.waiting_since: dict[WatchName, float] = {}
        self.unsealed: dict[LogKey, FileStat] = {}
        self.waiting = self.unproven = self.partial = self.empty = self.promised = 0
        self.unremoved = 0

    def add(self, candidate: Candidate) -> None:
        count(self.refusals, candidate, *self._times)
        if not candidate.path:
            self.missed.add(candidate.watch.name)
        if candidate.problem is not None and len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(candidate)
        if candidate.wait_seconds is not None:
            self.waits = [min([candidate.wait_seconds, *self.waits])]
        if candidate.decision is Decision.WAITING and candidate.look is not None:
            self.waiting += 1
            name = candidate.watch.name
            at = self._times[1] - self.started + candidate.look.first_at
            assert candidate.stat is not None
            self.unsealed[name, candidate.stat.inode] = candidate.stat
            self.waiting_since[name] = min(at, self.waiting_since.get(name, at))
            if not candidate.is_expected:
                waits = self.started - candidate.look.first_at
                self.oldest_waiting_seconds = max(self.oldest_waiting_seconds, waits)
        self.unproven += candidate.is_unproven
        self.partial += candidate.decision is Decision.NEW and candidate.wait_seconds is not None
        self.empty += candidate.decision is Decision.EMPTY

    def refuse(self, candidate: Candidate, problem: PortError) -> None:
        refused = replace(candidate, problem=problem)
        count(self.refusals, refused, *self._times)
        self.problems.append(refused)

    def close(self) -> None:
        for fresh in self.fresh:
            fresh.source.close()


def warn_of_left_alone(
    log: Any, before: Mapping[WatchName, LeftAlone], now: Mapping[WatchName, LeftAlone]
) -> None:
    """Warn, once, of names that rotators give and that ``include`` keeps out."""
    for name, found in now.items():
        if found.rotated and not (name in before and before[name].rotated):
            log.warning(
                "files.left_alone",
                watch=name,
                files=found.rotated,
                such_as=[printable(path) for path in found.names],
                hint="they look rotated, and include does not name them; or exclude them",
            )
