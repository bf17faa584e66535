"""The life of a shipment: one table, and nothing past it."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shipper.core import lifecycle
from shipper.core.lifecycle import (
    FINISHED,
    TABLE,
    AttemptFailed,
    CheckFailed,
    CheckRetried,
    DuplicateFound,
    Event,
    ImpossibleEvent,
    LossAcknowledged,
    ObjectChecked,
    ObjectStored,
    Rejected,
    RemovalWanted,
    Retried,
    SourceChanged,
    SourceDisposed,
    SourceVanished,
    UploadLost,
    UploadOpened,
    WriteIntended,
    advance,
)
from shipper.core.types import ETag, State, UploadId
from tests.fakes.examples import shipment
from tests.machines.diagram import diagram

EVENTS: list[Event] = [
    UploadOpened(UploadId("u"), 5),
    UploadLost("NoSuchUpload"),
    ObjectStored(ETag("e"), 9, "sha"),
    ObjectChecked(50.0),
    CheckFailed("absent", 60.0),
    SourceDisposed(1.0),
    SourceVanished(1.0),
    SourceChanged(1.0),
    DuplicateFound("key", 1.0),
    Rejected("KeyTaken", "theirs", "another"),
    AttemptFailed("SlowDown", "wait", 7.0),
    Retried(2.0),
    CheckRetried(2.0),
    WriteIntended(ETag("e"), 9, "sha"),
    LossAcknowledged(),
    RemovalWanted(3.0),
]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_the_table_alone_decides(state: State, event: Event) -> None:
    before = shipment(state=state, due_at=0.0)
    following = TABLE.get((state, type(event)))
    if following is None:
        with pytest.raises(ImpossibleEvent):
            advance(before, event)
    else:
        assert advance(before, event).state is following


def test_every_event_is_in_the_table_and_in_the_union() -> None:
    assert {type(event) for event in EVENTS} == {event for _, event in TABLE}


def test_only_a_verified_shipment_is_ever_done() -> None:
    assert {before for (before, _), after in TABLE.items() if after is State.DONE} == {
        State.VERIFIED
    }


def test_nothing_leaves_a_finished_state_but_a_lost_log_and_a_kept_file_that_is_to_go() -> None:
    leaving = {(before, event) for before, event in TABLE if before in FINISHED}
    lost = {(State.GONE, Retried), (State.GONE, LossAcknowledged)}
    assert leaving == {*lost, (State.DONE, RemovalWanted)}


def test_a_kept_file_that_is_to_go_is_looked_for_in_s3_again() -> None:
    kept = advance(shipment(state=State.VERIFIED), SourceDisposed(1.0))
    wanted = advance(kept, RemovalWanted(2.0))
    assert (wanted.state, wanted.due_at, wanted.finished_at) == (State.UPLOADED, 2.0, None)
    assert wanted.code == advance(wanted, ObjectChecked(3.0)).code == lifecycle.WANTED_CODE


@pytest.mark.parametrize("state", [State.READY, State.UPLOADING])
def test_an_intent_changes_no_state_and_is_known_beside_earlier_ones(state: State) -> None:
    before = shipment(state=state, due_at=0.0)
    first = advance(before, WriteIntended(ETag("a"), 9, "sha"))
    second = advance(first, WriteIntended(ETag("b"), 8, "sha"))
    assert (second.state, second.etag, second.stored_bytes) == (state, None, 0)
    assert (second.raw_sha256, second.intents) == ("sha", "b:8 a:9")
    assert advance(second, WriteIntended(ETag("c"), 7, "other")).intents == "c:7"


def test_what_was_to_be_written_under_the_old_key_is_forgotten_with_it() -> None:
    intended = advance(shipment(), WriteIntended(ETag("a"), 9, "sha"))
    assert advance(intended, Rejected("KeyTaken", "", "new")).intents == ""
    assert advance(intended, Rejected("SourceUnreadable", "")).intents == "a:9"


def test_a_lost_log_is_looked_for_again_as_if_it_were_new() -> None:
    gone = advance(shipment(), SourceVanished(1.0))
    again = advance(advance(gone, LossAcknowledged()), Retried(2.0))
    assert (again.state, again.due_at, again.finished_at) == (State.READY, 2.0, None)


def test_what_was_learned_is_on_the_shipment() -> None:
    stored = advance(advance(shipment(), EVENTS[0]), EVENTS[2])
    assert (stored.upload_id, stored.part_size) == ("u", 5)
    assert (stored.etag, stored.stored_bytes, stored.raw_sha256) == ("e", 9, "sha")


def test_an_attempt_counts_unless_the_shipment_is_not_to_blame() -> None:
    counted = advance(shipment(), AttemptFailed("SlowDown", "", 7.0))
    waited = advance(shipment(), AttemptFailed("DuplicateUndecided", "", 7.0, counts=False))
    assert (counted.attempts, waited.attempts) == (1, 0)
    assert counted.due_at == 7.0


def test_a_rejected_shipment_takes_the_key_it_is_given_and_keeps_its_own_otherwise() -> None:
    assert advance(shipment(), Rejected("KeyTaken", "", "new")).key == "new"
    assert advance(shipment(), Rejected("SourceUnreadable", "")).key == shipment().key


def test_a_retry_starts_from_nothing() -> None:
    parked = shipment(state=State.PARKED, due_at=None, attempts=9, upload_id=UploadId("u"))
    again = advance(parked, Retried(2.0))
    assert (again.state, again.attempts, again.upload_id, again.due_at) == (
        State.READY,
        0,
        None,
        2.0,
    )


def test_the_diagram_shows_every_pair_of_the_table() -> None:
    drawn = diagram()
    for (before, event), after in TABLE.items():
        assert any(
            line.strip().startswith(f"{before} --> {after}:") and event.__name__ in line
            for line in drawn.splitlines()
        )
    assert all(f"{state} --> [*]" in drawn for state in FINISHED)


class Life(RuleBasedStateMachine):
    """Any history that the table allows."""

    def __init__(self) -> None:
        super().__init__()
        self.shipment = shipment()
        self.history = [State.READY]

    @precondition(lambda self: self.shipment.state not in FINISHED)
    @rule(data=st.data())
    def happen(self, data: st.DataObject) -> None:
        possible = [event for event in EVENTS if (self.shipment.state, type(event)) in TABLE]
        self.shipment = advance(self.shipment, data.draw(st.sampled_from(possible)))
        self.history.append(self.shipment.state)

    @precondition(lambda self: self.shipment.state in FINISHED)
    @rule(event=st.sampled_from(EVENTS))
    def nothing_happens_any_more(self, event: Event) -> None:
        if (self.shipment.state, type(event)) in TABLE:
            self.shipment = advance(self.shipment, event)
            return
        with pytest.raises(ImpossibleEvent):
            advance(self.shipment, event)

    @invariant()
    def is_due_exactly_while_there_is_work(self) -> None:
        is_over = self.shipment.state in FINISHED or self.shipment.state is State.PARKED
        assert (self.shipment.due_at is None) is is_over

    @invariant()
    def is_done_only_after_it_was_verified(self) -> None:
        if self.shipment.state is State.DONE:
            assert State.VERIFIED in self.history
            assert State.UPLOADED in self.history

    @invariant()
    def has_an_upload_exactly_while_uploading(self) -> None:
        if self.shipment.state is State.UPLOADING:
            assert self.shipment.upload_id is not None


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=25)


def test_states_without_an_object_are_told_apart() -> None:
    assert {*lifecycle.UNSHIPPED, *FINISHED} == set(State) - {State.UPLOADED, State.VERIFIED}
    assert lifecycle.FORGOTTEN < FINISHED
