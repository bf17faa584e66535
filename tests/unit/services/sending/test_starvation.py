"""A refusal for some keys holds those keys: the others go on, and nobody is asked in vain."""

import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from random import Random

import pytest

from shipper.core.types import State
from shipper.ports import PortError
from tests.machines.world import World

DENIED = PortError("AccessDenied", "no", status=403)
GOOD = 100


class Denying:
    """A bucket that refuses keys by a rule."""

    def __init__(self, world: World, refuses: Callable[[str], bool], error: PortError) -> None:
        self.refuses, self.error, self.refused = refuses, error, list[str]()
        self._put = world.store.put
        self._world = world
        world.store.put = self.put  # type: ignore[method-assign,assignment]

    def put(self, key: str, *given: object, **named: object) -> object:
        self._world.clock.advance(seconds=0.05)
        if self.refuses(key):
            self.refused.append(key)
            refused: Future[object] = Future()
            refused.set_exception(self.error)
            return refused
        return self._put(key, *given, **named)  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.key_template = "{prefix}{watch}/{directory}/{stem}.{digest}{extension}"
    world.restart()
    world.gate._jitter = Random(0).random
    return world


def is_bad(key: str) -> bool:
    """By the log's name: a digest may spell anything."""
    return "bad" in key.partition(".log")[0]


def hashed(name: str, number: int) -> str:
    return hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:8]


NAMINGS: dict[str, Callable[[str, int], str]] = {
    "first": lambda name, number: f"{name}{number}.log.1",
    "last": lambda name, number: f"z{name}{number}.log.1",
    "hashed": lambda name, number: f"{hashed(name, number)}-{name}.log.1",
    "interleaved": lambda name, number: f"{number:03}-{name}.log.1",
    "suffix": lambda name, number: f"{hashed(name, number)}.{name}.log.1",
    "directory": lambda name, number: f"{number}/{name}/app.log.1",
}


def write(world: World, name: str, files: int, naming: str = "first") -> None:
    for number in range(files):
        path = NAMINGS[naming](name, number)
        world.files.write(path.encode(), f"{name} {number}\n".encode())


def carry(world: World, seconds: float) -> None:
    """Let a worker do what falls due in so much simulated time."""
    until = world.clock.now() + seconds
    while world.clock.now() < until:
        wait = world.carrier.step()
        world.clock.advance(seconds=min(wait, max(0.0, until - world.clock.now())))


def shipped(world: World) -> int:
    return len(world.rows(State.DONE))


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("bad", [1, 5, 50, 300])
@pytest.mark.parametrize("is_before", [True, False])
def test_good_logs_beside_denied_ones_are_shipped_as_fast_as_alone(
    world: World, bad: int, naming: str, is_before: bool
) -> None:
    bucket = Denying(world, is_bad, DENIED)
    write(world, "bad", bad, naming)
    if is_before:
        world.discover()
        carry(world, 3600.0)
    before = len(bucket.refused)
    write(world, "good", GOOD, naming)
    world.discover()
    carry(world, GOOD * 0.05 * 1.5)
    assert shipped(world) == GOOD
    assert len(bucket.refused) - before <= GOOD / 2
    assert world.gate.reason() is None
    assert world.gate.standing()


@pytest.mark.parametrize("bad", [1, 5, 50, 300])
def test_denied_logs_that_nothing_tells_from_good_ones_do_not_delay_those_that_come_later(
    world: World, bad: int
) -> None:
    """The first that pass tell that it is not all of them; then each is asked for once."""
    denied = {hashed("bad", number) for number in range(bad)}
    bucket = Denying(world, lambda key: any(one in key for one in denied), DENIED)
    for name, files in (("seen", 1), ("bad", bad)):
        for number in range(files):
            world.files.write(f"{hashed(name, number)}.log.1".encode(), f"{name}{number}".encode())
    world.discover()
    carry(world, 600.0)
    before = len(bucket.refused)
    for number in range(GOOD):
        world.files.write(f"{hashed('good', number)}.log.1".encode(), f"good {number}".encode())
    world.discover()
    carry(world, GOOD * 0.05 * 1.5)
    assert shipped(world) == GOOD + 1
    assert len(bucket.refused) - before <= GOOD / 2


def test_a_denied_watch_costs_a_request_a_minute_and_those_beside_it_nothing(
    world: World,
) -> None:
    bucket = Denying(world, is_bad, DENIED)
    write(world, "bad", 2000, "directory")
    write(world, "good", 1, "directory")
    world.discover()
    carry(world, 600.0)
    assert len(bucket.refused) <= 40
    before = len(bucket.refused)
    carry(world, 3600.0)
    assert len(bucket.refused) - before <= 130
    assert shipped(world) == 1
    assert world.gate.reason() is None


def test_denied_logs_are_not_all_sent_again_when_the_gate_opens(world: World) -> None:
    bucket = Denying(world, is_bad, DENIED)
    names = ["ab", "cd", "ef", "gh"]
    for number, name in enumerate(names):
        world.files.write(f"{name}-bad{number}.log.1".encode(), f"bad {number}".encode())
    world.discover()
    carry(world, 5.0)
    assert world.gate.reason() is not None
    before = len(bucket.refused)
    write(world, "good", 1)
    world.discover()
    carry(world, 0.1)
    assert shipped(world) == 1
    assert world.gate.reason() is None
    assert len(bucket.refused) - before <= 1


def test_denied_logs_are_asked_for_ever_more_seldom(world: World) -> None:
    bucket = Denying(world, is_bad, DENIED)
    write(world, "bad", 50)
    write(world, "good", 1)
    world.discover()
    carry(world, 600.0)
    before = len(bucket.refused)
    carry(world, 3600.0)
    assert len(bucket.refused) - before < 50 * 13
    assert {row.attempts for row in world.rows(State.READY)} == {0}


