"""The refresh schedule, whatever fails and whatever the clocks do.

At most ``FETCHES_A_MINUTE`` questions go to a source in any simulated minute, for any jitter and
any failures: the shortest wait after a question is ``FIRST_REFRESH_RETRY_SECONDS``. An early
refresh is granted only ``SHORTEST_REFRESH_NOW_SECONDS`` after the question before it, so these
add none to the worst case.
``ImdsMetadata`` itself sends no more than 60 requests in any minute.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from shipper.core.backoff import (
    EXPIRED_RETRY_SECONDS,
    FIRST_REFRESH_RETRY_SECONDS,
    LONGEST_REFRESH_RETRY_SECONDS,
    LONGEST_USE_SECONDS,
    CredentialsState,
)
from shipper.core.failures import MISCONFIGURED_CODES
from shipper.core.types import RoleCredentials
from shipper.ports import PortError
from shipper.services.credentials import SLOW_RETRY_SECONDS, CredentialKeeper
from tests.fakes.clock import START_AT, FakeClock
from tests.fakes.log import RecordingLog
from tests.fakes.metadata import FakeMetadata

FETCHES_A_MINUTE = 60
UPLOAD_SECONDS = 30.0
DAY_SECONDS = 86_400.0
CODES = ["Unreachable", "BadAnswer", "TooOften", "HopLimit", "NoProfile", "RoleUnusable"]
ROUNDING = 1e-5


class TrueTime:
    """The clock of the service: nobody sets it."""

    def __init__(self, clock: FakeClock) -> None:
        self.monotonic = clock.monotonic
        self.boottime = clock.boottime

    def now(self) -> float:
        """Wall time."""
        return START_AT + self.boottime()


class Watched:
    """A source that fails by chance, and fails the test when it is entered twice."""

    def __init__(self, clock: FakeClock, life_seconds: float, seed: int) -> None:
        self._clock = clock
        self._true = TrueTime(clock)
        self.metadata = FakeMetadata(self._true, life=timedelta(seconds=life_seconds))
        self._rng = Random(seed)
        self._is_asked = False
        self.chance = 0.0
        self.code = "Unreachable"
        self.while_asked: Callable[[], object] = lambda: None
        self.asked_at: deque[float] = deque(maxlen=FETCHES_A_MINUTE + 1)
        self.asked = 0
        self.error = ""
        """Of the last question."""
        self.handed: RoleCredentials | None = None
        self.handed_at = self.until = clock.boottime()

    @property
    def was_expired(self) -> bool:
        """Were the last ones past their life when they were handed out?"""
        return self.handed_at >= self.until - ROUNDING

    def credentials(self) -> RoleCredentials:
        """Those of the metadata service, which knows the true time."""
        assert not self._is_asked, "two refreshes in flight"
        self._is_asked = True
        self.asked += 1
        self.asked_at.append(self._clock.boottime())
        try:
            self.while_asked()
            return self._answer()
        finally:
            self._is_asked = False

    def _answer(self) -> RoleCredentials:
        if self._rng.random() < self.chance:
            self.error = self.code
            raise PortError(self.code, "by chance")
        self.error = ""
        found = self.metadata.credentials()
        self.handed = replace(found, skew_seconds=self._true.now() - self._clock.now())
        self.handed_at = self._clock.boottime()
        self.until = self.handed_at + found.expires_at - self._true.now()
        return self.handed


class Life(RuleBasedStateMachine):
    """A keeper in a world that fails, sleeps, and sets its clock."""

    @initialize(
        life=st.sampled_from([20.0, 60.0, 900.0, 3600.0, 21_600.0]), seed=st.integers(0, 999)
    )
    def begin(self, life: float, seed: int) -> None:
        self.clock = FakeClock()
        self.source = Watched(self.clock, life, seed)
        self.keeper = CredentialKeeper(
            source=self.source, clock=self.clock, rng=Random(seed), log=RecordingLog()
        )
        self.source.while_asked = self.keeper.refresh_now
        self.generation, self.key = 0, ""
        self.good_since = self.clock.boottime()

    @rule(seconds=st.floats(0.1, 60) | st.floats(60, 7200))
    def live(self, seconds: float) -> None:
        until = self.clock.boottime() + seconds
        while (left := until - self.clock.boottime()) > 0:
            wait = self.step()
            self.clock.advance(seconds=max(ROUNDING, min(wait, left)))
            self.look()

    @rule()
    def be_refused_for_a_minute(self) -> None:
        """S3 takes no credentials: an early refresh every tenth of a second."""
        for _ in range(600):
            self.keeper.refresh_now()
            self.step()
            self.clock.advance(seconds=0.1)
            self.look()

    @rule(chance=st.floats(0.01, 1), code=st.sampled_from(CODES))
    def fail(self, chance: float, code: str) -> None:
        self.source.chance, self.source.code = chance, code
        self.good_since = float("inf")

    @rule()
    def get_stuck(self) -> None:
        """The service renews no more."""
        self.source.metadata.is_stuck = True
        self.good_since = float("inf")

    @rule()
    def recover(self) -> None:
        self.source.chance = 0.0
        self.source.metadata.is_stuck = False
        if self.good_since == float("inf"):
            self.good_since = self.clock.boottime()

    @rule(seconds=st.floats(1, 100_000))
    def sleep(self, seconds: float) -> None:
        self.clock.suspend(seconds)
        self.step()
        self.look()

    @rule(jump=st.sampled_from([-DAY_SECONDS, -3600.0, 3600.0, DAY_SECONDS, 365 * DAY_SECONDS]))
    def set_the_clock(self, jump: float) -> None:
        self.clock.set_wall(self.clock.now() + jump)
        self.look()

    def step(self) -> float:
        """One step of the keeper, which must wait as long as it may, and count what is new."""
        asked = self.source.asked
        wait = self.keeper.step()
        if self.source.asked != asked:
            lowest, highest = self._bounds()
            assert lowest <= wait <= highest
        assert wait <= LONGEST_USE_SECONDS
        times = self.source.asked_at
        if len(times) > FETCHES_A_MINUTE:
            assert times[-1] - times[0] >= 60.0 - ROUNDING
        key = self.keeper.state().access_key_id
        assert self.keeper.generation == self.generation + (key != self.key)
        self.generation, self.key = self.keeper.generation, key
        return wait

    def _bounds(self) -> tuple[float, float]:
        if self.source.error in MISCONFIGURED_CODES:
            return 0.5 * SLOW_RETRY_SECONDS, 1.5 * SLOW_RETRY_SECONDS
        if self.source.error:
            return FIRST_REFRESH_RETRY_SECONDS, LONGEST_REFRESH_RETRY_SECONDS
        if self.source.was_expired:
            return EXPIRED_RETRY_SECONDS
        return FIRST_REFRESH_RETRY_SECONDS, LONGEST_USE_SECONDS

    def look(self) -> None:
        """What is lent came last, and is past its life only while no other is to be had."""
        now, source = self.clock.boottime(), self.source
        must_live = now - self.good_since > EXPIRED_RETRY_SECONDS[1]
        try:
            lent = self.keeper.current()
        except PortError:
            assert source.handed is None or now >= source.until - ROUNDING
            assert not must_live, "newer ones were to be had"
            return
        assert lent == source.handed
        is_past = now > source.until + ROUNDING
        assert not (is_past and must_live), "newer ones were to be had"


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


def test_a_source_that_is_entered_while_it_is_asked_is_noticed() -> None:
    clock = FakeClock()
    source = Watched(clock, 3600.0, 0)
    keeper = CredentialKeeper(source=source, clock=clock, rng=Random(0), log=RecordingLog())
    source.while_asked = keeper.step
    with pytest.raises(AssertionError, match="two refreshes in flight"):
        keeper.step()


def test_what_the_service_handed_out_as_expired_is_no_reason_to_ask_again_when_s3_refuses_it() -> (
    None
):
    clock = FakeClock()
    source = Watched(clock, -60.0, 0)
    keeper = CredentialKeeper(source=source, clock=clock, rng=Random(0), log=RecordingLog())
    first = keeper.step()
    clock.advance(seconds=10)
    keeper.refresh_now()
    assert keeper.step() == pytest.approx(first - 10)
    assert source.asked == 1
    clock.advance(seconds=first)
    keeper.step()
    assert source.asked == 2


@pytest.mark.parametrize("seed", range(8))
def test_ten_days_with_five_failures_in_a_hundred_refuse_no_upload_for_credentials(
    seed: int,
) -> None:
    clock = FakeClock()
    source = Watched(clock, 6 * 3600.0, seed)
    source.chance = 0.05
    keeper = CredentialKeeper(source=source, clock=clock, rng=Random(seed), log=RecordingLog())
    until = clock.boottime() + 10 * DAY_SECONDS
    while keeper.state().state is CredentialsState.NONE_YET:
        clock.advance(seconds=keeper.step())
    uploads = 0
    while clock.boottime() < until:
        clock.advance(seconds=min(keeper.step(), UPLOAD_SECONDS))
        assert keeper.current() == source.handed
        assert clock.boottime() < source.until
        uploads += 1
    assert uploads > 10 * DAY_SECONDS / UPLOAD_SECONDS - 100
    assert keeper.generation > 30
    assert keeper.state().failures >= 5
    assert source.asked < 400
