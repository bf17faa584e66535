"""Builds what keeps disks from filling up, where ``[disk]`` asks for it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shipper.config.load import Configuration
from shipper.core.disk_space import Marks
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files
from shipper.runtime.loops import Nudges
from shipper.runtime.state_directory import Reserve
from shipper.services.bugs import Bugs
from shipper.services.sources.disposal import Disposal

if TYPE_CHECKING:
    from shipper.services.sources.high_water import HighWater


def high_water_for(
    configuration: Configuration,
    *,
    files: Files,
    journal: Journal,
    disposal: Disposal,
    scans: Callable[[], int],
    clock: Clock,
    bugs: Bugs,
    nudges: Nudges,
    log: Any,
) -> "HighWater | None":
    """None where nothing is to go before its time."""
    table = configuration.disk
    if not table.high_water_ratio:
        return None
    from shipper.services.sources.high_water import HighWater

    return HighWater(
        watches=configuration.watches,
        marks=Marks(table.high_water_ratio, table.low_water_ratio),
        files=files,
        journal=journal,
        disposal=disposal,
        clock=clock,
        bugs=bugs,
        reserve=Reserve(configuration.state_directory),
        hastened=lambda: nudges.carriers(),  # noqa: PLW0108  (set later)
        look=lambda: nudges.discovery(),  # noqa: PLW0108  (set later)
        scans=scans,
        log=log,
    )
