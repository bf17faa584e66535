"""The queue's claims, one at a time."""

from typing import Any

from shipper.core.types import Shipment
from shipper.journal.queue import ANY_SIZE, Queue, Sizes


def claim(queue: Queue, now: float, sizes: Sizes = ANY_SIZE, **how: Any) -> Shipment | None:
    """The next shipment, if one is due."""
    return next(iter(queue.claim(now, sizes, **how)), None)
