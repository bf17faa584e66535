"""Whether an open file is the one that was promised: by its bytes, whatever it is called."""

from shipper.core.identity import is_same_file, tail_range
from shipper.core.types import HEAD_BYTES, Shipment
from shipper.ports import Source


def holds(source: Source, shipment: Shipment) -> bool:
    """Whether the open file still begins with every byte that was promised."""
    offset, length = tail_range(shipment.raw_end)
    return is_same_file(
        shipment,
        source.stat(),
        head=source.read(0, HEAD_BYTES),
        tail=source.read(offset, length),
    )
