"""What the kernel knows of a file beyond ``stat``: its generation, its time of birth, its mount.

ioctl_iflags(2), statx(2). Python has no ``os.statx`` before 3.15.
"""

import ctypes
import fcntl
import struct
from typing import NamedTuple

_STATX = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
_FS_IOC_GETVERSION = 0x80087601
_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = 0x100, 0x1000
_STATX_BTIME, _MOUNT_ROOT = 0x800, 0x2000
_STATX_BYTES = 256
_FIELDS = struct.Struct("=I4xQ16xQ40xqI")
"""Of ``struct statx`` in linux/stat.h: what was found, attributes, inode, time of birth."""
_VERSION = struct.Struct("=I4x")


class Status(NamedTuple):
    inode: int
    born: str
    """Seconds and nanoseconds; empty where no time of birth is known."""
    is_mount: bool
    """Whether something is mounted on it (Linux 5.8)."""


def statx(descriptor: int, name: bytes = b"") -> Status:
    """Of the open file, or of an entry of the open directory; empty where the kernel has none."""
    found = ctypes.create_string_buffer(_STATX_BYTES)
    if _STATX is not None:
        _STATX(descriptor, name, _AT_EMPTY_PATH | _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, found)
    mask, attributes, inode, seconds, nanoseconds = _FIELDS.unpack_from(found)
    is_known = mask & _STATX_BTIME and seconds
    return Status(
        inode, f"{seconds}.{nanoseconds:09}" if is_known else "", bool(attributes & _MOUNT_ROOT)
    )


def generation(descriptor: int) -> int | None:
    """What ext4 and XFS keep on the disk, and change when the inode number is used again."""
    try:
        answer = fcntl.ioctl(descriptor, _FS_IOC_GETVERSION, bytes(8))
    except OSError:
        return None
    return int(_VERSION.unpack(answer)[0])
