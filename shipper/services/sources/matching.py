"""Whether an open file is the one that was promised: by its bytes, whatever it is called.

``core.identity`` decides; the reading is here.
"""

import hashlib
from collections.abc import Iterable

from shipper.core.identity import Segment, beginning, file_id, is_same_file, tail_range
from shipper.core.rotated_names import is_compressed, stem_and_extension
from shipper.core.types import HEAD_BYTES, FileStat, RelativePath, Shipment, Watch
from shipper.journal.journal import Journal
from shipper.ports import Source

PIECE_BYTES = 1024 * 1024


def matches(source: Source, shipment: Shipment) -> bool:
    """Whether the open file still begins with every byte that was promised."""
    offset, length = tail_range(shipment.raw_end)
    return is_same_file(
        shipment,
        source.stat(),
        head=source.read(0, HEAD_BYTES),
        tail=source.read(offset, length),
    )


def is_proven(source: Source, segments: Iterable[Shipment]) -> bool:
    """Whether every byte of these segments is what was shipped, by their SHA-256."""
    return all(
        _sha256(source, segment.raw_start, segment.raw_end) == segment.raw_sha256
        for segment in segments
    )


def _sha256(source: Source, start: int, end: int) -> str:
    sha256 = hashlib.sha256()
    for at in range(start, end, PIECE_BYTES):
        sha256.update(source.read(at, min(PIECE_BYTES, end - at)))
    return sha256.hexdigest()


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
            journal.live.of(watch.name, stem_and_extension(path).stem),
            stat,
            path.rpartition(b"/")[0],
            head=head,
            tail_of=lambda row: source.read(*tail_range(row.raw_end)),
        )
    return Segment(file_id(stat.inode, head), 0, end or stat.size_bytes)
