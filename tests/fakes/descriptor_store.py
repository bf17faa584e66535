"""systemd's descriptor store in memory: it outlives every life of a ``World``."""

import os
from collections.abc import Callable, Iterator

from shipper.edges.files.open_file import FileSource
from shipper.ports import Source
from shipper.services.bugs import Bugs
from shipper.services.sources.held_files import HeldFiles
from tests.fakes.files import FakeSource
from tests.fakes.log import RecordingLog


class FakeDescriptorStore:
    """``effect`` is called with ``before NAME`` and ``after NAME`` around every side effect.

    Where there ``is_none``, it forgets everything at once, as without systemd.
    """

    def __init__(self, *, is_none: bool = False) -> None:
        self.effect: Callable[[str], None] = lambda name: None
        self._is_none = is_none
        self._kept: dict[str, FakeSource | FileSource] = {}

    def kept(self) -> Iterator[tuple[str, Source]]:
        """Copies of all."""
        yield from [(name, duplicate(source)) for name, source in self._kept.items()]

    def put(self, name: str, source: Source) -> None:
        """Keep a copy."""
        if self._is_none:
            return
        self.effect("before put")
        assert name not in self._kept
        self._kept[name] = duplicate(source)
        self.effect("after put")

    def remove(self, name: str) -> None:
        """Close the copy."""
        if name in self._kept:
            self.effect("before removed")
            self._kept.pop(name).close()
            self.effect("after removed")

    def names(self) -> list[str]:
        """Of all that is kept."""
        return list(self._kept)


def duplicate(source: Source) -> FakeSource | FileSource:
    """dup(2)."""
    if isinstance(source, FakeSource):
        return source.duplicate()
    assert isinstance(source, FileSource)
    return FileSource(os.dup(source.fileno()), "a copy")


def held_by(store: FakeDescriptorStore | None = None, *, files: int = 256) -> HeldFiles:
    """Held files, without a descriptor store unless there is one."""
    kept = store or FakeDescriptorStore(is_none=True)
    return HeldFiles(store=kept, bugs=Bugs(RecordingLog(), str), files=files)
