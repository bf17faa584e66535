"""Whether an open file is the one that was promised: by its bytes, whatever it is called.

``core.identity`` decides; the reading is here.
"""

from contextlib import ExitStack, closing

from shipper.core.duplicates import directory_of
from shipper.core.identity import is_same_file, tail_range
from shipper.core.roles import role_of
from shipper.core.types import HEAD_BYTES, FileStat, RelativePath, Role, Shipment, Watch
from shipper.ports import Files, PortError, Source


def matches(source: Source, shipment: Shipment) -> bool:
    """Whether the open file may still begin with every byte that was promised."""
    offset, length = tail_range(shipment.raw_end)
    return is_same_file(
        shipment,
        source.stat(),
        head=source.read(0, HEAD_BYTES),
        tail=source.read(offset, length),
    )


def opened_source(
    files: Files, watch: Watch, path: RelativePath, shipment: Shipment
) -> Source | None:
    """The open file, if this name leads to that of the shipment."""
    try:
        with ExitStack() as unless_it_is:
            source = files.open(watch, path)
            unless_it_is.callback(source.close)
            if matches(source, shipment):
                unless_it_is.pop_all()
                return source
    except PortError:
        pass  # the next scan asks again
    return None


def stat_at(files: Files, watch: Watch, path: RelativePath) -> FileStat | None:
    """The file that has this name now, with its generation; None where that cannot be told."""
    try:
        with closing(files.open(watch, path)) as source:
            return source.stat()
    except PortError:
        return None


def has_live_name(files: Files, watch: Watch, row: Shipment, directory: bytes) -> bool:
    """Whether the log still is where it was live: copytruncate leaves it there, and empty.

    One that was renamed is a rotated log itself, and what begins like it is another one. So is
    what begins like a log of which the kernel does not tell the generation; and what begins like
    it in another ``directory``, unless it was emptied.
    """
    if role_of(watch, row.path) is Role.ROTATED or not row.file_id.generation:
        return False
    now = stat_at(files, watch, row.path)
    file = row.file_id.inode, row.file_id.generation
    if now is None or (now.inode, now.generation) != file:
        return False
    if directory_of(row.path) == directory:
        return True
    source = opened_source(files, watch, row.path, row)
    if source is not None:
        source.close()
    return source is None
