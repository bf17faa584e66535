"""The keeper: fresh where possible, usable as long as possible, and honest."""

from datetime import timedelta
from random import Random

import pytest

from shipper.core.backoff import CredentialsState
from shipper.ports import PortError
from shipper.services.credentials import CredentialKeeper
from tests.fakes.clock import FakeClock
from tests.fakes.log import RecordingLog
from tests.fakes.metadata import FakeMetadata


class Kept:
    """A keeper and everything around it."""

    def __init__(self, life: timedelta = timedelta(hours=6)) -> None:
        self.clock = FakeClock()
        self.metadata = FakeMetadata(self.clock, life=life)
        self.log = RecordingLog()
        self.learned: list[str] = []
        self.nudges = 0
        self.refreshes = 0
        self.keeper = CredentialKeeper(
            source=self.metadata,
            clock=self.clock,
            rng=Random(0),
            log=self.log,
            nudge=self._nudge,
            refreshed=self._refreshed,
            learn=self.learned.append,
        )

    def _nudge(self) -> None:
        self.nudges += 1

    def _refreshed(self) -> None:
        self.refreshes += 1
        assert "session-1" in self.learned

    def live(self, *, hours: float = 0.0, seconds: float = 0.0) -> None:
        """Let the keeper's own loop run for a while."""
        until = self.clock.boottime() + hours * 3600 + seconds
        while True:
            wait = self.keeper.step()
            if self.clock.boottime() + wait > until:
                self.clock.advance(seconds=until - self.clock.boottime())
                return
            self.clock.advance(seconds=wait)

    @property
    def state(self) -> CredentialsState:
        return self.keeper.state().state


def test_there_are_none_before_the_first_step() -> None:
    kept = Kept()
    assert kept.state is CredentialsState.NONE_YET
    with pytest.raises(PortError, match="CredentialsUnavailable"):
        kept.keeper.current()


def test_credentials_are_offered_past_their_life_while_the_metadata_service_is_away() -> None:
    kept = Kept()
    kept.keeper.step()
    kept.metadata.fail_with("Unreachable")
    kept.live(hours=5.9)
    assert kept.keeper.current().access_key_id == "AK1"
    assert kept.state is CredentialsState.STALE
    kept.live(hours=0.2)
    assert kept.keeper.current().access_key_id == "AK1"
    shown = kept.keeper.state()
    assert (shown.state, shown.is_usable) == (CredentialsState.EXTENDED, True)
    told = [one["state"] for one in kept.log.of("credentials.changed")]
    assert told == ["fresh", "stale", "extended"]
    kept.metadata.recover()
    kept.live(seconds=61)
    assert kept.keeper.current().access_key_id == "AK2"


def test_a_day_never_sees_them_used_past_their_life_nor_asks_too_often() -> None:
    kept = Kept()
    for _ in range(24 * 4):
        kept.live(hours=0.25)
        assert kept.keeper.current().expires_at > kept.clock.now()
        assert kept.state is CredentialsState.FRESH
    assert 24 <= kept.metadata.asked <= 40


def test_credentials_that_live_a_minute_are_refreshed_in_time() -> None:
    kept = Kept(life=timedelta(seconds=60))
    for _ in range(60):
        kept.live(seconds=5)
        assert kept.keeper.current().expires_at > kept.clock.now()
    assert kept.keeper.generation >= 5
    assert kept.refreshes == kept.keeper.generation


def test_expired_credentials_from_the_service_itself_are_used_and_it_is_asked_again_later() -> (
    None
):
    kept = Kept(life=timedelta(seconds=-10))
    wait = kept.keeper.step()
    assert 300 <= wait <= 900
    assert kept.keeper.current().access_key_id == "AK1"
    [told] = kept.log.of("credentials.changed")
    assert told["state"] == "expired"


def test_a_failure_is_retried_with_growing_waits_and_said_once() -> None:
    kept = Kept()
    kept.metadata.fail_with("Unreachable", "no route")
    waits = []
    for _ in range(12):
        waits.append(kept.keeper.step())
        kept.clock.advance(seconds=waits[-1])
    assert all(1 <= wait <= 60 for wait in waits)
    [told] = kept.log.of("credentials.changed")
    assert (told["state"], told["code"]) == ("none-yet", "Unreachable")
    assert len(kept.log.of("credentials.not_refreshed")) == 12
    assert kept.keeper.state().failures == 12


@pytest.mark.parametrize("code", ["NoRole", "RoleUnusable", "MetadataDisabled"])
def test_what_an_operator_must_mend_is_shown_with_its_message_and_tried_slowly(code: str) -> None:
    kept = Kept()
    kept.metadata.fail_with(code, "what AWS says", "what to do")
    assert kept.keeper.step() >= 15
    state = kept.keeper.state()
    assert state.state is CredentialsState.MISCONFIGURED
    assert (state.code, state.detail, state.hint) == (code, "what AWS says", "what to do")
    with pytest.raises(PortError, match="what AWS says"):
        kept.keeper.current()


def test_a_role_attached_later_is_found_without_a_restart() -> None:
    kept = Kept()
    kept.metadata.fail_with("NoRole")
    kept.live(hours=1)
    kept.metadata.recover()
    kept.live(seconds=60)
    assert kept.state is CredentialsState.FRESH


def test_a_kick_refreshes_at_once_and_kicks_in_a_row_are_one() -> None:
    kept = Kept()
    kept.keeper.step()
    kept.clock.advance(minutes=1)
    for _ in range(10):
        kept.keeper.refresh_now()
    assert kept.nudges == 10
    kept.keeper.step()
    asked = kept.metadata.asked
    kept.keeper.refresh_now()
    assert kept.keeper.step() > 0
    assert kept.metadata.asked == asked == 2


