"""Heartbeats go out at their pace, whatever the bucket says."""

import itertools
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shipper.core.heartbeats import Heartbeat, decoded
from shipper.edges.encoder import FrameEncoder
from shipper.ports import PortError
from shipper.services.bugs import Bugs
from shipper.services.heartbeats import LOOK_SECONDS, Heartbeats
from tests.fakes.clock import FakeClock
from tests.fakes.log import RecordingLog
from tests.fakes.pending_store import PendingStore
from tests.fakes.store import FakeStore

KEY = "logs/_fleet/instance=i-1/heartbeat.json"
REFUSED = PortError("AccessDenied", "no", status=403)
OUTAGE = PortError("ServiceUnavailable", "503", status=503)


class Instance:
    """One with a heartbeat every hour; the test says how it does."""

    def __init__(self, store: Any = None) -> None:
        self.clock, self.log = FakeClock(), RecordingLog()
        self.store: Any = store or FakeStore()
        self.state = "well"
        self.nudged = 0
        self.heartbeats = Heartbeats(
            interval_seconds=3600.0,
            encoder=FrameEncoder(),
            now=self.clock.now,
            clock=self.clock,
            rng=Random(1),
            bugs=Bugs(self.log, str),
            log=self.log,
        )
        self.heartbeats.look = self._look
        self.heartbeats.answered = self._nudge
        self.heartbeats.open(self.store, "logs/", "i-1")

    def _look(self) -> Heartbeat:
        return Heartbeat(1, "i-1", "", self.state, "1", "", 0.0, "")

    def _nudge(self) -> None:
        self.nudged += 1

    def step(self) -> float:
        """Until all that was asked is answered."""
        wait = self.heartbeats.step()
        return self.heartbeats.step() if self.heartbeats._under else wait

    def live(self, *, seconds: float) -> None:
        until = self.clock.now() + seconds
        while self.clock.now() < until:
            self.clock.advance(seconds=min(self.step(), until - self.clock.now()))

    def written(self) -> dict[str, str]:
        """The state that each object says."""
        objects = self.store.objects()
        return {key: decoded(body).state for key, body in objects.items()}


def test_the_first_goes_out_at_once_and_says_when_the_next_one_comes() -> None:
    one = Instance()
    assert one.step() <= LOOK_SECONDS
    found = decoded(one.store.objects()[KEY])
    assert (found.state, found.interval_seconds) == ("well", 3600.0)
    assert found.at < found.next_due_at
    assert one.heartbeats.told.arrived == 1
    assert one.log.of("heartbeat.written") == [{"key": KEY, "state": "well"}]
    assert one.nudged


def test_in_a_day_there_are_as_many_as_there_are_intervals() -> None:
    one = Instance()
    one.live(seconds=86_400)
    assert one.store.operations() == ["PutObject"] * 25
    assert [*one.written()] == [KEY]


def test_a_change_is_told_within_the_minute_over_the_last_one() -> None:
    one = Instance()
    one.live(seconds=600)
    one.state = "ill"
    one.live(seconds=LOOK_SECONDS)
    assert one.written() == {KEY: "ill"}
    one.state = "well"
    one.live(seconds=30)
    assert one.written() == {KEY: "ill"}
    one.live(seconds=60)
    assert one.written() == {KEY: "well"}


def test_before_the_bucket_is_known_nothing_goes_out() -> None:
    one = Instance()
    one.heartbeats._store = None
    assert one.step() == LOOK_SECONDS
    assert one.heartbeats.step_last(has_drained=True, is_final=True)
    assert one.store.operations() == []


def test_nothing_is_waited_for_and_nothing_follows_what_is_not_answered() -> None:
    one = Instance(PendingStore(FakeStore()))
    assert one.heartbeats.step() == LOOK_SECONDS
    for _ in range(200):
        one.clock.advance(seconds=60)
        assert one.heartbeats.step() == LOOK_SECONDS
    assert len(one.store.pending) == 1
    one.store.answer()
    assert one.nudged == 1
    one.heartbeats.step()
    assert one.heartbeats.told.arrived == 1


def test_a_failure_is_said_once_and_tried_again_until_it_arrives() -> None:
    one = Instance()
    one.store.outage = OUTAGE
    one.live(seconds=3600)
    told = one.heartbeats.told
    assert told.problem is not None
    assert told.problem.code == "ServiceUnavailable"
    assert told.problem.hint
    assert 6 <= told.failed <= 15
    assert len(one.log.of("heartbeat.failed")) == 1
    one.store.outage = None
    one.live(seconds=600)
    assert one.written() == {KEY: "well"}
    assert one.heartbeats.told.problem is None
    levels = [level for level, event, _ in one.log.records if event == "heartbeat.written"]
    assert levels[0] == "info"


def test_a_role_that_may_not_write_there_is_told_what_it_needs() -> None:
    one = Instance()
    one.store.outage = REFUSED
    one.step()
    problem = one.heartbeats.told.problem
    assert problem is not None
    assert "_fleet/" in problem.hint
    assert not one.heartbeats.is_hourly
    assert len(one.store.calls) == 2  # over the last one, and under a free key


def test_where_nothing_may_be_replaced_every_hour_gets_a_key_and_that_is_found_out_once() -> None:
    one = Instance()
    one.store.demands_condition = True
    one.live(seconds=7800)
    one.state = "ill"
    one.live(seconds=120)
    assert one.heartbeats.is_hourly
    assert len(one.log.of("heartbeat.hourly")) == 1
    words = one.written()
    assert all(key.startswith("logs/_fleet/hour=2025-11-2") for key in words)
    first = [key for key in words if key.endswith("/instance=i-1/heartbeat.json")]
    assert [key[len("logs/_fleet/") :][:18] for key in first] == [
        "hour=2025-11-24T16",
        "hour=2025-11-24T17",
        "hour=2025-11-24T18",
    ]
    assert [*words.values()][-1] == "ill"
    assert "/instance=i-1/heartbeat-" in [*words][-1]
    overwriting = [call for call in one.store.calls if call.key == KEY]
    assert len(overwriting) == 1


