"""A day without S3, and failures that never end: how much is asked meanwhile, and what follows."""

from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import Compression, State
from shipper.ports import PortError
from shipper.services.sending.gate import OUTAGE_SHIPMENTS, PROBE_SECONDS
from tests.machines.world import MIB, WATCH, World, random_log

RAW = replace(WATCH, compression=Compression.NONE)
LARGE = random_log(7, 9 * MIB)
DAY_SECONDS = 24 * 3600.0
FILES = 200
TRIALS_A_DAY = OUTAGE_SHIPMENTS + int(DAY_SECONDS / PROBE_SECONDS)
"""One worker's, with the longest pause between trials; half the pause would be twice as many."""


def let_pass(world: World, seconds: float) -> None:
    """Work as a worker does: as soon as something is due, and never before."""
    ends_at = world.clock.now() + seconds
    while world.clock.now() < ends_at:
        wait = world.carrier.step()
        world.clock.advance(seconds=min(wait, max(ends_at - world.clock.now(), 0.0)))


@pytest.mark.parametrize(
    "trouble",
    [
        PortError("Unreachable"),
        PortError("SlowDown", status=503),
    ],
    ids=lambda error: error.code,
)
def test_a_day_of_outage_asks_once_a_minute_and_then_catches_up_the_oldest_first(
    tmp_path: Path, trouble: PortError
) -> None:
    world = World(tmp_path, watch=RAW)
    for number in range(FILES):
        world.files.write(b"app-%03d.log.1" % number, b"%d\n" % number)
        world.clock.advance(seconds=1)
    world.discover()
    world.store.outage = trouble
    let_pass(world, DAY_SECONDS)
    assert len(world.store.calls) <= TRIALS_A_DAY
    assert len(world.log.of("attempt.failed")) < OUTAGE_SHIPMENTS
    assert len(world.log.of("gate.shut")) == 1
    assert max(row.attempts for row in world.rows()) <= 1
    assert {row.state for row in world.rows()} == {State.READY}

    world.store.outage = None
    before = len(world.store.calls)
    let_pass(world, PROBE_SECONDS + 1)
    assert {row.state for row in world.rows()} == {State.DONE}
    keys = [call.key for call in world.store.calls[before:]]
    assert len(keys) == FILES
    # The one on trial may be any; all others go by their age.
    assert keys[1:] == [key for key in sorted(keys) if key != keys[0]]


def test_a_single_file_that_fails_is_no_outage(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    world.files.write(b"app.log.1", b"1\n")
    world.discover()
    world.store.outage = PortError("InternalError", status=500)
    let_pass(world, 3600)
    assert world.gate.reason() is None
    assert len(world.store.calls) <= 30


def test_a_server_that_asks_for_an_hour_gets_it_for_everybody(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    for number in range(OUTAGE_SHIPMENTS):
        world.files.write(b"app-%d.log.1" % number, b"%d\n" % number)
    world.discover()
    world.store.outage = PortError("SlowDown", status=503, retry_after=3600.0)
    let_pass(world, 3599)
    assert len(world.store.calls) == OUTAGE_SHIPMENTS


def test_an_upload_goes_on_after_an_outage_where_it_was(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    world.files.write(b"app.log.1", LARGE)
    world.discover()
    world.store.fail_next("CompleteMultipartUpload", PortError("Timeout"))
    world.carry()
    world.store.outage = PortError("Unreachable")
    let_pass(world, DAY_SECONDS / 4)
    world.store.outage = None
    sent = world.store.operations().count("UploadPart")
    let_pass(world, 301)
    assert world.contents() == [LARGE]
    assert world.store.operations().count("UploadPart") == sent, "nothing was sent again"
    assert world.store.operations().count("CreateMultipartUpload") == 1


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("UploadPart", "NoSuchUpload"),
        ("CompleteMultipartUpload", "NoSuchUpload"),
        ("CompleteMultipartUpload", "BadDigest"),
        ("CompleteMultipartUpload", "InvalidPart"),
        ("CompleteMultipartUpload", "ConditionalRequestConflict"),
        ("CompleteMultipartUpload", "PreconditionFailed"),
        ("PutObject", "ConditionalRequestConflict"),
        ("PutObject", "PreconditionFailed"),
        ("PutObject", "BadDigest"),
    ],
)
def test_what_is_begun_anew_for_ever_is_begun_ever_more_rarely(
    tmp_path: Path, operation: str, code: str
) -> None:
    """Five seconds at first, five minutes in the end: some thirty attempts in the first hour."""
    world = World(tmp_path, watch=RAW)
    world.files.write(b"app.log.1", b"small\n" if operation == "PutObject" else LARGE)
    world.discover()
    for _ in range(100):
        world.store.fail_next(operation, PortError(code, status=409))
    let_pass(world, 3600)
    assert world.contents() == []
    assert world.rows()[0].attempts <= 30
    assert len(world.store.calls) <= 30 * 6
    assert world.rows()[0].state in (State.READY, State.UPLOADING)


def test_a_journal_that_cannot_be_written_while_credentials_change_ends_no_worker(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, watch=RAW)
    for number in range(3):
        world.files.write(b"app.log.%d" % number, b"%d" % number)
    world.store.outage = PortError("AccessDenied", status=403)
    world.discover()
    let_pass(world, 30.0)
    world.journal._database.query("PRAGMA query_only = 1")
    world.generation += 1
    assert world.carrier.step() > 0
    world.journal._database.query("PRAGMA query_only = 0")
    world.store.outage = None
    world.generation += 1
    let_pass(world, 600.0)
    assert sorted(world.contents()) == [b"0", b"1", b"2"]
