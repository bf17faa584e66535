"""The bytes of logs, out of their objects: decompressed, checked in length, joined in order."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain, groupby

from shipper.archive.ahead import read_ahead
from shipper.archive.stored_manifests import Decode
from shipper.core.archived_logs import ArchivedLog
from shipper.core.archived_segments import BY_CONTENT, ArchivedSegment
from shipper.core.object_keys import printable
from shipper.ports import Archive, PortError

DECODED = (".gz", ".zst", ".xz", ".bz2")
"""What a rotator may have compressed with that is decompressed here."""
_MAGIC = {b"\x28\xb5\x2f\xfd": ".zst", b"\x1f\x8b": ".gz"}
Archives = Callable[[str], Archive]
"""The archive of the bucket with this name."""
_Job = tuple[int, ArchivedSegment]
_Item = tuple[int, bytes | PortError]


def raw_content(
    archive: Archive, segment: ArchivedSegment, decode: Decode, *, start: int = 0
) -> Iterator[bytes]:
    """What the file had in the segment's range; ``start`` bytes later, where it is stored as it
    was.

    Raises:
        PortError: as ``ports.Archive``; ``Undecodable``; ``WrongLength``: it holds more or fewer
            bytes than its range.
    """
    pieces = archive.read(segment.stored.key, start=start)
    left, extension = segment.raw_bytes - start, segment.own_compression
    if extension == BY_CONTENT:
        first = next(pieces, b"")
        extension = next((one for magic, one in _MAGIC.items() if first.startswith(magic)), "")
        pieces = chain((first,), pieces)
    for piece in decode(pieces, extension):
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        what = "more" if left < 0 else f"{left:,} bytes fewer"
        raise PortError("WrongLength", f"{segment.label}: it holds {what} than its range")


def mismatch(
    segments: Sequence[ArchivedSegment], pieces: Iterator[bytes]
) -> ArchivedSegment | None:
    """The first segment of which the content is known, and is another one."""
    piece = memoryview(b"")
    for segment in segments:
        digest, left = hashlib.sha256(), segment.raw_bytes
        while left:
            piece = piece or memoryview(next(pieces, b""))
            if not piece:
                return segment
            digest.update(piece[:left])
            left, piece = left - len(piece[:left]), piece[left:]
        if segment.sha256 and digest.hexdigest() != segment.sha256:
            return segment
    return None


def failure(segment: ArchivedSegment, error: PortError) -> PortError:
    """The same, naming the object."""
    is_named = segment.stored.key in error.detail
    detail = error.detail if is_named else f"{segment.label}: {error.detail}"
    return PortError(error.code, detail, error.hint, status=error.status)


def require_same(segment: ArchivedSegment, digest: "hashlib._Hash") -> None:
    """Compare the digest of the raw bytes with what a manifest says, where one knows the segment.

    Raises:
        PortError: ``Altered``: it is another one.
    """
    if segment.sha256 and digest.hexdigest() != segment.sha256:
        hint = "look for an earlier version of the object; `shipper audit --manifests` says more"
        raise PortError("Altered", f"{segment.label}: it is not what its manifest says", hint)


def readable_logs(
    logs: Iterable[ArchivedLog], tell: Callable[[PortError], None], *, goes_on: bool
) -> list[ArchivedLog]:
    """What is missing is told, and what is behind it left out unless it ``goes_on``."""
    readable = list[ArchivedLog]()
    for log in logs:
        for error in missing(log):
            tell(error)
        kept = log.there() if goes_on else log.before_gap()
        if kept:
            readable.append(ArchivedLog(kept))
    return readable


def missing(log: ArchivedLog) -> Iterator[PortError]:
    """Says which bytes of a log are not there."""
    hint = "`shipper audit --manifests` says whether they ever left the instance"
    for start, end in log.gaps:
        after = next(one for one in log.segments if one.raw_start == end)
        yield _missing(after, start, end, f"before {after.label}", hint)
    yield from (missing_segment(one) for one in log.segments if one.is_missing)


def missing_segment(one: ArchivedSegment) -> PortError:
    hint = "does a lifecycle rule or somebody remove logs?"
    where = f"which a manifest names: {one.label}"
    return _missing(one, one.raw_start or 0, one.raw_end or 0, where, hint)


def _missing(one: ArchivedSegment, start: int, end: int, where: str, hint: str) -> PortError:
    detail = f"{one.instance}: {printable(one.path)}: the bytes {start} to {end} are missing"
    return PortError("SegmentMissing", f"{detail}, {where}", hint)


class LogReader:
    """Gives out the plain content of logs, one after the other; several objects are fetched
    ahead. What fails is told to ``tell``, and the next log goes on."""

    def __init__(
        self, archives: Archives, decode: Decode, tell: Callable[[PortError], None]
    ) -> None:
        self._archives = archives
        self._decode = decode
        self._tell = tell
        self._failed = set[int]()

    def content(self, logs: Sequence[ArchivedLog]) -> Generator[bytes, None, None]:
        jobs = [(at, segment) for at, log in enumerate(logs) for segment in log.segments]
        with closing(read_ahead(self._source(*job) for job in jobs)) as items:
            for at, own in groupby(items, key=lambda item: jobs[item[0]][0]):
                extension, raw = logs[at].extension, self._raw(at, jobs, own)
                try:
                    yield from self._decode(raw, extension) if extension in DECODED else raw
                except PortError as error:
                    self._failed.add(at)
                    self._tell(failure(logs[at].first, error))

    def _source(self, at: int, segment: ArchivedSegment) -> Iterator[bytes]:
        if at in self._failed:
            return
        digest = hashlib.sha256()
        for piece in raw_content(self._archives(segment.bucket), segment, self._decode):
            digest.update(piece)
            yield piece
        require_same(segment, digest)

    def _raw(self, at: int, jobs: Sequence[_Job], items: Iterable[_Item]) -> Iterator[bytes]:
        for number, item in items:
            if isinstance(item, PortError):
                self._failed.add(at)
                raise failure(jobs[number][1], item)
            yield item
