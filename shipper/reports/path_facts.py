"""The facts about one path, for ``shipper explain``; nothing is changed.

1. Which watch the path belongs to, and what the watch makes of the name.
2. What is there now, and who writes to it.
3. What discovery would decide about it this instant.
4. What the journal knows of these bytes, whatever they were called, and of this name.

The daemon's looks are in its memory. The file's ctime stands in their place, because no look at
the present file can be older. The daemon knows better only where the file was renamed since.
"""

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

from shipper.config.load import Configuration
from shipper.config.schema import Disk
from shipper.core.dates_in_names import earlier_clock
from shipper.core.failures import hint_for
from shipper.core.globs import within
from shipper.core.object_keys import InstanceFacts, printable
from shipper.core.roles import role_and_reason
from shipper.core.sealing import Look
from shipper.core.siblings import Listed, Siblings
from shipper.core.types import (
    Entry,
    FileKind,
    FileStat,
    RelativePath,
    Role,
    Shipment,
    Watch,
)
from shipper.edges.clock import SystemClock
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.files.links import DIRECTORY, below, opened
from shipper.edges.files.open_file import stat_from_status
from shipper.edges.files.open_writers import Writers, writers_of
from shipper.edges.files.scan import DEEPEST, kind_of_link, listed, mtime_ns
from shipper.journal.journal import Journal
from shipper.ports import Files, PortError, Source
from shipper.reports.inspect import facts_for, journal_to_look_at, status_of_daemon
from shipper.runtime.state_directory import is_locked
from shipper.runtime.wiring import candidates_for
from shipper.services.finding.candidate import Candidate
from shipper.services.finding.candidates import Candidates
from shipper.services.finding.live_logs import LiveLog, LiveLogs
from shipper.services.sources.lookup import paths_of
from shipper.services.sources.matching import matches

_BEHIND = "behind a symbolic link, which no scan follows"
_HINT_BEHIND = "watch the directory it leads to"
SEGMENTS_SHOWN = 100
NAMESAKES_SHOWN = 3
"""A name such as ``app.log.1`` has had hundreds of files; only the newest matter."""


@dataclass(frozen=True, slots=True)
class Location:
    """A path below a watch, or below its archive directory.

    Without a ``role`` the watch leaves it alone; ``hint`` is how that could be changed, where it
    is not what the configuration asks for.
    """

    watch: Watch
    path: RelativePath
    role: Role | None
    because: str
    hint: str = ""
    is_archive: bool = False


class Relation(Enum):
    """What a shipment has to do with the file that is there now; the value is for people."""

    SAME = "this file"
    UNREAD = "this inode; the bytes could not be compared"
    REWRITTEN = "this inode, when it had other bytes"
    NAMESAKE = "another file that had this name"


@dataclass(frozen=True, slots=True)
class Row:
    """A shipment that has to do with the path."""

    shipment: Shipment
    relation: Relation
    parts_stored: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was gathered about a path at ``now``."""

    path: bytes
    now: float
    status: dict[str, Any] | None = None
    """The daemon's; None where none could be asked."""
    is_locked: bool = False
    """Whether some shipper is at work here."""
    location: Location | None = None
    stat: FileStat | None = None
    writers: Writers | None = None
    candidate: Candidate | None = None
    rows: Sequence[Row] = ()
    rows_left_out: int = 0
    moved_to: RelativePath | None = None
    """Where the newest shipment's file is, when nothing is at the path any more."""
    log: LiveLog | None = None
    """How far a live file is shipped."""
    disk: Disk | None = None
    problem: PortError | None = None
    """Why it could not be looked for everywhere."""


def gathered(
    configuration: Configuration,
    environment: Mapping[str, str],
    path: bytes,
    say: Callable[[str], None],
) -> Facts:
    """All facts about the path. Blocks while the metadata service is asked.

    Raises:
        PortError: ``NoJournal``, ``JournalUnwritable``.
    """
    status = status_of_daemon(configuration, environment)
    facts = Facts(
        path=resolved(path),
        now=time.time(),
        status=status,
        is_locked=is_locked(configuration.state_directory),
        location=located(configuration.watches, path),
        disk=configuration.disk,
    )
    with journal_to_look_at(configuration) as journal:

        @functools.cache
        def instance() -> InstanceFacts | None:
            if status is None:
                return facts_for(configuration, environment, journal.origin.instance_id(), say)
            known: dict[str, Any] | None = status["instance"]
            if known is None:
                return None
            return InstanceFacts(**{one.name: known[one.name] for one in fields(InstanceFacts)})

        return _completed(facts, journal, candidates_for(configuration, journal, instance))


