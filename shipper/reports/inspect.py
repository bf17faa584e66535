"""What ``retry``, ``acknowledge`` and what only looks need: single services, one question each."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from typing import Any

from shipper.config.load import Configuration
from shipper.core.hints import OTHER_USER
from shipper.core.live_segments import is_shipped_live
from shipper.core.object_keys import InstanceFacts
from shipper.core.scan_cache import ScanCache
from shipper.core.types import Shipment, WatchName
from shipper.edges.clock import SystemClock
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.reports.http import fetch, listen_problem, socket_path
from shipper.reports.rows import live_row
from shipper.reports.status import document_from, is_well, not_running
from shipper.reports.status_rows import credentials_document
from shipper.runtime.logs import silent
from shipper.runtime.state_directory import is_locked, journal_path
from shipper.runtime.wiring import candidates_for
from shipper.runtime.wiring_identity import identity_for
from shipper.services.finding.candidate import Candidate
from shipper.services.finding.live_logs import LiveLogs
from shipper.services.sources.watch_roots import WatchRoots

SYSTEM_RUNTIME_DIRECTORY = "/run/shipper"
UNKNOWN_INSTANCE = "i-unknown"


def status(configuration: Configuration, environment: Mapping[str, str]) -> dict[str, Any]:
    """The running daemon's status, or else what the journal alone can tell."""
    document = status_of_daemon(configuration, environment)
    if document is None:
        directory = configuration.state_directory
        is_held = is_locked(directory)
        with contextlib.closing(Journal.open_read_only(journal_path(directory))) as journal:
            document = document_from(journal, time.time(), is_locked=is_held)
    return document | {"well": is_well(document)}


def status_of_daemon(
    configuration: Configuration, environment: Mapping[str, str]
) -> dict[str, Any] | None:
    """The running daemon's own status; None when none runs on this state directory."""
    directory = configuration.state_directory
    for runtime in (environment.get("RUNTIME_DIRECTORY", ""), SYSTEM_RUNTIME_DIRECTORY, ""):
        path = socket_path(directory, {"RUNTIME_DIRECTORY": runtime})
        with contextlib.suppress(OSError, ValueError, HTTPException):
            document: dict[str, Any] = json.loads(fetch(path, "/status"))
            if document.get("state_directory") == directory:
                return document
    return None


def health(
    configuration: Configuration, environment: Mapping[str, str]
) -> list[tuple[str, PortError | None]]:
    """The running daemon's ailments as results of probes, or that none runs, and could not
    listen."""
    document = status_of_daemon(configuration, environment)
    if document is None:
        is_held = is_locked(configuration.state_directory)
        found: list[tuple[str, PortError | None]] = [("daemon", not_running(is_locked=is_held))]
        listen = "" if is_held else configuration.http.listen
        why = listen_problem(listen) if listen else None
        return [*found, ("http.listen", why)] if why is not None else found
    ailments = document["ailments"]
    return [("daemon", PortError("NotWell", said, "")) for said in ailments] or [("daemon", None)]


def candidates(
    configuration: Configuration,
    environment: Mapping[str, str],
    say: Callable[[str], None],
    seen: dict[WatchName, ScanCache] | None = None,
    live: dict[str, Any] | None = None,
) -> Iterator[Candidate]:
    """What discovery would make of every candidate now; changes nothing.

    ``seen`` gets what each watch leaves alone, and which directories match; ``live`` what each
    ships of live logs.
    """
    with journal_to_look_at(configuration) as journal:
        facts = facts_for(configuration, environment, journal.origin.instance_id(), say)
        logs = LiveLogs(files=DirectoryFiles(), journal=journal, clock=SystemClock())
        deciding = candidates_for(configuration, journal, lambda: facts, logs=logs)
        yield from deciding.plan(configuration.watches, seen)
        if live is not None:
            shipped = filter(is_shipped_live, configuration.watches)
            live |= {watch.name: live_row(watch, len(logs.of(watch))) for watch in shipped}


