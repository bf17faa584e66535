"""Compares files that grew or were touched with what was shipped, for a moment in each scan.

Discovery waits for no single file: what is left of a comparison is done by the next scans. The
file that has least left goes first. The state of a hash is kept in memory, so a restart begins
anew, and so does a file that changes.
"""

import hashlib
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shipper.core.lifecycle import UNSENT
from shipper.core.types import Shipment, State
from shipper.ports import Clock, PortError, Source
from shipper.services.sources.reading import PIECE_BYTES

PENDING = "ComparisonPending"
SCAN_SECONDS = 0.25
FIRST_BYTES = 8 * PIECE_BYTES
"""In the first scan, which does not know how long they take."""
MOST_BYTES = 256 * PIECE_BYTES


@dataclass(slots=True)
class _Comparison:
    """How far one file is."""

    digests: dict[tuple[int, int], str] = field(default_factory=dict)
    """Of ranges that were read to their end."""
    sha256: Any = None
    at: tuple[int, int, int] = (0, 0, 0)
    """The range that is being read, and the offset of its next byte."""
    left_bytes: int = 0
    allowed_bytes: int = 0

    def left_of(self, ranges: Collection[tuple[int, int]]) -> int:
        """How many bytes of the ranges were not read yet."""
        start, end, at = self.at
        left = sum(one[1] - one[0] for one in ranges if one not in self.digests)
        is_begun = (start, end) in ranges and (start, end) not in self.digests
        return left - (at - start if is_begun else 0)


class GrowthProofs:
    """For one thread, which calls ``begin`` before each scan."""

    def __init__(
        self, clock: Clock, *, scan_bytes: int = FIRST_BYTES, is_live: bool = False
    ) -> None:
        self._clock = clock
        self._scan_bytes = scan_bytes
        self._is_live = is_live
        """The files are being written: they are the same as long as they only grow."""
        self._spare_bytes = scan_bytes
        self._read_bytes, self._read_seconds = 0, 0.0
        self._before: dict[Hashable, _Comparison] = {}
        self._put_off: dict[Hashable, _Comparison] = {}

    @property
    def is_pending(self) -> bool:
        """Whether a comparison is left for the next scan."""
        return bool(self._put_off)

    def begin(self) -> None:
        """Share out what this scan may read, and forget files that the last one did not meet."""
        if self._read_seconds > 0 and self._scan_bytes <= MOST_BYTES:
            fitting = int(self._read_bytes / self._read_seconds * SCAN_SECONDS)
            self._scan_bytes = max(PIECE_BYTES, min(fitting, MOST_BYTES))
        self._read_bytes, self._read_seconds = 0, 0.0
        self._before, self._put_off = self._put_off, {}
        self._spare_bytes = self._scan_bytes
        for one in sorted(self._before.values(), key=lambda one: one.left_bytes):
            one.allowed_bytes = min(one.left_bytes, self._spare_bytes)
            self._spare_bytes -= one.allowed_bytes

    def has_bytes_of(self, source: Source, rows: Sequence[Shipment]) -> bool:
        """Whether the file has what each of the rows stands for.

        What was not sent yet is read when it is.

        Raises:
            PortError: ``ComparisonPending``; the next scan goes on.
        """
        ranges = {(row.raw_start, row.raw_end): row for row in rows if _has_digest(row)}
        if not ranges:
            return True
        stat = source.stat()
        label: Hashable = (stat.device, stat.inode, stat.generation) if self._is_live else stat
        file = self._before.setdefault(label, _Comparison())
        self._put_off.pop(label, None)
        more_bytes = min(max(0, file.left_of(ranges) - file.allowed_bytes), self._spare_bytes)
        file.allowed_bytes += more_bytes
        self._spare_bytes -= more_bytes
        for (start, end), row in ranges.items():
            if (start, end) not in file.digests and not self._read(source, file, start, end):
                file.left_bytes = file.left_of(ranges)
                self._put_off[label] = file
                raise PortError(PENDING, "it is being compared with what was shipped")
            if file.digests[start, end] != row.source_sha256:
                return False
        return True

    def _read(self, source: Source, file: _Comparison, start: int, end: int) -> bool:
        """Go on with the range; whether that was all of it."""
        if file.at[:2] != (start, end):
            file.sha256, file.at = hashlib.sha256(), (start, end, start)
        began, at = self._clock.monotonic(), file.at[2]
        while at < end and file.allowed_bytes > 0:
            length = min(PIECE_BYTES, end - at, file.allowed_bytes)
            file.sha256.update(source.read(at, length))
            at += length
            file.allowed_bytes -= length
            self._read_bytes += length
        file.at = (start, end, at)
        self._read_seconds += self._clock.monotonic() - began
        if at == end:
            file.digests[start, end] = file.sha256.hexdigest()
        return at == end


def _has_digest(row: Shipment) -> bool:
    return row.state not in UNSENT and not (row.state is State.PARKED and not row.raw_sha256)
