"""The state directory: the journal, and the lock that keeps a second shipper out."""

import fcntl
import os
import resource
from typing import Any

from shipper.config.load import Configuration
from shipper.edges.files.directory_files import DEEPEST
from shipper.journal.journal import Journal
from shipper.ports import DescriptorStore, PortError
from shipper.services.finding.discovery import BATCH
from shipper.services.sources.held_files import HeldFiles, affordable_files

JOURNAL_FILE = "journal.db"
LOCK_FILE = "lock"
OTHER_FILES = 64
"""Descriptors that are neither held nor scanned nor sent through: journal, sockets, inotify."""


def journal_path(state_directory: str) -> str:
    """Where the journal of a state directory is."""
    return os.path.join(state_directory, JOURNAL_FILE)


def opened_journal(state_directory: str, now: float, log: Any) -> Journal:
    """The journal, with everything due that waits for an attempt; a new one where it was unusable.

    Raises:
        PortError: ``JournalUnwritable``, ``JournalTooNew``.
    """

    def set_aside(path: str, because: str) -> None:
        hint = f"{because}; what S3 holds already is recognised by its key"
        log.error("journal.set_aside", path=path, hint=hint)

    journal = Journal.open(journal_path(state_directory), now=now, set_aside=set_aside)
    # Whoever starts shipper has mended what it waited for, or would like to know.
    journal.queue.make_due(now)
    return journal


def opened_held(
    configuration: Configuration, store: DescriptorStore, journal: Journal, log: Any
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
    held = HeldFiles(store=store, files=held_files)
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
    except OSError as error:
        raise PortError(
            "StateUnwritable",
            f"{os.fsdecode(error.filename or path)}: {error.strerror}",
            "correct state_directory, or run as the user it belongs to",
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
