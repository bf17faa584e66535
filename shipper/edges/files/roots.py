"""Which directory stands at a path, in words that outlive a reboot and not a mount.

Device numbers change at a reboot, and so does the ``f_fsid`` that XFS and others make of them. An
inode number alone is no identity: every ext4 begins with 2. Its generation (ioctl_iflags(2)) and
its time of birth (statx(2)) are on the disk. Where neither is known (NFS), ``f_fsid`` has to do.
"""

import ctypes
import fcntl
import os
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_FS_IOC_GETVERSION = 0x80087601
_AT_EMPTY_PATH = 0x1000
_STATX_BTIME = 0x800
_EXT_ROOT = 2
"""Its generation is 0, and it was born in a whole second; its ``f_fsid`` is on the disk."""
_STATX_BYTES, _BIRTH_AT = 256, 80
"""``struct statx``: the mask comes first."""


def root_of(directory: int) -> str:
    """The open directory; two texts are equal if it is the same one."""
    status, file_system = os.fstat(directory), os.fstatvfs(directory).f_fsid
    told = _generation(directory) + _birth(directory)
    if (not told or status.st_ino <= _EXT_ROOT) and file_system != status.st_dev:
        told += f" of {file_system:x}"
    return f"{status.st_ino}{told}"


def _generation(directory: int) -> str:
    try:
        answer = fcntl.ioctl(directory, _FS_IOC_GETVERSION, bytes(8))
    except OSError:
        return ""
    return f" generation {struct.unpack_from('=I', answer)[0]}"


def _birth(directory: int) -> str:
    call, found = getattr(_LIBC, "statx", None), ctypes.create_string_buffer(_STATX_BYTES)
    if call is None or call(directory, b"", _AT_EMPTY_PATH, _STATX_BTIME, found):
        return ""
    (mask,) = struct.unpack_from("=I", found)
    seconds, nanoseconds = struct.unpack_from("=qI", found, _BIRTH_AT)
    return f" born {seconds}.{nanoseconds:09}" if mask & _STATX_BTIME and seconds else ""