def test_a_denied_bucket_shuts_the_gate_and_is_probed_once_a_minute(world: World) -> None:
    bucket = Denying(world, lambda key: True, DENIED)
    write(world, "app", 100)
    world.discover()
    carry(world, 600.0)
    shut = world.gate.reason()
    assert shut is not None
    assert "s3:PutObject" in shut.hint
    assert len(world.log.of("gate.shut")) == 1
    before = len(bucket.refused)
    carry(world, 3600.0)
    assert len(bucket.refused) - before <= 130
    bucket.refuses = lambda key: False
    carry(world, 61.0 + 100 * 0.05)
    assert shipped(world) == 100
    assert len(world.log.of("gate.opened")) == 1


@pytest.mark.parametrize(
    "code",
    [
        *("InvalidTag", "AccessControlListNotSupported", "XMinioTomorrow"),
        *("SignatureDoesNotMatch", "TemporaryRedirect"),
    ],
)
def test_what_only_the_configuration_mends_shuts_the_gate_after_two_files(
    world: World, code: str
) -> None:
    bucket = Denying(world, lambda key: True, PortError(code, "no", status=400))
    write(world, "app", 20)
    world.discover()
    for _ in range(4):
        world.carrier.step()
    assert world.gate.reason() is not None
    assert len(bucket.refused) == 2


def test_a_4xx_without_a_code_never_shuts_the_gate(world: World) -> None:
    Denying(world, lambda key: True, PortError("Http400", "no", status=400))
    write(world, "app", 20)
    world.discover()
    carry(world, 300.0)
    assert world.gate.reason() is None


def test_other_credentials_are_tried_at_once(world: World) -> None:
    bucket = Denying(world, lambda key: True, DENIED)
    write(world, "app", 20)
    world.discover()
    carry(world, 3600.0)
    bucket.refuses = lambda key: False
    world.generation += 1
    carry(world, 62.0)
    assert shipped(world) == 20


ODD = [
    PortError("InternalError", "its own trouble with these", status=500),
    PortError("NotS3", "a filter's own page", status=403),
    PortError("SignatureDoesNotMatch", "another idea of a plus sign", status=403),
    PortError("TemporaryRedirect", "elsewhere", status=307),
    PortError("InvalidToken", "malformed", status=400),
    PortError("NoSuchBucket", "a rule of a proxy", status=404),
    PortError("SlowDown", "come again", status=503),
]


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("odd", [1, 3, 10])
@pytest.mark.parametrize("error", ODD, ids=lambda error: error.code)
def test_good_logs_beside_a_few_that_always_fail_are_shipped_as_fast_as_alone(
    world: World, error: PortError, odd: int, naming: str
) -> None:
    Denying(world, is_bad, error)
    write(world, "bad", odd, naming)
    write(world, "good", GOOD, naming)
    world.discover()
    began_at = world.clock.now()
    carry(world, GOOD * 0.05 * 1.5)
    assert shipped(world) == GOOD
    ends = [row.finished_at or 0.0 for row in world.rows(State.DONE)]
    assert max(ends) <= began_at + GOOD * 0.05 * 1.5
    carry(world, 3600.0)
    assert len(world.log.of("gate.shut")) <= 2


@pytest.mark.parametrize("odd", [1, 3, 10])
@pytest.mark.parametrize("error", ODD, ids=lambda error: error.code)
def test_later_logs_do_not_wait_for_a_few_that_always_fail(
    world: World, error: PortError, odd: int
) -> None:
    """The first one waits for a trial, as nothing tells that this is no outage."""
    Denying(world, is_bad, error)
    write(world, "bad", odd)
    world.discover()
    carry(world, 600.0)
    for number in range(20):
        world.files.write(b"good%d.log.1" % number, b"good %d\n" % number)
        world.discover()
        carry(world, 61.0 if not number else 0.5)
        assert shipped(world) == number + 1
        carry(world, 60.0)
    assert len(world.log.of("gate.shut")) <= 2
    assert world.gate.reason() is None


def test_what_is_sent_again_after_a_restart_beside_a_denied_log_is_no_standstill(
    world: World,
) -> None:
    Denying(world, is_bad, DENIED)
    write(world, "bad", 1)
    write(world, "good", 1)
    world.discover()
    carry(world, 60.0)
    denying_put = world.store.put
    world.restart()
    world.store.put = denying_put  # type: ignore[method-assign]
    carry(world, 600.0)
    assert world.gate.standing()
    assert world.gate.reason() is None
    assert world.log.of("gate.shut") == []


def test_many_denied_logs_beside_good_ones_are_no_standstill(world: World) -> None:
    Denying(world, is_bad, DENIED)
    write(world, "bad", 60)
    write(world, "good", 10)
    world.discover()
    carry(world, 60.0)
    assert world.gate.reason() is None
    told = {code: files for (code, _), files in world.journal.figures.failed_files().items()}
    assert told == {"AccessDenied": 60}


def test_a_denied_log_that_is_lost_is_refused_no_more(world: World) -> None:
    Denying(world, is_bad, DENIED)
    write(world, "bad", 1)
    world.discover()
    denying_put = world.store.put
    world.restart()  # nothing holds the file from now on
    world.store.put = denying_put  # type: ignore[method-assign]
    carry(world, 10.0)
    assert world.gate.reason() is not None
    assert world.gate.standing()
    world.files.delete(b"bad0.log.1")
    carry(world, 600.0)
    assert world.rows()[0].state is State.GONE
    assert world.gate.standing() == []
    assert world.gate.reason() is None
    assert world.journal.figures.failed_files() == {}
