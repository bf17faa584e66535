"""The facts about one path, for ``shipper explain``; nothing is changed.

1. which watch it belongs to, and what the watch makes of the name;
2. what is there now, and who writes to it;
3. what discovery would decide about it this instant;
4. what the journal knows: of these bytes, whatever they were called, and of this name.

The daemon's own looks are in its memory. In their place stands the file's ctime, and no look at
the present file can be older. Only where it was renamed since does the daemon know better.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from shipper.config.load import Configuration
from shipper.core.object_keys import InstanceFacts
from shipper.core.sealing import Look
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
from shipper.edges.files.open_file import stat_from_status
from shipper.edges.files.open_writers import writers_of
from shipper.journal.journal import Journal
from shipper.ports import Files, PortError, Source
from shipper.reports.explanation import Facts, Relation, Row, Shipper, document_from
from shipper.reports.inspect import facts_for, journal_to_look_at, status_of_daemon
from shipper.reports.location import Location, located, resolved
from shipper.runtime.state_directory import is_locked
from shipper.runtime.wiring import candidates_for
from shipper.services.finding.candidates import Candidate, Candidates
from shipper.services.sources.lookup import paths_of
from shipper.services.sources.matching import matches

SEGMENTS_SHOWN = 100
NAMESAKES_SHOWN = 3
"""A name such as ``app.log.1`` has had hundreds of files, and the newest are of interest."""


def explanation(
    configuration: Configuration,
    environment: Mapping[str, str],
    path: bytes,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Everything there is to say about the path, ready for JSON. Blocks while IMDS is asked.

    Raises:
        PortError: ``NoJournal``, ``JournalUnwritable``; ``Unreadable``, when a file that is gone
            was looked for and not every directory could be read.
    """
    status = status_of_daemon(configuration, environment)
    shipper = Shipper(status, is_locked(configuration.state_directory))
    with journal_to_look_at(configuration) as journal:

        @functools.cache
        def facts() -> InstanceFacts | None:
            if status is not None:
                return _facts_of(status)
            return facts_for(configuration, environment, journal.origin.instance_id(), say)

        deciding = candidates_for(configuration, journal, facts)
        location = located(configuration.watches, path)
        return document_from(_facts(path, location, shipper, journal, deciding))


def _facts_of(status: Mapping[str, Any]) -> InstanceFacts | None:
    """The running daemon's instance; None until it is identified."""
    known = status["instance"]
    return (
        None
        if known is None
        else InstanceFacts(**{one.name: known[one.name] for one in fields(InstanceFacts)})
    )


def _facts(
    path: bytes,
    location: Location | None,
    shipper: Shipper,
    journal: Journal,
    deciding: Candidates,
) -> Facts:
    real, clock, files = resolved(path), SystemClock(), DirectoryFiles()
    facts = Facts(path=real, now=clock.now(), shipper=shipper, location=location)
    try:
        status = os.lstat(real)
    except (FileNotFoundError, NotADirectoryError):
        return facts if location is None else _of_absent(facts, location, journal, files)
    stat = stat_from_status(status)
    is_file = stat.kind is FileKind.REGULAR
    facts = replace(facts, stat=stat, writers=writers_of(status) if is_file else None)
    if location is None:
        return facts
    with _opened(files, location.watch, real, stat) as source:
        rows, left_out = _rows(journal, location, stat, source)
    candidate = None
    if location.role is Role.ROTATED and stat.kind is not FileKind.DIRECTORY:
        candidate = _decided(deciding, location, stat, facts.now, clock.monotonic())
    return replace(facts, candidate=candidate, rows=rows, rows_left_out=left_out)


def _of_absent(facts: Facts, location: Location, journal: Journal, files: Files) -> Facts:
    """What the journal remembers of a name that leads nowhere, and where that file is now."""
    rows, left_out = _rows(journal, location, None, None)
    facts = replace(facts, rows=rows, rows_left_out=left_out)
    if not rows:
        return facts
    try:
        moved_to = _moved_to(rows[-1].shipment, location.watch, files)
    except PortError as error:
        return replace(facts, problem=error)
    return replace(facts, moved_to=moved_to)


def _moved_to(shipment: Shipment, watch: Watch, files: Files) -> RelativePath | None:
    """Where the shipment's file is now.

    Raises:
        PortError: ``Unreadable``; not every directory could be looked at.
    """
    for path in paths_of(files, shipment, watch):
        with contextlib.suppress(PortError), contextlib.closing(files.open(watch, path)) as source:
            if matches(source, shipment):
                return path
    return None


def _decided(
    deciding: Candidates, location: Location, stat: FileStat, now: float, monotonic: float
) -> Candidate:
    """What discovery would decide, had it looked at the file since it last changed."""
    quiet = max(0.0, now - stat.ctime_ns / 1e9)
    since = monotonic - quiet
    look = Look(location.path, stat.size_bytes, stat.mtime_ns, stat.ctime_ns, since, since)
    candidate = deciding.decide(location.watch, Entry(location.path, stat), look)
    if candidate.source is not None:
        candidate.source.close()
    return candidate


@contextlib.contextmanager
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
    with contextlib.closing(source):
        yield source


def _rows(
    journal: Journal, location: Location, stat: FileStat | None, source: Source | None
) -> tuple[list[Row], int]:
    """The shipments of the file that is there, last, and some others; how many are left out."""
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
