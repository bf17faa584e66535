"""The canonical line of a shipment: its one log line at its end."""

from typing import Any

from shipper.core.failures import hint_for
from shipper.core.object_keys import printable
from shipper.core.types import Shipment


def named(shipment: Shipment) -> dict[str, object]:
    """The fields that every line about a shipment has."""
    return {"shipment": shipment.id, "watch": shipment.watch, "key": shipment.key}


def canonical(shipment: Shipment, now: float) -> dict[str, object]:
    """The fields of the canonical line at wall time ``now``."""
    return named(shipment) | {
        "state": shipment.state.value,
        "raw_bytes": shipment.raw_bytes,
        "stored_bytes": shipment.stored_bytes,
        "attempts": shipment.attempts,
        "seconds": round(now - shipment.promised_at, 3),
    }


def tell_vanished(log: Any, shipment: Shipment, now: float) -> None:
    """Say that the bytes of a promised shipment are in no file any more, and not in S3."""
    code, path = shipment.code, printable(shipment.path)
    facts = {"path": path, "code": code, "detail": shipment.detail, "hint": hint_for(code)}
    log.error("source.vanished", **canonical(shipment, now), **facts)
