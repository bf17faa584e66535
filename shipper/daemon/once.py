"""One round without a daemon: identify the instance, seal, promise, carry, report.

Every due shipment gets one attempt. What fails stays in the journal for the next round.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shipper.core.backoff import MISCONFIGURED_CODES
from shipper.core.lifecycle import UNSHIPPED
from shipper.core.object_keys import Place
from shipper.core.sealing import UNPROVEN_QUIET_FACTOR, UNPROVEN_QUIET_SECONDS
from shipper.core.types import State
from shipper.ports import PortError
from shipper.runtime.wiring import House
from shipper.runtime.wiring_carrier import carrier_for
from shipper.services.sending.carrier import Carrier

IDENTIFY_SECONDS = 30.0
SEAL_ROUNDS = 3
ROUNDS = 3
COPIES = 1000
LONGEST_WAIT_SECONDS = 30.0
FINISHED = frozenset({State.UPLOADED, State.VERIFIED, State.DONE, State.DUPLICATE})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one round came to, in files."""

    shipped: int
    left: int
    waiting: int
    unproven: int
    problems: int
    gone: int

    @property
    def is_good(self) -> bool:
        """Whether all that was sealed is in S3."""
        return not (self.left or self.problems or self.unproven or self.gone)


def ship_once(house: House, *, live: bool = False) -> Outcome:
    """Ship what is ready, and with ``live`` what is not rotated yet.

    Raises:
        PortError: the metadata service did not answer, or the role has no credentials.
    """
    house.janitor.step()  # where no daemon runs, clones are kept within their budget here
    finished, gone = _count(house, FINISHED), _count(house, {State.GONE})
    place = _identified(house)
    for keeper in house.keepers:
        keeper.step()
    house.keeper.current()
    carrier = carrier_for(house, place)
    for _ in range(ROUNDS):
        superseded = _count(house, {State.SUPERSEDED})
        _promise(house)
        if live:
            house.termination.live.promise(place, whole=True)
        _carry(carrier, house)
        _settle_copies(carrier, house)
        is_settled = _count(house, {State.SUPERSEDED}) == superseded
        if is_settled and not house.discovery.partial_files:
            break  # else something changed while it was read, and is a file of its own now
    return Outcome(
        shipped=_count(house, FINISHED) - finished,
        left=_count(house, UNSHIPPED),
        waiting=house.discovery.waiting_files,
        unproven=house.discovery.unproven_files,
        problems=len(house.discovery.problems),
        gone=_count(house, {State.GONE}) - gone,
    )


def _identified(house: House) -> Place:
    deadline = house.clock.monotonic() + IDENTIFY_SECONDS
    while True:
        wait = house.site.step()
        if house.site.place is not None:
            return house.site.place
        problem = house.site.problem
        is_hopeless = problem is not None and problem.code in MISCONFIGURED_CODES
        if is_hopeless or house.clock.monotonic() + wait > deadline:
            raise house.site.problem or PortError("Unreachable", "the metadata service")
        house.stopping.wait(wait)


def _promise(house: House) -> None:
    """Scan until nothing is left that only needs time, at most ``SEAL_ROUNDS`` times.

    Where nobody can tell whether a file has a writer, quiet has to tell, and takes a minute.
    """
    longest = max((watch.settle_seconds for watch in house.configuration.watches), default=0.0)
    discovery, clock = house.discovery, house.clock
    until = clock.monotonic() + max(UNPROVEN_QUIET_SECONDS, UNPROVEN_QUIET_FACTOR * longest) + 2
    discovery.step()
    rounds = 0
    while discovery.waiting_files and not house.stopping.is_set():
        if rounds >= SEAL_ROUNDS and not (discovery.unproven_files and clock.monotonic() < until):
            break
        house.stopping.wait(longest + 0.01)
        discovery.step()
        rounds += 1
    if discovery.trouble is not None:
        raise discovery.trouble


def _carry(carrier: Carrier, house: House) -> None:
    workers = house.configuration.uploads.concurrent_files
    with ThreadPoolExecutor(workers, thread_name_prefix="carrier") as executor:
        try:
            for done in [executor.submit(_carry_all, carrier, house) for _ in range(workers)]:
                done.result()
        except BaseException:
            house.stopping.set()  # Ctrl-C: parts in flight finish, nothing new is begun
            raise


def _settle_copies(carrier: Carrier, house: House) -> None:
    """Copies that waited for their original, or for the proof of another, get their turn."""
    for _ in range(ROUNDS):
        waiting = [row for row in house.journal.unfinished(COPIES) if row.code == "TwinUndecided"]
        if not waiting or house.gate.reason() is not None or house.stopping.is_set():
            return
        wait = max(row.due_at or 0.0 for row in waiting) - house.clock.now()
        house.stopping.wait(min(max(0.0, wait), LONGEST_WAIT_SECONDS))
        _carry_all(carrier, house)


def _carry_all(carrier: Carrier, house: House) -> None:
    started_at = house.clock.now()
    while house.gate.reason() is None and not house.stopping.is_set():
        if carrier.step(due_by=started_at) > 0:
            return


def _count(house: House, states: Iterable[State]) -> int:
    return sum(total.files for total in house.journal.totals() if total.state in states)
