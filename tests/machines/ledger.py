"""The model of the rotation machine: every byte that was written, where it is, what became of it.

A *chunk* is what one write added, and is told apart from every other even where the bytes are the
same. A *body* is the content of one inode between two truncations: the chunks in it, or an archive
of them. A copy is another body with the same chunks. The rotator keeps the ledger while it acts on
the real file system; the bucket is read off the fake store. The daemon's journal is never asked
what S3 has.

What may be lost is decided where it is lost: a chunk that S3 does not have and to which nothing
leads any more, neither a name nor a held descriptor, was lost by whoever acted last. The daemon
never may.
"""

import bz2
import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.machines.world import decoded


@dataclass(eq=False, slots=True)
class Chunk:
    """What one write added. ``lost_to`` is the action that took the last of it, if any did."""

    number: int
    text: bytes
    lost_to: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """A range of a body that is an object. ``order`` counts the objects as they came."""

    order: int
    key: str
    raw_start: int
    raw_end: int


@dataclass(eq=False, slots=True)
class Body:
    """What is, or was, in one inode. ``archive`` are its bytes where it is compressed.

    ``copied_from`` is the body that somebody copied byte by byte; an archive has its chunks, but
    is no copy. One that ``is_damaged`` has none. ``overwrites`` is what was in the file before it
    was truncated. ``apart`` are, of an archive, the logs that stood under another name than its
    own without the extension, at some moment before it was in S3.
    """

    inode: int
    chunks: list[Chunk]
    archive: bytes | None = None
    copied_from: "Body | None" = None
    is_damaged: bool = False
    is_touched: bool = False
    overwrites: "Body | None" = None
    apart: "set[Body]" = field(default_factory=set)
    stored: list[Stored] = field(default_factory=list)

    def raw(self) -> bytes:
        """The bytes of the file."""
        return self.plain() if self.archive is None else self.archive

    def plain(self) -> bytes:
        """The bytes of the log."""
        return b"".join(chunk.text for chunk in self.chunks)

    def within(self, raw_start: int, raw_end: int) -> list[Chunk]:
        """The chunks that lie in the range; of an archive all or none, or those at the end of its
        content."""
        if self.archive is not None and not raw_start:
            return self.chunks if (raw_start, raw_end) == (0, len(self.archive)) else []
        found, at = [], 0
        for chunk in self.chunks:
            if raw_start <= at and at + len(chunk.text) <= raw_end:
                found.append(chunk)
            at += len(chunk.text)
        return found

    def objects_of(self, chunk: Chunk) -> list[Stored]:
        """The objects in which this body's chunk is."""
        return [one for one in self.stored if chunk in self.within(one.raw_start, one.raw_end)]

    def shipped_contents(self) -> Iterator[bytes]:
        """What a reader had of the log after each of its objects."""
        if self.archive is not None:
            yield from [self.plain()] if self.is_whole() else []
            return
        at = 0
        for one in sorted(self.stored, key=lambda one: one.raw_start):
            if one.raw_start != at:
                return
            at = one.raw_end
            yield self.plain()[:at]

    def is_whole(self, before: int | None = None) -> bool:
        """Whether the objects (that came before a moment) are the body, end to end."""
        ranges = sorted(
            (one.raw_start, one.raw_end)
            for one in self.stored
            if before is None or one.order < before
        )
        at = 0
        for raw_start, raw_end in ranges:
            if raw_start != at:
                return False
            at = raw_end
        return at == len(self.raw())


HeldRange = tuple[int, int, int]
"""Inode, first and last offset of a promised range whose descriptor is open."""


