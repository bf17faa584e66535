"""Whether the file systems that a watch's logs were found on stand where they stood.

While another one stands there (the mount point of a disk that is late or was unmounted, a bind
mount, a directory that was made anew) an absent file proves nothing. What is found there is
shipped like any other log, and the older shipments wait. That goes for the watch's own directory
and for each file system that is mounted below it.

What stands there becomes the watch's own once a log found in it was shipped and all older ones
are, or when an operator says so. Until then ``others`` names what is away.
"""

from urllib.parse import unquote_to_bytes

from shipper.core.object_keys import printable
from shipper.core.types import Shipment, Watch, WatchName
from shipper.journal.journal import Journal
from shipper.ports import Files, PortError

AGAIN_SECONDS = 60.0
DETAIL = "another file system than before, or a directory that was made anew"
HINT = (
    "mount the one that belongs there; if this one does, or the watch got another directory under "
    "its name, `shipper acknowledge --all`: what is missing then counts as lost"
)


class WatchRoots:
    """``look`` belongs to discovery's thread; the rest is for any."""

    def __init__(self, *, files: Files, journal: Journal) -> None:
        self._files = files
        self._places = journal.places
        self.others: dict[WatchName, tuple[str, ...]] = {}
        """What was away at the last look, by watch, where anything was."""

    def look(self, watch: Watch) -> list[str]:
        """Look which places are away; those that were not before this look."""
        try:
            away = self.away(watch)
        except PortError:
            return []  # the scan says why
        before = self.others.pop(watch.name, ())
        if away:
            self.others[watch.name] = away
        return [place for place in away if place not in before]

    def away(self, watch: Watch) -> tuple[str, ...]:
        """The places of the watch's shipments where another file system stands.

        Raises:
            PortError: the directory cannot be reached.
        """
        if all(self.stands(watch, place) for place in self._places.of(watch.name)):
            return ()
        places = self._places.of(watch.name, anew=True)
        return tuple(place for place in places if self._is_away(watch, place))

    def stands(self, watch: Watch, place: str) -> bool:
        """Whether this file system stands there now.

        Raises:
            PortError: the directory cannot be reached.
        """
        directory = mount_point(place)
        return self._files.place(watch, directory, directory) == place

    def _is_away(self, watch: Watch, place: str) -> bool:
        if self.stands(watch, place):
            return False
        directory = mount_point(place)
        standing = self._files.place(watch, directory)
        is_settled = not self._places.is_left(watch.name, place) and self._places.has_shipped(
            watch.name, standing, directory
        )
        return not is_settled

    def is_same(self, watch: Watch, shipment: Shipment) -> bool:
        """Whether the file system that the file was found on stands there now.

        Raises:
            PortError: the directory cannot be reached.
        """
        begins = mount_point(shipment.place)
        return shipment.place in ("", self._files.place(watch, shipment.path, begins))

    def require_same(self, watch: Watch, shipment: Shipment) -> None:
        """Require that a file that is absent is gone.

        Raises:
            PortError: ``OtherFileSystem``; or the directory cannot be reached.
        """
        if not self.is_same(watch, shipment):
            raise other_root(watch, shipment.place)


def other_root(watch: Watch, place: str) -> PortError:
    path = printable(f"{watch.directory}/".encode() + mount_point(place)).rstrip("/")
    return PortError("OtherFileSystem", f"{path}: {DETAIL}", HINT, retry_after=AGAIN_SECONDS)


def mount_point(place: str) -> bytes:
    """Below the watch: "", or "a/b/"."""
    directory = unquote_to_bytes(place.partition(" at ")[2])
    return directory and directory + b"/"
