"""Opens a promised file: its held descriptor, else its name, else wherever its inode is now.

Each is compared with the promise before a byte of it is trusted.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

from shipper.core.identity import is_file_of, may_be_same_generation
from shipper.core.types import FileKind, FileStat, RelativePath, Shipment, Watch
from shipper.journal.journal import Journal
from shipper.ports import Files, PortError, Source
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.matching import has_live_name, matches, opened_source, stat_at
from shipper.services.sources.watch_roots import WatchRoots, other_root


class SourceLookup:
    """Finds the sources of shipments."""

    def __init__(
        self, *, files: Files, held: HeldFiles, journal: Journal, roots: WatchRoots
    ) -> None:
        self.roots = roots
        self._files = files
        self._held = held
        self._journal = journal

    @contextmanager
    def source(self, shipment: Shipment, watch: Watch) -> Iterator[Source]:
        """The shipment's open file, for the time of a ``with``.

        Raises:
            PortError: ``SourceVanished``, ``SourceChanged``, ``SourceUnreadable``; ``Unreadable``
                when not every directory could be looked at; ``OtherFileSystem``.
        """
        with self._held.lend(shipment) as held:
            if held is not None:
                if not matches(held, shipment):
                    raise PortError("SourceChanged", "no longer what was promised")
                yield held
                return
        with closing(self._found(shipment, watch)) as source:
            yield source

    def _found(self, shipment: Shipment, watch: Watch) -> Source:
        with suppress(PortError):  # what follows tells what is wrong, and where
            if (source := self._open_named(shipment, watch)) is not None:
                return source
        is_same = self.roots.is_same(watch, shipment)  # before and after: it may change meanwhile
        try:
            source = self._open_named(shipment, watch) or self._open_moved(shipment, watch)
            if source is None:
                raise PortError("SourceVanished", "no file below the watch has these bytes")
        except PortError as error:
            if error.code in ("SourceVanished", "SourceChanged"):
                self.roots.require_same(watch, shipment)
                if not is_same:
                    raise other_root(watch, shipment.place) from error
            raise
        return source

    def paths_of(self, shipment: Shipment, watch: Watch) -> list[RelativePath]:
        """Where the source may be now; raises as ``paths_of``."""
        return paths_of(self._files, shipment, watch)

    def has_live_name(self, watch: Watch, row: Shipment, directory: bytes) -> bool:
        """As ``matching.has_live_name``."""
        return has_live_name(self._files, watch, row, directory)

    def standing_at(self, row: Shipment, watch: Watch) -> RelativePath | None:
        """Where the row's file stands and still begins with what was promised; None: nowhere.

        Raises:
            PortError: ``Unreadable``; not every directory could be looked at.
        """
        if self._is_at(row.path, row, watch):
            return row.path
        paths = self.paths_of(row, watch)
        return next((path for path in paths if self._is_at(path, row, watch)), None)

    def _is_at(self, path: RelativePath, row: Shipment, watch: Watch) -> bool:
        source = opened_source(self._files, watch, path, row)
        if source is not None:
            source.close()
        return source is not None

    def stands(self, watch: Watch, row: Shipment) -> bool:
        """Whether the row's file still has the name under which it was last seen."""
        now = stat_at(self._files, watch, row.path)
        return now is not None and is_file_of(row, now)

    def _open_named(self, shipment: Shipment, watch: Watch) -> Source | None:
        try:
            return self._open_if_it_is(shipment, watch, shipment.path)
        except PortError as error:
            if error.code in ("NotFound", "NotRegular"):
                return None
            raise

    def _open_moved(self, shipment: Shipment, watch: Watch) -> Source | None:
        for path in self.paths_of(shipment, watch):
            try:
                source = self._open_if_it_is(shipment, watch, path)
            except PortError as error:
                if error.code == "NotFound":
                    raise PortError("Unreadable", "it moved while it was looked for") from error
                raise
            if source is not None:
                with ExitStack() as on_failure:
                    on_failure.callback(source.close)
                    self._journal.moved([(shipment.id, path)])
                    on_failure.pop_all()
                return source
        return None

    def _open_if_it_is(
        self, shipment: Shipment, watch: Watch, path: RelativePath
    ) -> Source | None:
        """The file under this name; None when it is another one."""
        source = self._files.open(watch, path)
        with ExitStack() as unless_it_is:
            unless_it_is.callback(source.close)
            if matches(source, shipment):
                unless_it_is.pop_all()
                return source
            file_id, stat = shipment.file_id, source.stat()
            is_it = (path, stat.inode) == (shipment.path, file_id.inode)
            if is_it and may_be_same_generation(file_id.generation, stat.generation):
                raise PortError("SourceChanged", "no longer what was promised")
        return None


def paths_of(files: Files, shipment: Shipment, watch: Watch) -> list[RelativePath]:
    """Where the source may be now: the entries with its inode, in the whole watch.

    Raises:
        PortError: ``Unreadable``; there are none, but not every directory could be read.
    """
    failure: PortError | None = None
    found = []
    for entry in files.scan(watch, lambda path, _: True):
        if isinstance(entry, PortError):
            failure = entry
        elif _may_be(entry.stat, shipment):
            found.append(entry.path)
    if failure is not None and not found:
        raise PortError("Unreadable", failure.detail, failure.hint) from failure
    return found


def _may_be(stat: FileStat, shipment: Shipment) -> bool:
    """An inode that was used again may have become a symbolic link's."""
    return stat.inode == shipment.file_id.inode and stat.kind is FileKind.REGULAR
