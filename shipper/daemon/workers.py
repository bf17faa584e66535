"""A house at work: its loops, its watcher, and, once the instance is known, its carriers.

It works until it is asked to stop, and never again. A reload puts another one in its place.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from shipper.core.object_keys import Place
from shipper.edges.files.watcher import Watcher
from shipper.edges.memory import give_back
from shipper.ports import PortError
from shipper.reports.status import Report
from shipper.runtime.loops import LONGEST_WAIT_SECONDS, Died, Loop
from shipper.runtime.wiring import DRAIN_FACTOR, House
from shipper.runtime.wiring_carrier import carrier_for
from shipper.services.sending.carrier import Carrier

SURVEY_SECONDS = 60.0
"""How long a subdirectory without events may go unnoticed."""
FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Draining:
    """A drain has begun."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """The first scan is done."""


Notice = Died | Place | Draining | Scanned | int
"""What reaches the main thread; an ``int`` is a signal."""


class Running:
    """Everything but ``tell`` and what the loops do belongs to the main thread.

    ``tell`` takes notices from any thread.
    """

    def __init__(
        self, house: House, *, tell: Callable[[Notice], None], stalled_seconds: float
    ) -> None:
        self.house = house
        self._tell = tell
        self._stalled_seconds = stalled_seconds
        self._discovery = self._loop(
            "discovery",
            self._scan,
            rest=lambda: house.discovery.rest_seconds,
            longest_wait_seconds=FOREVER,
        )
        self._termination = self._loop("termination", house.termination.step)
        names = ("credentials", "assumed-role")
        self._keepers = [
            self._loop(name, keeper.step)
            for name, keeper in zip(names, house.keepers, strict=False)
        ]
        self._loops = [
            self._discovery,
            *self._keepers,
            self._loop("site", house.site.step),
            self._loop("janitor", house.janitor.step),
            self._termination,
        ]
        self._carrier: Carrier | None = None
        self._carriers: list[Loop] = []
        self._helpers: list[Loop] = []
        self._watcher = Watcher(
            [
                (watch.name, watch.directory, watch.recursive)
                for watch in house.configuration.watches
            ],
            ring=self._ring_discovery,
            log=house.log,
        )
        self._surveyed_at = -SURVEY_SECONDS
        self.report = Report(house, self._watcher, stalled=self.stalled)

    @property
    def can_ship(self) -> bool:
        """Whether it is known where to."""
        return self._carrier is not None

    def begin(self) -> None:
        """Start the loops that need no instance."""
        rings = self.house.rings
        rings.discovery = self._ring_discovery
        rings.credentials = self._ring_keepers
        rings.refreshed = self._ring_carriers
        rings.carriers = self._ring_carriers
        rings.known = self._tell
        rings.look = self._rouse_discovery
        rings.draining = lambda: self._tell(Draining())
        self._watcher.start()
        for loop in self._loops:
            loop.start()

    def open_for_business(self, place: Place) -> None:
        """The instance is known: build the part that talks to S3, and start its workers.

        Raises:
            PortError: ``BadDestination``, ``JournalUnwritable``; then nothing was started.
        """
        carrier = self._carrier = carrier_for(self.house, place)
        uploads = self.house.configuration.uploads
        self._carriers += [
            self._loop(f"carrier-{number + 1}", carrier.step)
            for number in range(uploads.concurrent_files)
        ]
        # However many huge files are on their way, this one is there for the others.
        small = partial(carrier.step, at_most_bytes=uploads.part_size_bytes)
        self._carriers.append(self._loop("carrier-small", small))
        for loop in self._carriers:
            loop.start()
        self._discovery.ring()
        give_back()  # what loading botocore's models took

    def hurry(self) -> None:
        """More workers, while a drain lasts: what waits for answers costs no time."""
        if self._carrier is None or self._helpers:
            return
        carrier, termination = self._carrier, self.house.termination
        uploads = self.house.configuration.uploads
        self.house.turns.widen(DRAIN_FACTOR)

        def step() -> float:
            return carrier.step() if termination.is_draining else LONGEST_WAIT_SECONDS

        self._helpers = [
            self._loop(f"carrier-drain-{number + 1}", step)
            for number in range((DRAIN_FACTOR - 1) * uploads.concurrent_files)
        ]
        self._carriers += self._helpers
        for loop in self._helpers:
            loop.start()

    def shut_down(self, seconds: float) -> None:
        """Drain, for the machine goes down."""
        self.house.termination.shut_down(seconds)
        self._termination.ring()

    def watch(self) -> None:
        """Keep listening, and let scans come more often for what cannot be listened to."""
        self._watcher.retry()
        if time.monotonic() - self._surveyed_at >= SURVEY_SECONDS:
            self._surveyed_at = time.monotonic()
            self._watcher.survey()
            with contextlib.suppress(PortError):  # shown by whoever needs the journal
                self.house.journal.give_back()
            give_back()
        was_deaf, is_deaf = self.house.discovery.is_deaf, self._watcher.is_deaf()
        self.house.discovery.is_deaf = is_deaf
        if is_deaf and not was_deaf:
            self._discovery.ring()  # the wait that it is in may be a long one

    def ask_to_stop(self) -> None:
        """Let every loop end its step; those with a part in flight send it first."""
        self.house.stopping.set()
        for loop in self._everyone():
            loop.rouse()
        self._watcher.stop()

    def left(self) -> list[str]:
        """The loops that have not ended."""
        return sorted(loop.name for loop in self._everyone() if loop.is_alive())

    def stalled(self) -> list[str]:
        """Loops that have made no progress for too long."""
        oldest = time.monotonic() - self._stalled_seconds
        return [
            loop.name for loop in self._everyone() if loop.is_alive() and loop.beaten_at < oldest
        ]

    def still_seconds(self) -> float:
        """How long ago anything that has not ended made progress."""
        beats = [loop.beaten_at for loop in self._everyone() if loop.is_alive()]
        return time.monotonic() - max(beats, default=-FOREVER)

    # Called from other threads, too.

    def _everyone(self) -> list[Loop]:
        return [*self._loops, *self._carriers]

    def _scan(self) -> float:
        scans = self.house.discovery.scans
        wait = self.house.find()
        if not scans:
            self._tell(Scanned())
        return wait

    def _loop(
        self,
        name: str,
        step: Callable[[], float],
        rest: Callable[[], float] = lambda: 0.0,
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
    ) -> Loop:
        return Loop(
            name,
            step,
            stopping=self.house.stopping,
            died=self._tell,
            rest=rest,
            longest_wait_seconds=longest_wait_seconds,
        )

    def _ring_discovery(self) -> None:
        self.house.discovery.is_rung = True
        self._discovery.ring()

    def _rouse_discovery(self) -> None:
        self.house.discovery.is_rung = True
        self._discovery.rouse()

    def _ring_keepers(self) -> None:
        for loop in self._keepers:
            loop.ring()

    def _ring_carriers(self) -> None:
        for loop in self._carriers:
            loop.ring()
