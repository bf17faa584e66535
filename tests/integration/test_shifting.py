"""java.util.logging's ``app%g.log`` on a real disk, beside logs with fixed numbers."""

from pathlib import Path

from shipper.core.types import AfterUpload, State
from tests.machines.hostile import HostileWorld, hostile_watch


def rotate(logs: Path, body: bytes, most: int = 2) -> None:
    """As ``FileHandler`` does with a count of ``most + 1``."""
    for number in range(most, 0, -1):
        if (logs / f"app{number - 1}.log").exists():
            (logs / f"app{number - 1}.log").rename(logs / f"app{number}.log")
    (logs / "app0.log").write_bytes(body)


def test_a_series_is_shipped_and_logs_with_fixed_numbers_are_not(tmp_path: Path) -> None:
    for name in ("logs", "archive", "state"):
        (tmp_path / name).mkdir()
    logs, watch = tmp_path / "logs", hostile_watch(tmp_path, AfterUpload.KEEP)
    world = HostileWorld(tmp_path / "state", watch=watch)
    bodies = [b"%d\n" % number for number in range(6)]
    try:
        for life, body in enumerate(bodies):
            rotate(logs, body)
            for number in (1, 2) if life % 2 else (2, 1):  # inode numbers change places
                (logs / f"worker-{number}.log").unlink(missing_ok=True)
            for number in (1, 2):
                (logs / f"worker-{number}.log").write_bytes(b"life %d\n" % life)
            world.run(rounds=2)
        assert sorted(world.contents()) == bodies[:-1]
        assert {row.state for row in world.rows()} == {State.DONE}
    finally:
        world.stop()
