"""A request's body as a file, which signers and libcurl read: from where it is, never copied."""

import os

from shipper.core.replay import Replay, ReplayView

Content = bytes | bytearray | memoryview | Replay


class Body:
    def __init__(self, content: Content) -> None:
        self._view = ReplayView(content) if isinstance(content, Replay) else memoryview(content)
        self._at = 0

    def __len__(self) -> int:
        return len(self._view)

    def read(self, length: int = -1) -> memoryview:
        start, size = self._at, len(self._view)
        self._at = size if length < 0 else min(start + length, size)
        return self._view[start : self._at]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence, len(self._view))
        return self._at

    def tell(self) -> int:
        return self._at
