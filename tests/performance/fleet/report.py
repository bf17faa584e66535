"""The tables of `docs/fleet.md`."""

from collections.abc import Iterator, Sequence

from tests.performance.fleet import costs
from tests.performance.fleet.scenarios import Outcome

COLUMNS = (
    "what happens to 10,000 instances",
    "files",
    "at most asked/s",
    "at most stored/s",
    "503s",
    "requests a file: mean, most",
    "half stored after",
    "all stored after",
)
COST_COLUMNS = (
    "USD a month, 10,000 instances",
    "objects",
    "and their removal's listings",
    "manifests and heartbeats, hourly",
    "`shipper fleet`, hourly",
)


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield from _head(COLUMNS)
    yield from map(row, outcomes)


def row(outcome: Outcome) -> str:
    """One scenario's row; also what stands in the document."""
    tries, at = outcome.tries, outcome.stored_at
    asked = outcome.peak(*(one for one in outcome.traffic.seconds if one.startswith("put")))
    cells = (
        outcome.scenario.title,
        f"{outcome.files:,}",
        f"{asked:,}",
        f"{outcome.peak('put'):,}",
        f"{outcome.total('put 503', 'list 503'):,}",
        f"{sum(tries) / len(tries):.1f}, {tries[-1]}",
        seconds(at[len(at) // 2]),
        seconds(at[-1]),
    )
    return f"| {' | '.join(cells)} |"


def seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 300 else f"{value / 60:.0f} min"


def beside(outcome: Outcome) -> Iterator[str]:
    """What the table has no columns for."""
    n = outcome.scenario.aggregate
    for asked in (outcome.traffic, outcome.sts):
        for name, counted in sorted(asked.seconds.items()):
            yield f"{name}: {n * counted.total():,}, at most {n * max(counted.values()):,}/s"
    yield f"partitions: {outcome.partitions}"


def cost_table(hosts: int) -> Iterator[str]:
    yield from _head(COST_COLUMNS)
    for title, *usd in costs.rows(hosts):
        yield f"| {title} | " + " | ".join(_money(one) for one in usd) + " |"


def _head(columns: Sequence[str]) -> tuple[str, str]:
    return f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)


def _money(usd: float) -> str:
    return f"{usd:,.0f}" if usd >= 10 else f"{usd:.2f}"
