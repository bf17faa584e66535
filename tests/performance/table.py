"""The benchmark's runs as a table of medians, as JSON, and as the ratios that must be reached."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from tests.performance.measuring import Cost

ONE, ONE_PACKED = "one large file", "one large file, compressed"
MANY, MANY_PACKED = "32 MiB files", "32 MiB files, compressed"
SMALL, SMALL_PACKED = "small files", "small files, compressed"
SMALL_AWAY = "small files, 10 ms away"
START = "nothing"
MIB = 1024**2
MEMORY_LIMIT_BYTES = 128 * MIB
ALLOWED_BYTES = MEMORY_LIMIT_BYTES + 20_000_000
_OPERATIONS = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")


@dataclass(frozen=True, slots=True)
class Run:
    """One contestant on one work, once."""

    work: str
    name: str
    cost: Cost
    requests: dict[str, int]
    stored_bytes: int
    sink_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of a contestant's runs on one work."""

    runs: int
    wall_seconds: float
    cpu_seconds: float
    largest_bytes: float
    together_bytes: float
    requests: float
    stored_bytes: float
    sink_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio of two figures, and what it may be at most."""

    text: str
    most: float
    figure: Callable[[Row], float]
    ours: tuple[str, str]
    theirs: tuple[str, str]


def _cpu(row: Row) -> float:
    return row.cpu_seconds


def _wall(row: Row) -> float:
    return row.wall_seconds


def _stored(row: Row) -> float:
    return row.stored_bytes


_ZSTD, _GZIP = (ONE_PACKED, "shipper, zstd"), (ONE_PACKED, "shipper, gzip")
_ZSTD_AWS, _GZIP_AWS = "zstd -1 | aws s3 cp -", "gzip | aws s3 cp -"
GOALS = (
    Goal("CPU / s5cmd", 0.5, _cpu, (ONE, "shipper"), (ONE, "s5cmd cp")),
    Goal("CPU / aws s3 cp", 0.45, _cpu, (ONE, "shipper"), (ONE, "aws s3 cp")),
    Goal("CPU / aws s3 cp, CRT", 1.0, _cpu, (ONE, "shipper"), (ONE, "aws s3 cp, CRT")),
    Goal("wall / s5cmd", 0.7, _wall, (ONE, "shipper"), (ONE, "s5cmd cp")),
    Goal("CPU / zstd -1 alone", 1.6, _cpu, _ZSTD, (ONE_PACKED, "zstd -1 > /dev/null")),
    Goal(f"wall / {_ZSTD_AWS}", 0.8, _wall, _ZSTD, (ONE_PACKED, _ZSTD_AWS)),
    Goal(f"wall / {_GZIP_AWS}", 0.3, _wall, _ZSTD, (ONE_PACKED, _GZIP_AWS)),
    Goal("stored / zstd -1", 1.02, _stored, _ZSTD, (ONE_PACKED, _ZSTD_AWS)),
    Goal("CPU / gzip -6 alone", 0.4, _cpu, _GZIP, (ONE_PACKED, "gzip -6 > /dev/null")),
    Goal("CPU / rclone", 1.2, _cpu, (SMALL, "shipper"), (SMALL, "rclone copy")),
    Goal("CPU / rclone", 1.2, _cpu, (SMALL_AWAY, "shipper"), (SMALL_AWAY, "rclone copy")),
)


def rows(runs: Sequence[Run]) -> dict[tuple[str, str], Row]:
    """Medians by work and contestant, in the order of the first round."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.work, run.name)):
        found.setdefault((run.work, run.name), []).append(run)
    return {which: _row(of) for which, of in found.items()}


def _row(runs: Sequence[Run]) -> Row:
    return Row(
        runs=len(runs),
        wall_seconds=median(run.cost.wall_seconds for run in runs),
        cpu_seconds=median(run.cost.cpu_seconds for run in runs),
        largest_bytes=median(run.cost.largest_bytes for run in runs),
        together_bytes=median(run.cost.together_bytes for run in runs),
        requests=median(sum(run.requests.values()) for run in runs),
        stored_bytes=median(run.stored_bytes for run in runs),
        sink_cpu_seconds=median(run.sink_cpu_seconds for run in runs),
    )


