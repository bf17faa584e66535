"""Asking for notices and draining, with a fake clock and a fake metadata service."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from shipper.core.termination import PATHS, DrainPolicy, Reason
from shipper.core.types import WriterTest
from shipper.ports import PortError
from shipper.services.termination import (
    IDLE_SECONDS,
    LIFE_CYCLE_PATH,
    POLL_SECONDS,
    Termination,
)
from tests.fakes.metadata import FakeMetadata
from tests.machines.world import World

LINES = b"a line\n" * 1000
SPOT = '{"action": "terminate", "time": "2025-11-24T16:02:00Z"}'
"""Two minutes after the fake clock starts."""
REBALANCE = '{"noticeTime": "2025-11-24T16:00:00Z"}'
ALL = frozenset({Reason.SPOT, Reason.AUTOSCALING, Reason.REBALANCE})


class Hook:
    """An Auto Scaling group's hook that remembers, or refuses."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.errors: list[PortError] = []

    def extend(self) -> None:
        """Wait on."""
        self._tell("extend")

    def complete(self) -> None:
        """Go on."""
        self._tell("complete")

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if self.errors:
            raise self.errors.pop(0)


class Machine:
    """A world with a metadata service, and who asks it."""

    def __init__(self, directory: Path) -> None:
        self.world = World(directory)
        self.metadata = FakeMetadata(self.world.clock)
        self.hook = Hook()
        self.begun = 0
        self.looks = 0
        self.skew_seconds = 0.0
        self.build()

    def build(
        self, *, reasons: frozenset[Reason] = ALL, has_hook: bool = False, ships_live: bool = True
    ) -> Termination:
        def begun() -> None:
            self.begun += 1

        def look() -> None:
            self.looks += 1

        self.termination = Termination(
            metadata=self.metadata,
            policy=DrainPolicy(has_hook=has_hook, reasons=reasons, ships_live=ships_live),
            journal=self.world.journal,
            live=self.world.live,
            hook=self.hook if has_hook else None,
            begun=begun,
            look=look,
            skew_seconds=lambda: self.skew_seconds,
            clock=self.world.clock,
            log=self.world.log,
        )
        return self.termination

    def say(self, reason: Reason, text: str | None) -> None:
        """What the service says from now on."""
        self.metadata.texts.pop(PATHS[reason], None)
        if text is not None:
            self.metadata.texts[PATHS[reason]] = text

    def live(self, seconds: float, *, carries: bool = True) -> None:
        """Let all loops run for so long."""
        until = self.world.clock.monotonic() + seconds
        while self.world.clock.monotonic() < until:
            wait = self.termination.step()
            self.world.discovery.step()
            self.world.live.step()
            if carries:
                self.world.carry()
            self.world.clock.advance(seconds=max(0.5, min(wait, 5.0)))

    def events(self) -> list[str]:
        return [one for one in self.world.log.events if one.split(".")[0] in WORDS]


