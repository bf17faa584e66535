"""What is being sent now, and how fast things go: for the status and for ``shipper ship``."""

from collections.abc import Container, Iterable
from typing import Any

from shipper.core.object_keys import printable
from shipper.core.types import State, Total
from shipper.runtime.services import Services

LARGEST = 20


def summed(totals: Iterable[Total], states: Container[State]) -> tuple[int, int]:
    """Files and raw bytes in these states."""
    found = [total for total in totals if total.state in states]
    return sum(one.files for one in found), sum(one.raw_bytes for one in found)


def in_flight(services: Services) -> dict[str, Any]:
    """The files that workers have claimed and that S3 does not have yet; the largest by name.

    What is done of a file are the parts that S3 has, so one that fits into a part has none.
    """
    claims = services.journal.queue.claims()
    largest = claims[:LARGEST]
    done = services.journal.figures.received_bytes(largest)
    return {
        "files": len(claims),
        "raw_bytes": sum(one.raw_bytes for one in claims),
        "largest": [
            {
                "id": one.id,
                "watch": one.watch,
                "path": printable(one.path),
                "raw_bytes": one.raw_bytes,
                "raw_bytes_done": done.get(one.id, 0),
            }
            for one in largest
        ],
    }


def rate(services: Services, destination: str = "") -> dict[str, float]:
    """The means of the last minute, of one destination or of all."""
    now = services.clock.monotonic()
    traffic = services.counters.traffic.copy()
    found = [one for name, one in traffic.items() if destination in ("", name)]
    return {
        "sent_bytes_per_second": round(sum(one.sent_bytes.per_second(now) for one in found), 1),
        "files_per_second": round(sum(one.stored_files.per_second(now) for one in found), 2),
    }
