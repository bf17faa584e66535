"""The state directory: the journal, the clones, and the lock that keeps a second shipper out."""

import fcntl
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from shipper.config.load import Configuration
from shipper.core.holding import affordable_files
from shipper.core.types import Shipment
from shipper.edges.files.clones import DirectoryClones
from shipper.edges.files.directory_files import DEEPEST
from shipper.journal.journal import Journal
from shipper.ports import Files, PortError
from shipper.services.finding.discovery import BATCH
from shipper.services.sources.cloning import Cloning
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.matching import is_named

JOURNAL_FILE = "journal.db"
LOCK_FILE = "lock"
CLONES_DIRECTORY = "held"
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
    journal = Journal.open(journal_path(state_directory), now=now)
    if journal.set_aside:
        log.error(
            "journal.set_aside",
            path=journal.set_aside,
            hint=f"{journal.set_aside_because}; what S3 holds already is recognised by its key",
        )
    # Whoever starts shipper has mended what it waited for, or would like to know.
    journal.queue.make_due(now)
    return journal


@dataclass(frozen=True, slots=True)
class _HeldTerms:
    """What a configuration says about holding files."""

    cloning: Cloning
    is_named: Callable[[Shipment], bool]
    files: int


def opened_held(
    configuration: Configuration, files: Files, journal: Journal, log: Any
) -> HeldFiles:
    """What is held, with the clones of an earlier life; as much as the limit of files allows.

    Raises:
        PortError: ``StateUnwritable``.
    """
    terms = _held_terms(configuration, files, journal, log)
    held = HeldFiles(cloning=terms.cloning, is_named=terms.is_named, files=terms.files)
    held.restore(journal)
    return held


def change_held(
    held: HeldFiles, configuration: Configuration, files: Files, journal: Journal, log: Any
) -> None:
    """Hold by another configuration of the same state directory; what is held stays."""
    terms = _held_terms(configuration, files, journal, log)
    held.change(cloning=terms.cloning, is_named=terms.is_named, files=terms.files)


def _held_terms(
    configuration: Configuration, files: Files, journal: Journal, log: Any
) -> _HeldTerms:
    uploads = configuration.uploads
    watches = {watch.name: watch for watch in configuration.watches}
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
    clones = DirectoryClones(os.path.join(configuration.state_directory, CLONES_DIRECTORY))
    return _HeldTerms(
        cloning=Cloning(clones=clones, is_wanted=False, log=log),
        is_named=partial(is_named, files=files, journal=journal, watches=watches),
        files=held_files,
    )


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


def locked(state_directory: str) -> int:
    """The descriptor that holds the state directory: two daemons would send everything twice.

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
