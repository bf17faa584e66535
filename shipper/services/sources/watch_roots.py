"""Whether a watch's directory is the one that its shipments were found in.

While another one stands there (the mount point of a disk that is late or was unmounted, a bind
mount, a directory that was made anew) an absent file proves nothing. What is found there is
shipped like any other log, and the older shipments wait.

The directory that stands there becomes the watch's own once a log found in it was shipped and no
older shipment is left to do; where the watch never had one; or when an operator says so. Until
then ``others`` names the watch.
"""

from shipper.core.types import Watch, WatchName
from shipper.journal.journal import Journal
from shipper.ports import Files, PortError

AGAIN_SECONDS = 60.0
DETAIL = "another file system than before, or a directory that was made anew"
HINT = (
    "mount the one that belongs there; if this one does, `shipper acknowledge --all`: what is "
    "missing then counts as lost"
)


class WatchRoots:
    """``look`` and ``others`` belong to discovery's thread; others may read them."""

    def __init__(self, *, files: Files, journal: Journal) -> None:
        self._files = files
        self._origin = journal.origin
        self._own: dict[WatchName, str] = {}
        """As remembered, so that a scan in which nothing changed asks the journal nothing."""
        self.others: dict[WatchName, int] = {}
        """Watches where another directory stands, and the last shipment from before."""

    def look(self, watch: Watch) -> bool:
        """Remember the first directory, and a later one once it is the watch's own.

        Returns whether another one stands there since this look.

        Raises:
            PortError: ``JournalUnwritable``.
        """
        try:
            root = self._files.root(watch)
        except PortError:
            return False  # the scan says why
        if self._own.get(watch.name) == root:
            self.others.pop(watch.name, None)
            return False
        before = self._origin.root(watch.name)
        last_id = self.others.get(watch.name)
        if before in ("", root) or self._is_its_own(watch.name, last_id):
            self.others.pop(watch.name, None)
            if before != root:
                self._origin.remember_root(watch.name, root)
            self._own[watch.name] = root
            return False
        self.others.setdefault(watch.name, self._origin.last_id())
        return last_id is None

    def _is_its_own(self, watch: WatchName, last_id: int | None) -> bool:
        if not self._origin.has_shipments(watch):
            return True
        return last_id is not None and self._origin.is_settled_since(watch, last_id)

    def is_same(self, watch: Watch) -> bool:
        """Whether the remembered directory stands there now; True where none is remembered.

        Raises:
            PortError: the directory cannot be reached.
        """
        before = self._origin.root(watch.name) or self._own.get(watch.name, "")
        return not before or before == self._files.root(watch)

    def require_same(self, watch: Watch) -> None:
        """Require that what is absent from the watch is gone.

        Raises:
            PortError: ``OtherFileSystem``; or the directory cannot be reached.
        """
        if not self.is_same(watch):
            raise other_root(watch)


def other_root(watch: Watch) -> PortError:
    return PortError(
        "OtherFileSystem", f"{watch.directory}: {DETAIL}", HINT, retry_after=AGAIN_SECONDS
    )
