"""One round without a daemon: identify the instance, seal, promise, carry, report.

Every due shipment gets one attempt. What fails stays in the journal for the next round.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shipper.app.wiring import House, carrier_for
from shipper.core.keys import Place
from shipper.core.lifecycle import UNSHIPPED
from shipper.core.schedule import MISCONFIGURED_CODES
from shipper.core.types import State
from shipper.ports import PortError
from shipper.services.carrier import Carrier

IDENTIFY_SECONDS = 30.0
SEAL_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one round came to, in files."""

    shipped: int
    left: int
    waiting: int
    problems: int

    @property
    def is_good(self) -> bool:
        """Whether all that was sealed is in S3."""
        return not (self.left or self.problems)


def ship_once(house: House) -> Outcome:
    """Ship what is ready.

    Raises:
        PortError: the metadata service did not answer, or the role has no credentials.
    """
    before = _finished(house)
    place = _identified(house)
    for keeper in house.keepers:
        keeper.step()
    house.keeper.current()
    _promise(house)
    carrier = carrier_for(house, place, progress=lambda: None)
    workers = house.configuration.uploads.concurrent_files
    with ThreadPoolExecutor(workers, thread_name_prefix="carrier") as executor:
        for done in [executor.submit(_carry_all, carrier, house) for _ in range(workers)]:
            done.result()
    totals = house.journal.totals()
    left = sum(total.files for total in totals if total.state in UNSHIPPED)
    return Outcome(
        _finished(house) - before,
        left,
        house.discovery.waiting_files,
        len(house.discovery.problems),
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
    """Scan until nothing is left that only needs time, at most ``SEAL_ROUNDS`` times."""
    longest = max((watch.settle_seconds for watch in house.configuration.watches), default=0.0)
    house.discovery.step()
    for _ in range(SEAL_ROUNDS):
        if not house.discovery.waiting_files:
            break
        house.stopping.wait(longest + 0.01)
        house.discovery.step()
    if house.discovery.trouble is not None:
        raise house.discovery.trouble


def _carry_all(carrier: Carrier, house: House) -> None:
    started_at = house.clock.now()
    while house.gate.reason() is None and house.journal.has_due(started_at):
        carrier.step()


def _finished(house: House) -> int:
    done = (State.UPLOADED, State.VERIFIED, State.DONE, State.DUPLICATE)
    return sum(total.files for total in house.journal.totals() if total.state in done)
