"""The curves of the page, as inline SVG with the same numbers beside them as text."""

from collections.abc import Callable, Sequence

from shipper.reports.page.history import SAMPLE_SECONDS, Sample
from shipper.reports.page.markup import Markup, element
from shipper.reports.rows import age, size

WIDTH, HEIGHT = 600, 100
SHORTEST_SECONDS = 600.0
"""What the whole width stands for at least."""
GAP_SECONDS = 2.5 * SAMPLE_SECONDS
"""No line is drawn over a time in which no sample was taken."""

Point = tuple[float, float]
"""How many seconds ago, and how much."""


def charts(samples: Sequence[Sample], now: float) -> Markup:
    """What is sent, and what is not in S3 yet; ``now`` and the samples are of one clock."""
    sent = [(now - one.at, one.sent_bytes_per_second) for one in samples]
    backlog = [(now - one.at, float(one.unshipped_bytes)) for one in samples]
    return element(
        "div",
        _figure("Sent", sent, lambda amount: f"{size(amount)}/s"),
        _figure("Not in S3 yet", backlog, size),
        class_="charts",
    )


def _figure(name: str, points: Sequence[Point], shown: Callable[[float], str]) -> Markup:
    amounts = [amount for _, amount in points]
    most, mean = max(amounts), sum(amounts) / len(amounts)
    span = max(points[0][0], SHORTEST_SECONDS)
    since = f"the last {age(points[0][0])}" if len(points) > 1 else "one sample so far"
    numbers = (
        f"{shown(amounts[-1])} now, {shown(most)} at most, {shown(mean)} in the mean; {since}"
    )
    lines = [
        element("polyline", points=" ".join(_at(point, span, most) for point in run))
        for run in _runs(points)
    ]
    curve = element(
        "svg",
        element("title", f"{name}: {numbers}"),
        *lines,
        role="img",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
    )
    return element("figure", curve, element("figcaption", element("b", name), f": {numbers}"))


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """The points that follow each other without a gap; one alone is drawn as a short line."""
    runs: list[list[Point]] = []
    for point in points:
        if runs and runs[-1][-1][0] - point[0] <= GAP_SECONDS:
            runs[-1].append(point)
        else:
            runs.append([point])
    return [
        run if len(run) > 1 else [(run[0][0] + SAMPLE_SECONDS, run[0][1]), *run] for run in runs
    ]


def _at(point: Point, span: float, most: float) -> str:
    seconds_ago, amount = point
    x = WIDTH * (1 - min(seconds_ago, span) / span)
    y = HEIGHT - (HEIGHT - 4) * amount / max(most, 1.0) - 2
    return f"{x:.1f},{y:.1f}"
