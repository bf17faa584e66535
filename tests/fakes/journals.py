"""Shipments in every state, for the tests of the journal."""

from shipper.core.lifecycle import (
    DuplicateFound,
    Event,
    ObjectChecked,
    ObjectStored,
    Rejected,
    SourceChanged,
    SourceDisposed,
    SourceVanished,
    UploadOpened,
)
from shipper.core.types import ETag, Receipt, Shipment, State, UploadId
from shipper.journal.journal import Journal
from tests.fakes.examples import promise

NOW = 1000.0
OPENED = UploadOpened(UploadId("u1"), 5)
STORED = ObjectStored(ETag("e"), 9, "sha")
CHECKED = ObjectChecked(NOW)
DONE = (STORED, CHECKED, SourceDisposed(NOW + 5))
WAYS: dict[State, tuple[Event, ...]] = {
    State.READY: (),
    State.UPLOADING: (OPENED,),
    State.UPLOADED: (OPENED, STORED),
    State.VERIFIED: (STORED, CHECKED),
    State.DONE: DONE,
    State.GONE: (SourceVanished(NOW),),
    State.SUPERSEDED: (OPENED, SourceChanged(NOW)),
    State.PARKED: (Rejected("SourceUnreadable", "EACCES"),),
    State.DUPLICATE: (DuplicateFound("logs/other.zst", NOW),),
}
FINISHED = [State.DONE, State.GONE, State.SUPERSEDED, State.DUPLICATE]
"""In the order of ``WAYS``."""


def add(journal: Journal, number: int = 1, *events: Event, at: float = NOW) -> Shipment:
    """The n-th promise, and what happened to it."""
    (shipment,) = journal.promise([promise(number)], now=at)
    return journal.record(shipment, *events) if events else shipment


def receipt(number: int, etag: str = "e") -> Receipt:
    """The n-th receipt of ten raw bytes each."""
    return Receipt(number, (number - 1) * 10, number * 10, 7, ETag(etag), f"checksum{number}")
