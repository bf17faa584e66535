"""Manifests as they lie in the bucket, read within bounds, for anybody may have written them.

One is fetched whole, so that its digest is known, but no more of it than ``STORED_BYTES``, nor is
more decoded than ``RAW_BYTES``: the daemon's own are far below.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from shipper.archive.ahead import ahead
from shipper.core.archived import ArchivedObject
from shipper.core.chains import Link, seconds
from shipper.core.escapes import escaped
from shipper.core.manifests import (
    Header,
    Line,
    LossEntry,
    ManifestName,
    NoManifest,
    ObjectEntry,
    lines_of,
)
from shipper.core.types import ObjectKey
from shipper.ports import Archive, PortError

STORED_BYTES = 16 * 1024 * 1024
RAW_BYTES = 64 * 1024 * 1024
LINE_BYTES = 64 * 1024
_SAID = 300
UNREADABLE = frozenset({"NoSuchKey", "InvalidObjectState", "Changed", "ChecksumMismatch"})
"""What concerns one object: whatever else S3 says ends the audit."""

Entry = ObjectEntry | LossEntry
Decode = Callable[[Iterator[bytes], str], Iterator[bytes]]
"""``edges.decoder.streamed``."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    body: bytes
    problem: str = ""


def links(
    archive: Archive,
    every: Iterable[tuple[ManifestName, ArchivedObject]],
    decode: Decode,
    found: Callable[[ManifestName, Entry], None],
) -> Iterator[Link]:
    """The manifests in order; ``found`` is called for each entry before its link is yielded.

    The entries of a manifest that proves to be unreadable further on are among them.
    """

    def fetch(one: tuple[ManifestName, ArchivedObject]) -> _Fetched:
        stored = one[1]
        if stored.size_bytes > STORED_BYTES:
            return _Fetched(b"", f"it has {stored.size_bytes} bytes, and no manifest has so many")
        return _fetched(archive, stored.key)

    for (name, stored), fetched in ahead(fetch, every):
        header, problem = None, fetched.problem
        if not problem:
            header, problem = _read(name, decode(iter((fetched.body,)), ".zst"), found)
        digest = hashlib.sha256(fetched.body).hexdigest()
        yield Link(name, stored.modified_at, digest, header, problem)


def digest_of(archive: Archive, name: ManifestName) -> str:
    """The SHA-256 of the manifest; empty where it cannot be read."""
    fetched = _fetched(archive, name.key)
    return "" if fetched.problem else hashlib.sha256(fetched.body).hexdigest()


def _fetched(archive: Archive, key: ObjectKey) -> _Fetched:
    body = bytearray()
    try:
        for piece in archive.read(key):
            body += piece
            if len(body) > STORED_BYTES:
                return _Fetched(b"", "it grew while it was read, and is longer than a manifest")
    except PortError as error:
        if error.code not in UNREADABLE:
            raise
        return _Fetched(b"", str(error))
    return _Fetched(bytes(body))


def _read(
    name: ManifestName, raw: Iterator[bytes], found: Callable[[ManifestName, Entry], None]
) -> tuple[Header | None, str]:
    """The header, or why there is none that counts."""
    try:
        lines = lines_of(_lines(raw))
        header = _checked(next(lines))
        for line in lines:
            if not isinstance(line, Header):
                found(name, line)
    except (NoManifest, PortError) as error:
        return None, _short(str(error))
    except RecursionError:
        return None, "a line is nested too deeply"
    return header, ""


def _checked(line: Line) -> Header:
    """The header, the times of which are times."""
    if not isinstance(line, Header):
        raise NoManifest("the first line is no header")
    try:
        seconds(line.from_)
        seconds(line.to)
    except ValueError as error:
        raise NoManifest(str(error)) from error
    return line


def _lines(raw: Iterator[bytes]) -> Iterator[bytes]:
    rest, total = b"", 0
    for piece in raw:
        total += len(piece)
        if total > RAW_BYTES:
            raise NoManifest(f"more than {RAW_BYTES} bytes are in it")
        *whole, rest = (rest + piece).split(b"\n")
        for line in chain(whole, (rest,)):
            if len(line) > LINE_BYTES:
                raise NoManifest(f"a line has more than {LINE_BYTES} bytes")
        yield from whole
    if rest:
        raise NoManifest("it ends in the middle of a line")


def _short(text: str) -> str:
    text = escaped(text)
    return text if len(text) <= _SAID else f"{text[:_SAID]}..."
