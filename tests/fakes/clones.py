"""Clones in memory: ``ports.Clones`` as ``DirectoryClones`` keeps it on a file system that can."""

from collections.abc import Callable
from dataclasses import dataclass

from shipper.core.types import FileKind
from shipper.ports import Clones, PortError, Source
from shipper.services.sources.cloning import Cloning
from shipper.services.sources.held_files import HeldFiles
from tests.fakes.files import FakeSource, Node
from tests.fakes.log import RecordingLog

FIRST_INODE = 900_000


@dataclass(frozen=True, slots=True)
class _Kept:
    node: Node
    original: Node


class FakeClones:
    """``effect`` is called with ``before NAME`` and ``after NAME`` around every side effect."""

    def __init__(self, effect: Callable[[str], None] = lambda name: None) -> None:
        self.effect = effect
        self.refusal: PortError | None = None
        """What ``make`` answers, when it shall fail."""
        self.trouble: PortError | None = None
        """What everything else answers, when it shall fail."""
        self.free = 10**12
        self.asked = 0
        """How often a clone was asked for."""
        self._kept: dict[str, _Kept] = {}
        self._made = 0

    def make(self, name: str, source: Source, is_same: Callable[[Source], bool]) -> bool:
        """Clone, as ``ports.Clones`` says."""
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal
        assert isinstance(source, FakeSource)
        original = source.node
        self._made += 1
        node = Node(FIRST_INODE + self._made, FileKind.REGULAR, original.body, original.mtime_ns)
        clone = FakeSource(node, _closed)
        is_it = is_same(clone)
        clone.close()
        if is_it:
            self.effect("before clone")
            self._kept[name] = _Kept(node, original)
            self.effect("after clone")
        return is_it

    def open(self, name: str) -> Source | None:
        """Open, as ``ports.Clones`` says."""
        self._answer()
        kept = self._kept.get(name)
        return None if kept is None else FakeSource(kept.node, _closed)

    def names(self) -> list[str]:
        """Every name."""
        self._answer()
        return sorted(self._kept)

    def own_bytes(self, name: str) -> int:
        """All of it, once the original is gone or has other bytes."""
        self._answer()
        kept = self._kept.get(name)
        if kept is None:
            return 0
        original = kept.original
        is_shared = bool(original.links or original.opened) and original.body == kept.node.body
        return 0 if is_shared else len(kept.node.body)

    def remove(self, name: str) -> None:
        """Remove; idempotent."""
        self._answer()
        self.effect("before clone removed")
        self._kept.pop(name, None)
        self.effect("after clone removed")

    def free_bytes(self) -> int:
        """What ``free`` says."""
        self._answer()
        return self.free

    def spoil(self, name: str) -> None:
        """Change the clone's bytes, as a bad disk would."""
        self._kept[name].node.body = b"?" * len(self._kept[name].node.body)

    def _answer(self) -> None:
        if self.trouble is not None:
            raise self.trouble


def _closed(node: Node) -> None:
    node.opened -= 1


def held_by(clones: Clones | None = None, *, files: int = 256) -> HeldFiles:
    """Held files; only descriptors, unless there are clones."""
    used = clones or FakeClones()
    cloning = Cloning(clones=used, is_wanted=clones is not None, log=RecordingLog())
    return HeldFiles(cloning=cloning, is_named=lambda shipment: True, files=files)
