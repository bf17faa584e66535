"""``python -m tests.performance.fleet``: what ten thousand instances do to a bucket."""

import argparse
import os
import sys
from collections.abc import Sequence

from tests.performance.fleet.plot import PANELS, draw
from tests.performance.fleet.report import beside, cost_table, row, table
from tests.performance.fleet.scenarios import HOSTS, SCENARIOS, Outcome, run

SEED = 1
DOCUMENT = os.path.join("docs", "fleet.md")
BEGIN, END = "<!-- fleet: begin -->", "<!-- fleet: end -->"
"""What stands between these in the document is written here."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.fleet", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help="default: all")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--plot", metavar="FILE.svg", help="draw it; needs the extra `figures`")
    parser.add_argument("--write", action="store_true", help=f"renew the tables of {DOCUMENT}")
    options = parser.parse_args(arguments)
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no scenario is called {unknown[0]}: there are {', '.join(known)}")
    names = options.names or [*known]
    needed = {panel.name for panel in PANELS} if options.plot else set()
    if (missing := needed - {*names}) or (options.write and len(names) < len(known)):
        parser.error(f"leave out the names, or name {', '.join(sorted(missing or {*known}))}, too")
    outcomes: list[Outcome] = []
    for name in names:
        outcomes.append(outcome := run(known[name], seed=options.seed))
        print(row(outcome), *beside(outcome), sep="\n  ", file=sys.stderr, flush=True)
    lines = [*table(outcomes), "", *cost_table(HOSTS)]
    print(*lines, sep="\n")
    if options.plot:
        draw(outcomes, options.plot)
    if options.write:
        _write(lines)
    return 0


def _write(lines: Sequence[str]) -> None:
    with open(DOCUMENT, encoding="utf-8") as file:
        before, rest = file.read().split(BEGIN)
    after = rest.split(END)[1]
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write("\n".join([before + BEGIN, *lines, END + after]))


if __name__ == "__main__":
    sys.exit(main())
