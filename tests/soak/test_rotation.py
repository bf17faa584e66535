"""The matrix for longer: more rotations, more lines, more kills."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machines.instance import Instance
from tests.machines.lives import LIVES, run

ROTATIONS = 20
PACE_SECONDS = 0.005


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("life", sorted(LIVES))
def test_twenty_rotations_lose_and_double_no_line(
    instance: Callable[..., Instance],
    logrotate: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    life: str,
) -> None:
    with capsys.disabled():
        account = run(
            instance,
            logrotate,
            tmp_path / "rotating",
            life=life,
            rotations=ROTATIONS,
            pace_seconds=PACE_SECONDS,
        )
    assert account.wrong == ()
    assert account.logs == account.objects == (ROTATIONS + 1) * account.cells
