"""The matrix: every way of the real logrotate, times every way of the daemon's life.

{create, copytruncate} by {nocompress, compress, delaycompress} by {numeric, dateext} by {olddir or
not} by {zstd, gzip, none} are 72 logs, which one writer writes to, one logrotate rotates and one
daemon ships, all at once; by {up, down, killed}, three lives of that daemon, they are 216 cells. A
few more ways to rotate go along. Every line must be in S3 exactly once;
``tests.machines.rotation`` keeps the account. ``make soak`` does the same for longer.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.machines.instance import Instance
from tests.machines.lives import LIVES, run
from tests.machines.rotation import Cell, Rotating

Make = Callable[..., Instance]
ROTATIONS = 3
"""And one more when all was written, which is the first for which logrotate deletes a log."""


@pytest.mark.lengthy
@pytest.mark.system
@pytest.mark.timeout(300)
@pytest.mark.parametrize("life", sorted(LIVES))
def test_every_line_is_in_s3_exactly_once_however_logrotate_rotates(
    instance: Make, logrotate: str, tmp_path: Path, life: str
) -> None:
    account = run(instance, logrotate, tmp_path / "rotating", life=life, rotations=ROTATIONS)
    assert account.wrong == ()
    assert account.cells >= 72
    assert account.logs == account.objects == (ROTATIONS + 1) * account.cells


@pytest.mark.lengthy
@pytest.mark.system
@pytest.mark.timeout(400)
@pytest.mark.parametrize("life", sorted(LIVES))
def test_every_line_is_in_s3_exactly_once_though_live_logs_go_in_segments(
    instance: Make, logrotate: str, tmp_path: Path, life: str
) -> None:
    directory, live = tmp_path / "rotating", 'live_interval = "500ms"'
    account = run(instance, logrotate, directory, life=life, rotations=ROTATIONS, live=live)
    assert account.wrong == (), "\n".join(account.wrong)
    assert account.logs == (ROTATIONS + 1) * account.cells
    assert account.objects > 1.2 * account.logs


@pytest.fixture
def rotated(logrotate: str, tmp_path: Path) -> Iterator[Rotating]:
    """Two logs, rotated twice and once more when all was written."""
    with Rotating(tmp_path / "rotating", logrotate, CELLS, pace_seconds=0.002) as rotating:
        rotating.rotate()
        rotating.rotate()
        rotating.end_writing()
        rotating.rotate()
        yield rotating


CELLS = (Cell("create", "delaycompress"), Cell("copytruncate", "compress", "dateext"))


def shipped(rotating: Rotating) -> dict[str, bytes]:
    """What a bucket would hold."""
    return {
        f"logs/{cell.name}/{path.name}": path.read_bytes()
        for cell in rotating.cells
        for path in rotating.rotated(cell)
    }


@pytest.mark.system
def test_the_account_misses_nothing_that_could_be_wrong(rotated: Rotating) -> None:
    objects = shipped(rotated)
    good = rotated.account(objects)
    assert good.wrong == ()
    assert (good.cells, good.logs, good.objects) == (2, 6, 6)
    plain = next(key for key in objects if key.endswith("app.log.1"))
    lines = objects[plain].splitlines(keepends=True)
    for changed, said in (
        (lines[:-1], "1 lines are missing, 0 too many"),
        ([*lines, lines[0]], "0 lines are missing, 1 too many"),
        ([*lines[:-1], b"other\n"], "1 lines are missing, 1 too many"),
    ):
        account = rotated.account(objects | {plain: b"".join(changed)})
        assert account.wrong == (f"{CELLS[0].name}: {said}",)
    twice = rotated.account(objects | {f"logs/{CELLS[0].name}/twin": objects[plain]})
    assert len(twice.wrong) == 2
    assert "3 logs are 4 objects" in twice.wrong[1]


@pytest.mark.system
def test_only_what_was_written_between_copy_and_cut_passes_for_lost_by_copytruncate(
    logrotate: str, tmp_path: Path
) -> None:
    cell = Cell("copytruncate")
    with Rotating(tmp_path / "rotating", logrotate, [cell], pace_seconds=0.002) as rotating:
        rotating.rotate()
        running = rotating.begin()
        running.wait()
        copy = rotating.rotated_of(cell) / "app.log.1"
        lines = copy.read_bytes().splitlines(keepends=True)
        copy.write_bytes(b"".join(lines[:2] + lines[4:]))
        rotating.finish(running)
        rotating.end_writing()
        rotating.rotate()
    account = rotating.account(shipped(rotating))
    assert account.lost_by_copytruncate >= 2
    assert account.wrong == (f"{cell.name}: 2 lines are lost in the midst of a copy",)
