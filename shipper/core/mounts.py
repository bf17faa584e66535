"""Which directories cannot be listened to, because of the file system they are on.

inotify(7) does not tell what another machine writes to a network file system, or a server to its
own FUSE mount. The *name* of the type decides: statfs(2) has one number for every FUSE file
system, and asks a server that may hang.

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
"""Types that others than this kernel write to. ``fuseblk`` is a local disk."""

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    number: int
    parent: int
    device: str
    path: str
    kind: str


def is_watchable(kind: str) -> bool:
    return kind not in NETWORK and not kind.startswith("fuse.")


def mounts_from_text(text: str) -> tuple[Mount, ...]:
    """The lines of /proc/self/mountinfo; others are left out."""
    found = []
    for line in text.splitlines():
        words, _, source = line.partition(" - ")
        try:
            number, parent, device, _, path = words.split(" ")[:5]
            kind = source.split(" ")[0]
            found.append(Mount(int(number), int(parent), device, _unescaped(path), kind))
        except ValueError:
            continue
    return tuple(found)


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that a path without links leads to; the kernel does not see covered ones."""
    children: dict[int, list[Mount]] = defaultdict(list)
    numbers = set()
    for mount in mounts:
        children[mount.parent].append(mount)
        numbers.add(mount.number)
    roots = [
        mount for mount in mounts if mount.parent not in numbers or mount.parent == mount.number
    ]
    found, below = None, roots
    while on_the_way := [mount for mount in below if _is_at_or_below(mount.path, path)]:
        found = min(on_the_way, key=lambda mount: len(mount.path))
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
        and _is_at_or_below(directory, mount.path)
        and mount_of(mount.path, mounts) is mount
    ]
    return (*([] if top is None else [top]), *below)


def _is_at_or_below(directory: str, path: str) -> bool:
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def _unescaped(path: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), path)
