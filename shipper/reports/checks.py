"""What ``shipper check`` asks: probes of what shipper needs, and what an image would carry."""

import errno
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
from shipper.core import hints
from shipper.core.dates_in_names import earlier_clock
from shipper.core.destinations import MINIMA, shown
from shipper.core.failures import hint_for
from shipper.core.left_alone import ROTATED, LeftAlone, include_for
from shipper.core.lifecycle import FINISHED, FORGOTTEN, UNFINISHED
from shipper.core.object_keys import InstanceFacts, printable
from shipper.core.roles import is_excluded, role_of, selection
from shipper.core.scan_cache import ScanCache
from shipper.core.siblings import Siblings
from shipper.core.types import (
    AfterUpload,
    ChecksumAlgorithm,
    Entry,
    FileKind,
    RelativePath,
    Role,
    State,
    Watch,
    WriterTest,
)
from shipper.edges.clock import SystemClock
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.server_time import ServerTime
from shipper.journal.database import is_absent
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.reports.inspect import UNKNOWN_INSTANCE, journal_to_look_at
from shipper.reports.rows import left_alone_lines, left_alone_row, skew_line
from shipper.runtime.logs import silent
from shipper.runtime.state_directory import LOCK_FILE, is_locked, journal_path
from shipper.runtime.wiring import candidates_for
from shipper.runtime.wiring_identity import Identity, identity_for, unencrypted
from shipper.runtime.wiring_sending import store_for
from shipper.services.finding.candidates import Candidate, Decision, refused
from shipper.services.finding.obstacles import obstacle
from shipper.services.finding.refusals import Refusals, count
from shipper.services.sources.watch_roots import WatchRoots, other_root

LEFT_ALONE = "LeftAlone"
WARNINGS = frozenset({LEFT_ALONE, "ClockSkewed", "NotRunning", "ObjectUnproven", "SmallObjects"})
"""Codes of what is to be known and is no failure."""
_SHOWN_BY_ETAG = frozenset({ChecksumAlgorithm.NONE, ChecksumAlgorithm.MD5})
"""No answer repeats these."""
_PROBED_BYTES = 1024**2
"""What the journal needs at the least for the next promises."""
_SAMPLED_OBJECTS = 1000
"""The newest, of which the median is taken."""
_UNSENT = frozenset({Decision.NEW, Decision.WAITING, Decision.REFUSED})
Result = tuple[str, PortError | None]
"""A probe's name, and what is wrong; None when nothing is."""


def probes(
    configuration: Configuration, environment: Mapping[str, str], *, offline: bool
) -> Iterator[Result]:
    takes_live = configuration.termination.ship_live_files
    with _journal_if_readable(configuration) as journal:
        for watch in configuration.watches:
            yield from _directory(watch, journal, takes_live=takes_live)
        yield from _below_minimum(configuration, journal)
    yield from _other_roots(configuration)
    yield from _unshown(configuration)
    yield from unencrypted(configuration, environment)
    is_new = is_absent(journal_path(configuration.state_directory))
    name = "journal" + (" (not there yet)" if is_new else "")
    yield _asked(name, lambda: _journal(configuration))
    if not offline:
        yield from _online(configuration, environment)


def _journal_if_readable(configuration: Configuration) -> closing[Journal]:
    """Its own probe says what is wrong with it."""
    path = journal_path(configuration.state_directory)
    try:
        return closing(Journal.open_read_only(path))
    except PortError:
        return closing(Journal.in_memory())


