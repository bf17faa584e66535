"""What the kernel knows of a file beyond ``stat``: its generation, its time of birth, its mount.

ioctl_iflags(2), statx(2). Python has no ``os.statx`` before 3.15.
"""

import ctypes
import fcntl
import struct
from typing import NamedTuple

_LIBC = ctypes.CDLL(None, use_errno=True)
_FS_IOC_GETVERSION = 0x80087601
_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = 0x100, 0x1000
_STATX_BTIME, _MOUNT_ROOT = 0x800, 0x2000
_STATX_BYTES, _ATTRIBUTES_AT, _INODE_AT, _BIRTH_AT = 256, 8, 32, 80
"""``struct statx`` of linux/stat.h; the mask of what was found comes first."""


class Status(NamedTuple):
    inode: int
    born: str
    """Seconds and nanoseconds; empty where no time of birth is known."""
    is_mount: bool
    """Whether something is mounted on it (Linux 5.8)."""


def statx(descriptor: int, name: bytes = b"") -> Status:
    """Of the open file, or of an entry of the open directory; empty where the kernel has none."""
    call, found = getattr(_LIBC, "statx", None), ctypes.create_string_buffer(_STATX_BYTES)
    if call is not None:
        call(descriptor, name, _AT_EMPTY_PATH | _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, found)
    (mask,) = struct.unpack_from("=I", found)
    (attributes,) = struct.unpack_from("=Q", found, _ATTRIBUTES_AT)
    (inode,) = struct.unpack_from("=Q", found, _INODE_AT)
    seconds, nanoseconds = struct.unpack_from("=qI", found, _BIRTH_AT)
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
    return int(struct.unpack_from("=I", answer)[0])
