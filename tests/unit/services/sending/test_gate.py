"""The gate and the memory budget."""

import mmap
import threading

import pytest

from shipper.core.types import ShipmentId
from shipper.ports import PortError
from shipper.services.sending.gate import MAPPED_BYTES, PROBE_SECONDS, ByteBudget, Gate
from tests.fakes.clock import FakeClock
from tests.fakes.log import RecordingLog


class Gated:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = RecordingLog()
        self.generation = 0
        self.opened = 0
        self.refused: list[str] = []
        self.seconds = 0
        self.gate = Gate(
            clock=self.clock,
            generation=lambda: self.generation,
            log=self.log,
            opened=self._count,
        )

    def _count(self, refused: list[str], seconds: int) -> None:
        self.opened += 1
        self.refused, self.seconds = refused, seconds

    def shut(self, code: str, hint: str = "") -> None:
        self.gate.shut(PortError(code, "why", hint), generation=self.gate.generation())


def test_an_open_gate_lets_everybody_through() -> None:
    gated = Gated()
    assert all(gated.gate.enter() for _ in range(5))
    assert gated.gate.wait_seconds() == 0


def test_a_shut_gate_lets_one_through_a_minute() -> None:
    gated = Gated()
    gated.shut("AccessDenied")
    assert not gated.gate.enter()
    assert gated.gate.wait_seconds() == PROBE_SECONDS
    gated.clock.advance(seconds=PROBE_SECONDS)
    assert gated.gate.enter()
    assert not gated.gate.enter()
    gated.gate.leave()
    assert gated.gate.wait_seconds() >= 0.1


def test_a_write_that_passes_opens_it() -> None:
    gated = Gated()
    gated.shut("AccessDenied")
    gated.clock.advance(seconds=90)
    gated.gate.passed()
    assert gated.gate.reason() is None
    assert gated.gate.enter()
    assert gated.log.of("gate.opened") == [{"code": "AccessDenied", "shut_seconds": 90.0}]


def test_several_shipments_that_fail_in_a_row_are_an_outage_and_one_is_not() -> None:
    gated, trouble = Gated(), PortError("Unreachable")
    for _ in range(9):
        assert not gated.gate.failed(trouble, shipment=ShipmentId(1), generation=0)
    gated.gate.passed()
    fell = [gated.gate.failed(trouble, shipment=ShipmentId(n), generation=0) for n in (2, 3, 4)]
    assert fell == [False, False, True]
    assert gated.opened == 0
    gated.gate.passed()
    assert gated.opened == 1
    assert not gated.gate.failed(trouble, shipment=ShipmentId(5), generation=0)


def test_a_trial_that_fails_shuts_it_again_and_a_longer_wait_is_granted() -> None:
    gated = Gated()
    gated.shut("SlowDown")
    gated.clock.advance(seconds=PROBE_SECONDS)
    assert gated.gate.enter()
    asked = PortError("SlowDown", retry_after=1000.0)
    assert gated.gate.failed(asked, shipment=ShipmentId(1), generation=0)
    gated.gate.leave()
    assert gated.gate.wait_seconds() == 1000.0


def test_a_fleet_does_not_ask_together() -> None:
    clock = FakeClock()
    gate = Gate(clock=clock, generation=lambda: 0, log=RecordingLog(), jitter=lambda: 0.0)
    gate.shut(PortError("Unreachable"), generation=0)
    assert gate.wait_seconds() == PROBE_SECONDS / 2


def test_the_reason_is_logged_once_with_a_hint_and_keeps_its_beginning() -> None:
    gated = Gated()
    gated.shut("AccessDenied")
    since = gated.clock.now()
    for _ in range(5):
        gated.clock.advance(minutes=1)
        gated.shut("AccessDenied")
    (record,) = gated.log.of("gate.shut")
    assert "s3:PutObject" in record["hint"]
    shut = gated.gate.reason()
    assert shut is not None
    assert shut.since_at == since
    gated.shut("NoSuchBucket", "this one")
    assert gated.log.of("gate.shut")[1]["hint"] == "this one"


