"""Opening a promised file: the held descriptor, else its name, else wherever its inode is now.

Whatever is opened is recognised by its bytes before a single one of them is trusted.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from shipper.core.identity import is_same_file, tail_range
from shipper.core.types import HEAD_BYTES, RelativePath, Shipment, Watch
from shipper.journal import Journal
from shipper.ports import Files, PortError, Source
from shipper.services.held import Held


class Sourcing:
    """Finds the sources of shipments."""

    def __init__(self, *, files: Files, held: Held, journal: Journal) -> None:
        self._files = files
        self._held = held
        self._journal = journal

    @contextmanager
    def source(self, shipment: Shipment, watch: Watch) -> Iterator[Source]:
        """The shipment's open file, for the time of a ``with``.

        Raises:
            PortError: ``SourceVanished``, ``SourceChanged``, ``SourceUnreadable``; ``Unreadable``
                when not every directory could be looked at.
        """
        with self._held.lend(shipment.id) as held:
            if held is not None:
                if not holds(held, shipment):
                    raise PortError("SourceChanged", "no longer what was promised")
                yield held
                return
        source = self._open_named(shipment, watch) or self._open_moved(shipment, watch)
        if source is None:
            raise PortError("SourceVanished", "no file below the watch has these bytes")
        try:
            yield source
        finally:
            source.close()

    def paths_of(self, shipment: Shipment, watch: Watch) -> list[RelativePath]:
        """Where the source may be now: the entries with its inode, in the whole watch.

        Raises:
            PortError: ``Unreadable``; there are none, but not every directory could be read.
        """
        failure: PortError | None = None
        found = []
        for entry in self._files.scan(watch, lambda path: True):
            if isinstance(entry, PortError):
                failure = entry
            elif entry.stat.inode == shipment.file_id.inode:
                found.append(entry.path)
        if failure is not None and not found:
            raise PortError("Unreadable", failure.detail, failure.hint) from failure
        return found

    def _open_named(self, shipment: Shipment, watch: Watch) -> Source | None:
        try:
            source = self._files.open(watch, shipment.path)
        except PortError as error:
            if error.code in ("NotFound", "NotRegular"):
                return None
            raise
        if holds(source, shipment):
            return source
        is_rewritten = source.stat().inode == shipment.file_id.inode
        source.close()
        if is_rewritten:
            raise PortError("SourceChanged", "no longer what was promised")
        return None

    def _open_moved(self, shipment: Shipment, watch: Watch) -> Source | None:
        for path in self.paths_of(shipment, watch):
            try:
                source = self._files.open(watch, path)
            except PortError as error:
                if error.code == "NotFound":
                    raise PortError("Unreadable", "it moved while it was looked for") from error
                raise
            if holds(source, shipment):
                self._journal.moved([(shipment.id, path)])
                return source
            source.close()
        return None


def holds(source: Source, shipment: Shipment) -> bool:
    """Whether the open file still begins with every byte that was promised."""
    offset, length = tail_range(shipment.raw_end)
    return is_same_file(
        shipment,
        source.stat(),
        head=source.read(0, HEAD_BYTES),
        tail=source.read(offset, length),
    )