def _completed(facts: Facts, journal: Journal, deciding: Candidates) -> Facts:
    location, files = facts.location, DirectoryFiles()
    try:
        status = os.lstat(facts.path)
    except (FileNotFoundError, NotADirectoryError):
        return facts if location is None else _of_absent(facts, location, journal, files)
    except OSError as error:
        detail = f"{printable(facts.path)}: {error.strerror}"
        raise PortError("DirectoryUnreadable", detail, hint_for("DirectoryUnreadable")) from error
    stat = stat_from_status(status)
    if stat.kind is FileKind.SYMLINK and location is not None:
        location, stat = _linked(location, facts.path, stat)
        facts = replace(facts, location=location)
    is_file = stat.kind is FileKind.REGULAR
    facts = replace(facts, stat=stat, writers=writers_of(status) if is_file else None)
    if location is None:
        return facts
    with _opened(files, location.watch, facts.path, stat) as source:
        rows, left_out = _rows(journal, location, stat, source)
    candidate = None
    match location.role:
        case Role.ROTATED if stat.kind is not FileKind.DIRECTORY:
            candidate = _decided(deciding, location, stat, facts.now)
        case Role.LIVE if stat.kind is not FileKind.DIRECTORY:
            entry = Entry(location.path, stat)
            candidate = deciding.refused_live(location.watch, entry)
            facts = replace(facts, log=_log_of(journal, files, location.watch, entry))
    return replace(facts, candidate=candidate, rows=rows, rows_left_out=left_out)


def _log_of(journal: Journal, files: Files, watch: Watch, entry: Entry) -> LiveLog | None:
    logs = LiveLogs(files=files, journal=journal, clock=SystemClock())
    logs.saw(watch, entry)
    return next(iter(logs.of(watch)), None)


def _linked(location: Location, path: bytes, stat: FileStat) -> tuple[Location, FileStat]:
    """What a link is to the watch. One to a directory is left alone."""
    watch, siblings, now = location.watch, _siblings(path), earlier_clock(time.time())

    def selects(path: RelativePath, siblings: Siblings) -> bool:
        return role_and_reason(watch, path, siblings, now)[0] is not None

    with opened(os.open(os.path.dirname(path), DIRECTORY)) as directory:
        kind = kind_of_link(watch, selects, directory, location.path, siblings)
    is_excluded = location.because.startswith("excluded")
    is_left = kind is FileKind.LINKED_DIRECTORY and location.role is not Role.ROTATED
    if is_left and not is_excluded:
        location = replace(location, role=None, because=_BEHIND, hint=_HINT_BEHIND)
    return location, replace(stat, kind=kind)


def _of_absent(facts: Facts, location: Location, journal: Journal, files: Files) -> Facts:
    """What the journal remembers of a name that leads nowhere, and where that file is now."""
    rows, left_out = _rows(journal, location, None, None)
    facts = replace(facts, rows=rows, rows_left_out=left_out)
    if not rows:
        return facts
    watch, shipment = location.watch, rows[-1].shipment
    try:
        for path in paths_of(files, shipment, watch):
            with suppress(PortError), closing(files.open(watch, path)) as source:
                if matches(source, shipment):
                    return replace(facts, moved_to=path)
    except PortError as error:  # not every directory could be looked at
        return replace(facts, problem=error)
    return facts


def _decided(deciding: Candidates, location: Location, stat: FileStat, now: float) -> Candidate:
    """What discovery would decide, had it looked at the file since it last changed."""
    since = time.monotonic() - max(0.0, now - stat.ctime_ns / 1e9)
    times = stat.mtime_ns, stat.ctime_ns, since, since
    look = Look(location.path, stat.size_bytes, *times, is_old=True)  # if it is, as at a start
    candidate = deciding.decide(location.watch, Entry(location.path, stat), look)
    if candidate.source is not None:
        candidate.source.close()
    return candidate


