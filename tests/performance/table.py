"""The benchmark's runs as a table of medians, and what bounds each of them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from tests.performance.measuring import Cost
from tests.performance.works import START

MIB = 1024**2
NOTHING = (START, "shipper, nothing to ship")
CORES = len(os.sched_getaffinity(0))
BUSY = 0.85
"""From this share of its time on, a core bounds what it does: the rest is start and end."""


@dataclass(frozen=True, slots=True)
class Run:
    """One contestant on one work, once."""

    work: str
    name: str
    files: int
    away_seconds: float
    cost: Cost
    requests: dict[str, int]
    stored_bytes: int
    sink_cpu_seconds: float
    sink_busiest_seconds: float
    """CPU of that process of the sink that had most of it."""
    others_cpu_seconds: float
    """What the machine did meanwhile beside the contestant and the sink."""


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of a contestant's runs on one work."""

    runs: int
    files: int
    away_seconds: float
    wall_seconds: float
    cpu_seconds: float
    largest_bytes: float
    together_bytes: float
    requests: float
    stored_bytes: float
    sink_cpu_seconds: float
    sink_busiest_seconds: float
    others_cpu_seconds: float

    @property
    def files_per_second(self) -> float:
        """Start and end included."""
        return self.files / self.wall_seconds

    @property
    def in_flight(self) -> float:
        """How many requests waited for an answer, on average over the whole run (Little's law)."""
        return self.requests * self.away_seconds / self.wall_seconds


Rows = Mapping[tuple[str, str], Row]
"""By work and contestant."""


def rows(runs: Sequence[Run]) -> Rows:
    """Medians by work and contestant, in the order of works, then of names."""
    order = list(dict.fromkeys(run.work for run in runs))
    found: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (order.index(run.work), run.name)):
        found.setdefault((run.work, run.name), []).append(run)
    return {which: _row(of) for which, of in found.items()}


def _row(runs: Sequence[Run]) -> Row:
    return Row(
        runs=len(runs),
        files=runs[0].files,
        away_seconds=runs[0].away_seconds,
        wall_seconds=median(run.cost.wall_seconds for run in runs),
        cpu_seconds=median(run.cost.cpu_seconds for run in runs),
        largest_bytes=median(run.cost.largest_bytes for run in runs),
        together_bytes=median(run.cost.together_bytes for run in runs),
        requests=median(sum(run.requests.values()) for run in runs),
        stored_bytes=median(run.stored_bytes for run in runs),
        sink_cpu_seconds=median(run.sink_cpu_seconds for run in runs),
        sink_busiest_seconds=median(run.sink_busiest_seconds for run in runs),
        others_cpu_seconds=median(run.others_cpu_seconds for run in runs),
    )


def bound_by(row: Row, cores: int = CORES) -> str:
    """What the wall time stands on: the sink, all cores, one core, the answers' delay, or waiting.

    The sink is the bound where one of its processes had a core to itself for most of the time.
    Where others keep the machine busy, nothing else can be told.
    """
    flying = f", {row.in_flight:.1f} in flight" if row.away_seconds else ""
    return f"{_bound(row, cores)}{flying}"


def _bound(row: Row, cores: int) -> str:
    wall, others = row.wall_seconds, row.others_cpu_seconds
    together = row.cpu_seconds + row.sink_cpu_seconds
    if others >= (1 - BUSY) * cores * wall and together + others >= BUSY * cores * wall:
        return f"others on this machine: {others / wall:.1f} cores"
    if row.sink_busiest_seconds >= BUSY * wall:
        return "the sink"
    if together >= BUSY * cores * wall:
        return f"CPU: all {cores} cores, {100 * row.sink_cpu_seconds / together:.0f} % the sink"
    if row.cpu_seconds >= BUSY * wall:
        return f"CPU: {row.cpu_seconds / wall:.1f} cores"
    return f"{'delay' if row.away_seconds else 'waiting'}; CPU {row.cpu_seconds / wall:.1f} cores"


def beyond_start(found: Rows) -> Iterator[str]:
    """What shipper's runs cost beyond one that has nothing to ship: in all, and for each file.

    A start is in every other figure. Where there are few files it is most of it.
    """
    start = found.get(NOTHING)
    for (work, name), row in found.items():
        if start and name.startswith("shipper") and (work, name) != NOTHING:
            wall = row.wall_seconds - start.wall_seconds
            cpu = row.cpu_seconds - start.cpu_seconds
            each = f", {1000 * cpu / row.files:.2f} ms CPU a file" if row.files > 1 else ""
            yield f"  {work}, {name}: wall {wall:.2f} s, CPU {cpu:.2f} s{each}"


def lines(found: Rows) -> Iterator[str]:
    """The table, work by work."""
    heads = ("wall s", "CPU s", "files/s", "peak MiB", "sum MiB", "requests", "stored MiB")
    work = ""
    for (of, name), row in found.items():
        if of != work:
            work = of
            yield (
                f"\n{work:<28} {'runs':>4}"
                + "".join(f"{head:>11}" for head in heads)
                + f"{'sink CPU %':>11}  bound by"
            )
        rate = f"{row.files_per_second:.0f}" if row.files > 1 else ""
        yield (
            f"  {name:<26} {row.runs:>4}{row.wall_seconds:>11.2f}{row.cpu_seconds:>11.2f}"
            f"{rate:>11}{row.largest_bytes / MIB:>11.0f}{row.together_bytes / MIB:>11.0f}"
            f"{row.requests:>11.0f}{row.stored_bytes / MIB:>11.1f}"
            f"{100 * row.sink_cpu_seconds / row.wall_seconds:>11.0f}  {bound_by(row)}"
        )


def medians(found: Rows) -> list[dict[str, Any]]:
    """The table for programs."""
    return [
        {"work": work, "contestant": name, **asdict(row), "bound_by": bound_by(row)}
        for (work, name), row in found.items()
    ]