def test_the_generation_changes_only_with_the_credentials() -> None:
    kept = Kept()
    kept.keeper.step()
    kept.clock.advance(minutes=1)
    kept.keeper.refresh_now()
    kept.keeper.step()
    assert kept.keeper.generation == 1
    kept.clock.advance(hours=4)
    kept.keeper.step()
    assert kept.keeper.generation == 2


def test_the_service_that_keeps_old_credentials_is_asked_more_often_towards_their_end() -> None:
    kept = Kept(life=timedelta(seconds=1200))
    kept.metadata.is_stuck = True
    kept.keeper.step()
    kept.live(seconds=1100)
    assert kept.metadata.asked >= 4


def test_a_suspended_machine_refreshes_when_it_wakes() -> None:
    kept = Kept()
    kept.keeper.step()
    kept.clock.suspend(7 * 3600)
    kept.keeper.step()
    assert kept.keeper.current().access_key_id == "AK2"


def test_no_secret_is_logged_or_shown() -> None:
    kept = Kept()
    kept.keeper.step()
    shown = repr(kept.log.records) + repr(kept.keeper.state()) + repr(kept.keeper.current())
    assert "AK1" in shown
    assert "secret-1" not in shown
    assert "session-1" not in shown
    assert kept.learned == ["secret-1", "session-1"]


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0, 365 * 86_400.0])
def test_a_wall_clock_that_is_set_neither_ends_nor_prolongs_their_life(jump: float) -> None:
    kept = Kept()
    kept.keeper.step()
    kept.metadata.fail_with("Unreachable")
    kept.clock.set_wall(kept.clock.now() + jump)
    kept.live(hours=5.9)
    assert kept.keeper.current().access_key_id == "AK1"
    kept.live(hours=0.2)
    extended: CredentialsState = kept.state
    assert extended is CredentialsState.EXTENDED


@pytest.mark.parametrize("wrong", [-8 * 3600.0, 8 * 3600.0])
def test_a_clock_that_is_wrong_is_told_from_credentials_that_have_expired(wrong: float) -> None:
    kept = Kept()
    kept.metadata.skew_seconds = -wrong
    kept.keeper.step()
    state = kept.keeper.state()
    assert (state.state, state.skew_seconds) == (CredentialsState.FRESH, -wrong)
    [said] = kept.log.of("clock.skewed")
    assert said["behind_seconds"] == -wrong
    assert "time synchronisation" in said["hint"]
    kept.live(hours=5)
    assert kept.state is CredentialsState.FRESH
    assert len(kept.log.of("clock.skewed")) == 1


def test_every_change_is_told_once_and_names_the_way_out() -> None:
    kept = Kept()
    for code in ("NoProfile", "RoleUnusable"):
        kept.metadata.fail_with(code, "why", "the command")
        kept.live(hours=0.1)
    kept.metadata.recover()
    kept.live(hours=0.1)
    kept.metadata.fail_with("NoProfile", "detached", "the command")
    kept.live(hours=7)
    kept.metadata.recover()
    kept.live(hours=0.1)
    told = [(one["state"], one["code"], one["hint"]) for one in kept.log.of("credentials.changed")]
    assert told == [
        ("misconfigured", "NoProfile", "the command"),
        ("misconfigured", "RoleUnusable", "the command"),
        ("fresh", "", ""),
        ("stale", "NoProfile", "the command"),
        ("misconfigured", "NoProfile", "the command"),
        ("fresh", "", ""),
    ]


def test_credentials_that_ran_out_say_why_there_are_no_others() -> None:
    kept = Kept()
    kept.keeper.step()
    kept.metadata.fail_with("NoProfile", "detached", "associate one")
    kept.live(hours=7)
    shown = kept.keeper.state()
    assert (shown.code, shown.detail, shown.hint) == ("NoProfile", "detached", "associate one")
    assert (shown.state, shown.is_usable) == (CredentialsState.MISCONFIGURED, True)


def test_an_unchanged_document_near_its_end_is_asked_for_a_few_times_only() -> None:
    kept = Kept(life=timedelta(seconds=1200))
    kept.metadata.is_stuck = True
    kept.keeper.step()
    kept.live(seconds=1199)
    assert 4 <= kept.metadata.asked <= 7


def test_an_expired_document_never_replaces_credentials_that_still_live() -> None:
    kept = Kept()
    kept.keeper.step()
    kept.metadata.expires_in(-60.0)
    kept.live(hours=1.5)
    assert kept.keeper.current().access_key_id == "AK1"
    assert kept.keeper.state().code == "ExpiredDocument"
    assert kept.keeper.state().state is CredentialsState.STALE
    kept.metadata.expires_in(None)
    kept.live(seconds=61)
    assert kept.keeper.state().code == ""


def test_what_is_tried_although_it_has_expired_is_shown_as_usable() -> None:
    kept = Kept(life=timedelta(seconds=-10))
    kept.keeper.step()
    state = kept.keeper.state()
    assert (state.state, state.is_usable) == (CredentialsState.EXPIRED, True)
    assert "tried all the same" in state.hint


def test_a_keeper_that_waits_after_a_failure_is_hastened_and_another_is_not() -> None:
    kept = Kept()
    kept.keeper.step()
    kept.keeper.make_due()
    assert kept.nudges == 0
    kept.metadata.fail_with("NoProfile")
    kept.live(hours=1.1)
    kept.metadata.recover()
    kept.keeper.make_due()
    assert kept.nudges == 1
    kept.keeper.step()
    assert kept.state is CredentialsState.FRESH
