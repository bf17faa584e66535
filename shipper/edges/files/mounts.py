"""The table of mounts, read again only when the kernel says that it has changed.

poll(2) on /proc/self/mountinfo answers without asking any file system, so a network mount whose
server is gone is recognised without being touched.
"""

import os
import select

from shipper.core.mounts import Mount, mounts_from_text

MOUNTINFO = "/proc/self/mountinfo"
_PIECE_BYTES = 1 << 16


class MountTable:
    """What is mounted where, as this process sees it. All methods belong to one thread."""

    def __init__(self, path: str = MOUNTINFO) -> None:
        self._path = path
        self._descriptor = -1
        self._poll = select.poll()
        self.mounts: tuple[Mount, ...] = ()
        """Empty where there is no /proc: nothing is known of any directory then."""

    def refresh(self) -> bool:
        """Read the table if it has changed since the last call; whether it had."""
        try:
            if self._descriptor >= 0 and not self._poll.poll(0):
                return False
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                self._poll.register(self._descriptor, select.POLLPRI)
            self.mounts = mounts_from_text(self._text())
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Release the descriptor; idempotent, and ``refresh`` opens it again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._poll.unregister(descriptor)
            os.close(descriptor)

    def _text(self) -> str:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        pieces = iter(lambda: os.read(self._descriptor, _PIECE_BYTES), b"")
        return os.fsdecode(b"".join(pieces))