WORDS = {"drain", "lifecycle", "notice", "live"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.world.files.write(b"app.log", LINES)
    return machine


# Asking.


def test_without_a_notice_nothing_happens(machine: Machine) -> None:
    machine.live(60)
    assert machine.events() == []
    assert machine.termination.step() <= POLL_SECONDS
    assert not machine.termination.is_draining


def test_spot_is_asked_for_every_five_seconds_and_the_others_less_often(machine: Machine) -> None:
    before = machine.metadata.asked
    machine.live(60)
    assert machine.metadata.asked - before == 12 + 4 + 4 + 1  # and once, for the life cycle


@pytest.mark.parametrize("kind", ["on-demand", "scheduled", "capacity-block"])
def test_spot_is_polled_only_where_the_life_cycle_is_spot(machine: Machine, kind: str) -> None:
    machine.metadata.texts[LIFE_CYCLE_PATH] = kind
    before = machine.metadata.asked
    machine.live(60)
    assert machine.metadata.asked - before == 4 + 4 + 1
    machine.say(Reason.SPOT, "anything")
    machine.live(60)
    assert not machine.termination.is_draining


@pytest.mark.parametrize("text", ["spot", "", "<html>"])
def test_spot_is_polled_where_the_life_cycle_does_not_rule_it_out(
    machine: Machine, text: str
) -> None:
    machine.metadata.texts[LIFE_CYCLE_PATH] = text
    before = machine.metadata.asked
    machine.live(60)
    assert machine.metadata.asked - before == 12 + 4 + 4 + 1


def test_a_life_cycle_that_nobody_answered_for_is_asked_for_again(machine: Machine) -> None:
    machine.metadata.texts[LIFE_CYCLE_PATH] = "on-demand"
    machine.metadata.fail_with("Unreachable")
    machine.live(15)
    machine.metadata.recover()
    machine.live(30)
    before = machine.metadata.asked
    machine.live(60)
    assert machine.metadata.asked - before == 4 + 4


def test_nobody_is_asked_for_what_is_not_wanted(machine: Machine) -> None:
    machine.build(reasons=frozenset())
    machine.say(Reason.SPOT, SPOT)
    assert machine.termination.step() == IDLE_SECONDS
    assert machine.metadata.asked == 0


@pytest.mark.parametrize("answer", ["<html>portal</html>", '{"action": "stop"}'])
def test_an_answer_that_makes_no_sense_begins_nothing(machine: Machine, answer: str) -> None:
    machine.say(Reason.SPOT, answer)
    machine.live(10)
    assert set(machine.events()) == {"notice.unreadable"}


def test_a_service_that_fails_neither_begins_a_drain_nor_ends_one(machine: Machine) -> None:
    machine.metadata.fail_with("Unreachable")
    machine.live(20)
    assert not machine.termination.is_draining
    machine.metadata.recover()
    machine.say(Reason.SPOT, SPOT)
    machine.live(6)
    assert machine.termination.is_draining
    machine.metadata.fail_with("Unreachable")
    machine.live(20)
    assert machine.termination.is_draining


# Draining.


def test_a_spot_notice_ships_rotated_files_and_then_live_ones(machine: Machine) -> None:
    machine.world.files.write(b"app.log.1", b"rotated\n")
    machine.world.discovery.step()
    machine.say(Reason.SPOT, SPOT)
    machine.live(10)
    assert sorted(machine.world.contents()) == sorted([LINES, b"rotated\n"])
    assert machine.begun == 1
    assert machine.looks == 1
    [begun] = machine.world.log.of("drain.begun")
    assert (begun["reason"], begun["seconds"]) == ("spot", 110.0)


def test_the_last_lines_before_the_deadline_go_too_and_one_line_says_that_all_did(
    machine: Machine,
) -> None:
    machine.say(Reason.SPOT, SPOT)
    machine.live(20)
    machine.world.files.append(b"app.log", b"the last words, and no end of the li")
    machine.live(95)
    assert (
        b"".join(sorted(machine.world.contents()))
        == LINES + b"the last words, and no end of the li"
    )
    [ended] = machine.world.log.of("drain.ended")
    assert (ended["left_files"], ended["left_bytes"]) == (0, 0)
    assert ended["seconds"] == pytest.approx(110, abs=1)
    assert not machine.termination.is_draining


def test_what_is_left_at_the_deadline_is_said_in_one_line_and_is_in_the_journal(
    machine: Machine,
) -> None:
    machine.world.files.write(b"app.log.1", b"rotated\n")
    machine.say(Reason.SPOT, SPOT)
    machine.live(150, carries=False)
    [ended] = machine.world.log.of("drain.ended")
    assert (ended["left_files"], ended["left_bytes"]) == (2, len(LINES) + len(b"rotated\n"))
    machine.world.restart()
    machine.world.carry()
    assert sorted(machine.world.contents()) == sorted([LINES, b"rotated\n"])


def test_what_is_not_sealed_counts_as_left_until_a_pass_has_taken_it(machine: Machine) -> None:
    for name in (b"app.log.1", b"app.log.2.gz"):
        machine.world.files.write(name, b"rotated\n")
        machine.world.files.set_writer(name, WriterTest.OPEN)
    machine.live(5)
    machine.say(Reason.SPOT, SPOT)
    machine.live(150)
    [begun], [ended] = machine.world.log.of("drain.begun"), machine.world.log.of("drain.ended")
    assert (begun["left_files"], begun["left_bytes"]) == (2, 2 * len(b"rotated\n"))
    assert (ended["left_files"], ended["left_bytes"]) == (1, len(b"rotated\n"))


def test_a_drain_with_a_hook_waits_for_a_log_that_is_not_sealed(machine: Machine) -> None:
    machine.build(has_hook=True)
    machine.world.files.write(b"app.log.2.gz", gzip.compress(b"rotated\n"))
    machine.world.files.set_writer(b"app.log.2.gz", WriterTest.OPEN)
    machine.say(Reason.AUTOSCALING, "Terminated")
    machine.live(60)
    assert "complete" not in machine.hook.told
    machine.world.files.set_writer(b"app.log.2.gz", WriterTest.NONE)
    machine.live(60)
    assert machine.hook.told[-1] == "complete"
    assert sorted(machine.world.contents()) == sorted([LINES, b"rotated\n"])


def test_what_no_pass_could_take_is_said_at_the_end(machine: Machine) -> None:
    machine.world.files.write(b"two.log", b"two names\n")
    machine.world.files.link(b"two.log", b"names")
    machine.world.files.write(b"app.log.1", b"rotated\n")
    machine.world.files.deny(b"app.log.1")
    machine.say(Reason.SPOT, SPOT)
    machine.live(150)
    [ended] = machine.world.log.of("drain.ended")
    assert (ended["left_files"], ended["refused_files"]) == (0, 2)


def test_a_notice_whose_machine_lives_on_is_not_dealt_with_twice(machine: Machine) -> None:
    machine.say(Reason.SPOT, SPOT)
    machine.live(600)
    assert machine.events().count("drain.begun") == 1
    machine.say(Reason.SPOT, None)
    machine.live(10)
    machine.say(Reason.SPOT, SPOT.replace("16:02", "16:15"))
    machine.live(10)
    assert machine.events().count("drain.begun") == 2


def test_a_notice_that_is_withdrawn_returns_to_normal_and_the_log_goes_on(
    machine: Machine,
) -> None:
    machine.say(Reason.SPOT, SPOT)
    machine.live(10)
    machine.say(Reason.SPOT, None)
    machine.live(10)
    assert machine.events()[-1] == "drain.withdrawn"
    assert not machine.termination.is_draining
    machine.world.files.append(b"app.log", b"and on\n")
    machine.world.files.rename(b"app.log", b"app.log.1")
    machine.world.run(rounds=2)
    assert sorted(machine.world.contents()) == sorted([LINES, b"and on\n"])


def test_all_is_shipped_for_the_end_only_while_that_is_so(machine: Machine) -> None:
    machine.say(Reason.REBALANCE, REBALANCE)
    machine.live(20)
    assert not machine.termination.has_drained, "the machine goes on"
    machine.say(Reason.SPOT, SPOT)
    machine.live(20)
    assert not machine.termination.has_drained, "the drain goes on"
    machine.live(120)
    assert machine.events()[-1] == "drain.ended"
    assert machine.termination.has_drained
    assert machine.termination.is_final
    machine.world.files.write(b"app.log", LINES + b"more\n")
    machine.live(20)
    assert not machine.termination.has_drained, "a live log grew"
    machine.world.files.write(b"app.log", b"")
    machine.live(20)
    machine.world.files.write(b"app.log.1", b"rotated\n")
    machine.live(20, carries=False)
    assert not machine.termination.has_drained, "another log came"
    machine.live(20)
    assert machine.termination.has_drained
    machine.say(Reason.SPOT, None)
    machine.live(20)
    assert not machine.termination.has_drained, "the notice is gone"
    assert not machine.termination.is_final


def test_a_rebalance_recommendation_is_one_round_and_a_spot_notice_the_real_thing(
    machine: Machine,
) -> None:
    machine.say(Reason.REBALANCE, REBALANCE)
    machine.live(20)
    assert machine.events() == ["drain.begun", "live.promised", "drain.ended"]
    machine.live(20)
    assert machine.events().count("drain.begun") == 1
    machine.say(Reason.SPOT, SPOT)
    machine.live(10)
    assert [one["reason"] for one in machine.world.log.of("drain.begun")] == ["rebalance", "spot"]


def test_a_more_urgent_notice_takes_over(machine: Machine) -> None:
    machine.say(Reason.AUTOSCALING, "Terminated")
    machine.live(6)
    machine.say(Reason.SPOT, SPOT)
    machine.live(10)
    assert machine.termination.drain is not None
    assert machine.termination.drain.reason is Reason.SPOT


def test_what_waits_for_its_next_attempt_is_tried_at_once(machine: Machine) -> None:
    machine.world.files.write(b"app.log.1", b"rotated\n")
    machine.world.discover()
    machine.world.store.fail_next("PutObject", PortError("InternalError", status=500))
    machine.world.carry()
    assert machine.world.contents() == []
    machine.say(Reason.SPOT, SPOT)
    machine.live(1)
    assert b"rotated\n" in machine.world.contents()


def test_a_journal_that_cannot_be_written_does_not_keep_a_drain_from_beginning(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Any:
        raise PortError("JournalUnwritable")

    monkeypatch.setattr(machine.world.journal.queue, "make_due", full)
    machine.say(Reason.SPOT, SPOT)
    machine.live(1)
    assert machine.termination.is_draining


def test_a_clock_that_is_wrong_is_reckoned_with(machine: Machine) -> None:
    machine.world.clock.set_wall(machine.world.clock.now() + 3600)
    machine.skew_seconds = -3600.0
    machine.say(Reason.SPOT, SPOT)
    machine.live(1)
    [begun] = machine.world.log.of("drain.begun")
    assert begun["seconds"] == 110.0


def test_live_files_stay_where_they_are_not_wanted(machine: Machine) -> None:
    machine.build(ships_live=False)
    machine.world.files.write(b"app.log.1", b"rotated\n")
    machine.say(Reason.SPOT, SPOT)
    machine.live(150)
    assert machine.world.contents() == [b"rotated\n"]
    assert machine.events() == ["drain.begun", "drain.ended"]


def test_a_pass_that_cannot_be_made_does_not_keep_the_drain_from_ending(machine: Machine) -> None:
    machine.world.facts = None
    machine.say(Reason.SPOT, SPOT)
    machine.live(150)
    assert machine.events() == ["drain.begun", "drain.ended"]


# Shutting down.


def test_a_shutdown_is_over_when_all_is_shipped_and_does_not_use_up_its_time(
    machine: Machine,
) -> None:
    machine.world.files.append(b"app.log", b"half a li")
    machine.termination.shut_down(18.0)
    assert not machine.termination.is_shut_down
    machine.live(4)
    assert machine.termination.is_shut_down
    assert machine.world.contents() == [LINES + b"half a li"]


def test_a_shutdown_that_cannot_ship_all_says_so_in_time(machine: Machine) -> None:
    machine.termination.shut_down(18.0)
    machine.live(17, carries=False)
    assert not machine.termination.is_shut_down
    machine.live(2, carries=False)
    assert machine.termination.is_shut_down
    [ended] = machine.world.log.of("drain.ended")
    assert (ended["reason"], ended["left_files"]) == ("shutdown", 1)


# The lifecycle hook.


def terminated(machine: Machine) -> Machine:
    machine.build(has_hook=True)
    machine.say(Reason.AUTOSCALING, "Terminated")
    return machine


def test_the_group_is_told_when_all_is_shipped(machine: Machine) -> None:
    terminated(machine).live(10)
    assert machine.hook.told[-1] == "complete"
    assert machine.events()[-2:] == ["lifecycle.completed", "drain.ended"]


def test_the_group_is_asked_for_time_as_long_as_something_comes_of_it(machine: Machine) -> None:
    terminated(machine)
    machine.live(250, carries=False)
    assert machine.hook.told == ["extend"]
    machine.world.files.write(b"app.log.1", b"rotated\n")
    machine.live(30, carries=False)
    assert machine.hook.told == ["extend", "extend"]
    machine.live(250, carries=False)
    assert machine.termination.is_draining, "the second heartbeat was heard"
    machine.live(60, carries=False)
    assert machine.hook.told == ["extend", "extend"], "nothing came of it"
    assert not machine.termination.is_draining


def test_a_group_that_cannot_be_told_now_is_told_again(machine: Machine) -> None:
    machine.hook.errors = [PortError("Unreachable")] * 3
    terminated(machine).live(20)
    assert machine.hook.told[-1] == "complete"
    assert machine.events()[-1] == "drain.ended"
    assert "lifecycle.completed" in machine.events()


def test_a_group_that_can_never_be_told_does_not_keep_the_drain_from_ending(
    machine: Machine,
) -> None:
    machine.hook.errors = [PortError("Unreachable")] * 3000
    terminated(machine).live(400)
    assert machine.events()[-1] == "drain.ended"


def test_a_refusal_is_said_once_and_is_not_fatal(machine: Machine) -> None:
    machine.hook.errors = [PortError("AccessDenied", "no", "the role needs", status=403)] * 9
    terminated(machine)
    machine.live(120, carries=False)
    machine.world.files.write(b"app.log.1", b"rotated\n")
    machine.live(30, carries=False)
    machine.live(30)
    refusals = machine.world.log.of("lifecycle.refused")
    assert [one["action"] for one in refusals] == ["extend", "complete"]
    assert machine.events()[-1] == "drain.ended"
    assert "lifecycle.completed" not in machine.events()


@pytest.mark.parametrize("advance", [111, 119, 200])
def test_where_the_time_is_up_by_our_clock_one_pass_is_made_all_the_same(
    machine: Machine, advance: float
) -> None:
    """The daemon came late, or the clock is wrong: the machine is still there."""
    machine.world.clock.advance(seconds=advance)
    machine.say(Reason.SPOT, SPOT)
    machine.live(20)
    assert machine.world.contents() == [LINES]
    assert not machine.termination.is_draining


def test_a_group_that_cannot_be_told_is_not_told_at_every_step(machine: Machine) -> None:
    machine.build(has_hook=True)
    machine.hook.errors = [PortError("Throttling", status=400)] * 100
    machine.say(Reason.AUTOSCALING, "Terminated")
    machine.live(60)
    assert 5 <= machine.hook.told.count("complete") <= 12
    machine.hook.errors = []
    machine.live(10)
    assert "lifecycle.completed" in machine.events()
