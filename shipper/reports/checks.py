"""What ``shipper check`` asks: probes of what shipper needs, and what an image would carry."""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

from shipper.config.load import Configuration
from shipper.core.dates_in_names import earlier_clock
from shipper.core.failures import hint_for
from shipper.core.left_alone import ROTATED, LeftAlone, include_for
from shipper.core.lifecycle import FINISHED, FORGOTTEN, UNFINISHED
from shipper.core.object_keys import InstanceFacts
from shipper.core.roles import is_excluded, role_of, selection
from shipper.core.scan_cache import ScanCache
from shipper.core.types import (
    AfterUpload,
    ChecksumAlgorithm,
    Entry,
    FileKind,
    Role,
    State,
    Watch,
    WriterTest,
)
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.journal.database import is_absent
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.reports.inspect import UNKNOWN_INSTANCE, journal_to_look_at
from shipper.reports.rows import left_alone_lines, left_alone_row
from shipper.runtime.logs import silent
from shipper.runtime.state_directory import LOCK_FILE, is_locked, journal_path
from shipper.runtime.wiring import candidates_for
from shipper.runtime.wiring_identity import identity_for, unencrypted
from shipper.runtime.wiring_sending import store_for
from shipper.services.finding.candidates import Candidate, Decision
from shipper.services.sources.watch_roots import WatchRoots, other_root

LEFT_ALONE = "LeftAlone"
WARNINGS = frozenset({LEFT_ALONE, "ObjectUnproven"})
"""Codes of what is to be known and is no failure."""
_SHOWN_BY_ETAG = frozenset({ChecksumAlgorithm.NONE, ChecksumAlgorithm.MD5})
"""No answer repeats these."""
_HINT_STATE = "it must belong to the user that shipper runs as"
_UNSENT = frozenset({Decision.NEW, Decision.WAITING, Decision.REFUSED})
Result = tuple[str, PortError | None]
"""A probe's name, and what is wrong; None when nothing is."""


def probes(
    configuration: Configuration, environment: Mapping[str, str], *, offline: bool
) -> Iterator[Result]:
    for watch in configuration.watches:
        yield from _directory(watch)
    yield from _other_roots(configuration)
    yield from _unshown(configuration)
    plain = unencrypted(configuration.destination.endpoint_url)
    if plain is not None:
        yield "destination.endpoint_url", plain
    is_new = is_absent(journal_path(configuration.state_directory))
    name = "journal" + (" (not there yet)" if is_new else "")
    yield _asked(name, lambda: _journal(configuration))
    if not offline:
        yield from _online(configuration, environment)


def _directory(watch: Watch) -> Iterator[Result]:
    cache = ScanCache()
    # To the end: what is left alone is counted meanwhile.
    problems = list(_unreadable(watch, cache))
    name, problem = f"watch {watch.name}: {watch.directory}", next(iter(problems), None)
    yield name, problem
    yield from _left_alone(watch, cache.left_alone)
    if problem is not None or watch.after_upload is AfterUpload.KEEP:
        return
    if not os.access(watch.directory, os.W_OK | os.X_OK, effective_ids=True):
        yield (
            f"{name}: removal",
            PortError("RemoveDenied", "not writable", "let the daemon write to the directory"),
        )
    elif not watch.after_upload_unproven and _is_unproven(watch):
        code = "WriterUnproven"
        yield f"{name}: removal", PortError(code, WriterTest.UNKNOWN.value, hint_for(code))
    archive = watch.archive_directory
    if watch.after_upload is AfterUpload.ARCHIVE:
        yield f"archive {archive}", _archive_problem(watch.directory, archive)


