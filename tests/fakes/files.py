"""Log directories in memory: ``ports.Files`` as ``DirectoryFiles`` keeps it, and what programs do.

One flat table of absolute paths; directories exist where a path runs through them. A relative
path is one below ``directory``. Like a file system, a name is a link to a node, a node lives as
long as a name or an open source leads to it, and then its inode number may be used again.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from shipper.core.disk_space import DiskSpace
from shipper.core.globs import within
from shipper.core.left_alone import likelihood
from shipper.core.scan_cache import OLD, ScanCache, fingerprint
from shipper.core.sealing import removal_refusal
from shipper.core.siblings import Listed, Siblings
from shipper.core.types import Entry, FileKind, FileStat, RelativePath, Watch, WriterTest
from shipper.ports import Clock, PortError, Selects, Source

FIRST_INODE = 1000


@dataclass(slots=True)
class Node:
    """A file, whatever its names are."""

    inode: int
    kind: FileKind
    body: bytes = b""
    mtime_ns: int = 0
    ctime_ns: int = 0
    links: int = 0
    device: int = 0
    opened: int = 0
    writer: WriterTest = WriterTest.NONE
    is_denied: bool = False
    generation: str = ""
    born_ns: int = 0
    read_error: PortError | None = field(default=None)
    read_bytes: int = 0


class FakeFiles:
    """``effect`` is called with ``before NAME`` and ``after NAME`` around every side effect."""

    def __init__(
        self,
        clock: Clock,
        *,
        directory: str = "/logs",
        effect: Callable[[str], None] = lambda name: None,
        reuses_inodes: bool = False,
    ) -> None:
        self._clock = clock
        self._directory = os.fsencode(directory)
        self._nodes: dict[bytes, Node] = {}
        self._unreadable: dict[bytes, PortError] = {}
        self._reuses_inodes = reuses_inodes
        self._free_inodes: list[int] = []
        self._next_inode = FIRST_INODE
        self.has_generations = True
        """Whether the kernel tells them of files that are created from now on."""
        self._generations = 0
        self.effect = effect
        self.mounted = {b"": "disk"}
        """Which file system stands at which directory ("" or "a/b/"), the root's first."""
        self._unmounted: dict[tuple[bytes, str], dict[bytes, Node]] = {}
        self.capacity_bytes: dict[str, int] = {}
        """How much has room on a file system, by its name; one file uses one inode of 10,000."""
        self.opens = 0
        """How often a file was opened."""
        self.open_sources = 0
        """Sources that nobody has closed."""

    # What programs do.

    def write(
        self, path: bytes, body: bytes = b"", *, kind: FileKind = FileKind.REGULAR
    ) -> FileStat:
        """Create the file, or replace what is in it (the inode stays)."""
        node = self._nodes.get(self._at(path))
        if node is None:
            node = self._created(kind)
            self._linked(self._at(path), node)
        node.body = body
        self._touched(node)
        return _file_stat(node)

    def append(self, path: bytes, body: bytes) -> None:
        """Add to the end of the file."""
        node = self._node(path)
        node.body += body
        self._touched(node)

    def touch(self, path: bytes, mtime_ns: int | None = None) -> None:
        """Set the modification time, to now unless told otherwise."""
        node = self._node(path)
        self._touched(node)
        node.mtime_ns = node.mtime_ns if mtime_ns is None else mtime_ns

    def rename(self, path: bytes, to: bytes) -> None:
        """Give the file another name; a file that has that name loses it."""
        node = self._node(path)
        if self._nodes.get(self._at(to)) is node:
            return
        self._linked(self._at(to), node)
        self._unlinked(self._at(path))

    def link(self, path: bytes, to: bytes) -> None:
        """Give the file one more name."""
        self._linked(self._at(to), self._node(path))

    def delete(self, path: bytes) -> None:
        """Take the name away."""
        self._node(path)
        self._unlinked(self._at(path))

    def set_writer(self, path: bytes, writer: WriterTest) -> None:
        """What the writer test will say of the file."""
        self._node(path).writer = writer

    def deny(self, path: bytes, *, is_denied: bool = True) -> None:
        """Refuse to open the file from now on, or allow it again."""
        self._node(path).is_denied = is_denied

    def fail_reads(self, path: bytes, error: PortError | None) -> None:
        """Answer every read of the file with an error, or with its bytes again."""
        self._node(path).read_error = error

    def have_inode_of(self, one: bytes, other: bytes) -> None:
        """Give a file on another file system the inode number that ``one`` has on its own."""
        self._node(other).inode, self._node(other).device = self._node(one).inode, 77

    def fail_scan(self, path: bytes = b"", error: PortError | None = None) -> None:
        """Make a directory unreadable for scans, or (without an error) readable again."""
        if error is None:
            self._unreadable.pop(self._at(path), None)
        else:
            self._unreadable[self._at(path)] = error

    def mount(self, name: str, at: bytes = b"") -> None:
        """Have another file system stand there; each has files of its own, and none at first.

        The empty name is that of none: what the mount covered is seen again.
        """
        top = self._at(at) + b"/"
        before = self.mounted.pop(at, "")
        covered = {path: node for path, node in self._nodes.items() if path.startswith(top)}
        self._unmounted[at, before] = covered
        self._nodes = {path: self._nodes[path] for path in self._nodes if path not in covered}
        self._nodes |= self._unmounted.pop((at, name), {})
        if name:
            self.mounted[at] = name

    def read_bytes(self, path: bytes) -> int:
        """How many bytes of a file were asked for so far."""
        return self._nodes[self._at(path)].read_bytes

    def body(self, path: bytes) -> bytes:
        """The bytes of a file."""
        return self._node(path).body

    def paths(self, directory: str | None = None) -> list[bytes]:
        """Every name below a directory, relative to it, sorted."""
        top = (self._directory if directory is None else os.fsencode(directory)) + b"/"
        return sorted(path[len(top) :] for path in self._nodes if path.startswith(top))

    # ports.Files

    def scan(
        self,
        watch: Watch,
        selects: Selects,
        scan_cache: ScanCache | None = None,
    ) -> Iterator[Entry | PortError]:
        """Every selected entry, as ``ports.Files`` says."""
        scan_cache = ScanCache() if scan_cache is None else scan_cache
        scan_cache.begin()
        top = os.fsencode(watch.directory)
        archive = os.fsencode(watch.archive_directory)
        barred = [*self._unreadable, *([archive] if archive and archive != top else [])]
        yield from (
            error for path, error in self._unreadable.items() if _is_below(path + b"/", top)
        )
        for path, node in list(self._nodes.items()):
            relative = RelativePath(path[len(top) + 1 :])
            inner = within(watch, relative) if _is_below(path, top) else None
            if inner is None or (inner.count(b"/") and not watch.recursive):
                continue
            above, _, name = relative.rpartition(b"/")
            above += b"/" if above else b""
            siblings = self._siblings(path, scan_cache.shifts.known)
            if node.generation:
                scan_cache.shifts.see(above, name, (node.inode, node.generation))
            likely = likelihood(watch, relative, siblings)
            if likely is not None and node.kind is FileKind.REGULAR:
                scan_cache.leave_alone(b"", os.fsdecode(relative), likely)
            is_barred = any(_is_below(path, each) for each in barred)
            if not selects(relative, siblings) or is_barred:
                continue
            entry = Entry(relative, _file_stat(node), self.place(watch, relative))
            if not _is_cached(scan_cache, entry):
                yield entry

    def place(self, watch: Watch, path: bytes = b"", begins: bytes = b"") -> str:
        """What ``mount`` said; where nothing is mounted, ``begins`` is part of what is above."""
        at = max((at for at in self.mounted if path.startswith(at)), key=len)
        return f"{self.mounted[at]} at {at.decode().rstrip('/')}"

    def space(self, watch: Watch, directory: bytes = b"") -> DiskSpace:
        """What the files below take of ``capacity_bytes``, in blocks of a byte."""
        if self._at(directory) in self._unreadable:
            raise self._unreadable[self._at(directory)]
        below = self._at(directory) + b"/"
        is_there = directory in self.mounted or any(one.startswith(below) for one in self._nodes)
        if not is_there:
            raise PortError("NotFound", repr(directory))
        at = self._mount_of(below)
        name, names = self.mounted[at], list(self.mounted)
        bodies = [
            len(node.body) for path, node in self._nodes.items() if self._mount_of(path) == at
        ]
        capacity = self.capacity_bytes.get(name, 10**12)
        return DiskSpace(
            device=names.index(at),
            used_bytes=sum(bodies),
            free_bytes=max(0, capacity - sum(bodies)),
            used_inodes=len(bodies),
            free_inodes=10_000 - len(bodies),
            block_bytes=1,
        )

    def _mount_of(self, whole: bytes) -> bytes:
        """Which of ``mounted`` a path is on; what is outside of the watch is on the root's."""
        found = (at for at in self.mounted if whole.startswith(self._at(at) + b"/"))
        return max(found, key=len, default=b"")

    def _siblings(self, path: bytes, known: set[bytes]) -> Siblings:
        above = path[: path.rfind(b"/") + 1]
        return Siblings(
            lambda: [
                Listed(other[len(above) :], node.kind is FileKind.SYMLINK)
                for other, node in self._nodes.items()
                if other.rpartition(b"/")[0] + b"/" == above
            ],
            lambda series: (above + series).removeprefix(self._directory + b"/") in known,
            lambda name: self._nodes[above + name].mtime_ns,
        )

    def open(self, watch: Watch, path: RelativePath) -> Source:
        """Open a regular file, as ``ports.Files`` says."""
        if any(part in (b"", b".", b"..") for part in path.split(b"/")):
            raise PortError("NotRegular", f"{path!r}: not a path below the watch")
        whole = os.fsencode(watch.directory) + b"/" + path
        node = self._nodes.get(whole)
        if node is None:
            is_directory = any(_is_below(other, whole) for other in self._nodes)
            raise PortError("NotRegular" if is_directory else "NotFound", repr(path))
        if node.kind is not FileKind.REGULAR:
            raise PortError("NotRegular", node.kind.value)
        if node.is_denied:
            raise PortError("SourceUnreadable", os.strerror(errno.EACCES))
        self.opens += 1
        return self._opened(node)

    def remove(self, watch: Watch, path: RelativePath, is_same: Callable[[Source], bool]) -> bool:
        """Unlink, as ``ports.Files`` says."""
        whole = os.fsencode(watch.directory) + b"/" + path
        if not self._is_confirmed(watch, path, is_same):
            return False
        self.effect("before remove")
        self._unlinked(whole)
        self.effect("after remove")
        return True

    def archive(self, watch: Watch, path: RelativePath, is_same: Callable[[Source], bool]) -> bool:
        """Move, as ``ports.Files`` says."""
        whole = os.fsencode(watch.directory) + b"/" + path
        if not self._is_confirmed(watch, path, is_same):
            return False
        target = os.fsencode(watch.archive_directory) + b"/" + path
        if target == whole:
            raise PortError("RemoveDenied", "it is in the archive directory already")
        number, wanted = 0, target
        while self._nodes.get(wanted) not in (None, self._nodes[whole]):
            number += 1
            wanted = target + b".%d" % number
        self.effect("before archive")
        self._linked(wanted, self._nodes[whole])
        self._unlinked(whole)
        self.effect("after archive")
        return True

    def _is_confirmed(
        self, watch: Watch, path: RelativePath, is_same: Callable[[Source], bool]
    ) -> bool:
        source = self.open(watch, path)
        try:
            before = source.stat()
            is_it = is_same(source)
            node = self._nodes.get(os.fsencode(watch.directory) + b"/" + path)
            is_it = is_it and node is not None and node.inode == before.inode
            now, was = source.stat(), (before.size_bytes, before.mtime_ns)
            writer, is_trusted = source.writer(), watch.after_upload_unproven
            code = removal_refusal(writer, is_unproven_enough=is_trusted)
            if is_it and code:
                raise PortError(code, writer.value)
            if is_it and (now.size_bytes, now.mtime_ns) != was:
                raise PortError("Unreadable", "written to while it was being removed")
            return is_it
        finally:
            source.close()

    # The table.

    def _at(self, path: bytes) -> bytes:
        return os.path.join(self._directory, path).rstrip(b"/")

    def _node(self, path: bytes) -> Node:
        return self._nodes[self._at(path)]

    def _created(self, kind: FileKind) -> Node:
        self._generations += self.has_generations
        generation = f"g{self._generations}" if self.has_generations else ""
        born_ns = int(self._clock.now() * 1e9)
        if self._reuses_inodes and self._free_inodes:
            return Node(self._free_inodes.pop(), kind, generation=generation, born_ns=born_ns)
        self._next_inode += 1
        return Node(self._next_inode, kind, generation=generation, born_ns=born_ns)

    def _touched(self, node: Node) -> None:
        node.mtime_ns = node.ctime_ns = int(self._clock.now() * 1e9)

    def _linked(self, whole: bytes, node: Node) -> None:
        if self._nodes.get(whole) is node:
            return
        if whole in self._nodes:
            self._unlinked(whole)
        self._nodes[whole] = node
        node.links += 1
        node.ctime_ns = int(self._clock.now() * 1e9)

    def _unlinked(self, whole: bytes) -> None:
        node = self._nodes.pop(whole)
        node.links -= 1
        node.ctime_ns = int(self._clock.now() * 1e9)
        self._freed(node)

    def _opened(self, node: Node) -> "FakeSource":
        self.open_sources += 1
        return FakeSource(node, self._closed, self._opened)

    def _closed(self, node: Node) -> None:
        node.opened -= 1
        self.open_sources -= 1
        self._freed(node)

    def _freed(self, node: Node) -> None:
        if not node.links and not node.opened:
            self._free_inodes.append(node.inode)


