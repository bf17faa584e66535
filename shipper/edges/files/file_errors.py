"""What goes wrong with files and directories, as the one error the rest of shipper knows."""

import contextlib
import errno
import os
from collections.abc import Iterator

from shipper.core.object_keys import printable
from shipper.core.types import RelativePath, Watch
from shipper.edges.files.open_file import port_error
from shipper.ports import PortError

DENIED = (errno.EACCES, errno.EPERM)
ABSENT = (errno.ENOENT, errno.ENOTDIR)
HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108  (named, not used)
"""Below these the unit shows the daemon nothing (ProtectHome=, PrivateTmp=)."""
NOT_REGULAR = (errno.ELOOP, errno.ENXIO, errno.EISDIR)


@contextlib.contextmanager
def removing(watch: Watch, path: RelativePath) -> Iterator[None]:
    """Translate what goes wrong while an entry is removed or moved."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOENT:
                code, hint = "NotFound", ""
            case errno.EXDEV:
                code, hint = "CrossDevice", "archive_directory must be on the watch's file system"
            case errno.EACCES | errno.EPERM | errno.EROFS:
                code, hint = "RemoveDenied", "give the daemon write permission on the directory"
            case errno.ELOOP:
                code, hint = "RemoveDenied", ""
            case errno.ENOTDIR | errno.EEXIST:
                code, hint = (
                    "RemoveDenied",
                    "something that is no directory is in archive_directory",
                )
            case _:
                code, hint = "Unreadable", ""
        raise port_error(code, label(watch, path), error, hint) from error


def label(watch: Watch, path: bytes) -> str:
    """The path for people."""
    return printable(os.path.join(os.fsencode(watch.directory), path)).rstrip("/")


def scan_error(watch: Watch, path: bytes, error: OSError) -> PortError:
    """Why a directory could not be looked into."""
    code, hint = "DirectoryUnreadable", ""
    if error.errno in ABSENT:
        code, hint = "NotFound", "create it, or correct the watch's directory"
        if watch.directory.startswith(HIDDEN):
            hint += (
                "; if it is there, the unit hides it: home.conf in /usr/share/doc/shipper/examples"
            )
    elif error.errno in DENIED:
        hint = "give the daemon read and search permission on the directory"
    return port_error(code, label(watch, path), error, hint)


def file_error(watch: Watch, path: bytes, error: OSError) -> PortError:
    """Why a file could not be opened."""
    code, hint = "Unreadable", ""
    if error.errno in ABSENT:
        code = "NotFound"
    elif error.errno in NOT_REGULAR:
        code = "NotRegular"
    elif error.errno in DENIED:
        code, hint = "SourceUnreadable", "give the daemon read permission on the file"
    return port_error(code, label(watch, path), error, hint)
