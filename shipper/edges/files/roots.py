"""Which file system stands at a path, in words that outlive a reboot and not a mount.

Device numbers change at a reboot, and so does the ``f_fsid`` that XFS and others make of them. An
inode number alone is no identity: every ext4 begins with 2. Its generation (ioctl_iflags(2)) and
its time of birth (statx(2)) are on the disk. Where neither is known (NFS), ``f_fsid`` has to do.

A directory begins another one where its device differs, or where something is mounted on it: a
bind mount has the device of what it shows (STATX_ATTR_MOUNT_ROOT, Linux 5.8).
"""

import errno
import os
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from shipper.core.disk_space import DiskSpace
from shipper.edges.files.links import BELOW, opened
from shipper.edges.files.statx import generation, statx

_EXT_ROOT = 2
"""Its generation is 0, and it was born in a whole second; its ``f_fsid`` is on the disk."""


class Place(NamedTuple):
    """``text`` is as ``ports.Files.place`` returns it."""

    device: int
    text: str


def place_of(directory: int, path: bytes = b"", outer: Place | None = None) -> Place:
    """The open directory's, which is ``path`` below the watch; ``outer`` where it begins none."""
    device = os.fstat(directory).st_dev
    if outer is not None and device == outer.device and not statx(directory).is_mount:
        return outer
    return Place(device, f"{root_of(directory)} at {quote(path)}")


def place_below(
    directory: int,
    parts: Sequence[bytes],
    begins: bytes,
    path: bytes = b"",
    outer: Place | None = None,
) -> Place:
    """The one that ``parts`` lead to, as far as they are there. Closes the directory."""
    with opened(directory):
        place = place_of(directory, path, outer if path != begins else None)
        if not parts:
            return place
        try:
            below = os.open(parts[0], BELOW, dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return place
            raise
        return place_below(below, parts[1:], begins, os.path.join(path, parts[0]), place)


def root_of(directory: int) -> str:
    """The open directory; two texts are equal if it is the same one."""
    status, file_system = os.fstat(directory), os.fstatvfs(directory).f_fsid
    number, born = generation(directory), statx(directory).born
    told = "" if number is None else f" generation {number}"
    told += f" born {born}" if born else ""
    if (not told or status.st_ino <= _EXT_ROOT) and file_system != status.st_dev:
        told += f" of {file_system:x}"
    return f"{status.st_ino}{told}"


def space_of(directory: int) -> DiskSpace:
    """The open directory's file system, in whole blocks."""
    found = os.fstatvfs(directory)
    block = found.f_frsize
    return DiskSpace(
        device=os.fstat(directory).st_dev,
        used_bytes=(found.f_blocks - found.f_bfree) * block,
        free_bytes=found.f_bavail * block,
        used_inodes=found.f_files - found.f_ffree,
        free_inodes=found.f_favail,
        block_bytes=block,
    )
