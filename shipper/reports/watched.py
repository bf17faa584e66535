"""What ``directory``'s globs match, and which logs are overdue."""

import os
from typing import Any

from shipper.core.object_keys import printable
from shipper.core.types import WatchName
from shipper.reports.rows import age, instant
from shipper.runtime.services import Services
from shipper.services.expectations import Expected, expected_logs


def expected(services: Services) -> dict[WatchName, Expected]:
    """The watches of which logs are expected."""
    watches = services.configuration.watches
    return expected_logs(watches, services.journal, services.clock.now())


def overdue_lines(services: Services) -> list[str]:
    """Watches of which a log should have come. Before the first scan nobody knows."""
    now = services.clock.now()
    hint = "is its program, or its rotation, still at work? else change expect_every"
    return [
        f"watch {name}: no log for {age(now - one.since)}, and one is expected every "
        f"{age(one.every_seconds)} (hint: {hint})"
        for name, one in expected(services).items()
        if services.discovery.scans and one.overdue_seconds(now)
    ]


def watched_document(services: Services) -> dict[str, Any]:
    """Both, ready for JSON."""
    now, found = services.clock.now(), services.discovery.directories
    return {
        "matching": {
            watch.name: {
                "directory": printable(os.fsencode(watch.whole_directory)),
                "count": len(found.get(watch.name, ())),
            }
            for watch in services.configuration.watches
            if watch.pattern
        },
        "expected": {
            name: {
                "due_at": instant(one.since + one.every_seconds),
                "overdue_seconds": round(one.overdue_seconds(now)),
            }
            for name, one in expected(services).items()
        },
    }
