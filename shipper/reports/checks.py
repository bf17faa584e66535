"""What ``shipper check`` asks: probes of what shipper needs, and what an image would carry."""

import errno
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

from shipper.config.load import Configuration
from shipper.core import hints
from shipper.core.dates_in_names import earlier_clock
from shipper.core.destinations import MINIMA, shown
from shipper.core.failures import hint_for
from shipper.core.left_alone import ROTATED, LeftAlone, include_for, is_older
from shipper.core.object_keys import printable
from shipper.core.roles import is_excluded, role_of, selection
from shipper.core.scan_cache import ScanCache
from shipper.core.siblings import Siblings
from shipper.core.tag_fields import resolved
from shipper.core.types import (
    AfterUpload,
    ChecksumAlgorithm,
    Entry,
    FileKind,
    RelativePath,
    Role,
    Watch,
    WriterTest,
)
from shipper.edges.clock import SystemClock
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.imds.client import ImdsMetadata
from shipper.edges.server_time import ServerTime
from shipper.journal.database import is_absent
from shipper.journal.journal import Journal
from shipper.ports import Metadata, PortError
from shipper.reports.inspect import journal_to_look_at
from shipper.reports.rows import left_alone_lines, left_alone_row, skew_line
from shipper.runtime.logs import silent
from shipper.runtime.state_directory import LOCK_FILE, journal_path
from shipper.runtime.wiring_identity import METADATA, Identity, identity_for, unencrypted
from shipper.runtime.wiring_store import store_for
from shipper.services.finding.candidate import refused
from shipper.services.finding.obstacles import obstacle
from shipper.services.finding.refusals import Refusals, count
from shipper.services.sources.watch_roots import WatchRoots, other_root

LEFT_ALONE = "LeftAlone"
NOTHING_GOES = "NothingGoes"
WARNINGS = frozenset(
    {LEFT_ALONE, NOTHING_GOES, "ClockSkewed", "NotRunning", "ObjectUnproven", "RolesDiffer"}
    | {"SmallObjects"}
)
"""Codes of what is to be known and is no failure."""
_SHOWN_BY_ETAG = frozenset({ChecksumAlgorithm.NONE, ChecksumAlgorithm.MD5})
"""No answer repeats these."""
_PROBED_BYTES = 1024**2
"""What the journal needs at the least for the next promises."""
_SAMPLED_OBJECTS = 1000
"""The newest, of which the median is taken."""
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
    yield from _disks(configuration)
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
    cache, name = ScanCache(), f"watch {watch.name}: {watch.whole_directory}"
    refusals = _refusals(watch, journal, cache, takes_live=takes_live)
    directories = [watch.directory]
    if watch.pattern:
        directories = [
            os.path.join(watch.directory, os.fsdecode(each)[:-1]) for each in cache.directories
        ]
        name += f" ({len(directories)} directories match)"
    for found in refusals.values():
        path = found.example.path
        such = f": {found.files} files, such as {printable(path)}" if path else ""
        yield f"{name}{such}", found.example.problem
    if not refusals:
        yield name, None
    yield from _left_alone(watch, cache.left_alone)
    if refusals or watch.after_upload is AfterUpload.KEEP:
        return
    denied = [one for one in directories if not _is_writable(one)]
    if denied:
        detail = f"{printable(os.fsencode(denied[0]))}: not writable"
        yield f"{name}: removal", PortError("RemoveDenied", detail, hints.NO_PERMISSION)
    elif not watch.after_upload_unproven and _is_unproven(watch):
        code = "WriterUnproven"
        yield f"{name}: removal", PortError(code, WriterTest.UNKNOWN.value, hint_for(code))
    archive = watch.archive_directory
    if watch.after_upload is AfterUpload.ARCHIVE:
        problems = [_archive_problem(each, archive) for each in directories]
        yield f"archive {archive}", next((one for one in problems if one is not None), None)


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


