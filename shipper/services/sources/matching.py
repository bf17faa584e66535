"""Whether an open file is the one that was promised: by its bytes, whatever it is called.

``core.identity`` decides; the reading is here.
"""

from shipper.core.identity import Segment, beginning, file_id, is_same_file, tail_range
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.types import HEAD_BYTES, FileStat, RelativePath, Shipment, Watch
from shipper.journal.journal import Journal
from shipper.ports import Source


def matches(source: Source, shipment: Shipment) -> bool:
    """Whether the open file may still begin with every byte that was promised."""
    offset, length = tail_range(shipment.raw_end)
    return is_same_file(
        shipment,
        source.stat(),
        head=source.read(0, HEAD_BYTES),
        tail=source.read(offset, length),
    )


def first_segment(
    journal: Journal,
    watch: Watch,
    path: RelativePath,
    source: Source,
    *,
    stat: FileStat,
    head: bytes,
) -> Segment:
    """All of a new file; or what was shipped already, if it is the copy of a live log.

    Whether it is, the carrier finds out; the rest is the next segment in any case.
    """
    end = 0
    if not is_compressed(path):
        end = beginning(
            journal.live_segments(watch.name, stem_and_extension(path).stem),
            stat,
            path.rpartition(b"/")[0],
            head=head,
            tail_of=lambda row: source.read(*tail_range(row.raw_end)),
        )
    return Segment(file_id(stat.inode, head, stat.generation), 0, end or stat.size_bytes)