def _left_alone(watch: Watch, found: LeftAlone) -> Iterator[Result]:
    """What matches nothing, with the ``include`` that would select it; below a watch that is not
    recursive, too."""
    if not watch.recursive:
        below = ScanCache()
        whole = replace(watch, recursive=True)
        for entry in DirectoryFiles().scan(whole, lambda path, _: path.find(b"/") > 0, below):
            if isinstance(entry, Entry) and _is_left_below(watch, entry):
                found.add(ROTATED, b"", entry.path)
    if not found.files:
        return
    globs = json.dumps([*watch.include, *include_for(found.names)], ensure_ascii=False)
    place = "" if watch.include else " in another [[watch]] of this directory"
    row = {watch.name: left_alone_row(found)}
    setting = f"include = {globs}{place}"
    if any(name.find(b"/") > 0 for name in found.names) and not watch.recursive:
        setting = "recursive = true"
    hint = f"{setting} would ship such names; exclude = ... leaves them alone"
    yield left_alone_lines(row)[0], PortError(LEFT_ALONE, "", hint)


def _is_left_below(watch: Watch, entry: Entry) -> bool:
    is_log = entry.stat.kind is FileKind.REGULAR and role_of(watch, entry.path) is Role.ROTATED
    return is_log and not is_excluded(watch, entry.path)


def _other_roots(configuration: Configuration) -> Iterator[Result]:
    """Watches where another directory stands than the one that the journal knows."""
    try:
        with journal_to_look_at(configuration) as journal:
            roots = WatchRoots(files=DirectoryFiles(), journal=journal)
            for watch in configuration.watches:
                with suppress(PortError):
                    if not roots.is_same(watch):
                        yield f"watch {watch.name}: the directory", other_root(watch)
    except PortError:
        return  # the probe of the journal says why


def _unshown(configuration: Configuration) -> Iterator[Result]:
    """Watches whose files will stay, should it turn out that ETags tell nothing."""
    destination, code = configuration.destination, "ObjectUnproven"
    if destination.sign_payloads or destination.checksum not in _SHOWN_BY_ETAG:
        return
    for watch in configuration.watches:
        if watch.after_upload is not AfterUpload.KEEP:
            setting = f'after_upload = "{watch.after_upload}"'
            name = f"watch {watch.name}: {setting} is refused where ETags tell nothing (KMS)"
            yield name, PortError(code, f'checksum = "{destination.checksum}"', hint_for(code))


def _is_unproven(watch: Watch) -> bool:
    """Whether nobody can tell who writes to the first rotated log, so that all will be kept."""
    files = DirectoryFiles()
    now = earlier_clock(time.time())
    for entry in files.scan(watch, lambda path, beside: selection(watch, path, beside, now)):
        if isinstance(entry, Entry):
            with suppress(PortError), closing(files.open(watch, entry.path)) as source:
                return source.writer() is WriterTest.UNKNOWN
    return False


def _unreadable(watch: Watch, cache: ScanCache) -> Iterator[PortError]:
    """Directories that cannot be scanned, and rotated logs that cannot be opened."""
    files, now = DirectoryFiles(), earlier_clock(time.time())
    selects = partial(selection, watch)
    for entry in files.scan(watch, lambda path, beside: selects(path, beside, now), cache):
        if not isinstance(entry, Entry):
            yield entry
        elif entry.stat.kind is FileKind.REGULAR:
            try:
                files.open(watch, entry.path).close()
            except PortError as error:
                if error.code != "NotFound":
                    yield error


def _archive_problem(directory: str, archive: str) -> PortError | None:
    nearest = _nearest(archive)
    if not os.path.isdir(nearest):
        return PortError("NotDirectory", f"{nearest} is a file", "choose another directory")
    if os.stat(nearest).st_dev != os.stat(directory).st_dev:
        return PortError(
            "CrossDevice", "another file system", "put it on the file system of the watch"
        )
    if _mount_of(nearest) != _mount_of(directory):
        return PortError("CrossDevice", "another mount", "one ReadWritePaths= that holds both")
    if not os.access(nearest, os.W_OK | os.X_OK, effective_ids=True):
        return PortError("RemoveDenied", "not writable", "let the daemon write to it")
    return None


def _nearest(path: str) -> str:
    """The path, or the lowest directory above it that is there."""
    return path if os.path.exists(path) else _nearest(os.path.dirname(path))


def _mount_of(directory: str) -> str:
    """The number of its mount. No rename leaves a mount, even within one file system."""
    descriptor = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
            return next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
    finally:
        os.close(descriptor)