@contextmanager
def _opened(files: Files, watch: Watch, real: bytes, stat: FileStat) -> Iterator[Source | None]:
    """The file at the path, wherever that is; None where it may not be opened."""
    above, name = os.path.split(real)
    try:
        if stat.kind is not FileKind.REGULAR:
            yield None
            return
        source = files.open(replace(watch, directory=os.fsdecode(above)), RelativePath(name))
    except PortError:
        yield None
        return
    with closing(source):
        yield source


def _rows(
    journal: Journal, location: Location, stat: FileStat | None, source: Source | None
) -> tuple[list[Row], int]:
    """The shipments to show, those of the file that is there last; and how many are left out."""
    watch, path = location.watch.name, location.path
    of_inode = [] if stat is None else journal.known(watch, stat.inode)
    found = {row.id: row for row in [*journal.at_path(watch, path), *of_inode]}
    relations = {number: _relation(row, stat, source) for number, row in sorted(found.items())}
    own = (Relation.SAME, Relation.UNREAD)
    mine = [found[number] for number, relation in relations.items() if relation in own]
    others = [
        found[number]
        for number, relation in relations.items()
        if relation not in own and found[number].path == path  # inodes are used again
    ]
    shown = [*others[-NAMESAKES_SHOWN:], *mine[-SEGMENTS_SHOWN:]]
    rows = [Row(one, relations[one.id], len(journal.receipts(one))) for one in shown]
    return rows, len(others) + len(mine) - len(shown)


def _relation(row: Shipment, stat: FileStat | None, source: Source | None) -> Relation:
    if stat is None or stat.inode != row.file_id.inode:
        return Relation.NAMESAKE
    if source is None:
        return Relation.UNREAD
    return Relation.SAME if matches(source, row) else Relation.REWRITTEN


def resolved(path: bytes) -> bytes:
    """The path from the root, through every link but a last one."""
    above, name = os.path.split(path.rstrip(b"/") or b"/")
    if name in (b"", b".", b".."):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(above or b"."), name)


def located(watches: Iterable[Watch], path: bytes) -> Location | None:
    """The watch that a path (relative ones are, to the current directory) belongs to.

    Of several, the one that ships it; None where there is none.
    """
    real, spelt = resolved(path), os.path.abspath(path)
    found = [_within(watch, real, spelt) for watch in watches]
    ranks = [Role.ROTATED, Role.LIVE, None]
    return min(
        (one for one in found if one is not None),
        key=lambda one: (ranks.index(one.role), -len(one.watch.directory)),
        default=None,
    )


def _within(watch: Watch, real: bytes, spelt: bytes) -> Location | None:
    archived = below(watch.archive_directory, real) if watch.archive_directory else None
    if archived is not None:
        return Location(watch, archived, None, "in the archive directory", is_archive=True)
    inside = below(watch.directory, real)
    if inside is None:
        return _behind_a_link(watch, spelt)
    inner = within(watch, inside)
    if inner is None:
        return None
    depth = inner.count(b"/")
    if depth and not watch.recursive:
        return Location(watch, inside, None, "in a subdirectory, and recursive is false")
    if depth > DEEPEST:
        because = f"more than {DEEPEST} directories below the watch's"
        return Location(watch, inside, None, because, "watch a directory further down")
    role, because = role_and_reason(watch, inside, _siblings(real), earlier_clock(time.time()))
    is_meant = role is not None or because.startswith("excluded")
    hint = "" if is_meant else "name it in include, if it is to be shipped"
    return Location(watch, inside, role, because, hint)


def _siblings(real: bytes) -> Siblings:
    def listing() -> Iterator[Listed]:
        with suppress(OSError), opened(os.open(above, DIRECTORY)) as directory:
            yield from listed(directory)

    above = os.path.dirname(real)
    return Siblings(listing, mtime_ns=lambda name: mtime_ns(os.path.join(above, name)))


def _behind_a_link(watch: Watch, spelt: bytes) -> Location | None:
    above = os.path.abspath(os.fsencode(watch.directory)) + b"/"
    if not spelt.startswith(above):
        return None
    path = RelativePath(spelt.removeprefix(above))
    if within(watch, path) is None:
        return None
    return Location(watch, path, None, _BEHIND, _HINT_BEHIND)
