"""A destination that is down holds up no other."""

from pathlib import Path

import pytest

from shipper.ports import PortError
from tests.machines.destinations import ANSWER_SECONDS, DOWN, UP, Outage, TwoDestinations
from tests.machines.world import World

BURST = 100
MINUTES = 60
EACH_MINUTE = 3
KINDS = {
    "refuses connections": Outage(PortError("Unreachable", "connection refused"), 0.001),
    "does not answer": Outage(PortError("Timeout", "no answer"), 20.0),
    "answers 503": Outage(PortError("ServiceUnavailable", "", status=503), ANSWER_SECONDS),
    "asks to slow down": Outage(PortError("SlowDown", "", status=503), ANSWER_SECONDS),
    "denies": Outage(PortError("AccessDenied", "", status=403), ANSWER_SECONDS),
    "has no credentials": Outage(PortError("CredentialsUnavailable", "STS refuses"), 0.0),
}


def machine(directory: Path) -> TwoDestinations:
    return TwoDestinations(World(directory))


def busy_seconds(two: TwoDestinations, *, beside: int) -> float:
    """How long a burst and then an hour's files of the one that is up took, all together.

    So many files of the other are promised in the beginning, and as many more each minute as of
    this one.
    """
    two.write("up", BURST)
    two.write("down", beside)
    two.world.discover()

    def is_over() -> bool:
        return not two.left(UP)

    seconds = two.carry(is_over, 3600.0)
    for _ in range(MINUTES):
        two.write("up", EACH_MINUTE)
        two.write("down", EACH_MINUTE if beside else 0)
        two.world.discover()
        took = two.carry(is_over, 3600.0)
        two.carry(lambda: False, 60.0 - took)
        seconds += took
    assert two.done(UP) == BURST + MINUTES * EACH_MINUTE
    return seconds


@pytest.fixture(scope="module")
def alone_seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    return busy_seconds(machine(tmp_path_factory.mktemp("alone")), beside=0)


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_down_for_an_hour_costs_the_other_no_twentieth(
    tmp_path: Path, alone_seconds: float, kind: str
) -> None:
    two = machine(tmp_path)
    two.down.store.outage = KINDS[kind]
    seconds = busy_seconds(two, beside=BURST)
    assert alone_seconds * 0.95 <= seconds <= alone_seconds * 1.05
    assert two.up.gate.reason() is None
    assert two.down.gate.reason() is not None
    assert (two.done(DOWN), two.left(DOWN)) == (0, BURST + MINUTES * EACH_MINUTE)
    assert two.down.store.asked > 0

    two.down.store.outage = None
    two.carry(lambda: not two.left(DOWN), 3600.0)
    assert two.left(DOWN) == 0
    assert {*two.down.store.bucket.objects()}.isdisjoint(two.up.store.bucket.objects())
