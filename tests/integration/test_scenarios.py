"""Scenarios of a metadata service, from ``tests/scenarios/*.toml``: what the keeper must show.

``tests/fakes/scripts.py`` says how they are written. Each has the simulated clock of the machine
and, apart from it, the true time by which the service dates. The service is asked by calls; over
real HTTP where connections are to break.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import fields
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from shipper.core.backoff import (
    EXPIRED_RETRY_SECONDS,
    LONGEST_REFRESH_RETRY_SECONDS,
    LONGEST_USE_SECONDS,
    SMALLEST_SKEW_SECONDS,
)
from shipper.core.types import RoleCredentials
from shipper.edges.http_client.transfer import Limits as Allowed
from shipper.edges.http_client.transfer import exchange
from shipper.edges.imds.asking import BODY_BYTES, REQUESTS_A_MINUTE
from shipper.edges.imds.client import ImdsMetadata
from shipper.mock.fault import Faults
from shipper.mock.imds import MockImds
from shipper.mock.scenario import Player, scenario_from
from shipper.ports import PortError
from shipper.runtime.loops import LONGEST_WAIT_SECONDS
from shipper.services.credentials import CredentialKeeper
from tests.fakes.clock import START_AT, FakeClock
from tests.fakes.log import RecordingLog
from tests.fakes.near_service import NearService
from tests.fakes.scripts import Expectation, Limits, Script, read, script_from

DIRECTORY = Path(__file__).parents[1] / "scenarios"
PATIENT = Allowed(connect_seconds=60.0, answer_seconds=60.0, answer_bytes=BODY_BYTES)
SEED = 20261124
SOON = 1e-6
"""Smaller steps are lost in the rounding of a wall clock."""
EARLY = SMALLEST_SKEW_SECONDS + 1.0
"""How far a life may be misjudged: what is no skew, and a Date's missing fraction."""


class Machine:
    """A machine with a keeper, and what is seen of both; ``source`` of the keeper itself."""

    def __init__(self, script: Script, clock: FakeClock, service: MockImds) -> None:
        self.clock = clock
        self.service = service
        self.log = RecordingLog()
        self.sent_at: list[float] = []
        self.asked: list[str] = []
        self.unauthorized = 0
        self._script = script
        self._acts = list(script.acts)
        self._player = Player(scenario_from({"at": script.settings}, script.about), service)
        self._started = clock.boottime()
        self._kick_seconds = 0.0
        self._kick_at = float("inf")
        self._handed: RoleCredentials | None = None
        self._until = self._attempted_at = self._handed_at = clock.boottime()
        self._imds = ImdsMetadata(
            service.url,
            clock,
            is_in_container=lambda: True,
            profile_name=script.client.profile_name,
            disabled=script.client.disabled,
            wait=self._wait,
            send=(
                partial(exchange, limits=PATIENT)
                if script.needs_connections
                else NearService(service).send
            ),
            rng=Random(SEED),
        )
        self.keeper = CredentialKeeper(source=self, clock=clock, rng=Random(SEED), log=self.log)
        self._act()

    def credentials(self) -> RoleCredentials:
        """Those of the service; remembers until when they truly live."""
        try:
            found = self._imds.credentials()
        finally:
            self._attempted_at = self.clock.boottime()
        now = self._attempted_at
        until = now + found.expires_at - self.service.now()
        if self._handed is None or not until <= now < self._until:  # no expired ones for living
            self._handed, self._handed_at, self._until = found, now, until
        return found

    def heard(self, line: Mapping[str, Any]) -> None:
        """A line of the service's log."""
        if "method" in line:
            self.unauthorized += line["status"] == 401
            self.sent_at.append(self.clock.boottime())
            self.asked.append(f"{line['method']} {line['path'].removeprefix('/latest/')}")

    @property
    def seconds(self) -> float:
        """Since the start, asleep or not."""
        return self.clock.boottime() - self._started

    def live(self, until_seconds: float) -> None:
        """Run the keeper's loop as the daemon does."""
        while True:
            wait = min(self.keeper.step(), LONGEST_WAIT_SECONDS)
            self._look()
            if self.clock.boottime() > self._until + EARLY + LONGEST_REFRESH_RETRY_SECONDS:
                assert self._attempted_at > self._until - EARLY, "past their life, and none asked"
            is_expired = self._until <= self._handed_at
            longest = EXPIRED_RETRY_SECONDS[1] if is_expired else LONGEST_USE_SECONDS
            assert self.clock.boottime() - self._attempted_at <= longest, "not asked again"
            left = until_seconds - self.seconds
            if left <= 0:
                return
            self._pass(min(wait, left, self._to_next()))
            self._look()

    def _wait(self, seconds: float) -> bool:
        until = self.seconds + seconds
        while (left := until - self.seconds) > 0:
            self._pass(min(left, self._to_next()))
        return False

    def _pass(self, seconds: float) -> None:
        self.clock.advance(seconds=max(seconds, SOON))
        self._act()

    def _to_next(self) -> float:
        next_act = self._acts[0][0] if self._acts else float("inf")
        return min(next_act, self._kick_at) - self.seconds

    def _act(self) -> None:
        self._player.advance(self.seconds)
        while self._acts and self._acts[0][0] <= self.seconds:
            _, act = self._acts.pop(0)
            self.clock.set_wall(self.clock.now() + act.set_wall)
            self.clock.suspend(act.suspend)
            self._player.advance(self.seconds)
            if act.kick_every is not None:
                self._kick_seconds = act.kick_every
                self._kick_at = self.seconds if act.kick_every else float("inf")
            if act.refresh_now:
                self.keeper.refresh_now()
        if self._kick_at <= self.seconds:
            self.keeper.refresh_now()
            self._kick_at = self.seconds + self._kick_seconds

    def _look(self) -> None:
        """What is lent came last, but for expired ones that came while others lived."""
        try:
            lent = self.keeper.current()
        except PortError:
            is_first = self._handed is None
            assert is_first or not self._script.limits.is_never_without, self.keeper.state()
            return
        assert lent == self._handed