def _journal(configuration: Configuration) -> None:
    directory = configuration.state_directory
    path, nearest = journal_path(directory), _nearest(directory)
    used = [os.path.join(directory, LOCK_FILE), path, f"{path}-wal", f"{path}-shm"]
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".shipper-check-", dir=nearest))
    except OSError as error:
        raise PortError("StateUnwritable", f"{nearest}: {error.strerror}", _HINT_STATE) from error
    for each in filter(os.path.exists, used):
        if not os.access(each, os.R_OK | os.W_OK, effective_ids=True):
            raise PortError("StateUnwritable", each, _HINT_STATE)
    if os.path.exists(path):
        try:
            Journal.open_read_only(path).close()
        except PortError as error:
            if error.code != "JournalTooOld":  # the next start sets it aside
                raise


def _online(configuration: Configuration, environment: Mapping[str, str]) -> Iterator[Result]:
    identity = identity_for(configuration, environment, silent())
    identity.instance_lookup.step()
    yield "metadata service", identity.instance_lookup.problem
    for keeper in identity.keepers:
        keeper.step()
    keeper = identity.keepers[-1]
    state = keeper.state()
    is_usable = state.is_usable
    problem = PortError(state.code or state.state.value, state.detail, state.hint)
    yield "role credentials", None if is_usable else problem
    facts = identity.instance_lookup.facts
    if is_usable and facts is not None:
        region, credentials = facts.region, keeper.current

        def probe() -> None:
            with closing(store_for(configuration, region, credentials)) as store:
                store.probe()

        yield _asked(f"bucket {configuration.destination.bucket} (listing)", probe)


def _asked(name: str, question: Callable[[], None]) -> Result:
    try:
        question()
    except PortError as error:
        return name, error
    return name, None


def image_findings(configuration: Configuration) -> Iterator[Result]:
    """What an image of this disk would carry, with an error where it should not; asks no network.

    Raises:
        PortError: ``NoJournal``, ``JournalCorrupt``; the journal cannot be read.
    """
    directory = configuration.state_directory
    running = PortError("AlreadyRunning", directory, "`systemctl stop shipper` first")
    yield "no shipper at work", running if is_locked(directory) else None
    with journal_to_look_at(configuration) as journal:
        yield from _of_journal(journal)
        yield _of_logs(configuration, journal)
    yield "credentials: none, for they are never on a disk", None


def _of_journal(journal: Journal) -> Iterator[Result]:
    files: Counter[State] = Counter()
    for total in journal.totals():
        files[total.state] += total.files
    yield f"instance id: {journal.origin.instance_id() or 'none'}", None
    finished = sum(files[state] for state in FINISHED - FORGOTTEN)
    yield f"journal rows, finished: {finished}", None
    unfinished = sum(files[state] for state in UNFINISHED)
    hint = "`shipper ship` until it leaves nothing; what is to be deleted waits for delete_after"
    yield _none("journal rows, unfinished", unfinished, PortError("Unfinished", hint=hint))
    hint = "`shipper status` says why, then `shipper retry --all` and `shipper ship`"
    yield _none("journal rows, parked", files[State.PARKED], PortError("Parked", hint=hint))


def _of_logs(configuration: Configuration, journal: Journal) -> Result:
    facts = InstanceFacts(
        prefix=configuration.destination.prefix,
        instance_id=journal.origin.instance_id() or UNKNOWN_INSTANCE,
    )
    plan = candidates_for(configuration, journal, lambda: facts).plan(configuration.watches)
    unsent = sum(_is_unsent(candidate) for candidate in plan)
    problem = PortError("NotShipped", hint="`shipper ship`; `shipper plan` names them")
    return _none("rotated logs, not shipped", unsent, problem)


def _is_unsent(candidate: Candidate) -> bool:
    """Whether the file should be in S3 and is not. A watch without a directory has no logs."""
    problem = candidate.problem
    is_absent = not candidate.path and problem is not None and problem.code == "NotFound"
    return candidate.decision in _UNSENT and not is_absent


def _none(name: str, files: int, otherwise: PortError) -> Result:
    """A result that is wrong unless there are none of these files."""
    return f"{name}: {files}", otherwise if files else None
