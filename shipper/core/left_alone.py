"""What a watch leaves alone: regular files whose names are neither rotated, live nor excluded;
symbolic links to directories, which no scan follows; and rotated files that are too old for it."""

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from shipper.core.roles import is_excluded, role_of
from shipper.core.rotated_names import is_compressed
from shipper.core.siblings import Siblings
from shipper.core.types import FileStat, RelativePath, Role, Watch

NAMES_SHOWN = 3
ROTATED = 4
"""The likelihood of a name that rotators give: only ``include`` keeps it out."""
_HINTS_OF_A_LOG = (re.compile(rb"(?i)log|trace|audit|journal|out$|err$"), re.compile(rb"\d{2}"))


def likelihood(watch: Watch, path: RelativePath, siblings: Siblings) -> int | None:
    """How likely a name that the watch leaves alone is a log's, from 0 to ``ROTATED``.

    None for a name that it selects, or that ``exclude`` names.
    """
    if role_of(watch, path, siblings) is not None or is_excluded(watch, path):
        return None
    if watch.include and role_of(replace(watch, include=()), path, siblings) is Role.ROTATED:
        return ROTATED
    name = path.rpartition(b"/")[2]
    return is_compressed(path) + sum(bool(hint.search(name)) for hint in _HINTS_OF_A_LOG)


def is_older(watch: Watch, stat: FileStat, at: float) -> bool:
    """Whether ``ignore_older`` leaves the file alone at wall time ``at``, if none of it was
    shipped. An mtime of the future is not old."""
    return 0 < watch.ignore_older_seconds < at - stat.mtime_ns / 1e9


@dataclass(slots=True)
class LeftAlone:
    """So many files, with the names that are most likely those of logs."""

    files: int = 0
    rotated: int = 0
    """Files whose names rotators give."""
    links: int = 0
    """Symbolic links to directories outside of the watch."""
    links_named: list[RelativePath] = field(default_factory=list)
    """The first ``NAMES_SHOWN`` of them."""
    older: int = 0
    """Rotated files that are older than ``ignore_older``."""
    _likely: list[tuple[int, RelativePath]] = field(default_factory=list)
    _least: int = -1

    def add(self, likely: int, above: bytes, name: bytes | str) -> None:
        """Count a file of the directory ``above`` ("" or "a/b/")."""
        self.files += 1
        self.rotated += likely == ROTATED
        if likely <= self._least:
            return
        base = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
        self._likely.append((likely, RelativePath(above + base)))
        self._likely.sort(key=lambda one: (-one[0], one[1]))
        del self._likely[NAMES_SHOWN:]
        self._least = self._likely[-1][0] if len(self._likely) == NAMES_SHOWN else -1

    def add_link(self, path: RelativePath) -> None:
        """Count a symbolic link to a directory."""
        self.links += 1
        if self.links <= NAMES_SHOWN:
            self.links_named.append(path)

    @property
    def names(self) -> list[RelativePath]:
        """The ``NAMES_SHOWN`` most likely ones, the likeliest first."""
        return [path for _, path in self._likely]


def include_for(names: Iterable[RelativePath]) -> list[str]:
    """Globs that match these names and those that differ from them in numbers only."""
    globs = []
    for path in names:
        name = path.rpartition(b"/")[2].decode("utf-8", "surrogateescape")
        globs.append(re.sub(r"\d+", "*", glob.escape(name)))
    return list(dict.fromkeys(globs))