class Judge:
    """Compares a machine with what is expected of it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._key = ""
        self._records = 0
        self._asked = 0

    def judge(self, wanted: Expectation) -> None:
        """Raise what is not as expected, all of it at once."""
        machine = self._machine
        found = self._found()
        wrong = []
        for each in fields(wanted):
            want = getattr(wanted, each.name)
            if each.name == "seconds" or want is None:
                continue
            have = found[each.name]
            if not _is_as_wanted(each.name, want, have):
                wrong.append(f"{each.name}: {have!r}, not {want!r}")
        shown = machine.keeper.state()
        assert not wrong, "\n".join([f"after {wanted.seconds} s", *wrong, repr(shown)])

    def _found(self) -> dict[str, Any]:
        machine, shown = self._machine, self._machine.keeper.state()
        try:
            key, raised = machine.keeper.current().access_key_id, ""
        except PortError as error:
            key, raised = "", repr(error.code + error.detail + error.hint)
        records, self._records = machine.log.records[self._records :], len(machine.log.records)
        asked, self._asked = machine.asked[self._asked :], len(machine.asked)
        before, self._key = self._key, shown.access_key_id
        changes = [fields for _, event, fields in records if event == "credentials.changed"]
        return {
            "state": shown.state.value,
            "code": shown.code,
            "role": shown.role,
            "account": shown.account_id,
            "detail": shown.detail,
            "hint": shown.hint,
            "skew_seconds": shown.skew_seconds,
            "generation": machine.keeper.generation,
            "lends": bool(key),
            "raises": raised,
            "changed": before != self._key,
            "requests": len(asked),
            "asked": asked,
            "told": [f"{one['state']} {one['code']}".strip() for one in changes],
            "log": [event for _, event, _ in records],
        }


def _is_as_wanted(name: str, want: Any, have: Any) -> bool:
    match name:
        case "detail" | "hint" | "raises":
            return bool(want in have if want else not have)
        case "requests":
            return bool(have <= want)
        case "log":
            return set(want) <= set(have)
        case "skew_seconds":
            return bool(abs(have - want) <= 2.0)
        case _:
            return bool(have == want)


def run(script: Script) -> Machine:
    """Run a scenario to its last expectation, and judge the whole of it."""
    clock = FakeClock()
    begun = clock.boottime()
    listeners: list[Callable[[Mapping[str, Any]], None]] = []
    service = MockImds(
        clock=lambda: START_AT + clock.boottime() - begun,
        monotonic=clock.boottime,
        log=lambda line: listeners[0](line) if listeners else None,
    )
    service.faults = Faults(Random(SEED))
    with ExitStack() as stack:
        stack.callback(service.stop)
        if script.needs_connections:
            service.start()
        machine = Machine(script, clock, service)
        listeners.append(machine.heard)
        judge = Judge(machine)
        for wanted in script.expectations:
            machine.live(wanted.seconds)
            judge.judge(wanted)
    _judge_all(script.limits, machine)
    return machine


def _judge_all(limits: Limits, machine: Machine) -> None:
    bare = [asked for asked in machine.service.asked() if asked[0] == "GET" and not asked[2]]
    assert bare == [], "a GET without a metadata token"
    sent = machine.sent_at
    for earlier, later in zip(sent, sent[REQUESTS_A_MINUTE:], strict=False):
        assert later - earlier >= 60.0, f"more than {REQUESTS_A_MINUTE} requests in a minute"
    assert limits.requests is None or len(sent) <= limits.requests, len(sent)
    assert limits.unauthorized is None or machine.unauthorized <= limits.unauthorized
    told = machine.log.of("credentials.changed")
    assert limits.told is None or len(told) <= limits.told, told
    for part in limits.never_asked:
        assert not [one for one in machine.asked if part in one]
    text = repr(machine.log.records) + repr(machine.keeper.state())
    hushed = [*machine.service.tokens]
    for keys in machine.service.issued:
        hushed += [keys.secret_access_key, keys.session_token]
    assert not [secret for secret in hushed if secret in text]


FILES = sorted(DIRECTORY.glob("*.toml"))


@pytest.mark.parametrize("path", [pytest.param(path, id=read(path).about) for path in FILES])
def test_in_every_scenario_the_keeper_shows_what_it_must(path: Path) -> None:
    run(read(path))


def test_there_are_sixty_scenarios_and_each_says_what_no_other_does() -> None:
    abouts = [read(path).about for path in FILES]
    assert len(set(abouts)) == len(abouts) >= 60
    assert all(about[:1].islower() and len(about) > 20 for about in abouts)


GOOD = {"about": "a test of the runner", "expect": [{"seconds": 5, "state": "fresh"}]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"abuot": "x"},
        {"start": {"lifetime": 5}},
        {"at": [{"seconds": 1, "refreshes": True}]},
        {"at": [{"seconds": 9, "refresh_now": True}]},
        {"at": [{"seconds": 1, "refresh_now": 1}]},
        {"expect": [{"seconds": 1, "stat": "fresh"}]},
        {"expect": [{"seconds": 1, "generation": True}]},
        {"client": {"role": "x"}},
        {"limits": {"request": 1}},
    ],
)
def test_what_a_scenario_must_not_say_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, PortError)):
        run(script_from(GOOD | wrong))


@pytest.mark.parametrize(
    "expected",
    [
        {"state": "stale"},
        {"code": "NoRole"},
        {"hint": "associate"},
        {"generation": 2},
        {"lends": False},
        {"changed": False},
        {"raises": "expired"},
        {"skew_seconds": 60.0},
        {"requests": 2},
        {"asked": []},
        {"told": []},
        {"log": ["clock.skewed"]},
    ],
)
def test_what_is_not_as_expected_fails_the_scenario(expected: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        run(script_from(GOOD | {"expect": [{"seconds": 5} | expected]}))
