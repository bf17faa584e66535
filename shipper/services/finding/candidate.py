"""One entry that looks like a rotated log, and what was decided about it."""

from dataclasses import dataclass, replace
from enum import Enum

from shipper.core.lifecycle import AWAY
from shipper.core.sealing import Look, Unsealed
from shipper.core.types import (
    AfterUpload,
    FileStat,
    Promise,
    RelativePath,
    Shipment,
    ShipmentId,
    State,
    Watch,
)
from shipper.ports import PortError, Source
from shipper.services.finding.growth_proofs import PENDING


class Decision(Enum):
    """What a candidate is; the value is shown."""

    NEW = "to be shipped"
    WAITING = "not sealed yet"
    UNDERWAY = "on its way"
    SHIPPED = "shipped"
    TOUCHED = "shipped; touched since"
    DUPLICATE = "copy of a shipped log"
    PARKED = "parked"
    EMPTY = "nothing in it"
    OLD = "older than ignore_older"
    REFUSED = "cannot be shipped"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry that looks like a rotated log, and what was decided about it.

    ``source`` is open when it is NEW, for whoever gets the candidate to close.
    """

    watch: Watch
    path: RelativePath
    decision: Decision
    because: str = ""
    place: str = ""
    stat: FileStat | None = None
    look: Look | None = None
    wait_seconds: float | None = None
    is_unproven: bool = False
    """It waits only because nobody can tell whether it has a writer."""
    is_expected: bool = False
    """It waits for a program that may well hold it open, such as today's log."""
    known: Shipment | None = None
    is_renamed: bool = False
    """It has another ctime than the known shipment remembers, and is its file nevertheless."""
    unsent: tuple[Shipment, ...] = ()
    """Every shipment of the entry's inode whose bytes may still have to be read."""
    disproved: tuple[ShipmentId, ...] = ()
    """The shipments that a NEW file was taken for and is not."""
    promise: Promise | None = None
    source: Source | None = None
    problem: PortError | None = None

    @property
    def is_lasting(self) -> bool:
        """Whether the same is decided until the file or its newest segment changes."""
        return self.decision is Decision.SHIPPED and not self.unsent

    @property
    def is_over(self) -> bool:
        """As ``is_finished``, of a file that came in segments."""
        known = self.known
        is_shipped = self.decision is Decision.SHIPPED and not self.is_renamed
        is_done = known is not None and known.state is State.DONE and known.code not in AWAY
        # One that was shipped live is removed by scans.
        keeps = self.watch.after_upload is AfterUpload.KEEP
        stays = known is not None and (not known.is_live or keeps)
        return is_shipped and is_done and stays and not self.unsent

    def refused(self, problem: PortError) -> "Candidate":
        return replace(self, decision=Decision.REFUSED, because=str(problem), problem=problem)

    def failed(self, error: PortError) -> "Candidate":
        """It could not be opened or read."""
        if error.code == "NotFound":
            return self.waiting(self.watch.settle_seconds, "renamed or removed meanwhile")
        if error.code == PENDING:
            return self.waiting(0.0, error.detail)
        return self.refused(error)

    def waiting(self, wait: float, because: str) -> "Candidate":
        return replace(self, decision=Decision.WAITING, because=because, wait_seconds=wait)

    def unsealed(self, why: Unsealed) -> "Candidate":
        waiting = self.waiting(why.wait_seconds, why.because)
        return replace(waiting, is_unproven=why.is_unproven, is_expected=why.is_expected)

    def old(self) -> "Candidate":
        days = self.watch.ignore_older_seconds / 86_400
        because = f"last written more than {days:g} days ago, and ignore_older leaves it alone"
        return replace(self, decision=Decision.OLD, because=because, look=None)

    def promised(self, known: Shipment, decision: Decision, because: str) -> "Candidate":
        """There is nothing to wait for, so no look is kept."""
        return replace(self, decision=decision, because=because, known=known, look=None)


def refused(watch: Watch, path: RelativePath, problem: PortError) -> Candidate:
    """A candidate that cannot be shipped; the path is empty where the watch itself cannot."""
    return Candidate(watch, path, Decision.REFUSED).refused(problem)


def decision_of(known: Shipment) -> Decision:
    match known.state:
        case State.DUPLICATE:
            return Decision.DUPLICATE
        case State.PARKED:
            return Decision.PARKED
        case State.DONE | State.VERIFIED | State.UPLOADED:
            return Decision.SHIPPED
        case _:
            return Decision.UNDERWAY
