"""The state directory: the journal in it, and the lock that keeps a second shipper out."""

import fcntl
import os
from typing import Any

from shipper.journal import Journal
from shipper.ports import PortError

JOURNAL_FILE = "journal.db"
LOCK_FILE = "lock"


def journal_path(state_directory: str) -> str:
    """Where the journal of a state directory is."""
    return os.path.join(state_directory, JOURNAL_FILE)


def opened_journal(state_directory: str, now: float, log: Any) -> Journal:
    """The journal, with everything due that waits for an attempt; a new one where it was corrupt.

    Raises:
        PortError: ``JournalUnwritable``, ``JournalTooNew``.
    """
    journal = Journal.open(journal_path(state_directory), now=now)
    if journal.set_aside:
        log.error(
            "journal.set_aside",
            path=journal.set_aside,
            hint="it was corrupt; what S3 holds already is recognised by its key",
        )
    # Whoever starts shipper has mended what it waited for, or would like to know.
    journal.hasten(now)
    return journal


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
            f"{path}: {error.strerror}",
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
