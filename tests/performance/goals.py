"""What must be reached (issue 13): ratios to others in one run, and bounds of shipper's own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.performance.table import MIB, NOTHING, Row, Rows, Run
from tests.performance.works import (
    BACKLOG_FAR,
    ONE,
    ONE_PACKED,
    SMALL,
    SMALL_AWAY,
    SMALL_FAR,
    START,
)

PART_BYTES = 16 * MIB
ALLOWED_BYTES = 128 * MIB + 20_000_000
"""``memory_limit`` by default, and what a daemon may take beside it while it works."""
IDLE_BYTES = 60_000_000
IDLE_PERCENT = 0.1
READY_SECONDS = 0.5
FILES_PER_SECOND = 400


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its bound; ``value`` is None where it was not measured."""

    of: str
    text: str
    value: float | None
    bound: float
    is_least: bool = False

    @property
    def is_reached(self) -> bool | None:
        """None where it was not measured."""
        if self.value is None:
            return None
        return self.value >= self.bound if self.is_least else self.value <= self.bound

    @property
    def line(self) -> str:
        """For people."""
        shown = "" if self.value is None else f"{self.value:.3f}"
        verdict = {None: "not measured", True: "reached", False: "NOT REACHED"}[self.is_reached]
        most = "least" if self.is_least else "most"
        text = f"{self.of:<44} {self.text:<42} {shown:>9}"
        return f"{text} (at {most} {self.bound:g}): {verdict}"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Shipper's figure over another's, on one work."""

    work: str
    figure: str
    theirs: str
    most: float
    ours: str = "shipper"


_FIGURES: Mapping[str, Callable[[Row], float]] = {
    "CPU": lambda row: row.cpu_seconds,
    "wall": lambda row: row.wall_seconds,
}
RATIOS = (
    Ratio(SMALL, "CPU", "rclone copy", 1.0),
    Ratio(SMALL, "wall", "rclone copy", 1.2),
    Ratio(SMALL_AWAY, "CPU", "rclone copy", 0.6),
    Ratio(SMALL_AWAY, "CPU", "s5cmd cp", 0.6),
    Ratio(SMALL_AWAY, "wall", "s5cmd cp", 0.8),
    Ratio(SMALL_FAR, "CPU", "s5cmd cp", 0.6),
    Ratio(SMALL_FAR, "wall", "s5cmd cp", 1.1),
    Ratio(SMALL_FAR, "wall", "rclone copy", 0.25),
    Ratio(ONE, "CPU", "s5cmd cp", 0.65),
    Ratio(ONE, "CPU", "aws s3 cp", 0.65),
    Ratio(ONE, "wall", "s5cmd cp", 0.8),
    Ratio(ONE_PACKED, "CPU", "zstd -1 > /dev/null", 1.25, "shipper, zstd"),
    Ratio(ONE_PACKED, "wall", "zstd -1 | aws s3 cp -", 0.75, "shipper, zstd"),
)


@dataclass(frozen=True, slots=True)
class DaemonFigures:
    """Of a real daemon that watches 100 directories; None is what was not measured."""

    ready_seconds: float | None
    """Median of some starts."""
    idle_percent: float | None
    """CPU, of a core."""
    idle_bytes: int | None = None
    worked_bytes: int | None = None
    """Resident after work, once what is free was given back."""
    highest_bytes: int | None = None
    """The high-water mark of the work."""


def goals(found: Rows, runs: Sequence[Run], daemon: DaemonFigures | None) -> list[Goal]:
    """All rows of "Must reach", with what was measured."""
    return [
        *(one for ratio in RATIOS for one in _ratio(ratio, found)),
        *_rates(found),
        *_memory(found, daemon),
        *daemon_goals(daemon),
        *_requests(runs),
    ]


def _ratio(ratio: Ratio, found: Rows) -> Iterator[Goal]:
    """Of shipper's defaults, and of its other settings where they ran."""
    others = [f"{ratio.ours}, fast"] if (ratio.work, f"{ratio.ours}, fast") in found else []
    for name in [ratio.ours, *others]:
        ours, theirs = found.get((ratio.work, name)), found.get((ratio.work, ratio.theirs))
        figure = _FIGURES[ratio.figure]
        value = figure(ours) / figure(theirs) if ours and theirs else None
        of, text = f"{ratio.work}, {name}", f"{ratio.figure} / {ratio.theirs}"
        yield Goal(of, text, value, ratio.most)


def _rates(found: Rows) -> Iterator[Goal]:
    for name in ("shipper", "shipper, fast"):
        row = found.get((BACKLOG_FAR, name))
        rate = None if row is None else row.files_per_second
        yield Goal(f"{BACKLOG_FAR}, {name}", "files a second", rate, FILES_PER_SECOND, True)


def _memory(found: Rows, daemon: DaemonFigures | None) -> Iterator[Goal]:
    """Above idle: a daemon's, or else what a start without work needs at most."""
    idle, what = daemon.idle_bytes if daemon else None, "an idle daemon"
    if idle is None and (started := found.get(NOTHING)):
        idle, what = int(started.largest_bytes), "a start"
    for (work, name), row in found.items():
        if name.startswith("shipper") and work != START:
            above = None if idle is None else (row.largest_bytes - idle) / MIB
            yield Goal(f"{work}, {name}", f"MiB above {what}", above, ALLOWED_BYTES // MIB)


def daemon_goals(daemon: DaemonFigures | None) -> Iterator[Goal]:
    """Of shipper's own that waits for logs."""
    of, found = "daemon, 100 directories", daemon or DaemonFigures(None, None)
    idle, worked, highest = found.idle_bytes, found.worked_bytes, found.highest_bytes
    above = None if highest is None or idle is None else (highest - idle) / MIB
    yield Goal(of, "MB idle", idle and idle / 1e6, IDLE_BYTES / 1e6)
    yield Goal(of, "MB idle after work", worked and worked / 1e6, IDLE_BYTES / 1e6)
    yield Goal(of, "MiB above idle at work", above, ALLOWED_BYTES // MIB)
    yield Goal(of, "% of a core, idle", found.idle_percent, IDLE_PERCENT)
    yield Goal(of, "seconds to READY", found.ready_seconds, READY_SECONDS)


def _requests(runs: Sequence[Run]) -> Iterator[Goal]:
    """How many too many there were in the worst run: one per small file, parts + 2 per large."""
    worst: dict[tuple[str, str], int] = {}
    for run in runs:
        if run.name.startswith("shipper"):
            which = (run.work, run.name)
            worst[which] = max(worst.get(which, 0), superfluous(run))
    for (work, name), requests in worst.items():
        text = "requests beyond 1, or parts + 2, a file"
        yield Goal(f"{work}, {name}", text, requests, 0)


def superfluous(run: Run) -> int:
    """Requests beyond those that the objects and the manifest at the end need. A large object
    begins with a Create."""
    large = run.requests.get("CreateMultipartUpload", 0)
    parts = min(run.requests.get("UploadPart", 0), run.stored_bytes // PART_BYTES + large)
    needed = 1 + max(0, run.files - large) + (parts + 2 * large if large else 0)
    return max(0, sum(run.requests.values()) - needed)
