"""The daemon's workers: its loops, its watcher, and, once the instance is known, its carriers.

They work until they are asked to stop, and never again.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from shipper.core.object_keys import InstanceFacts
from shipper.edges.files.watcher import Watcher
from shipper.edges.memory import give_back
from shipper.ports import PortError
from shipper.reports.status import Report
from shipper.runtime.loops import LONGEST_WAIT_SECONDS, Died, Loop
from shipper.runtime.services import Services
from shipper.runtime.wiring_sending import DRAIN_FACTOR, Carriers, carriers_for

if TYPE_CHECKING:
    from shipper.services.heartbeats import Heartbeats
    from shipper.services.manifests import ManifestWriter

GIVE_BACK_SECONDS = 60.0
"""How often memory that is no longer needed goes back to the system."""
LAST_MANIFEST_SECONDS = 3.0
"""How long S3 is given for the last manifests, once everything else has ended."""
MARGIN_SECONDS = 1.0
"""So long before the daemon would be left they are given up, for the journal is to be closed."""
FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Draining:
    """A drain has begun."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """The first scan is done."""


Notice = Died | InstanceFacts | Draining | Scanned | int
"""What reaches the main thread; an ``int`` is a signal."""


class Workers:
    """Everything but ``tell`` and what the loops do belongs to the main thread.

    ``tell`` takes notices from any thread.
    """

    def __init__(
        self, services: Services, *, tell: Callable[[Notice], None], stalled_seconds: float
    ) -> None:
        self.services = services
        self._tell = tell
        self._stalled_seconds = stalled_seconds
        self._discovery = self._loop(
            "discovery",
            self._scan,
            rest=lambda: services.discovery.rest_seconds,
            longest_wait_seconds=FOREVER,
        )
        self._termination = self._loop("termination", services.termination.step)
        own, *assumed = services.keepers
        self._keepers = [self._loop("credentials", own.step)]
        for number, keeper in enumerate(assumed, 1):
            name = "assumed-role" + (f"-{number}" if number > 1 else "")
            self._keepers.append(self._loop(name, keeper.step))
        self._loops = [
            self._discovery,
            *self._keepers,
            self._loop("instance", services.instance_lookup.step),
            self._loop("housekeeping", services.housekeeping.step),
            self._termination,
        ]
        self._disk: Loop | None = None
        if services.high_water is not None:  # alone: no long chore may let a disk fill up
            self._disk = self._loop("disk", services.high_water.step)
            self._loops.append(self._disk)
        self._manifests: Loop | None = None
        if services.manifests is not None:
            finish = partial(self._last_manifests, services.manifests)
            self._manifests = self._loop("manifests", services.manifests.step, finish=finish)
            self._loops.append(self._manifests)
        self._end_by = FOREVER
        """When the last manifests are to be written; monotonic."""
        self._sending: list[Carriers] = []
        self._carriers: list[Loop] = []
        self._helpers: list[Loop] = []
        self._watcher = Watcher(
            [
                (watch.name, watch.directory, watch.recursive and not watch.pattern)
                for watch in services.configuration.watches
            ],
            nudge=self._nudge_discovery,
            log=services.log,
        )
        self._gave_back_at = -GIVE_BACK_SECONDS
        self.report = Report(services, self._watcher, stalled=self.stalled)
        self._heartbeat: Loop | None = None
        if services.heartbeats is not None:
            self._heartbeat = self._heartbeat_loop(services.heartbeats)
            self._loops.append(self._heartbeat)

    @property
    def can_ship(self) -> bool:
        """Whether it is known where to."""
        return bool(self._sending)

    def begin(self) -> None:
        """Start the loops that need no instance."""
        nudges = self.services.nudges
        nudges.discovery = self._nudge_discovery
        nudges.credentials = self._nudge_keepers
        nudges.refreshed = self._nudge_carriers
        nudges.carriers = self._nudge_carriers
        nudges.known = self._tell
        nudges.look = self._nudge_discovery_now
        nudges.draining = lambda: self._tell(Draining())
        self._watcher.start()
        for loop in self._loops:
            loop.start()

    def open_for_business(self, facts: InstanceFacts) -> None:
        """The instance is known: build the part that talks to S3, and start its workers. Again,
        once it has tags that a destination waited for.

        Raises:
            PortError: ``BadDestination``, ``JournalUnwritable``; then nothing was started.
        """
        found, loops = carriers_for(self.services, facts, self._sending), list[Loop]()
        self._sending += found
        workers = self.services.configuration.uploads.concurrent_files
        for one in found:
            step, name = partial(one.carrier.step, one.small.others), _loops_of(one)
            loops += [self._loop(f"{name}-{number + 1}", step) for number in range(workers)]
            # However many huge files are on their way, this one is there for the others.
            loop = self._loop(f"{name}-small", one.small.step, finish=one.small.finish)
            one.destination.answered = loop.nudge
            loops.append(loop)
        self._carriers += loops
        for loop in loops:
            loop.start()
        self._discovery.nudge()
        self._nudge_heartbeat()
        self._nudge_manifests()
        give_back()  # what loading botocore's models took

    def add_drain_workers(self) -> None:
        """More workers, while a drain lasts: what waits for answers costs no time."""
        self._nudge_heartbeat()
        self._nudge_manifests()
        if self._helpers:
            return
        termination = self.services.termination
        workers = (DRAIN_FACTOR - 1) * self.services.configuration.uploads.concurrent_files

        def step(one: Carriers) -> float:
            is_draining = termination.is_draining
            return one.carrier.step(one.small.others) if is_draining else LONGEST_WAIT_SECONDS

        self._helpers = [
            self._loop(f"{_loops_of(one)}-drain-{number + 1}", partial(step, one))
            for one in self._sending
            for number in range(workers)
        ]
        self._carriers += self._helpers
        for loop in self._helpers:
            loop.start()

    def shut_down(self, seconds: float) -> None:
        """Drain, for the machine goes down."""
        self.services.termination.shut_down(seconds)
        self._termination.nudge()

    def watch(self) -> None:
        """Keep listening, and let scans come more often for what cannot be listened to."""
        for watch in self.services.configuration.watches:
            if watch.pattern:
                found = self.services.discovery.directories.get(watch.name, ())
                self._watcher.follow(watch.name, found, recursive=watch.recursive)
        self._watcher.retry()
        if time.monotonic() - self._gave_back_at >= GIVE_BACK_SECONDS:
            self._gave_back_at = time.monotonic()
            with contextlib.suppress(PortError):  # shown by whoever needs the journal
                self.services.journal.give_back()
            give_back()
        had_unwatched, has_unwatched = (
            self.services.discovery.has_unwatched,
            self._watcher.has_unwatched(),
        )
        self.services.discovery.has_unwatched = has_unwatched
        if has_unwatched and not had_unwatched:
            self._discovery.nudge()  # the wait that it is in may be a long one

    def ask_to_stop(self, end_by: float) -> None:
        """Let every loop end its step; those with a part in flight send it first. All are to have
        ended by then (monotonic)."""
        self._end_by = end_by
        self.services.stopping.set()
        for loop in self._everyone():
            loop.nudge_now()
        self._watcher.stop()

    def left(self) -> list[str]:
        """The loops that have not ended."""
        return sorted(loop.name for loop in self._everyone() if loop.is_alive())

    def stalled(self) -> list[str]:
        """Loops that have made no progress for too long."""
        oldest = time.monotonic() - self._stalled_seconds
        names = {
            loop.name for loop in self._everyone() if loop.is_alive() and loop.beaten_at < oldest
        }
        for one in self._sending:
            if one.small.tasks.asked_at < oldest:
                names.add(f"{_loops_of(one)}-small")
        return sorted(names)

    def still_seconds(self) -> float:
        """How long ago anything that has not ended made progress."""
        beats = [loop.beaten_at for loop in self._everyone() if loop.is_alive()]
        return time.monotonic() - max(beats, default=-FOREVER)

    # Called from other threads, too.

    def _everyone(self) -> list[Loop]:
        return [*self._loops, *self._carriers]

    def _scan(self) -> float:
        scans = self.services.discovery.scans
        if self._disk is not None:
            self._disk.nudge()  # what causes scans takes room
        wait = self.services.find()
        if not scans:
            self._nudge_heartbeat()
            self._tell(Scanned())
        return wait

    def _last_manifests(self, manifests: "ManifestWriter") -> None:
        """Once the others have ended, there is nothing left to tell."""
        for loop in self._everyone():
            if loop is not self._manifests:
                loop.join()
        last_by = time.monotonic() + LAST_MANIFEST_SECONDS
        manifests.finish(min(last_by, self._end_by - MARGIN_SECONDS))

    def _heartbeat_loop(self, heartbeats: "Heartbeats") -> Loop:
        from shipper.reports.pulse import heartbeat_of  # which others do not load

        loop = self._loop("heartbeat", heartbeats.step)
        heartbeats.look, heartbeats.answered = partial(heartbeat_of, self.report), loop.nudge
        return loop

    def _loop(
        self,
        name: str,
        step: Callable[[], float],
        rest: Callable[[], float] = lambda: 0.0,
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
        finish: Callable[[], None] = lambda: None,
    ) -> Loop:
        return Loop(
            name,
            step,
            stopping=self.services.stopping,
            died=self._tell,
            rest=rest,
            longest_wait_seconds=longest_wait_seconds,
            finish=finish,
        )

    def _nudge_discovery(self) -> None:
        self.services.discovery.is_nudged = True
        self._discovery.nudge()

    def _nudge_discovery_now(self) -> None:
        self.services.discovery.is_nudged = True
        self._discovery.nudge_now()

    def _nudge_manifests(self) -> None:
        if self._manifests is not None:
            self._manifests.nudge()

    def _nudge_keepers(self) -> None:
        for loop in self._keepers:
            loop.nudge()

    def _nudge_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.nudge()

    def _nudge_carriers(self) -> None:
        for loop in self._carriers:
            loop.nudge()


def _loops_of(one: Carriers) -> str:
    """What the names of its loops begin with."""
    name = one.destination.name
    return f"carrier-{name}" if name else "carrier"
