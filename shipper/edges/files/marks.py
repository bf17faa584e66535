"""Which directories this process really listens to, as the kernel lists them.

watchdog passes over a subdirectory that inotify refuses (ENOSPC), and over one that was made while
events overflowed. The kernel tells: /proc/self/fdinfo/N of an inotify descriptor has a line for
each mark, with inode and device (``Documentation/filesystems/proc.rst``, "inotify files").
The device is the superblock's, which on btrfs is not what stat(2) says; hence the table of mounts.
"""

import os
import re
from collections import Counter

from shipper.core.mounts import Mount

Mark = tuple[int, int]
"""Device of the superblock and inode."""

_MARK = re.compile(rb"^inotify wd:[0-9a-f]+ ino:([0-9a-f]+) sdev:([0-9a-f]+) ", re.MULTILINE)


def marks() -> Counter[Mark]:
    """Every directory listened to. Subvolumes of btrfs share a device, so numbers may repeat.

    Empty where the kernel does not tell.
    """
    found: Counter[Mark] = Counter()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}") == "anon_inode:inotify":
                with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
                    lines = _MARK.findall(file.read())
                found.update((int(device, 16), int(inode, 16)) for inode, device in lines)
        except OSError:  # closed meanwhile, by another thread
            continue
    return found


def directories(top: str, seen: tuple[Mount, ...], *, recursive: bool) -> dict[str, Mark]:
    """The directory and, when recursive, those below it that can be read, by path.

    ``seen`` are the mounts there (``core.mounts.mounts_seen``). Follows no links but those in
    ``top``. Costs one read of each directory.
    """
    devices = {mount.facts: mount.device for mount in seen}
    found: dict[str, Mark] = {}
    waiting = [(top, seen[0].device)] if seen else []
    while waiting:
        path, device = waiting.pop()
        device = devices.get(path, device)
        try:
            with os.scandir(path) as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            found[path] = (device, os.stat(path, follow_symlinks=False).st_ino)
        except OSError:  # gone, or not readable: a scan of it says so
            continue
        if recursive:
            waiting += [(one, device) for one in below]
    return found


def unmarked(wanted: dict[str, Mark], held: Counter[Mark]) -> list[str]:
    """The wanted directories that have no mark, in order."""
    left, missing = held.copy(), []
    for path, mark in sorted(wanted.items()):
        if left[mark]:
            left[mark] -= 1
        else:
            missing.append(path)
    return missing
