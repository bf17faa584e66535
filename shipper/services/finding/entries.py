"""What a scan of a watch may select. A bug is that of the name that meets it, or of the scan."""

from collections.abc import Iterator
from functools import partial

from shipper.core.dates_in_names import earlier_clock
from shipper.core.object_keys import printable
from shipper.core.roles import selection
from shipper.core.scan_cache import ScanCache
from shipper.core.siblings import Siblings
from shipper.core.types import Entry, RelativePath, Watch
from shipper.ports import Files, PortError
from shipper.services.bugs import Bugs


def entries_of(
    files: Files,
    watch: Watch,
    cache: ScanCache,
    *,
    now: float,
    bugs: Bugs,
    live: set[RelativePath] | None,
) -> Iterator[Entry | PortError]:
    """What is rotated at wall time ``now``; with ``live``, which gets their paths, also live.

    A name that meets a bug is left alone.
    """
    clock = earlier_clock(now)

    def selects(path: RelativePath, siblings: Siblings) -> bool | None:
        return bugs.contained(
            lambda: selection(watch, path, siblings, clock, live),
            lambda problem: None,
            watch=watch.name,
            path=printable(path),
        )

    return bugs.each(partial(files.scan, watch, selects, cache), watch=watch.name)
