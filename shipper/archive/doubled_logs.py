"""Logs that are in the bucket twice, because the journal was lost between, are given back once.

Ranges that meet prove nothing: copytruncate empties a log, and its inode stays. So the bytes that
both have are read and compared, up to the first that differs; by SHA-256 where one is missing.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

from shipper.archive.log_content import Archives, mismatch, raw_content
from shipper.archive.stored_manifests import Decode
from shipper.core.archived_logs import ArchivedLog, may_be_doubled, united
from shipper.ports import PortError


class DoubledLogs:
    """What cannot be compared is told to ``tell``, and stays."""

    def __init__(
        self, archives: Archives, decode: Decode, tell: Callable[[PortError], None]
    ) -> None:
        self._archives = archives
        self._decode = decode
        self._tell = tell

    def once(self, logs: Iterable[ArchivedLog]) -> list[ArchivedLog]:
        """The logs, which are in the order of time, each once."""
        kept = dict[tuple[str, str, bytes], list[ArchivedLog]]()
        for log in logs:
            first = log.first
            self._add(kept.setdefault((first.instance, first.watch, first.stem), []), log)
        every = [log for own in kept.values() for log in own]
        return sorted(every, key=lambda log: (log.last.mtime_ns, log.last.stored.key))

    def _add(self, kept: list[ArchivedLog], log: ArchivedLog) -> None:
        before = next((one for one in reversed(kept) if may_be_doubled(one, log)), None)
        both = united(before, log) if before else None
        if before and both and self._are_equal(before, log):
            kept[:] = [one for one in kept if one is not before]
            log = both
        kept.append(log)

    def _are_equal(self, one: ArchivedLog, other: ArchivedLog) -> bool:
        start, end = max(one.start, other.start), min(one.end, other.end)
        if any(part.is_missing for part in other.segments):
            one, other = other, one
        try:
            with closing(self._bytes(other, start, end)) as pieces:
                if any(part.is_missing for part in one.segments):
                    return _may_hold(other, one) and mismatch(one.segments, pieces) is None
                with closing(self._bytes(one, start, end)) as more:
                    return _equal(pieces, more)
        except PortError as error:
            names = f"{one.last.label} and {other.last.label}"
            detail = f"whether {names} are one log cannot be told: {error}"
            self._tell(PortError("DoubledUnproven", detail, error.hint))
            return False

    def _bytes(self, log: ArchivedLog, start: int, end: int) -> Generator[bytes, None, None]:
        for part in log.segments:
            at = part.raw_start or 0
            if at >= end or (part.raw_end or 0) <= start:
                continue
            raw = raw_content(self._archives(part.bucket), part, self._decode)
            for piece in raw:
                yield piece[max(start - at, 0) : end - at]
                at += len(piece)
                if at >= end:
                    break


def _may_hold(log: ArchivedLog, part: ArchivedLog) -> bool:
    """Whether the log can be compared with a part of which objects are missing."""
    is_there = not any(one.is_missing for one in log.segments)
    is_known = all(one.sha256 for one in part.segments)
    return is_there and is_known and log.start <= part.start and part.end <= log.end


def _equal(one: Iterator[bytes], other: Iterator[bytes]) -> bool:
    left, right = b"", b""
    while True:
        left, right = left or next(one, b""), right or next(other, b"")
        length = min(len(left), len(right))
        if not length:
            return not left and not right
        if left[:length] != right[:length]:
            return False
        left, right = left[length:], right[length:]