@pytest.mark.parametrize("code", ["ExpiredToken", "AccessDenied"])
def test_new_credentials_are_tried_at_once(code: str) -> None:
    gated = Gated()
    gated.shut(code)
    assert not gated.gate.enter()
    gated.generation += 1
    assert gated.gate.enter()
    gated.gate.leave()
    gated.shut(code)
    assert not gated.gate.enter()


def test_credentials_that_changed_while_the_request_was_under_way_are_tried_at_once() -> None:
    gated = Gated()
    used = gated.gate.generation()
    gated.generation += 1
    gated.gate.shut(PortError("ExpiredToken"), generation=used)
    assert gated.gate.enter()


def test_a_budget_blocks_until_bytes_come_back() -> None:
    budget = ByteBudget(100)
    first = budget.lend(80, 0)[0]
    got: list[int] = []
    waiter = threading.Thread(target=lambda: got.append(budget.lend(50, 0)[0]))
    waiter.start()
    waiter.join(0.05)
    assert got == []
    budget.give_back(first)
    waiter.join(60)
    assert got == [50]


@pytest.mark.parametrize("wanted", [100, 101, 10**9])
def test_no_request_gets_what_is_kept_for_small_ones(wanted: int) -> None:
    budget = ByteBudget(100)
    assert budget.lend(wanted, 0)[0] == 88 == budget.longest_bytes
    assert budget.lend(12, 0)[0] == 12


def test_an_eighth_of_the_budget_is_kept_for_small_requests() -> None:
    """However many parts of huge files there are, a small file need not wait for one to end."""
    budget = ByteBudget(160)
    got: list[int] = []
    taken = [budget.lend(70, 0)[0] for _ in range(2)]
    waiter = threading.Thread(target=lambda: got.append(budget.lend(21, 0)[0]))
    waiter.start()
    waiter.join(0.05)
    assert got == []
    assert budget.lend(20, 0)[0] == 20
    budget.give_back(20)
    budget.give_back(taken.pop())
    waiter.join(60)
    assert got == [21]


def test_a_buffer_is_lent_again_to_who_asks_for_as_much() -> None:
    budget = ByteBudget(100)
    stays = budget.lend(10, 0)[0]
    taken, first = budget.lend(30, 30)
    assert (taken, len(first)) == (30, 30)
    budget.give_back(taken, first)
    taken, other = budget.lend(29, 29)
    assert other is not first
    budget.give_back(taken, other)
    assert budget.lend(30, 30) == (30, first)
    assert budget.lend(30, 30)[1] is not first
    budget.give_back(stays)


def test_what_is_kept_makes_room_for_what_is_needed() -> None:
    budget = ByteBudget(100)
    stays = budget.lend(10, 0)[0]
    _, kept = budget.lend(60, 60)
    with memoryview(kept):  # somebody still refers to it, so it cannot be emptied
        budget.give_back(60, kept)
        assert budget.lend(40, 0)[0] == 40
    assert budget.lend(30, 30)[0] == 30
    budget.give_back(stays)


def test_nothing_is_kept_while_nothing_is_in_flight() -> None:
    budget = ByteBudget(100)
    taken, buffer = budget.lend(30, 30)
    budget.give_back(taken, buffer)
    assert len(buffer) == 0
    assert budget.is_idle


def test_a_large_buffer_is_outside_of_the_heap_and_is_lent_again() -> None:
    budget = ByteBudget(8 * MAPPED_BYTES)
    stays = budget.lend(10, 0)[0]
    taken, buffer = budget.lend(MAPPED_BYTES, MAPPED_BYTES)
    assert isinstance(buffer, mmap.mmap)
    budget.give_back(taken, buffer)
    assert budget.lend(taken, taken)[1] is buffer
    budget.give_back(taken, buffer)
    budget.give_back(stays)
    assert isinstance(buffer, mmap.mmap)
    with pytest.raises(ValueError, match="closed"):
        buffer[0]


def test_a_longer_buffer_comes_at_once_and_is_counted() -> None:
    budget = ByteBudget(100)
    taken, buffer = budget.lend(40, 40)
    buffer[:5] = b"begun"
    taken, longer = budget.lengthen(taken, buffer, 80)
    assert (taken, len(longer), longer[:5]) == (80, 80, b"begun")
    budget.give_back(taken, longer)
    assert budget.is_idle


