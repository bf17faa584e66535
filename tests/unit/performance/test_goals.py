"""The benchmark's verdicts."""

from dataclasses import replace

import pytest

from tests.performance.goals import (
    ALLOWED_BYTES,
    PART_BYTES,
    RATIOS,
    DaemonFigures,
    Goal,
    goals,
    superfluous,
)
from tests.performance.measuring import Cost
from tests.performance.table import MIB, NOTHING, Run, beyond_start, bound_by, rows
from tests.performance.works import BACKLOG_FAR, ONE, SMALL, START, works


def run(work: str, name: str = "shipper", wall: float = 2.0, cpu: float = 1.0) -> Run:
    """A run of 10 small files."""
    cost = Cost(wall, cpu, largest_bytes=70 * MIB, together_bytes=70 * MIB)
    return Run(work, name, 10, 0.0, cost, {"PutObject": 10}, 1000, 0.2, 0.1, 0.0)


def told(*runs: Run, daemon: DaemonFigures | None = None) -> dict[tuple[str, str], Goal]:
    """The goals by what they are of."""
    return {(goal.of, goal.text): goal for goal in goals(rows(runs), runs, daemon)}


def test_a_ratio_is_of_medians_and_is_held_to_its_bound() -> None:
    ours = [run(SMALL, cpu=cpu) for cpu in (1.0, 9.0, 2.0)]
    goal = told(*ours, run(SMALL, "rclone copy", cpu=1.6))[
        f"{SMALL}, shipper", "CPU / rclone copy"
    ]
    assert goal.value == pytest.approx(1.25)
    assert goal.is_reached is False
    assert replace(goal, value=1.0).is_reached is True
    assert "NOT REACHED" in goal.line


def test_what_did_not_run_is_not_measured() -> None:
    goal = told(run(SMALL))[f"{SMALL}, shipper", "CPU / rclone copy"]
    assert goal.is_reached is None
    assert goal.line.endswith("not measured")


def test_the_fast_setting_is_held_to_the_same_ratios() -> None:
    runs = run(SMALL), run(SMALL, "shipper, fast", cpu=0.5), run(SMALL, "rclone copy")
    assert told(*runs)[f"{SMALL}, shipper, fast", "CPU / rclone copy"].value == 0.5


def test_a_backlog_is_held_to_files_a_second() -> None:
    slow = told(run(BACKLOG_FAR))[f"{BACKLOG_FAR}, shipper", "files a second"]
    assert (slow.value, slow.is_reached) == (5.0, False)
    fast = told(run(BACKLOG_FAR, wall=0.02))[f"{BACKLOG_FAR}, shipper", "files a second"]
    assert fast.is_reached is True


def test_memory_is_what_is_above_an_idle_daemon_or_a_start() -> None:
    runs = run(START, "shipper, nothing to ship"), run(SMALL)
    assert told(*runs)[f"{SMALL}, shipper", "MiB above a start"].value == 0
    daemon = DaemonFigures(0.4, 0.05, 50 * MIB, 50 * MIB, 50 * MIB + ALLOWED_BYTES + MIB)
    found = told(*runs, daemon=daemon)
    assert found[f"{SMALL}, shipper", "MiB above an idle daemon"].value == 20
    assert found["daemon, 100 directories", "MiB above idle at work"].is_reached is False
    assert found["daemon, 100 directories", "seconds to READY"].is_reached is True


@pytest.mark.parametrize(
    ("requests", "stored_bytes", "beyond"),
    [
        ({"PutObject": 11}, 10, 0),
        ({"PutObject": 11, "ListObjectsV2": 2}, 10, 2),
        ({"PutObject": 13}, 10, 2),
        (
            {
                "PutObject": 10,
                "CreateMultipartUpload": 1,
                "UploadPart": 3,
                "CompleteMultipartUpload": 1,
            },
            2 * PART_BYTES + 1,
            0,
        ),
        (
            {
                "PutObject": 10,
                "CreateMultipartUpload": 1,
                "UploadPart": 4,
                "CompleteMultipartUpload": 1,
            },
            2 * PART_BYTES + 1,
            1,
        ),
    ],
)
def test_requests_that_no_object_needs_are_counted(
    requests: dict[str, int], stored_bytes: int, beyond: int
) -> None:
    assert superfluous(replace(run(SMALL), requests=requests, stored_bytes=stored_bytes)) == beyond


def test_every_ratio_is_of_contestants_that_run_that_work() -> None:
    by = {work.name: {each.name for each in work.by} for work in works(is_quick=False)}
    assert {ratio.work for ratio in RATIOS} <= set(by)
    for ratio in RATIOS:
        assert {ratio.ours, ratio.theirs} <= by[ratio.work]


def test_what_a_start_costs_is_told_apart() -> None:
    started = run(*NOTHING, wall=0.5, cpu=0.4)
    assert list(beyond_start(rows([started, run(SMALL)]))) == [
        f"  {SMALL}, shipper: wall 1.50 s, CPU 0.60 s, 60.00 ms CPU a file"
    ]
    assert not list(beyond_start(rows([run(SMALL)])))


@pytest.mark.parametrize(
    ("changes", "bound"),
    [
        ({"sink_busiest_seconds": 1.9}, "the sink"),
        ({"cpu_seconds": 3.0, "sink_cpu_seconds": 1.0}, "CPU: all 2 cores, 25 % the sink"),
        ({"cpu_seconds": 1.8}, "CPU: 0.9 cores"),
        ({"away_seconds": 0.1}, "delay; CPU 0.5 cores, 0.5 in flight"),
        ({}, "waiting; CPU 0.5 cores"),
        ({"others_cpu_seconds": 3.0}, "others on this machine: 1.5 cores"),
        (
            {"others_cpu_seconds": 3.0, "away_seconds": 1.0},
            "others on this machine: 1.5 cores, 5.0 in flight",
        ),
        ({"cpu_seconds": 1.8, "others_cpu_seconds": 0.1}, "CPU: 0.9 cores"),
    ],
)
def test_a_row_says_what_bounds_it(changes: dict[str, float], bound: str) -> None:
    [row] = rows([run(ONE)]).values()
    assert bound_by(replace(row, **changes), cores=2) == bound  # type: ignore[arg-type]  # floats
