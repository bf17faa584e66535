"""What an image made from this disk would carry of shipper: ``shipper check --for-image``.

Every instance that starts from the image inherits the journal. What is finished there stays as
knowledge: those files are not sent again. What is not finished, and every rotated log that no
shipment is about, would be sent by each of them, under its own instance's key; so both should be
in S3 before the snapshot. A journal that a daemon writes to is not at rest at all.
"""

from collections import Counter
from collections.abc import Iterator

from shipper.config.load import Configuration
from shipper.core.object_keys import Place
from shipper.core.types import State
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.reports.inspect import UNKNOWN_INSTANCE, deciding_for, journal_to_look_at
from shipper.runtime.state_directory import is_locked
from shipper.services.finding.candidates import Candidate, Decision

_HINT_SHIP = "`shipper ship` until it leaves nothing; what is to be deleted waits for delete_after"
_HINT_PARKED = "`shipper status` says why, then `shipper retry --all` and `shipper ship`"
_HINT_LOGS = "`shipper ship`; `shipper plan` names them"
_FINISHED = frozenset({State.DONE, State.DUPLICATE})
_UNFINISHED = frozenset({State.READY, State.UPLOADING, State.UPLOADED, State.VERIFIED})
_UNSENT = frozenset({Decision.NEW, Decision.WAITING, Decision.REFUSED})
Finding = tuple[str, PortError | None]


def findings(configuration: Configuration) -> Iterator[Finding]:
    """What would be carried along; with an error where it should not be. Asks the disk alone.

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


def _of_journal(journal: Journal) -> Iterator[Finding]:
    files: Counter[State] = Counter()
    for total in journal.totals():
        files[total.state] += total.files
    finished, unfinished = (
        sum(files[state] for state in states) for states in (_FINISHED, _UNFINISHED)
    )
    yield f"instance id: {journal.origin.instance_id() or 'none'}", None
    yield f"journal rows, finished: {finished}", None
    yield _none("journal rows, unfinished", unfinished, PortError("Unfinished", hint=_HINT_SHIP))
    parked = PortError("Parked", hint=_HINT_PARKED)
    yield _none("journal rows, parked", files[State.PARKED], parked)


def _of_logs(configuration: Configuration, journal: Journal) -> Finding:
    place = Place(
        prefix=configuration.destination.prefix,
        instance_id=journal.origin.instance_id() or UNKNOWN_INSTANCE,
    )
    deciding = deciding_for(configuration, journal, lambda: place)
    plan = deciding.plan(configuration.watches)
    unsent = sum(_is_unsent(candidate) for candidate in plan)
    return _none("rotated logs, not shipped", unsent, PortError("NotShipped", hint=_HINT_LOGS))


def _is_unsent(candidate: Candidate) -> bool:
    """A watch whose directory is not there (yet) has no logs."""
    problem = candidate.problem
    is_absent = not candidate.path and problem is not None and problem.code == "NotFound"
    return candidate.decision in _UNSENT and not is_absent


def _none(name: str, files: int, otherwise: PortError) -> Finding:
    """Something of which an image should hold none."""
    return f"{name}: {files}", otherwise if files else None