class FakeSource:
    """``ports.Source`` on a node."""

    def __init__(
        self,
        node: Node,
        closed: Callable[[Node], None],
        opened: "Callable[[Node], FakeSource]",
    ) -> None:
        self._node: Node | None = node
        self._closed = closed
        self._opened = opened
        node.opened += 1

    def stat(self) -> FileStat:
        """``fstat``, and the generation."""
        node = self._open()
        return replace(_file_stat(node), generation=node.generation, born_ns=node.born_ns)

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``."""
        node = self._open()
        if node.read_error is not None:
            raise node.read_error
        node.read_bytes += length
        return node.body[offset : offset + length]

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Like ``read``."""
        found = self.read(offset, len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def writer(self) -> WriterTest:
        """What ``set_writer`` said."""
        return self._open().writer

    def unlinked_bytes(self) -> int:
        """All of it, once it has no name."""
        node = self._open()
        return 0 if node.links else len(node.body)

    def duplicate(self) -> "FakeSource":
        """dup(2)."""
        return self._opened(self._open())

    def close(self) -> None:
        """Idempotent."""
        node, self._node = self._node, None
        if node is not None:
            self._closed(node)

    def _open(self) -> Node:
        if self._node is None:
            raise PortError("Unreadable", os.strerror(errno.EBADF))
        return self._node


def _is_cached(scan_cache: ScanCache, entry: Entry) -> bool:
    above, slash, name = entry.path.rpartition(b"/")
    before, _ = scan_cache.enter(above + slash)
    stat = entry.stat
    mark = fingerprint(stat.device, stat.inode, stat.size_bytes, stat.mtime_ns, stat.ctime_ns)
    found = before.get(os.fsdecode(name))
    if found is None or mark not in (found, OLD - found):
        return False
    _, now = scan_cache.enter(above + slash)
    now[os.fsdecode(name)] = found
    scan_cache.meet(above + slash, os.fsdecode(name), found)
    return True


def _is_below(path: bytes, directory: bytes) -> bool:
    return path.startswith(directory + b"/")


def _file_stat(node: Node) -> FileStat:
    return FileStat(
        inode=node.inode,
        size_bytes=len(node.body),
        mtime_ns=node.mtime_ns,
        ctime_ns=node.ctime_ns,
        link_count=node.links,
        kind=node.kind,
        device=node.device,
    )
