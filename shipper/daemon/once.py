"""One round without a daemon: identify the instance, seal, promise, carry, report.

Every due shipment gets one attempt. What fails stays in the journal for the next round.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from shipper.core.failures import MISCONFIGURED_CODES
from shipper.core.lifecycle import ACKNOWLEDGED, UNSHIPPED
from shipper.core.object_keys import InstanceFacts
from shipper.core.sealing import UNPROVEN_QUIET_FACTOR, UNPROVEN_QUIET_SECONDS
from shipper.core.types import State
from shipper.journal.queue import ANY_SIZE, Sizes
from shipper.ports import PortError
from shipper.runtime.services import Services
from shipper.runtime.wiring_sending import Carriers, carriers_for

IDENTIFY_SECONDS = 30.0
SEAL_ROUNDS = 3
ROUNDS = 3
COPIES = 1000
LONGEST_WAIT_SECONDS = 30.0
SHIPPED = ACKNOWLEDGED | {State.DUPLICATE}


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


def ship_once(services: Services) -> Outcome:
    """Ship what is ready, and with ``ship_live_files`` what is not rotated yet.

    Raises:
        PortError: the metadata service did not answer, or the role has no credentials.
    """
    services.housekeeping.step()
    finished, gone = _count(services, SHIPPED), _count(services, {State.GONE})
    facts = _identified(services)
    for keeper in services.keepers:
        keeper.step()
    _require_credentials(services)
    sending = carriers_for(services, facts, is_daemon=False)
    for _ in range(ROUNDS):
        superseded = _count(services, {State.SUPERSEDED})
        _promise(services)
        if services.configuration.termination.ship_live_files:
            while not services.termination.live.promise(facts, whole=True):
                pass  # each goes on with the comparisons of the one before
        _carry(sending, services)
        is_settled = _count(services, {State.SUPERSEDED}) == superseded
        if is_settled and not services.discovery.partial_files:
            break  # else something changed while it was read, and is a file of its own now
    if services.manifests is not None:
        services.manifests.finish(services.clock.monotonic() + LONGEST_WAIT_SECONDS, "ship")
    return Outcome(
        shipped=_count(services, SHIPPED) - finished,
        left=_count(services, UNSHIPPED),
        waiting=services.discovery.waiting_files,
        unproven=services.discovery.unproven_files,
        problems=sum(
            one.files
            for one in services.discovery.refusals.values()
            if one.example.problem is not None
        ),
        gone=_count(services, {State.GONE}) - gone,
    )


def _identified(services: Services) -> InstanceFacts:
    deadline = services.clock.monotonic() + IDENTIFY_SECONDS
    while True:
        wait = services.instance_lookup.step()
        if services.instance_lookup.facts is not None:
            return services.instance_lookup.facts
        problem = services.instance_lookup.problem
        is_hopeless = problem is not None and problem.code in MISCONFIGURED_CODES
        if is_hopeless or services.clock.monotonic() + wait > deadline:
            raise services.instance_lookup.problem or PortError(
                "Unreachable", "the metadata service"
            )
        services.stopping.wait(wait)


def _promise(services: Services) -> None:
    """Scan until nothing is left that only needs time, at most ``SEAL_ROUNDS`` times.

    Where nobody can tell whether a file has a writer, quiet has to tell, and takes a minute.
    """
    longest = max((watch.settle_seconds for watch in services.configuration.watches), default=0.0)
    discovery, clock = services.discovery, services.clock
    until = clock.monotonic() + max(UNPROVEN_QUIET_SECONDS, UNPROVEN_QUIET_FACTOR * longest) + 2
    discovery.step()
    rounds = 0
    while discovery.waiting_files and not services.stopping.is_set():
        if discovery.is_comparing:
            discovery.step()
            continue
        if rounds >= SEAL_ROUNDS and not (discovery.unproven_files and clock.monotonic() < until):
            break
        services.stopping.wait(longest + 0.01)
        discovery.step()
        rounds += 1
    if discovery.trouble is not None:
        raise discovery.trouble


def _require_credentials(services: Services) -> None:
    """What a destination without any holds is left.

    Raises:
        PortError: none has credentials.
    """
    problems = []
    for one in services.destinations:
        try:
            one.keeper.current()
        except PortError as error:
            problems.append(error)
    if len(problems) == len(services.destinations):
        raise problems[0]


def _carry(sending: Sequence[Carriers], services: Services) -> None:
    """Send to all destinations at once: none waits for another."""
    workers = services.configuration.uploads.concurrent_files
    threads = len(sending) * (workers + 2)
    with ThreadPoolExecutor(threads, thread_name_prefix="carrier") as executor:
        try:
            for done in [executor.submit(_carry_to, one, executor, services) for one in sending]:
                done.result()
        except BaseException:
            services.stopping.set()  # Ctrl-C: parts in flight finish, nothing new is begun
            raise


def _carry_to(one: Carriers, executor: Executor, services: Services) -> None:
    workers = services.configuration.uploads.concurrent_files
    others = partial(_carry_all, one, services, one.small.others)
    started = [executor.submit(others) for _ in range(workers)]
    started.append(executor.submit(_carry_small, one, services))
    for done in started:
        done.result()
    _settle_copies(one, services)


def _carry_small(one: Carriers, services: Services) -> None:
    small, started_at = one.small, services.clock.now()
    while _may_go_on(one, services):
        wait = small.step(due_by=started_at)
        if small.is_idle and wait > 0:
            return
        small.tasks.wait(wait)
    small.finish()


def _settle_copies(one: Carriers, services: Services) -> None:
    """Copies that waited for their original, or for the proof of another, get their turn."""
    for _ in range(ROUNDS):
        waiting = [
            row
            for row in services.journal.unfinished(COPIES)
            if row.code == "DuplicateUndecided" and row.destination == one.destination.name
        ]
        if not waiting or not _may_go_on(one, services):
            return
        wait = max(row.due_at or 0.0 for row in waiting) - services.clock.now()
        services.stopping.wait(min(max(0.0, wait), LONGEST_WAIT_SECONDS))
        _carry_all(one, services)


def _carry_all(one: Carriers, services: Services, sizes: Sizes = ANY_SIZE) -> None:
    started_at = services.clock.now()
    while _may_go_on(one, services):
        if one.carrier.step(sizes, due_by=started_at) > 0:
            return


def _may_go_on(one: Carriers, services: Services) -> bool:
    return one.destination.gate.reason() is None and not services.stopping.is_set()


def _count(services: Services, states: Iterable[State]) -> int:
    return sum(total.files for total in services.journal.figures.totals() if total.state in states)
