"""Clones of promised files: they cost no disk while the log is there, and survive a restart.

A clone is trusted for what it holds and for nothing else: it is made from the descriptor whose
bytes were recognised, compared with the promise before it counts and again whenever it is opened.
The original must not have been written to in between, which its mtime tells.
"""

from dataclasses import replace
from typing import Any

from shipper.core.holding import clone_name, needs_source, shipment_id_from_name
from shipper.core.types import FileStat, Shipment, WatchName
from shipper.journal.journal import Journal
from shipper.ports import Clones, PortError, Source
from shipper.services.sources.matching import matches

RESERVED_BYTES = 128 * 1024**2
"""What clones leave free in the state directory: the journal and its WAL must go on."""


class Cloning:
    """Makes, finds and removes clones. ``make`` belongs to one thread."""

    def __init__(self, *, clones: Clones, is_wanted: bool, log: Any) -> None:
        self._clones = clones
        self._is_wanted = is_wanted
        self._log = log
        self._refused: set[tuple[WatchName, int]] = set()
        self._told: set[tuple[WatchName, str]] = set()

    def make(self, shipment: Shipment, source: Source) -> bool:
        """Whether there is a clone of the source now that is what was promised."""
        try:
            return self._is_wanted and self._made(shipment, source)
        except PortError as error:
            self._tell(shipment.watch, error)
            return False

    def open(self, shipment: Shipment) -> Source | None:
        """The shipment's clone, if it holds what was promised. It has the inode of its original.

        Raises:
            PortError: ``Unreadable``.
        """
        found = self._clones.open(clone_name(shipment))
        if found is None:
            return None
        source = _Clone(found, shipment.file_id.inode)
        if matches(source, shipment):
            return source
        source.close()
        return None

    def own_bytes(self, shipment: Shipment) -> int:
        """The disk that would be free if it were not for the clone; 0 while the original is."""
        try:
            return self._clones.own_bytes(clone_name(shipment))
        except PortError:
            return 0

    def lacking_bytes(self) -> int:
        """By how much the state directory is short of free space."""
        try:
            return max(0, RESERVED_BYTES - self._clones.free_bytes())
        except PortError:
            return 0

    def remove(self, shipment: Shipment) -> None:
        """Remove the clone, if there is one; what cannot be removed is found at the next start."""
        try:
            self._clones.remove(clone_name(shipment))
        except PortError as error:
            self._tell(shipment.watch, error)

    def waiting(self, journal: Journal) -> list[Shipment]:
        """The shipments whose clones an earlier life left and that need them; others are removed.

        A clone of a shipment that the journal does not know stays: it may be the last copy of a
        log whose promise was lost with a journal.

        Raises:
            PortError: ``StateUnwritable``.
        """
        found = []
        for name in self._clones.names():
            shipment_id = shipment_id_from_name(name)
            shipment = None if shipment_id is None else journal.shipment(shipment_id)
            # A number may be another shipment's by now, after a journal was lost or adopted.
            if shipment is None or clone_name(shipment) != name:
                self._log.error(
                    "clone.unknown",
                    name=name,
                    hint="the journal that knew it is gone: ship it by hand, or remove it",
                )
            elif needs_source(shipment):
                found.append(shipment)
            else:
                self._clones.remove(name)
        return found

    def _made(self, shipment: Shipment, source: Source) -> bool:
        file_system = shipment.watch, source.stat().device
        if file_system in self._refused:
            return False
        if self.lacking_bytes():
            raise PortError("CloneFailed", "less than 128 MiB are free in the state directory")

        def is_same(clone: Source) -> bool:
            now = source.stat()
            is_untouched = (now.inode, now.mtime_ns) == (
                shipment.file_id.inode,
                shipment.mtime_ns,
            )
            return is_untouched and matches(_Clone(clone, now.inode), shipment)

        try:
            return self._clones.make(clone_name(shipment), source, is_same)
        except PortError as error:
            if error.code == "CloneUnsupported":
                self._refused.add(file_system)
            raise

    def _tell(self, watch: WatchName, error: PortError) -> None:
        """Once for each watch: the descriptors do what they can."""
        if (watch, error.code) not in self._told:
            self._told.add((watch, error.code))
            self._log.warning(
                "clone.refused",
                watch=watch,
                code=error.code,
                detail=error.detail,
                hint=error.hint,
            )


class _Clone:
    """A clone as a ``Source``: whoever asks which file it is, hears of the original."""

    def __init__(self, source: Source, inode: int) -> None:
        self._source = source
        self._inode = inode
        self.read = source.read
        self.read_into = source.read_into
        self.writer = source.writer
        self.unlinked_bytes = source.unlinked_bytes
        self.close = source.close

    def stat(self) -> FileStat:
        """``fstat`` with the inode of the original; the mtime is the original's already."""
        return replace(self._source.stat(), inode=self._inode)
