"""The table of a shipment's life as a Mermaid diagram, which ``docs/how-it-works.md`` shows."""

from shipper.core.lifecycle import FINISHED, TABLE
from shipper.core.types import State


def diagram() -> str:
    rows: dict[tuple[State, State], list[str]] = {}
    for (before, event), after in TABLE.items():
        rows.setdefault((before, after), []).append(event.__name__)
    lines = ["stateDiagram-v2", "    [*] --> READY"]
    lines += [
        f"    {before} --> {after}: {', '.join(sorted(events))}"
        for (before, after), events in rows.items()
    ]
    lines += [f"    {state} --> [*]" for state in State if state in FINISHED]
    return "\n".join(lines)
