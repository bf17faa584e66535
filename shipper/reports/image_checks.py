"""What ``shipper check --for-image`` finds: what an image of this disk would carry."""

from collections import Counter
from collections.abc import Iterator

from shipper.config.load import Configuration
from shipper.core.lifecycle import FINISHED, FORGOTTEN, UNFINISHED
from shipper.core.object_keys import InstanceFacts
from shipper.core.types import (
    State,
)
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.reports.checks import Result
from shipper.reports.inspect import UNKNOWN_INSTANCE, journal_to_look_at
from shipper.runtime.state_directory import is_locked
from shipper.runtime.wiring import candidates_for
from shipper.services.finding.candidate import Candidate, Decision

_UNSENT = frozenset({Decision.NEW, Decision.WAITING, Decision.REFUSED})


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