@contextlib.contextmanager
def journal_to_look_at(configuration: Configuration) -> Iterator[Journal]:
    """The journal, read-only; an empty one in memory where no shipper has run.

    Raises:
        PortError: ``NoJournal``; it may not be read.
    """
    path = journal_path(configuration.state_directory)
    try:
        os.stat(path)
        journal = Journal.open_read_only(path)
    except (FileNotFoundError, NotADirectoryError):
        journal = Journal.in_memory()
    except PermissionError as error:
        raise PortError("NoJournal", f"{path}: {error.strerror}", OTHER_USER) from error
    with contextlib.closing(journal):
        yield journal


def path_of(configuration: Configuration, shipment_id: int) -> bytes | None:
    """Where the shipment's file was seen last; None where no watch has such a shipment."""
    directories = {watch.name: watch.directory for watch in configuration.watches}
    with journal_to_look_at(configuration) as journal:
        shipment = journal.shipment(shipment_id)
    if shipment is None or shipment.watch not in directories:
        return None
    return os.path.join(os.fsencode(directories[shipment.watch]), shipment.path)


def facts_for(
    configuration: Configuration,
    environment: Mapping[str, str],
    instance_id: str,
    say: Callable[[str], None],
) -> InstanceFacts:
    """The instance's facts, or a guess of which ``say`` is told. Asks the metadata service."""
    instance_lookup = identity_for(configuration, environment, silent()).instance_lookup
    instance_lookup.step()
    if instance_lookup.facts is None:
        say(f"the keys are guesses, for the instance is not identified: {instance_lookup.problem}")
    return instance_lookup.facts or InstanceFacts(
        prefix=configuration.destination.prefix, instance_id=instance_id or UNKNOWN_INSTANCE
    )


def credentials(configuration: Configuration, environment: Mapping[str, str]) -> dict[str, Any]:
    """The state of the credentials for JSON: the running daemon's, or else asked for once."""
    running = status_of_daemon(configuration, environment)
    if running is not None:
        return dict(running["credentials"])
    identity = identity_for(configuration, environment, silent())
    if identity.assumed:
        identity.instance_lookup.step()
    for keeper in identity.keepers:
        keeper.step()
    first = next(iter(configuration.used_destinations.values()))
    return credentials_document(identity.keeper_of(first).state())


def retry(configuration: Configuration, shipment_id: int | None) -> tuple[list[Shipment], int]:
    """Bring one parked shipment back; or all, and make due what waits for its next attempt.

    Returns what was brought back, and how many others were made due.

    Raises:
        PortError: ``NoJournal``, ``JournalUnwritable``, ``JournalCorrupt``.
    """
    now = time.time()
    with _journal_to_write(configuration, now) as journal:
        brought_back = journal.bring_back(now, shipment_id)
        return brought_back, journal.queue.make_due(now) if shipment_id is None else 0


def acknowledge(configuration: Configuration, shipment_id: int | None) -> list[Shipment]:
    """Note that one lost log is known to be lost, or all; those that were not noted yet.

    All includes watches where another file system stands than before: it is theirs from now on.

    Raises:
        PortError: as ``retry``.
    """
    with _journal_to_write(configuration, time.time()) as journal:
        if shipment_id is None:
            roots = WatchRoots(files=DirectoryFiles(), journal=journal)
            for watch in configuration.watches:
                with contextlib.suppress(PortError):
                    for place in roots.away(watch):
                        journal.places.forget(watch.name, place)
        return journal.acknowledge(shipment_id)


def _journal_to_write(configuration: Configuration, now: float) -> contextlib.closing[Journal]:
    path = journal_path(configuration.state_directory)
    Journal.open_read_only(path).close()
    # A daemon may be using the file, so an unusable one stays where it is.
    return contextlib.closing(Journal.open(path, now=now))
