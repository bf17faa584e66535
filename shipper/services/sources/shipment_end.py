"""The one log line of a shipment, at its end."""

from typing import Any

from shipper.core.failures import hint_for
from shipper.core.types import Shipment, State


def tell_end(shipment: Shipment, *, now: float, log: Any) -> None:
    """Write the canonical line of a shipment that will not be attempted again by itself."""
    facts: dict[str, object] = {
        "shipment": shipment.id,
        "watch": shipment.watch,
        "key": shipment.key,
        "state": shipment.state.value,
        "raw_bytes": shipment.raw_bytes,
        "stored_bytes": shipment.stored_bytes,
        "attempts": shipment.attempts,
        "seconds": round(now - shipment.promised_at, 3),
    }
    code, detail = shipment.code, shipment.detail
    match shipment.state:
        case State.DONE:
            log.info("shipment.finished", **facts)
        case State.GONE:
            log.error("source.vanished", **facts)
        case State.SUPERSEDED:
            log.warning("source.changed", **facts, code=code)
        case State.PARKED:
            hint = hint_for(code)
            log.error("shipment.parked", **facts, code=code, detail=detail, hint=hint)
        case _:
            log.info("shipment.settled", **facts, code=code)