def test_a_restart_within_the_hour_finds_its_key_taken_and_writes_beside_it() -> None:
    store = FakeStore()
    store.demands_condition = True
    first, second = Instance(store), Instance(store)
    first.step()
    second.clock.advance(minutes=2)
    second.step()
    assert len(first.written()) == 2
    assert second.heartbeats.is_hourly
    assert second.heartbeats.told.problem is None


def test_a_stop_within_the_minute_of_a_change_is_said() -> None:
    one = Instance()
    one.store.demands_condition = True
    one.live(seconds=120)
    one.state = "imperfect"
    one.live(seconds=LOOK_SECONDS)
    one.clock.advance(seconds=1)
    while not one.heartbeats.step_last():
        pass
    assert [*one.written().values()][-2:] == ["imperfect", "stopped"]
    assert one.heartbeats.told.problem is None


def test_a_second_one_within_the_same_second_has_failed_and_comes_later() -> None:
    store = FakeStore()
    store.demands_condition = True
    for _ in range(2):
        Instance(store).step()
    third = Instance(store)
    third.step()
    assert third.heartbeats.told.problem is not None
    assert third.heartbeats.told.problem.code == "PreconditionFailed"
    third.live(seconds=180)
    assert third.heartbeats.told.problem is None


def test_the_last_one_says_that_it_stopped_or_ended_and_promises_no_other() -> None:
    for is_final, word in ((False, "stopped"), (True, "ended")):
        one = Instance()
        one.step()
        assert not one.heartbeats.step_last(has_drained=is_final, is_final=is_final)
        assert one.heartbeats.step_last(has_drained=is_final, is_final=is_final)
        assert one.written() == {KEY: word}
        assert decoded(one.store.objects()[KEY]).next_due_at == ""
        assert len(one.store.calls) == 2


def test_the_last_one_follows_what_is_under_way_and_is_not_repeated() -> None:
    one = Instance(PendingStore(FakeStore()))
    one.heartbeats.step()
    assert not one.heartbeats.step_last(has_drained=False, is_final=False)
    assert len(one.store.pending) == 1
    one.store.answer()
    assert not one.heartbeats.step_last(has_drained=False, is_final=False)
    one.store._bucket.fail_next("PutObject", OUTAGE)
    one.store.answer()
    assert one.heartbeats.step_last(has_drained=False, is_final=False)
    assert one.store.pending == []


def test_one_that_died_of_a_bug_is_ill_by_its_last_word_without_another_look() -> None:
    one = Instance()
    assert one.heartbeats.step_last(died="discovery"), "nobody has looked yet"
    one = Instance()
    one.step()
    one.heartbeats.look = lambda: 1 // 0  # type: ignore[assignment]
    assert not one.heartbeats.step_last(died="discovery")
    assert one.heartbeats.step_last(died="discovery")
    last = decoded(one.store.objects()[KEY])
    assert (last.state, last.reasons[0].code, last.next_due_at) == ("ill", "LoopDied", "")
    assert "discovery" in last.reasons[0].text


def test_a_bug_costs_a_heartbeat_and_not_the_loop() -> None:
    one = Instance(PendingStore(FakeStore()))
    one.heartbeats.step()
    one.store.pending.pop()[0].set_exception(ZeroDivisionError("a bug"))
    assert one.heartbeats.step() == LOOK_SECONDS
    assert one.heartbeats.told.problem is not None
    assert one.heartbeats.told.problem.code == "Bug"
    one.clock.advance(minutes=2)
    one.heartbeats.step()
    one.store.answer()
    one.heartbeats.step()
    told = one.heartbeats.told
    assert told.arrived == 1
    assert told.problem is None


def test_what_it_gathers_may_be_a_bug_too_and_holds_up_no_stop() -> None:
    one = Instance()
    one.state = "of another kind"
    assert one.step() == LOOK_SECONDS
    assert one.step() == LOOK_SECONDS
    assert len(one.log.of("bug.met")) == 1
    assert one.heartbeats.step_last(has_drained=False, is_final=False) is False
    one.heartbeats.look = lambda: 1 // 0  # type: ignore[assignment]
    one.heartbeats._has_last = False
    assert one.heartbeats.step_last(has_drained=False, is_final=False) is True


@given(
    st.lists(
        st.tuples(st.sampled_from(["fail", "deny", "good", "ill", "well"]), st.integers(1, 5000))
    )
)
def test_whatever_happens_there_is_one_a_minute_at_most_and_the_bucket_comes_to_say_what_is_so(
    events: list[tuple[str, int]],
) -> None:
    one = Instance()
    sent: list[float] = []
    send = one.heartbeats._begin

    def begin(heartbeat: Heartbeat, **more: Any) -> None:
        sent.append(one.clock.boottime())
        send(heartbeat, **more)

    one.heartbeats._begin = begin  # type: ignore[method-assign]
    for event, seconds in events:
        if event in ("ill", "well"):
            one.state = event
        one.store.outage = OUTAGE if event == "fail" else None
        one.store.demands_condition = event == "deny"
        one.live(seconds=seconds)
    one.store.outage = None
    one.live(seconds=700)
    assert all(later - before >= 60 for before, later in itertools.pairwise(sent))
    newest = max(map(decoded, one.store.objects().values()), key=lambda found: found.at)
    assert newest.state == one.state
    assert replace(newest, at="", next_due_at="", interval_seconds=0.0) == one._look()
