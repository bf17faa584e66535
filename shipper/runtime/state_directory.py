"""The state directory: the journal, the lock that keeps a second shipper out, and a reserve."""

import contextlib
import fcntl
import os
import resource
from typing import Any

from shipper.config.load import Configuration
from shipper.core.manifests import FIRST_START
from shipper.edges.files.scan import DEEPEST
from shipper.journal.database import hand_over
from shipper.journal.journal import Journal
from shipper.ports import DescriptorStore, PortError
from shipper.services.bugs import Bugs
from shipper.services.finding.discovery import BATCH
from shipper.services.sources.held_files import HeldFiles, affordable_files

JOURNAL_FILE = "journal.db"
LOCK_FILE = "lock"
RESERVE_FILE = "reserve"
RESERVE_BYTES = 512 * 2**10
"""Enough to journal that a few files are to go."""
MOST_DIGITS = 18
"""Of the lock file's number: what SQLite can hold."""
_RECOGNISED = "what S3 holds already is recognised by its key"
OTHER_FILES = 64
"""Descriptors that are neither held nor scanned nor sent through: journal, sockets, inotify."""


def journal_path(state_directory: str) -> str:
    """Where the journal of a state directory is."""
    return os.path.join(state_directory, JOURNAL_FILE)


class Reserve:
    """Space that the journal gets once its disk is full; see ``high_water.Reserve``."""

    def __init__(self, state_directory: str) -> None:
        self._path = os.path.join(state_directory, RESERVE_FILE)

    def keep(self) -> None:
        """Have it, if there is room."""
        with contextlib.suppress(OSError), open(self._path, "ab") as file:
            if file.tell() < RESERVE_BYTES:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)

    def give_up(self) -> bool:
        """Leave it to whoever writes next, which ought to be the journal; False: it is gone."""
        try:
            os.unlink(self._path)
        except OSError:
            return False
        return True


def opened_journal(state_directory: str, lock: int, now: float, log: Any) -> Journal:
    """The journal, with everything due that waits for an attempt; a new one where it was unusable.

    ``lock`` is the lock file's descriptor. On a full disk, the reserve is given up for it.

    Raises:
        PortError: ``JournalUnwritable``, ``JournalTooNew``.
    """
    try:
        return _opened_journal(state_directory, lock, now, log)
    except PortError:
        if not Reserve(state_directory).give_up():
            raise
    return _opened_journal(state_directory, lock, now, log)


def _opened_journal(state_directory: str, lock: int, now: float, log: Any) -> Journal:
    path, asides = journal_path(state_directory), list[str]()

    def set_aside(aside: str, because: str) -> None:
        asides.append(aside)
        log.error("journal.set_aside", path=aside, hint=f"{because}; {_RECOGNISED}")

    journal = Journal.open(path, now=now, set_aside=set_aside)
    known, starts = _starts_known(lock), journal.origin.starts()
    begins = "the journal was set aside" if asides else "the journal was lost"
    if starts < known and not asides:
        detail = f"it knows of {starts} starts, the lock file beside it of {known}"
        because = "it was emptied, deleted or restored from a copy, or its WAL was deleted"
        log.error("journal.lost", path=path, detail=detail, hint=f"{because}; {_RECOGNISED}")
    # A full disk is said where it is in the way: when something is to be promised.
    with contextlib.suppress(PortError, OSError):
        if starts < known or not starts:
            begins = begins if known or asides else FIRST_START
            journal.manifests.journal_begins(begins, now)
        _remember_starts(lock, journal.origin.count_start(known))
    # Whoever starts shipper has mended what it waited for, or would like to know.
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(journal.close)
        journal.queue.make_due(now)
        on_failure.pop_all()
    return journal


def _starts_known(lock: int) -> int:
    """How many starts the lock file knows of; 0 where it says no number."""
    said = os.pread(lock, MOST_DIGITS, 0).strip()
    return int(said) if said.isdigit() else 0


def _remember_starts(lock: int, starts: int) -> None:
    """Only after the journal has the number, or a crash in between would look like a loss."""
    os.ftruncate(lock, os.pwrite(lock, b"%d\n" % starts, 0))
    os.fsync(lock)


def opened_held(
    configuration: Configuration, store: DescriptorStore, journal: Journal, bugs: Bugs, log: Any
) -> HeldFiles:
    """What is held, with what an earlier start held; as much as the limit of open files allows."""
    uploads = configuration.uploads
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    senders = uploads.concurrent_files * uploads.concurrent_parts
    reserved = BATCH + 2 * DEEPEST + senders + 2 * uploads.concurrent_files + OTHER_FILES
    held_files = affordable_files(uploads.held_files, limit=limit, reserved=reserved)
    if held_files < uploads.held_files:
        log.warning(
            "held.limited",
            wanted_files=uploads.held_files,
            held_files=held_files,
            limit=limit,
            hint=f"LimitNOFILE={reserved + uploads.held_files}, or lower uploads.held_files",
        )
    held = HeldFiles(store=store, files=held_files, bugs=bugs)
    held.restore(journal, log)
    return held


def is_locked(state_directory: str) -> bool:
    """Whether a shipper holds this state directory, as far as that may be known."""
    try:
        descriptor = os.open(os.path.join(state_directory, LOCK_FILE), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def locked(state_directory: str, inherited: int | None = None) -> int:
    """The descriptor that holds the state directory: two daemons would send everything twice.

    ``inherited`` is the one that the program before a reload held, and is this one's then.

    Raises:
        PortError: ``AlreadyRunning``, ``StateUnwritable``.
    """
    path = os.path.join(state_directory, LOCK_FILE)
    try:
        os.makedirs(state_directory, mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        hand_over(path)
    except OSError as error:
        raise PortError(
            "StateUnwritable",
            f"{os.fsdecode(error.filename or path)}: {error.strerror}",
            "correct state_directory, run as the user it belongs to, or give that user the files "
            "in it (`chown -R shipper: /var/lib/shipper`)",
        ) from error
    if inherited is not None:
        is_ours = os.path.sameopenfile(inherited, descriptor)
        os.close(descriptor if is_ours else inherited)
        descriptor = inherited if is_ours else descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise PortError(
            "AlreadyRunning",
            f"another shipper holds {path}",
            "`shipper status` shows what it is doing",
        ) from error
    return descriptor
