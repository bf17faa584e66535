"""The plot of `docs/fleet.md`; needs the extra ``figures``."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.performance.fleet.bucket import PUTS_A_SECOND
from tests.performance.fleet.scenarios import Outcome

STORED, REFUSED, OTHER = "#0b6fb8", "#c2410c", "#767676"
POINTS = 240
NONE = 0.5
"""Where there are no requests, on an axis that has no zero."""


@dataclass(frozen=True, slots=True)
class Panel:
    name: str
    title: str
    begin: int
    end: int
    """In seconds since the scenario's beginning."""
    unit: int = 1
    """1 for an axis in seconds, 60 for minutes, both since ``measured_from``."""


PANELS = (
    Panel("midnight", "All rotate within a second", 0, 70),
    Panel("splay-1m", 'The same, start_splay = "1m"', 0, 70),
    Panel("outage-hourly", "After six hours without S3, 50 files an hour", 0, 1800, 60),
    Panel("brown-out", "Two hours without STS, 50 files an hour", 3600, 12600, 60),
)


def draw(outcomes: Sequence[Outcome], path: str) -> None:
    """Write it as SVG: the same bytes for the same outcomes and matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams.update(
        {"svg.hashsalt": "shipper", "svg.fonttype": "none", "font.size": 9, "path.simplify": True}
    )
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 6.4), layout="constrained", sharey=True)
    figure.set_facecolor("white")  # on dark pages, too
    of = {outcome.scenario.name: outcome for outcome in outcomes}
    for panel, ax in zip(PANELS, axes.flat, strict=True):
        _draw(of[panel.name], panel, ax)
    for ax in axes[:, 0]:
        ax.set_ylabel("requests a second")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    _without_trailing_blanks(path)


def _draw(outcome: Outcome, panel: Panel, ax: Any) -> None:
    lines = (
        ("stored", STORED, ("put",)),
        ("answered with 503", REFUSED, ("put 503",)),
        ("unreachable, or credentials expired", OTHER, ("put Unreachable", "put 400")),
    )
    since = outcome.scenario.measured_from
    for label, colour, kinds in lines:
        at, rates = _smoothed(outcome.per_second(*kinds), panel)
        times = [(one - since) / panel.unit for one in at]
        ax.step(times, rates, where="post", color=colour, label=label, linewidth=1.4)
    ax.axhline(PUTS_A_SECOND, color="black", linestyle="--", linewidth=0.9, label="3,500 a second")
    ax.set_yscale("log")
    ax.set_ylim(10, 300_000)
    ax.set_title(panel.title, fontsize=10)
    ax.set_xlabel("minutes" if panel.unit == 60 else "seconds since the first rotation")
    ax.grid(visible=True, which="major", alpha=0.3)


def _smoothed(rates: list[tuple[int, int]], panel: Panel) -> tuple[list[float], list[float]]:
    """Means over as many seconds as leave ``POINTS``."""
    by_second, width = dict(rates), max(1, (panel.end - panel.begin) // POINTS)
    begins = range(panel.begin, panel.end, width)
    means = [sum(by_second.get(at + one, 0) for one in range(width)) / width for at in begins]
    return [float(at) for at in begins], [max(NONE, mean) for mean in means]


def _without_trailing_blanks(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write("\n".join(line.rstrip() for line in lines) + "\n")
    os.replace(f"{path}.new", path)