class Ledger:
    """Every chunk and every body there ever was."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.bodies: list[Body] = []
        self._of_inode: dict[int, Body] = {}
        """The newest body of each: a descriptor keeps an inode from being used again."""
        self._objects: dict[str, bytes] = {}

    # What the rotator and the programs do.

    def written(self, text: bytes) -> Chunk:
        """A new chunk."""
        chunk = Chunk(len(self.chunks), text)
        self.chunks.append(chunk)
        return chunk

    def created(
        self,
        inode: int,
        chunks: Iterable[Chunk] = (),
        *,
        archive: bytes | None = None,
        copied_from: Body | None = None,
        is_damaged: bool = False,
        is_touched: bool = False,
        overwrites: Body | None = None,
    ) -> Body:
        """The inode's content is now this, whatever it was before."""
        body = Body(inode, list(chunks), archive, copied_from, is_damaged, is_touched, overwrites)
        self.bodies.append(body)
        self._of_inode[inode] = body
        return body

    def body(self, inode: int) -> Body:
        """What is in the inode now."""
        return self._of_inode[inode]

    # What is seen of the daemon.

    def observe(
        self, objects: dict[str, bytes], metadata: Callable[[str], dict[str, str]]
    ) -> None:
        """Enter the objects that are new in the bucket.

        An object that changed was overwritten; one that is not a range of what its inode held is
        mixed from two files.
        """
        for key, encoded in objects.items():
            if key in self._objects:
                assert self._objects[key] == encoded, f"{key} was overwritten"
                continue
            self._objects[key] = encoded
            facts = metadata(key)
            raw_start, raw_end = int(facts["raw-start"]), int(facts["raw-end"])
            body = self._source(int(facts["source-inode"]), key, encoded, raw_start, raw_end)
            body.stored.append(Stored(len(self._objects), key, raw_start, raw_end))

    def _source(self, inode: int, key: str, encoded: bytes, raw_start: int, raw_end: int) -> Body:
        for body in reversed(self.bodies):
            if body.inode != inode:
                continue
            # Of an archive that goes on behind a log, the rest of the content is sent, decoded.
            is_plain = body.archive is None or raw_start > 0
            whole, content = (
                (body.plain(), decoded(key, encoded)) if is_plain else (body.raw(), encoded)
            )
            if len(content) == raw_end - raw_start and whole[raw_start:raw_end] == content:
                return body
        raise AssertionError(f"{key} is no range of any file that had inode {inode}")

    def part(self, names: Mapping[Path, int]) -> None:
        """Enter which logs stand apart from an archive; of each name the inode is told."""
        bodies = {path: self._of_inode[inode] for path, inode in names.items()}
        for path, archive in bodies.items():
            if archive.archive is not None and not archive.stored:
                others = (one for name, one in bodies.items() if name != path.with_suffix(""))
                archive.apart.update(one for one in others if one.archive is None)

    def reconcile(
        self, linked: set[int], held: Iterable[HeldRange], *, by: str, may_lose: bool
    ) -> None:
        """Enter what nothing leads to any more as lost ``by`` the last action."""
        reached = {chunk for inode in linked for chunk in self._of_inode[inode].chunks}
        for inode, raw_start, raw_end in held:
            reached.update(self._of_inode[inode].within(raw_start, raw_end))
        stored = self.stored_chunks()
        for chunk in self.chunks:
            if chunk in reached or chunk in stored or chunk.lost_to:
                continue
            assert may_lose, f"the daemon lost chunk {chunk.number} ({by})"
            chunk.lost_to = by

    def require_stored(self, inode: int, size_bytes: int) -> None:
        """Whoever removes this file now loses nothing.

        Raises:
            AssertionError: not every byte of it is in the bucket.
        """
        body = self._of_inode[inode]
        assert size_bytes == len(body.raw()), "the file is not what the ledger says"
        stored = self.stored_chunks()
        missing = [chunk.number for chunk in body.chunks if chunk not in stored]
        assert not missing, f"the daemon removes inode {inode} before S3 has chunks {missing}"
        if body.is_damaged:
            copies = [other for other in self.bodies if other.archive == body.archive]
            assert any(copy.stored for copy in copies), "damaged, and removed before it was sent"

    # What came of it.

    def shipped_contents(self) -> set[bytes]:
        """What a reader had of every log after each of its objects, and every archive."""
        shipped = {content for body in self.bodies for content in body.shipped_contents()}
        return shipped | {body.raw() for body in self.bodies if body.stored and body.is_whole()}

    def stored_chunks(self) -> set[Chunk]:
        """The chunks that are in the bucket, or whose file was shipped with the same bytes.

        Nobody can tell a file that was truncated and got its bytes again from one that was
        touched. Another file that gets the inode number is no such case.
        """
        stored = {
            chunk
            for body in self.bodies
            for one in body.stored
            for chunk in body.within(one.raw_start, one.raw_end)
        }
        return stored.union(*map(_shipped_before, self.bodies))

    def holders(self, chunk: Chunk) -> Iterator[tuple[Body, Stored]]:
        """The objects that have the chunk, in the order in which they came."""
        found = [(one, body) for body in self.bodies for one in body.objects_of(chunk)]
        for one, body in sorted(found, key=lambda pair: pair[0].order):
            yield body, one

    def contents(self) -> list[bytes]:
        """Every object as a reader sees it, decoded as its name says; none that is damaged.

        Neither the beginning of an archive that was promised while it was no more than that.
        """
        damaged = {
            one.key
            for body in self.bodies
            if body.archive is not None
            for one in body.stored
            if body.is_damaged or (not one.raw_start and one.raw_end < len(body.archive))
        }
        return [
            decompressed(key, encoded)
            for key, encoded in self._objects.items()
            if key not in damaged
        ]


def _shipped_before(body: Body) -> Iterator[Chunk]:
    before = body.overwrites
    while before is not None:
        if body.archive is None and before.archive is None:
            for content in before.shipped_contents():
                if body.plain().startswith(content):
                    yield from body.within(0, len(content))
        elif body.archive == before.archive and before.is_whole():
            yield from body.chunks
        before = before.overwrites


def decompressed(key: str, encoded: bytes) -> bytes:
    """What a reader gets who goes by the name."""
    if key.endswith(".xz"):
        return lzma.decompress(encoded)
    if key.endswith(".bz2"):
        return bz2.decompress(encoded)
    return decoded(key, encoded)
