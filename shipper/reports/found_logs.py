"""Directories with rotated logs, by the rules that a watch without globs follows."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from shipper.core.dates_in_names import earlier_clock
from shipper.core.globs import split_directory
from shipper.core.roles import selection
from shipper.core.types import Entry, FileKind, Watch
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.ports import PortError

MOST_LOOKS = 4_000
"""Each is one directory, or 256 entries of it."""


@dataclass(slots=True)
class FoundLogs:
    """A directory, and what a watch of it would ship."""

    directory: str
    recursive: bool
    files: int = 0
    size_bytes: int = 0


@dataclass(slots=True)
class Findings:
    """What was found below a directory."""

    logs: list[FoundLogs]
    problems: list[str]
    """What could not be read, or was not looked at."""


class _EnoughError(Exception):
    """The bound was met."""


def found_below(top: str) -> Findings:
    """The directory itself, without those below it, and each of these with all below it."""
    problems: list[str] = []
    found: dict[str, FoundLogs] = {}
    for entry in _entries(Watch(top), problems):
        above, slash, _ = entry.path.partition(b"/")
        child = above if slash else b""
        directory = f"{top.rstrip('/')}/{child.decode('utf-8', 'surrogateescape')}".rstrip("/")
        one = found.setdefault(directory, FoundLogs(directory, recursive=bool(child)))
        one.files += 1
        one.size_bytes += entry.stat.size_bytes
    logs = []
    for name in sorted(found):
        if name.isprintable() and not split_directory(name)[1]:
            logs.append(found[name])
        else:
            problems.append(f"{name!r} is left out: a configuration cannot name it as it is")
    return Findings(logs, problems)


def found_in(directory: str) -> Findings:
    """The directory with all below it, whether or not there are logs."""
    problems: list[str] = []
    one = FoundLogs(directory, recursive=True)
    above, pattern = split_directory(directory)
    for entry in _entries(Watch(above, pattern=pattern), problems):
        one.files += 1
        one.size_bytes += entry.stat.size_bytes
    return Findings([one], problems)


def _entries(watch: Watch, problems: list[str]) -> Iterator[Entry]:
    """The files with something in them."""
    looks = iter(range(MOST_LOOKS))

    def between() -> None:
        if next(looks, None) is None:
            raise _EnoughError

    now = earlier_clock(time.time())
    files = DirectoryFiles(between=between)
    try:
        for entry in files.scan(watch, lambda path, beside: selection(watch, path, beside, now)):
            if isinstance(entry, PortError):
                problems.append(str(entry))
            elif entry.stat.kind is FileKind.REGULAR and entry.stat.size_bytes:
                yield entry
    except _EnoughError:
        problems.append(f"{watch.directory} is too large to be looked at whole")
