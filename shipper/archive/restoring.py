"""Gives logs back as files: whole, verified where a manifest knows them, and never over others.

A file that is there already is compared by the SHA-256 of its segments; where no manifest knows
them, by size and mtime, which a log that was given back has from the archive.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from stat import S_ISREG

from shipper.archive.ahead import read_ahead
from shipper.archive.log_content import (
    Archives,
    failure,
    mismatch,
    missing,
    raw_content,
    require_same,
)
from shipper.archive.stored_manifests import Decode
from shipper.core.archived_logs import ArchivedLog, restored_path
from shipper.core.archived_segments import ArchivedSegment
from shipper.core.object_keys import printable
from shipper.edges.files.restored_files import RestoredFile, RestoreDirectory, taken
from shipper.ports import PortError

_END = b""
"""Behind the last piece of a segment."""


@dataclass(slots=True)
class Outcome:
    """What has become of the logs so far."""

    restored: int = 0
    already_there: int = 0
    failed: int = 0
    unverified: int = 0
    """Of those that are there now, the ones that no manifest knows."""
    written_bytes: int = 0


@dataclass(slots=True)
class _Restoration:
    """A log on its way, from the segment ``left`` begins with; ``digest`` is of that one's."""

    log: ArchivedLog
    place: RestoredFile
    left: list[tuple[ArchivedSegment, int]] = field(default_factory=list)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    is_over: bool = False


class Restorer:
    """What fails is told to ``tell``, and the next log goes on."""

    def __init__(
        self,
        archives: Archives,
        decode: Decode,
        directory: RestoreDirectory,
        tell: Callable[[PortError], None],
    ) -> None:
        self._archives = archives
        self._decode = decode
        self._directory = directory
        self._tell = tell
        self._paths = set[tuple[bytes, ...]]()
        self.outcome = Outcome()

    def restore(self, logs: Iterable[ArchivedLog]) -> None:
        begun = list[_Restoration]()
        jobs = list[tuple[_Restoration, ArchivedSegment]]()

        def sources() -> Iterator[Iterator[bytes]]:
            for log in logs:
                one = self._begun(log)
                if one is not None:
                    begun.append(one)
                    for segment, start in one.left:
                        jobs.append((one, segment))
                        yield self._source(one, segment, start)

        try:
            with closing(read_ahead(sources())) as items:
                for number, item in items:
                    self._take(*jobs[number], item)
        finally:
            for one in begun:
                self._close(one)

    def _source(self, one: _Restoration, segment: ArchivedSegment, start: int) -> Iterator[bytes]:
        if not one.is_over:
            archive = self._archives(segment.bucket)
            yield from filter(None, raw_content(archive, segment, self._decode, start=start))
            yield _END

    def _take(self, one: _Restoration, segment: ArchivedSegment, item: bytes | PortError) -> None:
        if one.is_over:
            return
        try:
            if isinstance(item, PortError):
                raise failure(segment, item)
            if item == _END:
                self._end(one, segment)
                return
            one.place.write(item)
            one.digest.update(item)
            self.outcome.written_bytes += len(item)
        except PortError as error:
            self._fail(one, error)

    def _end(self, one: _Restoration, segment: ArchivedSegment) -> None:
        try:
            require_same(segment, one.digest)
        except PortError:
            one.place.cut(0)
            raise
        one.digest = hashlib.sha256()
        one.left.pop(0)
        if not one.left:
            one.place.finish(one.log.last.mtime_ns)
            self.outcome.restored += 1
            self._count_unverified(one.log)
            self._close(one)

    def _begun(self, log: ArchivedLog) -> _Restoration | None:
        """The log with what is left to fetch; None where nothing is, or it cannot be."""
        one = None
        try:
            one = _Restoration(log, self._directory.place(self._path_of(log)))
            if self._is_there(one):
                self.outcome.already_there += 1
                self._count_unverified(log)
                self._close(one)
                return None
            self._go_on(one)
            return one
        except PortError as error:
            self._fail(one, error)
            return None

    def _path_of(self, log: ArchivedLog) -> tuple[bytes, ...]:
        """Its own, which no other log of this run has."""
        for error in missing(log):
            raise error
        path = restored_path(log)
        if path in self._paths:
            path = restored_path(log, is_precise=True)
        if path is None:
            detail = f"{log.last.label}: its source path leads elsewhere"
            raise PortError("PathRefused", detail, "nobody but shipper should write to the bucket")
        if path in self._paths:
            raise taken(f"{log.last.label}: {printable(b'/'.join(path))}")
        self._paths.add(path)
        return path

    def _is_there(self, one: _Restoration) -> bool:
        found = one.place.existing()
        if found is None:
            return False
        is_it = S_ISREG(found.st_mode) and found.st_size == one.log.raw_bytes
        if is_it and _is_known(one.log):
            is_it = mismatch(one.log.segments, one.place.content()) is None
        elif is_it:
            is_it = found.st_mtime_ns == one.log.last.mtime_ns
        if not is_it:
            raise taken(one.place.label)
        return True

    def _go_on(self, one: _Restoration) -> None:
        """Find what is left, behind what an earlier run wrote of the same objects."""
        segments = one.log.segments
        size, kept, whole = one.place.begin(_mark(segments)), 0, list[ArchivedSegment]()
        for segment in segments:
            if kept + segment.raw_bytes > size or segment is segments[-1]:
                break
            whole.append(segment)
            kept += segment.raw_bytes
        if mismatch(whole, one.place.begun(0, kept)) is not None:
            size, kept, whole = 0, 0, []
        first, start = segments[len(whole)], 0
        if not first.own_compression and kept < size <= kept + first.raw_bytes:
            start = size - kept
            for piece in one.place.begun(kept, start):
                one.digest.update(piece)
        one.place.cut(kept + start)
        one.left = [(first, start), *((segment, 0) for segment in segments[len(whole) + 1 :])]

    def _count_unverified(self, log: ArchivedLog) -> None:
        self.outcome.unverified += not _is_known(log)

    def _fail(self, one: _Restoration | None, error: PortError) -> None:
        self.outcome.failed += 1
        self._tell(error)
        if one is not None:
            self._close(one)

    def _close(self, one: _Restoration) -> None:
        if not one.is_over:
            one.is_over = True
            one.place.close()


def _is_known(log: ArchivedLog) -> bool:
    return all(segment.sha256 for segment in log.segments)


def _mark(segments: Sequence[ArchivedSegment]) -> str:
    """Differs where the objects differ."""
    facts = [(one.stored.key, one.stored.etag, one.raw_start, one.raw_end) for one in segments]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
