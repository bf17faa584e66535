"""Which directories cannot be listened to, because of the file system they are on.

inotify(7) hears what passes through this kernel. What another machine writes to a network file
system, or a server to a FUSE mount of its own, is never heard; neither is it certain that what is
written from here is. Such a root is scanned more often instead (``core.schedule.scan_interval``).
The *name* of the type decides, not statfs(2): every FUSE file system has the same number there,
and statfs asks the server, which may hang.

Overlay is heard: an overlay's directories keep their inodes when they are copied up, and writing
to its layers behind its back is undefined anyway (tried on a real one in
``tests/integration/test_watcher_mounts.py``). ``fuseblk`` is a local disk.

The table: https://www.kernel.org/doc/html/latest/filesystems/proc.html (mountinfo).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "9p"}
    | {"virtiofs", "vboxsf", "prl_fs", "vmhgfs", "lustre", "gpfs", "beegfs", "glusterfs"}
    | {"orangefs", "pvfs2", "panfs", "wekafs", "ocfs2", "gfs", "gfs2", "acfs", "fuse", "autofs"}
)
"""Types that somebody else than this kernel writes to; ``fuse.ANYTHING``, too."""

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of the table. ``device`` is the number that fdinfo shows as ``sdev``."""

    number: int
    parent: int
    device: int
    facts: str
    kind: str


def is_watchable(kind: str) -> bool:
    """Whether events tell of every change on a file system of this type."""
    return kind not in NETWORK and not kind.startswith("fuse.")


def mounts_from_text(text: str) -> tuple[Mount, ...]:
    """The lines of /proc/self/mountinfo; what is no such line is left out."""
    found = []
    for line in text.splitlines():
        words, _, source = line.partition(" - ")
        try:
            number, parent, device, _, facts = words.split(" ")[:5]
            major, minor = map(int, device.split(":"))
            kind = source.split(" ")[0]
            found.append(
                Mount(int(number), int(parent), major << 20 | minor, _unescaped(facts), kind)
            )
        except ValueError:
            continue
    return tuple(found)


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that an absolute path without links leads to, found as the kernel walks.

    From each mount the walk enters the first one on its way, so that a mount which a later one
    covers is not found.
    """
    children: dict[int, list[Mount]] = defaultdict(list)
    numbers = set()
    for mount in mounts:
        children[mount.parent].append(mount)
        numbers.add(mount.number)
    roots = [
        mount for mount in mounts if mount.parent not in numbers or mount.parent == mount.number
    ]
    found, below = None, roots
    while on_the_way := [mount for mount in below if _holds(mount.facts, path)]:
        found = min(on_the_way, key=lambda mount: len(mount.facts))
        below = [mount for mount in children[found.number] if mount is not found]
    return found


def mounts_seen(directory: str, mounts: Sequence[Mount], *, recursive: bool) -> tuple[Mount, ...]:
    """The mount that the directory is on and, when recursive, those below it."""
    top = mount_of(directory, mounts)
    below = [
        mount
        for mount in mounts
        if recursive
        and mount is not top
        and _holds(directory, mount.facts)
        and mount_of(mount.facts, mounts) is mount
    ]
    return (*([] if top is None else [top]), *below)


def _holds(directory: str, path: str) -> bool:
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def _unescaped(facts: str) -> str:
    """Blanks, tabs, newlines and backslashes are written as octal numbers there."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), facts)
