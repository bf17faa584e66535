"""One instance of the fleet: what the daemon has for a destination, wired onto fakes."""

from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any, cast

from shipper.config.schema import Uploads
from shipper.core.concurrency import in_flight_within
from shipper.core.destinations import DEFAULT_KEY
from shipper.core.object_keys import InstanceFacts, object_key
from shipper.core.parts import frames_ahead, parts_memory
from shipper.core.types import (
    Compression,
    FileId,
    ObjectKey,
    RelativePath,
    Shipment,
    ShipmentId,
    Watch,
    WatchName,
)
from shipper.ports import CredentialSource
from shipper.runtime.loops import LONGEST_WAIT_SECONDS
from shipper.runtime.wiring_sending import SMALL_FILES_SHARE
from shipper.services.bugs import Bugs
from shipper.services.credentials import CredentialKeeper
from shipper.services.sending.carrier import Carrier, SendingServices
from shipper.services.sending.failed_attempts import FailedAttempts
from shipper.services.sending.gate import Gate
from shipper.services.sending.memory_budget import ByteBudget
from shipper.services.sending.rate_limits import ConcurrencyLimiter
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.small_files import SmallFiles
from shipper.services.sending.tasks import Interleaved
from tests.performance.fleet.bucket import Bucket
from tests.performance.fleet.fakes import Fakes
from tests.performance.fleet.rows import Rows
from tests.performance.fleet.timeline import Timeline

CORES = 2
FILE_BYTES = 100 * 1024
NEVER = float("inf")


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What all hosts share."""

    timeline: Timeline
    bucket: Bucket
    rng: Random
    watches: dict[WatchName, Watch]
    source: CredentialSource
    refreshes: bool
    """Whether credentials are refreshed in this scenario."""


class _Silent:
    """A log that nobody reads."""

    def debug(self, event: str, **fields: object) -> None: ...

    info = warning = error = critical = debug


class _NeverStops:
    def is_set(self) -> bool:
        return False


_SILENT = _Silent()
_UPLOADS = Uploads()
_MOST = in_flight_within(_UPLOADS.max_in_flight, _UPLOADS.memory_limit_bytes, 0.0)
_MEMORY = parts_memory(
    _UPLOADS.memory_limit_bytes,
    frames_ahead(CORES, _UPLOADS.memory_limit_bytes, _UPLOADS.part_size_bytes),
    _MOST,
)


class Host:
    """``number`` of ``hosts``; its instance id is spread evenly, as those of EC2 are."""

    def __init__(self, number: int, hosts: int, world: World) -> None:
        self._world, self._share = world, number / hosts
        self._facts = InstanceFacts("logs/", f"i-{int(self._share * 16**12):012x}{number:05x}")
        self.rows = Rows()
        self.keeper = CredentialKeeper(
            source=world.source,
            clock=world.timeline,
            rng=world.rng,
            log=_SILENT,
            nudge=self.keep,
            refreshed=self._wake,
        )
        self.gate = Gate(
            clock=world.timeline,
            generation=lambda: self.keeper.generation,
            log=_SILENT,
            opened=lambda refused, seconds: self._opened(),
            jitter=world.rng.random,
        )
        self.limiter = ConcurrencyLimiter(most=_MOST, clock=world.timeline, log=_SILENT)
        self._tasks = Interleaved(
            journal=cast("Any", self.rows),
            clock=world.timeline,
            is_stopping=lambda: False,
            nudge=self._wake,
        )
        self._small = SmallFiles(
            carrier=self._carrier(),
            tasks=self._tasks,
            limiter=self.limiter,
            budget=ByteBudget(_MEMORY // SMALL_FILES_SHARE),
        )
        self._wakes_at = self._keeps_at = NEVER
        self._promised = 0

    def promise(
        self, *, rotated_at: float, promised_at: float | None = None, due_in: float = 0.0
    ) -> ObjectKey:
        """Promise a file of the next watch; times are the timeline's."""
        timeline, number = self._world.timeline, self._promised
        self._promised += 1
        name = [*self._world.watches][number % len(self._world.watches)]
        begun_at = timeline.now() - timeline.seconds
        now = timeline.now() if promised_at is None else begun_at + promised_at
        row = Shipment(
            id=ShipmentId(number),
            watch=name,
            path=RelativePath(b"app-%d.log.1" % number),
            file_id=FileId(number, 0, ""),
            raw_start=0,
            raw_end=FILE_BYTES,
            mtime_ns=int((begun_at + rotated_at) * 1e9),
            tail_digest=f"{number:016x}",
            key=ObjectKey(""),
            compression=Compression.ZSTD,
            sealed_because="",
            promised_at=now,
            due_at=now + due_in,
        )
        row = replace(row, key=object_key(DEFAULT_KEY, self._facts, row))
        self.rows.promise(row)
        self._wake()
        return row.key

    def keep(self) -> None:
        """Refresh the credentials when they are due."""
        self._keep_at(0.0)

    # The loops.

    def _keep_at(self, wait_seconds: float) -> None:
        at = self._world.timeline.seconds + wait_seconds
        if at < self._keeps_at:
            self._keeps_at = at
            self._world.timeline.at(at, partial(self._keep_step, at))

    def _keep_step(self, at: float) -> None:
        if at != self._keeps_at:
            return  # it was nudged, and has another time by now
        self._keeps_at = NEVER
        wait = self.keeper.step()
        if self._world.refreshes:
            self._keep_at(wait)

    def _wake(self) -> None:
        self._wake_at(0.0)

    def _wake_at(self, wait_seconds: float) -> None:
        at = self._world.timeline.seconds + wait_seconds
        if at < self._wakes_at:
            self._wakes_at = at
            self._world.timeline.at(at, partial(self._step, at))

    def _step(self, at: float) -> None:
        if at != self._wakes_at:
            return
        self._wakes_at = NEVER
        wait = self._small.step()
        if self.rows.count:
            self._wake_at(min(wait, LONGEST_WAIT_SECONDS))

    def _opened(self) -> None:
        self.rows.requeue(self._world.timeline.now())
        self._wake()

    def _carrier(self) -> Carrier:
        world = self._world
        fake: Any = Fakes(
            timeline=world.timeline,
            bucket=world.bucket,
            share=self._share,
            keeper=self.keeper,
            gate=self.gate,
            retry_policy=RetryPolicy(
                stopping=cast("Any", _NeverStops()), rng=world.rng, in_turn=self.limiter.request
            ),
        )
        return Carrier(
            journal=cast("Any", self.rows),
            store=fake,
            services=SendingServices(
                lookup=fake,
                held=fake,
                duplicates=fake,
                sender=fake,
                disposal=fake,
                bugs=Bugs(_SILENT, str),
            ),
            failed_attempts=FailedAttempts(
                gate=self.gate,
                refresh_now=self.keeper.refresh_now,
                lost_answers=fake,
                losses=fake,
                watches=world.watches,
                clock=world.timeline,
                rng=world.rng,
                log=_SILENT,
            ),
            gate=self.gate,
            watches=world.watches,
            facts=self._facts,
            clock=world.timeline,
            log=_SILENT,
            run=lambda task: None,
        )
