"""A watcher under inotify's limits, in a program with a user namespace of its own.

There the limits may be set (user_namespaces(7), /proc/sys/user) and nobody else feels them. It
prints, as JSON, what the watcher says at each step.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.machines.watching import Nudges, comes_true, watching

ROOT = Path(__file__).parents[2]
Step = dict[str, Any]


def limited(scenario: str, directory: Path) -> list[Step]:
    """The steps of a scenario; a skip where user namespaces are forbidden."""
    unshare = ["unshare", "--user", "--map-root-user"]
    tried = subprocess.run([*unshare, "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this test needs a user namespace: {tried.stderr}")
    program = [sys.executable, "-m", "tests.machines.limits", scenario, str(directory)]
    done = subprocess.run([*unshare, *program], cwd=ROOT, check=True, capture_output=True)
    steps: list[Step] = json.loads(done.stdout)
    return steps


def set_limit(name: str, value: int) -> None:
    """Set ``max_inotify_watches`` or ``max_inotify_instances`` of this namespace."""
    Path("/proc/sys/user", name).write_text(str(value))


def refused(name: str, directory: Path) -> Iterator[Step]:
    """Nothing is left when the watcher starts; then there is."""
    nudges = Nudges()
    set_limit(name, 0)
    with watching([("app", str(directory), True)], nudges.nudge) as (watcher, log):
        for _ in range(2):
            watcher.retry()
        yield {"codes": [said["code"] for said in log.of("watch.refused")]}
        yield {"unwatched": watcher.has_unwatched(), "nudged": nudges.count}
        set_limit(name, 100)
        came_back = nudges.come_after(watcher.retry)
        yield {"unwatched": watcher.has_unwatched(), "nudged": came_back, "event": log.events[-1]}
        yield {"nudged": nudges.come_after((directory / "app.log.1").touch)}


def partly(directory: Path) -> Iterator[Step]:
    """Enough is left for the root and two of its five subdirectories."""
    nudges = Nudges()
    below = [directory / name for name in "abcde"]
    for one in below:
        one.mkdir()
    set_limit("max_inotify_watches", 3)
    with watching([("app", str(directory), True)], nudges.nudge) as (watcher, log):
        yield {"unwatched": watcher.has_unwatched(), "events": log.events}
        yield {"nudged": nudges.come_after((directory / "x").touch)}
        before = nudges.count
        for one in below:
            (one / "x").touch()
        yield {"two": comes_true(lambda: nudges.count == before + 2)}
        watcher.retry()
        yield {"unwatched": watcher.has_unwatched(), "events": log.events}


SCENARIOS = {
    "instances": lambda directory: refused("max_inotify_instances", directory),
    "watches": lambda directory: refused("max_inotify_watches", directory),
    "partly": partly,
}

if __name__ == "__main__":
    print(json.dumps(list(SCENARIOS[sys.argv[1]](Path(sys.argv[2])))))
