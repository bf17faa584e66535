"""Small files: many are on their way at once, all in one thread.

What a small file takes is the time until S3 answers, so what is in flight decides how many are
sent in a second. Reading and compressing one takes a moment, which the others wait.
"""

from collections import deque
from dataclasses import dataclass, field, replace

from shipper.core.concurrency import SMALL_BYTES
from shipper.core.lifecycle import UNSENT
from shipper.core.parts import longest_encoded
from shipper.core.types import Shipment
from shipper.journal.queue import Sizes
from shipper.services.sending.carrier import Carrier
from shipper.services.sending.memory_budget import ByteBudget
from shipper.services.sending.rate_limits import ConcurrencyLimiter
from shipper.services.sending.tasks import Interleaved

AHEAD = 32
"""So many are read, and written down, while as many requests as may be are in flight: they go out
as soon as answers come."""
CLAIMED_AT_ONCE = 16
"""A claim passes over all that is claimed already, so it is made for no fewer."""
SHARES = 16
"""A small file has no more than such a part of the memory for small files. It takes up to three
times its length while it is compressed."""
BEGUN_SHARES = 10
"""What has begun holds no more than so many parts, so who begins never waits for memory: it would
wait for tasks of its own thread."""


def with_memory(carrier: Carrier, budget: ByteBudget) -> Carrier:
    """The carrier with other memory for its parts."""
    services, sender = carrier.services, carrier.services.sender
    part_cutter = replace(sender.part_cutter, budget=budget)
    return replace(
        carrier, services=replace(services, sender=replace(sender, part_cutter=part_cutter))
    )


@dataclass(kw_only=True)
class SmallFiles:
    """Carries them; for one thread."""

    carrier: Carrier
    tasks: Interleaved
    limiter: ConcurrencyLimiter
    budget: ByteBudget
    """Nobody else has any of it; the carrier's parts do."""
    _claimed: deque[Shipment] = field(default_factory=deque, init=False)
    """What has not begun yet."""
    _taken_bytes: int = field(default=0, init=False)
    """What all that has begun may hold of the memory."""

    @property
    def is_idle(self) -> bool:
        return not (self.tasks.count or self._claimed)

    @property
    def others(self) -> Sizes:
        """What the other workers carry."""
        return self._sizes(are_small=False)

    def step(self, due_by: float = float("inf")) -> float:
        """Go on with all that can go on, and begin what there is room for.

        The seconds until there is more to do; an answer nudges before that.
        """
        while True:
            pause = self.tasks.run()
            if self.tasks.is_stopping():
                return pause  # what would begin would end at once, and be due again
            wait = self._claim(due_by)
            has_begun = False
            while self._claimed and self._has_memory(self._claimed[0]):
                shipment = self._claimed.popleft()
                self._taken_bytes += _longest(shipment)
                self.tasks.begin(self._carried(shipment))
                has_begun = True
            if not has_begun:
                return min(pause, wait)

    def finish(self) -> None:
        """Let end what has begun."""
        while self._claimed:
            self.carrier.journal.queue.release(self._claimed.popleft().id)
        pause = self.tasks.run()
        while self.tasks.count:
            self.tasks.wait(pause)
            pause = self.tasks.run()

    def _claim(self, due_by: float) -> float:
        """Claim what may be in flight, and some ahead; the seconds until there is more."""
        room = self.limiter.allowed + AHEAD - self.tasks.count - len(self._claimed)
        if room < CLAIMED_AT_ONCE:
            return float("inf")
        claimed, wait = self.carrier.claim(self._sizes(are_small=True), room, due_by)
        self._claimed += claimed
        return wait

    def _sizes(self, *, are_small: bool) -> Sizes:
        return Sizes(are_small, min(SMALL_BYTES, self.budget.total_bytes // SHARES))

    def _has_memory(self, shipment: Shipment) -> bool:
        free = BEGUN_SHARES * self.budget.total_bytes // SHARES - self._taken_bytes
        return not self.tasks.count or _longest(shipment) <= free

    async def _carried(self, shipment: Shipment) -> None:
        try:
            await self.carrier.carried(shipment, is_brief=True)
        finally:
            self._taken_bytes -= _longest(shipment)


def _longest(shipment: Shipment) -> int:
    return longest_encoded(shipment.raw_bytes) if shipment.state in UNSENT else 0
