"""Promises and events as rows: what ``Journal`` writes in its transactions."""

from dataclasses import replace
from functools import reduce
from operator import attrgetter

from shipper.core.lifecycle import (
    FORGOTTEN,
    OBJECT,
    CheckRetried,
    Event,
    RemovalWanted,
    Retried,
    advance,
    is_news,
)
from shipper.core.object_keys import another_key
from shipper.core.types import (
    Promise,
    Shipment,
    ShipmentId,
)
from shipper.journal import statements as sql
from shipper.journal.database import Run
from shipper.journal.open_logs import mark_before
from shipper.journal.schema import (
    STATE_COLUMNS,
    promise_row,
    promised_shipment,
    signed,
)

_state_of = attrgetter(*STATE_COLUMNS)


def promised(run: Run, promise: Promise, now: float, due_at: float) -> Shipment | None:
    """The new shipment; None where the same was promised before."""
    free = _with_free_key(run, promise)
    if free is None:
        return None
    new_id = run(sql.INSERT, promise_row(free, now, due_at)).lastrowid
    assert new_id is not None
    inode, generation = signed(free.file_id.inode), free.file_id.generation
    mark_before(run, free, is_open=False)
    if not free.raw_start:
        again = (free.watch, inode, free.place, generation, generation[:1] or "-")
        run(sql.UPDATE_OTHER_GENERATIONS, again)
    return promised_shipment(ShipmentId(new_id), free, now, due_at)


def _with_free_key(run: Run, promise: Promise) -> Promise | None:
    """None where the same was promised before."""
    while (found := run(sql.SELECT_TAIL_OF_KEY, (promise.key,)).fetchone()) is not None:
        if run(sql.DELETE_FORGOTTEN, (promise.key,)).rowcount:
            break
        if found[0]:
            return None
        promise = replace(promise, key=another_key(promise.key))
    return promise


def recorded(run: Run, shipment: Shipment, *events: Event, enters: bool = True) -> Shipment:
    """The shipment after the events, which its row has now; without ``enters`` no manifest is to
    tell of it."""
    if shipment.listed and any(isinstance(event, Retried | CheckRetried) for event in events):
        shipment = _untold(run, shipment)
    after = reduce(advance, events, shipment)
    if after.key != shipment.key:
        run(sql.DELETE_FORGOTTEN, (after.key,))
        run(sql.UPDATE_KEY, (after.key, after.compression, shipment.id))
    if run(sql.UPDATE, (*_state_of(after), shipment.id, shipment.state)).rowcount != 1:
        raise AssertionError(f"shipment {shipment.id} is no longer {shipment.state}")
    if any(isinstance(event, RemovalWanted) for event in events):
        [[name]] = run(sql.ASSIGN_ONE, (shipment.id,)).fetchall()
        after = replace(after, destination=name)
    if enters and is_news(shipment, after):
        _enter(run, shipment, after)
    if after.state in FORGOTTEN and shipment.state not in FORGOTTEN:
        mark_before(run, after, is_open=True)
    is_over = after.upload_id != shipment.upload_id or after.due_at is None
    if is_over and shipment.upload_id is not None:
        run(sql.DELETE_RECEIPTS, (shipment.id,))
    return after


def _untold(run: Run, shipment: Shipment) -> Shipment:
    """The shipment, of which nothing is to be told: a loss that is not told yet may be none."""
    is_untold = run(sql.DELETE_UNLISTED, (shipment.id,)).fetchall()
    return replace(shipment, listed="") if is_untold else shipment


def _enter(run: Run, before: Shipment, after: Shipment) -> None:
    """Have the next manifest of its destination tell of it as it is now."""
    names = run(sql.DELETE_UNLISTED, (after.id,)).fetchall() if before.listed else []
    for (name,) in names:
        if before.listed == OBJECT and name != after.destination:
            run(sql.ADD_GAP, (1, f"chain of {name}"))  # the object is there, and the row moves on
    if after.listed:
        run(sql.INSERT_UNLISTED, (after.id, after.destination))
