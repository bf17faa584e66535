"""May a journal that was lost have known this? The present one remembers when it was born.

Clocks jump, so nothing here depends on a good one alone. A file is older than the journal if its
mtime says so; and whatever was promised in the journal's first day counts as older, too, because
the mtimes of another clock may lie in the future. Looking once too often costs one listing.
"""

from shipper.core.types import Shipment

SLACK_SECONDS = 24 * 3600.0
"""How far mtimes and the clock at the journal's birth may be apart."""


def may_be_older(shipment: Shipment, born_at: float | None) -> bool:
    """Whether the source may have been shipped before the journal was born.

    Never where nobody knows its birth: then it is older than births are written down.
    """
    if born_at is None:
        return False
    oldest_at = min(shipment.mtime_ns / 1e9, shipment.promised_at)
    return oldest_at < born_at + SLACK_SECONDS
