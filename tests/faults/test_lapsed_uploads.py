"""An upload that a lifecycle rule of the bucket may have aborted: look, then begin anew."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import Compression, State
from shipper.ports import PortError
from tests.machines.world import MIB, WATCH, Crash, Fuse, World, random_log

RAW = replace(WATCH, compression=Compression.NONE)
LARGE = random_log(2, 11 * MIB)
DAYS = 86400.0


def begun(directory: Path, fails: Callable[[World], None]) -> World:
    """A world in which an upload of two parts was begun, came to a stop, and a week has passed."""
    world = World(directory, watch=RAW)
    world.files.write(b"app.log.1", LARGE)
    world.discover()
    world.store.abort_at = world.clock.now() + 7 * DAYS
    fails(world)
    world.carrier.step()
    world.clock.advance(seconds=7 * DAYS)
    world.store.abort_at = world.clock.now() + 7 * DAYS
    return world


def a_part_fails(world: World) -> None:
    world.store.fail_next("UploadPart", PortError("Timeout"))


def the_completion_fails(world: World) -> None:
    world.store.fail_next("CompleteMultipartUpload", PortError("Timeout"))


def the_completion_is_not_answered(world: World) -> None:
    world.store.fail_next("CompleteMultipartUpload", PortError("Timeout"), after_effect=True)


def test_the_date_outlives_the_process(tmp_path: Path) -> None:
    world = begun(tmp_path, a_part_fails)
    world.restart()
    (row,) = world.rows()
    assert (row.state, row.abort_at) == (State.UPLOADING, world.clock.now())


@pytest.mark.parametrize("is_aborted", [True, False])
def test_no_part_is_sent_to_an_upload_that_has_lapsed(tmp_path: Path, is_aborted: bool) -> None:
    """It is begun anew before anything is sent, whether the rule has worked by now or not."""
    world = begun(tmp_path, a_part_fails)
    if is_aborted:
        world.store.lose_uploads()
    before = len(world.store.calls)
    world.run(rounds=1)
    sent = [call.operation for call in world.store.calls[before:]]
    sent = [each for each in sent if each != "ListObjectsV2"]
    assert sent == [
        "AbortMultipartUpload",
        "CreateMultipartUpload",
        *["UploadPart"] * 2,
        "CompleteMultipartUpload",
    ]
    assert world.contents() == [LARGE]
    assert (world.rows()[0].state, world.store.unfinished_uploads()) == (State.DONE, [])


def test_until_then_it_goes_on_where_it_was(tmp_path: Path) -> None:
    world = begun(tmp_path, a_part_fails)
    world.clock.advance(seconds=-1)
    world.carry()
    assert world.store.operations().count("CreateMultipartUpload") == 1
    assert world.contents() == [LARGE]


@pytest.mark.parametrize("repeats_complete", [True, False])
@pytest.mark.parametrize("fails", [the_completion_fails, the_completion_is_not_answered])
def test_one_of_which_s3_has_all_is_completed_or_found(
    tmp_path: Path, fails: Callable[[World], None], repeats_complete: bool
) -> None:
    world = begun(tmp_path, fails)
    world.store._repeats_complete = repeats_complete
    world.run(rounds=1)
    assert world.contents() == [LARGE]
    assert world.store.operations().count("CreateMultipartUpload") == 1
    assert world.store.operations().count("UploadPart") == 2


def test_one_of_which_s3_had_all_is_begun_anew_when_the_rule_was_first(tmp_path: Path) -> None:
    world = begun(tmp_path, the_completion_fails)
    world.store.lose_uploads()
    world.run(rounds=1)
    assert world.contents() == [LARGE]
    assert world.store.operations().count("CreateMultipartUpload") == 2


def test_every_crash_point_of_beginning_anew_recovers(tmp_path: Path) -> None:
    for n in itertools.count(1):
        world = begun(tmp_path / str(n), a_part_fails)
        fuse = Fuse(at=n)
        world.restart(fuse)
        try:
            world.run(rounds=2)
        except Crash:
            world.restart()
            world.run(rounds=3)
        assert world.contents() == [LARGE], fuse.burnt_at
        assert [row.state for row in world.rows()] == [State.DONE], fuse.burnt_at
        assert world.rows()[0].abort_at == world.store.abort_at
        world.stop()
        if not fuse.burnt_at:
            assert n > 16
            return


def test_a_rule_that_lapses_at_once_is_no_tight_loop(tmp_path: Path) -> None:
    """As by a clock that is days wrong: every attempt begins anew, ever more rarely."""
    world = begun(tmp_path, a_part_fails)
    world.store.abort_at = 0.0
    for _ in range(1000):
        world.store.fail_next("UploadPart", PortError("Timeout"))
    until = world.clock.now() + 3600
    while world.clock.now() < until:
        world.carry()
        world.clock.advance(seconds=1)
    assert world.store.operations().count("CreateMultipartUpload") <= 20
    world.store._failures.clear()
    world.run(rounds=1)
    assert world.contents() == [LARGE]
