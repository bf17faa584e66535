"""Series of numbered logs that shift: the file that was ``app0.log`` is ``app1.log`` now.

java.util.logging's ``app%g.log`` has no unnumbered log, and ``worker-1.log`` is one of several
processes. A rename tells them apart: the same file, by inode and time of birth, has a higher
number than in the scan before. From then on the lowest number is live, and the others are
rotated. An inode number alone tells nothing, for it is used again at once.
"""

import re
from collections.abc import Hashable, Iterable
from typing import NamedTuple

_NUMBERED = re.compile(
    rb"(?P<before>(?:.*\D)?)(?P<number>\d{1,3})"
    rb"(?P<after>\.(?:log|txt|out|err|json|jsonl|ndjson|csv|trace|audit|xml))",
    re.DOTALL,
)


class Numbered(NamedTuple):
    series: bytes
    number: int


def numbered(name: bytes) -> Numbered | None:
    """The series of a name such as ``app0.log``, and its number; None of other names."""
    found = _NUMBERED.fullmatch(name)
    return (
        Numbered(b"%b*%b" % (found["before"], found["after"]), int(found["number"]))
        if found
        else None
    )


def is_lowest(one: Numbered, names: Iterable[bytes]) -> bool:
    """Whether none of the names is of the same series and has a lower number."""
    others = (numbered(name) for name in names)
    return not any(other and other.series == one.series and other < one for other in others)


class Shifts:
    """Which series of a watch shift; for the thread that scans it."""

    def __init__(self, known: Iterable[bytes] = ()) -> None:
        self.known = set(known)
        """Each series behind its directory ("" or "a/b/")."""
        self.has_new = False
        self._before: dict[tuple[bytes, Hashable], int] = {}
        self._now: dict[tuple[bytes, Hashable], int] = {}

    def begin(self) -> None:
        """Begin a scan; it is compared with the last one."""
        self._before, self._now = self._now, {}

    def see(self, directory: bytes, name: bytes, file: Hashable) -> None:
        """Note which file has a numbered name in this scan."""
        one = numbered(name)
        if one is None or directory + one.series in self.known:
            return
        label = directory + one.series, file
        self._now[label] = one.number
        if one.number > self._before.get(label, one.number):
            self.known.add(directory + one.series)
            self.has_new = True
