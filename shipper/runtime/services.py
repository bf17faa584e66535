"""What the wiring built: everything that stands before the instance is known."""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any

from shipper.config.load import Configuration
from shipper.core.destinations import Destination
from shipper.core.types import WatchName
from shipper.edges.clock import SystemClock
from shipper.edges.server_time import ServerTime
from shipper.edges.systemd import Notifier, SystemdStore
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files, PortError
from shipper.runtime.counters import Counters
from shipper.runtime.loops import Nudges
from shipper.services.bugs import Bugs
from shipper.services.credentials import CredentialKeeper
from shipper.services.finding.discovery import Discovery
from shipper.services.housekeeping import Housekeeping
from shipper.services.instance import InstanceLookup
from shipper.services.sending.gate import Gate, Shut
from shipper.services.sending.rate_limits import ConcurrencyLimiter
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.lookup import SourceLookup
from shipper.services.sources.losses import Losses
from shipper.services.termination import Termination

if TYPE_CHECKING:
    from shipper.services.heartbeats import Heartbeats
    from shipper.services.manifests import ManifestWriter
    from shipper.services.sources.high_water import HighWater

LOCK = "lock"
"""The name under which a program passes the lock's descriptor to the next one."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What a start is given of the world; the defaults are the real one, without systemd."""

    clock: Clock = field(default_factory=SystemClock)
    rng: Random = field(default_factory=Random)
    files: Files | None = None
    descriptor_store: SystemdStore = field(default_factory=lambda: SystemdStore(Notifier({})))
    lock: int | None = None
    """The lock's descriptor, where a reload has executed this program."""


@dataclass(kw_only=True, slots=True)
class DestinationServices:
    """What a destination has of its own, so that one that is down holds up no other."""

    name: str
    settings: Destination
    watches: Mapping[WatchName, Destination]
    """The destination as each of its watches uses it."""
    journal: Journal
    """With the destination's own queue."""
    keeper: CredentialKeeper
    """Who keeps the credentials that sign for it."""
    gate: Gate
    limiter: ConcurrencyLimiter
    memory_bytes: int
    """Its share of ``memory_limit``."""
    log: Any
    """Names it, where there are others."""
    answered: Callable[[], None] = lambda: None
    """Wakes its carrier of small files, which waits for many answers at once. Set later."""

    def shut(self) -> Shut | None:
        """Why nothing is sent there. The keeper's step knows earlier than the next trial why there
        are no credentials."""
        shut = self.gate.reason()
        if shut is None or shut.code != "CredentialsUnavailable":
            return shut
        try:
            self.keeper.current()
        except PortError as error:
            return replace(shut, detail=error.detail, hint=error.hint)
        return shut


@dataclass(frozen=True, slots=True)
class Services:
    """One configuration's services, and what they share."""

    ports: Ports
    configuration: Configuration
    clock: Clock
    log: Any
    redact: Callable[[str], str]
    """Takes the secrets out of a text."""
    nudges: Nudges
    stopping: threading.Event
    leaving: ExitStack
    """What is to be released once no loop is at work any more."""
    lock: int
    journal: Journal
    held: HeldFiles
    counters: Counters
    bugs: Bugs
    keepers: tuple[CredentialKeeper, ...]
    """The instance's own credentials first, then those of each assumed role."""
    lookup: SourceLookup
    losses: Losses
    disposal: Disposal
    server_time: ServerTime
    destinations: tuple[DestinationServices, ...]
    """Those that a watch uses; ``[destination]`` first, if it is one of them."""
    instance_lookup: InstanceLookup
    discovery: Discovery
    termination: Termination
    housekeeping: Housekeeping
    high_water: "HighWater | None"
    """None where nothing is to go before its time."""
    heartbeats: "Heartbeats | None"
    """None where none are asked for. They go to the first of ``destinations``."""
    manifests: "ManifestWriter | None"
    """None where none are wanted."""

    @property
    def is_reloaded(self) -> bool:
        """Whether another program of this process was at work before."""
        return self.ports.lock is not None

    def is_idle(self) -> bool:
        """Whether nothing waits to be sent now, anywhere."""
        now = self.clock.now()
        return all(one.journal.queue.is_idle(now) for one in self.destinations)

    def skew_seconds(self) -> float:
        """How far this machine's clock is behind that of AWS."""
        return self.server_time.skew_seconds(self.keepers[0].state().skew_seconds)

    def find(self) -> float:
        """Look for what is to be promised; the seconds to wait before the next look."""
        wait = self.discovery.step()
        self.termination.live.step()
        wait = min(wait, max(self.termination.live.ship_due(), self.discovery.rest_seconds))
        is_urgent = self.termination.is_draining and self.discovery.is_comparing
        return 0.0 if is_urgent or self.termination.live.is_comparing else wait

    def close(self) -> None:
        """Release everything. No loop may be at work any more."""
        self.leaving.close()
        self.held.close()
        self.journal.close()
        os.close(self.lock)

    def hand_over(self) -> dict[str, int]:
        """Release all but the descriptors that the next program is to receive: those."""
        self.leaving.close()
        self.journal.close()
        self.ports.descriptor_store.flush()
        return {LOCK: self.lock, **self.ports.descriptor_store.descriptors()}