def lines(runs: Sequence[Run], left_out: dict[str, str]) -> Iterator[str]:
    """The table, the ratios, the requests, and who was left out."""
    found, work = rows(runs), ""
    for (of, name), row in found.items():
        if of != work:
            work = of
            heads = (
                "wall s",
                "CPU s",
                "peak MiB",
                "sum MiB",
                "requests",
                "stored MiB",
                "sink CPU %",
            )
            yield f"\n{work:<28} {'runs':>4}" + "".join(f"{head:>11}" for head in heads)
        yield (
            f"  {name:<26} {row.runs:>4}{row.wall_seconds:>11.2f}{row.cpu_seconds:>11.2f}"
            f"{row.largest_bytes / MIB:>11.0f}{row.together_bytes / MIB:>11.0f}"
            f"{row.requests:>11.0f}{row.stored_bytes / MIB:>11.1f}"
            f"{100 * row.sink_cpu_seconds / row.wall_seconds:>11.0f}"
        )
    yield ""
    for goal in GOALS:
        yield _told(goal, found)
    yield from _memory(found)
    yield from _requests(runs)
    for name, why in left_out.items():
        yield f"left out: {name}: {why}"


def ratio(goal: Goal, found: dict[tuple[str, str], Row]) -> float | None:
    """Ours over theirs; None where one of the two did not run."""
    if goal.ours not in found or goal.theirs not in found:
        return None
    return goal.figure(found[goal.ours]) / goal.figure(found[goal.theirs])


def _told(goal: Goal, found: dict[tuple[str, str], Row]) -> str:
    value = ratio(goal, found)
    verdict = "not measured" if value is None else _verdict(value <= goal.most)
    shown = "" if value is None else f"{value:.3f}"
    ours = f"{goal.ours[0]}, {goal.ours[1]}"
    return f"{ours:<44} {goal.text:<30} {shown:>7} (at most {goal.most}): {verdict}"


def _memory(found: dict[tuple[str, str], Row]) -> Iterator[str]:
    idle = [row.largest_bytes for (work, _), row in found.items() if work == START]
    for (work, name), row in found.items():
        if idle and name.startswith("shipper") and work != START:
            above = row.largest_bytes - idle[0]
            yield (
                f"{work}, {name}: {above / MIB:.0f} MiB above a start without work "
                f"(at most {ALLOWED_BYTES / MIB:.0f}): {_verdict(above <= ALLOWED_BYTES)}"
            )


def _requests(runs: Sequence[Run]) -> Iterator[str]:
    """One per small file, parts + 2 per large one, nothing else."""
    told = set()
    for run in runs:
        if not run.name.startswith("shipper") or (run.work, run.name) in told:
            continue
        told.add((run.work, run.name))
        counted = Counter(run.requests)
        others = sum(counted.values()) - sum(counted[name] for name in _OPERATIONS)
        shown = ", ".join(f"{count} {name}" for name, count in sorted(counted.items())) or "none"
        yield f"{run.work}, {run.name}: {shown}: {_verdict(others == 0)}"


def _verdict(is_reached: bool) -> str:
    return "reached" if is_reached else "NOT REACHED"


def document(runs: Sequence[Run], left_out: dict[str, str]) -> dict[str, Any]:
    """All of it for programs."""
    found = rows(runs)
    return {
        "medians": [
            {"work": work, "contestant": name, **asdict(row)}
            for (work, name), row in found.items()
        ],
        "ratios": [
            {
                "work": goal.ours[0],
                "contestant": goal.ours[1],
                "ratio": goal.text,
                "at_most": goal.most,
                "value": ratio(goal, found),
            }
            for goal in GOALS
        ],
        "runs": [asdict(run) for run in runs],
        "left_out": left_out,
    }