def _directory(watch: Watch, journal: Journal, *, takes_live: bool) -> Iterator[Result]:
    cache, name = ScanCache(), f"watch {watch.name}: {watch.directory}"
    refusals = _refusals(watch, journal, cache, takes_live=takes_live)
    for found in refusals.values():
        path = found.example.path
        such = f": {found.files} files, such as {printable(path)}" if path else ""
        yield f"{name}{such}", found.example.problem
    if not refusals:
        yield name, None
    yield from _left_alone(watch, cache.left_alone)
    if refusals or watch.after_upload is AfterUpload.KEEP:
        return
    if not os.access(watch.directory, os.W_OK | os.X_OK, effective_ids=True):
        yield (
            f"{name}: removal",
            PortError("RemoveDenied", "not writable", hints.NO_PERMISSION),
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
    lines = left_alone_lines({watch.name: left_alone_row(found)})
    if found.links:
        yield lines.pop(), PortError(LEFT_ALONE, "", "watch the directory it leads to")
    if not lines:
        return
    globs = json.dumps([*watch.include, *include_for(found.names)], ensure_ascii=False)
    place = "" if watch.include else " in another [[watch]] of this directory"
    setting = f"include = {globs}{place}"
    if any(name.find(b"/") > 0 for name in found.names) and not watch.recursive:
        setting = "recursive = true"
    hint = f"{setting} would ship such names; exclude = ... silences this"
    yield lines[0], PortError(LEFT_ALONE, "", hint)


def _is_left_below(watch: Watch, entry: Entry) -> bool:
    is_log = entry.stat.kind is FileKind.REGULAR and role_of(watch, entry.path) is Role.ROTATED
    return is_log and not is_excluded(watch, entry.path)


def _other_roots(configuration: Configuration) -> Iterator[Result]:
    """Watches where other file systems stand than those that the journal knows."""
    try:
        with journal_to_look_at(configuration) as journal:
            roots = WatchRoots(files=DirectoryFiles(), journal=journal)
            for watch in configuration.watches:
                with suppress(PortError):
                    for place in roots.away(watch):
                        yield f"watch {watch.name}: the directory", other_root(watch, place)
    except PortError:
        return  # the probe of the journal says why


def _unshown(configuration: Configuration) -> Iterator[Result]:
    """Watches whose files will stay, should it turn out that ETags tell nothing."""
    code = "ObjectUnproven"
    for watch in configuration.watches:
        destination = configuration.destination_of(watch)
        is_unshown = destination.checksum in _SHOWN_BY_ETAG and not destination.sign_payloads
        if is_unshown and watch.after_upload is not AfterUpload.KEEP:
            setting = f'after_upload = "{watch.after_upload}"'
            name = f"watch {watch.name}: {setting} is refused where ETags tell nothing (KMS)"
            yield name, PortError(code, f'checksum = "{destination.checksum}"', hint_for(code))


def _below_minimum(configuration: Configuration, journal: Journal) -> Iterator[Result]:
    """Watches whose storage class bills for more than most of their objects hold."""
    sizes = journal.figures.newest_sizes(_SAMPLED_OBJECTS)
    for watch in configuration.watches:
        minimum = MINIMA.get(name := configuration.destination_of(watch).storage_class)
        found = sorted(sizes.get(watch.name, ()))
        median = found[(len(found) - 1) // 2] if found else 0
        if minimum is None or not found or median >= minimum.size_bytes:
            continue
        how = "more for each object" if minimum.is_added else "for each object at the least"
        bills = f"S3 bills {minimum.size_bytes} bytes {how}, for {minimum.days} days"
        hint = "another storage_class for this watch, or rotate its logs less often"
        what = f"watch {watch.name}: {name}, and half of its objects have at most {median} bytes"
        yield what, PortError("SmallObjects", bills, hint)


def _is_unproven(watch: Watch) -> bool:
    """Whether nobody can tell who writes to the first rotated log, so that all will be kept."""
    files = DirectoryFiles()
    now = earlier_clock(time.time())
    for entry in files.scan(watch, lambda path, beside: selection(watch, path, beside, now)):
        if isinstance(entry, Entry):
            with suppress(PortError), closing(files.open(watch, entry.path)) as source:
                return source.writer() is WriterTest.UNKNOWN
    return False


def _refusals(watch: Watch, journal: Journal, cache: ScanCache, *, takes_live: bool) -> Refusals:
    """Directories that cannot be scanned, and logs that cannot be shipped, in a whole scan."""
    files, now, live = DirectoryFiles(), earlier_clock(time.time()), set[RelativePath]()
    refusals: Refusals = {}

    def selects(path: RelativePath, siblings: Siblings) -> bool | None:
        return selection(watch, path, siblings, now, live if takes_live else None)

    for entry in files.scan(watch, selects, cache):
        path, problem = RelativePath(b""), entry if isinstance(entry, PortError) else None
        if isinstance(entry, Entry):
            path = entry.path
            problem = obstacle(files, journal, watch, entry, is_live=path in live)
        if problem is not None:
            count(refusals, refused(watch, path, problem), 0.0, at=0.0)
    return refusals


def _archive_problem(directory: str, archive: str) -> PortError | None:
    nearest = _nearest(archive)
    if not os.path.isdir(nearest):
        return PortError("NotDirectory", f"{nearest} is a file", "choose another directory")
    if os.stat(nearest).st_dev != os.stat(directory).st_dev:
        return PortError("CrossDevice", "another file system", hints.OTHER_FILE_SYSTEM)
    if _mount_of(nearest) != _mount_of(directory):
        return PortError("CrossDevice", "another mount", hints.OTHER_MOUNT)
    if not os.access(nearest, os.W_OK | os.X_OK, effective_ids=True):
        return PortError("RemoveDenied", "not writable", hints.NO_PERMISSION)
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
        _write_to(nearest)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = hints.NO_SPACE if is_full else hints.NOT_WRITABLE
        raise PortError("StateUnwritable", f"{nearest}: {error.strerror}", hint) from error
    for each in filter(os.path.exists, used):
        if not os.access(each, os.R_OK | os.W_OK, effective_ids=True):
            raise PortError("StateUnwritable", each, hints.NOT_WRITABLE)
    if os.path.exists(path):
        try:
            Journal.open_read_only(path).close()
        except PortError as error:
            if error.code != "JournalTooOld":  # the next start sets it aside
                raise


def _write_to(directory: str) -> None:
    """As the journal would. Who may write may still find no space but root's."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(bytes(_PROBED_BYTES))
        file.flush()
        os.fsync(file.fileno())
        found = os.fstatvfs(file.fileno())
    if found.f_blocks and found.f_bavail * found.f_frsize < _PROBED_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _online(configuration: Configuration, environment: Mapping[str, str]) -> Iterator[Result]:
    identity = identity_for(configuration, environment, silent())
    server_time = ServerTime(SystemClock())
    identity.instance_lookup.step()
    yield "metadata service", identity.instance_lookup.problem
    for keeper in identity.keepers:
        keeper.step()
    used = configuration.used_destinations
    for name, destination in used.items():
        state = identity.keeper_of(destination).state()
        problem = PortError(state.code or state.state.value, state.detail, state.hint)
        whose = f" of destination {shown(name)}" if len(used) > 1 else ""
        yield f"role credentials{whose}", None if state.is_usable else problem
        if state.is_usable and identity.instance_lookup.facts is not None:
            probe = partial(_probe, configuration, name, identity, server_time)
            yield _asked(f"bucket {destination.bucket}{whose} (listing)", probe)
    state = identity.keepers[0].state()
    skew = skew_line(server_time.skew_seconds(state.skew_seconds))
    if skew:
        yield skew, PortError("ClockSkewed", "", hints.CLOCK)


def _probe(
    configuration: Configuration, name: str, identity: Identity, server_time: ServerTime
) -> None:
    """The first answer tells the time, where only the clock was wrong."""
    destination, facts = configuration.used_destinations[name], identity.instance_lookup.facts
    assert facts is not None
    watches = [one for one in configuration.watches if one.destination == name]
    store = store_for(
        destination,
        facts,
        identity.keeper_of(destination).current,
        watches={one.name: configuration.destination_of(one) for one in watches},
        redact=identity.redactor.text,
        server_time=server_time,
    )
    with closing(store):
        try:
            store.probe()
        except PortError as error:
            if error.code != "RequestTimeTooSkewed":
                raise
            store.probe()


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
    for total in journal.figures.totals():
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