def test_a_mapped_buffer_is_made_longer_too() -> None:
    budget = ByteBudget(4 * MAPPED_BYTES)
    taken, buffer = budget.lend(MAPPED_BYTES, MAPPED_BYTES)
    buffer[-5:] = b"begun"
    taken, longer = budget.lengthen(taken, buffer, 2 * MAPPED_BYTES)
    assert longer[MAPPED_BYTES - 5 : MAPPED_BYTES] == b"begun"
    with pytest.raises(ValueError, match="closed"):
        buffer[0]
    budget.give_back(taken, longer)
    assert budget.is_idle


def test_a_machine_without_memory_lends_nothing_and_takes_nothing() -> None:
    budget = ByteBudget(1 << 62)
    with pytest.raises(MemoryError):
        budget.lend(1 << 60, 1 << 60)
    assert budget.is_idle


def test_a_gate_that_opens_and_shuts_within_a_minute_waits_longer_each_time() -> None:
    gated, waits = Gated(), []
    for _ in range(5):
        gated.shut("Unreachable")
        waits.append(gated.gate.wait_seconds())
        gated.gate.passed()
        gated.clock.advance(seconds=10)
    assert waits == [60.0, 120.0, 240.0, 480.0, 480.0]
    gated.clock.advance(minutes=2)
    gated.shut("Unreachable")
    assert gated.gate.wait_seconds() == 60.0


def test_a_listing_does_not_open_what_refused_writes_have_shut() -> None:
    gated = Gated()
    gated.gate.refused(PortError("AccessDenied", status=403), key="logs/a", generation=0)
    assert gated.gate.reason() is None
    gated.gate.exhausted()
    assert gated.gate.reason() is not None
    gated.gate.passed()
    assert gated.gate.reason() is not None
    assert gated.gate.enter()
    gated.gate.passed("logs/b")
    assert gated.gate.reason() is None


def test_a_refusal_on_trial_of_an_outage_is_told_in_its_place() -> None:
    gated = Gated()
    gated.shut("Unreachable")
    refusal = gated.gate.refused(PortError("AccessDenied"), key="logs/a", generation=0)
    assert refusal.wait_seconds == PROBE_SECONDS
    shut = gated.gate.reason()
    assert shut is not None
    assert shut.code == "AccessDenied"


def test_a_gate_that_saw_no_refusal_is_not_shut_by_an_empty_queue() -> None:
    gated = Gated()
    gated.gate.exhausted()
    assert gated.gate.reason() is None


def test_what_is_still_refused_when_the_gate_opens_is_told() -> None:
    """Else all of it would be sent at once, in vain, before what passes."""
    gated = Gated()
    gated.gate.refused(PortError("AccessDenied", status=403), key="logs/a", generation=0)
    gated.gate.exhausted()
    gated.gate.passed("logs/b")
    assert (gated.refused, gated.seconds) == (["AccessDenied"], 60)
    gated.gate.refused(PortError("AccessDenied", status=403), key="logs/c", generation=0)
    gated.shut("Unreachable")
    gated.gate.passed("logs/a")
    assert gated.refused == [], "one that was refused passes: the others may, too"


def test_refusals_on_trial_of_what_is_held_shut_no_gate() -> None:
    """Nothing new is learned from them, and the others may have nothing to send just now."""
    gated = Gated()
    gated.gate.passed("logs/good")
    for number in range(9):
        gated.gate.refused(PortError("AccessDenied"), key=f"logs/bad{number}", generation=0)
        gated.clock.advance(minutes=1)
    assert gated.gate.hold_of("logs/bad9", is_new=True) is None
    assert gated.gate.hold_of("logs/bad9", is_new=True) is not None
    gated.gate.exhausted()
    gated.clock.advance(minutes=1)
    gated.gate.passed("logs/good2")
    for number in range(9, 20):
        gated.gate.refused(PortError("AccessDenied"), key=f"logs/bad{number}", generation=0)
    assert not gated.gate.is_in_doubt()