def _disks(configuration: Configuration) -> Iterator[Result]:
    """How full the watches' own file systems are, beside the marks that were set for them."""
    table, told = configuration.disk, set[int]()
    for watch in configuration.watches if table.high_water_ratio else ():
        with suppress(PortError):  # the watch's own probe says what is wrong
            space = DirectoryFiles().space(watch)
            if space.device not in told:
                told.add(space.device)
                marks = f"{100 * table.low_water_ratio:g} to {100 * table.high_water_ratio:g} %"
                used = f"{100 * space.used_ratio:.1f} % full, kept at {marks}"
                yield f"disk of {watch.directory}: {used}", _unfreed(configuration)


def _unfreed(configuration: Configuration) -> PortError | None:
    """That no watch lets anything go, so that a high water can only warn."""
    goes = {AfterUpload.DELETE} | (
        {AfterUpload.KEEP} if configuration.disk.removes_kept else set()
    )
    if any(watch.after_upload in goes for watch in configuration.watches):
        return None
    hint = 'after_upload = "delete" on a watch, or disk.removes_kept = true'
    return PortError(NOTHING_GOES, "no watch lets anything be removed", hint)


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
            path, stat = entry.path, entry.stat
            if path not in live and is_older(watch, stat, time.time()):
                continue  # whatever is wrong with it, it stays where it is
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
    if not _is_writable(nearest):
        return PortError("RemoveDenied", "not writable", hints.NO_PERMISSION)
    return None


def _is_writable(directory: str) -> bool:
    return os.access(directory, os.W_OK | os.X_OK, effective_ids=True)


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
    is_given = bool(configuration.instance.id) or identity.source != METADATA
    yield "instance" if is_given else "metadata service", identity.instance_lookup.problem
    if not configuration.credentials.instance_profile_name:
        yield from _role_lists(identity.metadata)
    for keeper in identity.keepers:
        keeper.step()
    used = configuration.used_destinations
    of = "" if identity.source == METADATA else f" of {identity.source}"
    for name, destination in used.items():
        state = identity.keeper_of(destination).state()
        problem = PortError(state.code or state.state.value, state.detail, state.hint)
        whose = f" of destination {shown(name)}" if len(used) > 1 else ""
        yield f"role credentials{whose or of}", None if state.is_usable else problem
        if state.is_usable and (facts := identity.instance_lookup.facts) is not None:
            probe = partial(_probe, configuration, name, identity, server_time)
            bucket = resolved(destination, facts.tags).bucket
            yield _asked(f"bucket {bucket}{whose} (listing)", probe)
    state = identity.keepers[0].state()
    skew = skew_line(server_time.skew_seconds(state.skew_seconds))
    if skew:
        yield skew, PortError("ClockSkewed", "", hints.CLOCK)


def _role_lists(metadata: Metadata) -> Iterator[Result]:
    """Whether something answers one of both lists of roles for a container, and not the other."""
    if not isinstance(metadata, ImdsMetadata):
        return
    with suppress(PortError):  # the probe of the credentials says why
        asked_first, other = metadata.role_lists()
        if asked_first and other and asked_first != other:
            name = f"the metadata service has two roles: {asked_first}, which is used, and {other}"
            hint = (
                "does kube2iam or its like intercept requests of pods? Then "
                f'credentials.instance_profile_name = "{other}" asks for the pod\'s role'
            )
            yield name, PortError("RolesDiffer", "", hint)


def _probe(
    configuration: Configuration, name: str, identity: Identity, server_time: ServerTime
) -> None:
    """The first answer tells the time, where only the clock was wrong."""
    facts, unfit = identity.instance_lookup.facts, identity.instance_lookup.problem_of(name)
    assert facts is not None
    if unfit is not None:
        raise unfit
    destination = resolved(configuration.used_destinations[name], facts.tags)
    watches = [one for one in configuration.watches if one.destination == name]
    store = store_for(
        destination,
        facts,
        identity.keeper_of(destination).current,
        watches={
            one.name: resolved(configuration.destination_of(one), facts.tags) for one in watches
        },
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
