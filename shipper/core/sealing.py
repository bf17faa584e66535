"""Whether a file has stopped changing.

A file is sealed when two looks at least ``settle`` apart agree and no process has it open for
writing. Where no writer test is possible, a longer quiet time takes its place.

Quiet is measured on size and ctime. mtime proves nothing: logrotate's compressor sets it back at
the end. A rename changes ctime only, so when the *name* has moved between two looks, an unchanged
size and mtime are enough; a log that shifts every few seconds would never be quiet otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shipper.core.types import Entry, RelativePath, Watch, WriterTest

UNPROVEN_QUIET_FACTOR = 12.0
UNPROVEN_QUIET_SECONDS = 60.0
"""Without a writer test a file must be quiet for the larger of these (times ``settle``)."""


LONGEST_PAUSE_SECONDS = 3600.0
"""Between two segments of a file that somebody writes to every now and then."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a file. It has looked so ``since``; times are monotonic."""

    path: RelativePath
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    since: float
    first_at: float
    is_old: bool = False
    """It was older than ``ignore_older`` at each look. What once was not stays a candidate, and
    does not grow too old while it waits or is refused."""


@dataclass(frozen=True, slots=True)
class Sealed:
    because: str


@dataclass(frozen=True, slots=True)
class Unsealed:
    wait_seconds: float
    because: str
    is_unproven: bool = False
    """It waits only because nobody can tell whether it has a writer."""
    is_expected: bool = False
    """It waits for what the configuration asks."""


def removal_refusal(writer: WriterTest, *, is_unproven_enough: bool) -> str:
    """The code of why a file may not be removed now; empty if it may."""
    if writer is WriterTest.OPEN:
        return "SourceInUse"
    is_unproven = writer is WriterTest.UNKNOWN and not is_unproven_enough
    return "WriterUnproven" if is_unproven else ""


def look_again(before: Look | None, entry: Entry, *, now: float, is_older: bool = False) -> Look:
    """The look that follows ``before``: the same ``since`` if nothing changed."""
    is_old = is_older and (before is None or before.is_old)
    stat, since, first_at = entry.stat, now, now
    if before is not None:
        first_at = before.first_at
        renamed = before.path != entry.path and before.mtime_ns == stat.mtime_ns
        is_quiet = before.ctime_ns == stat.ctime_ns or renamed
        since = before.since if is_quiet and before.size_bytes == stat.size_bytes else now
    times = stat.mtime_ns, stat.ctime_ns, since, first_at
    return Look(entry.path, stat.size_bytes, *times, is_old=is_old)


def wait_for_quiet(look: Look, *, settle_seconds: float, now: float) -> float:
    """Seconds until the file has been quiet for ``settle_seconds``."""
    return max(0.0, look.since + settle_seconds - now)


def early(
    watch: Watch, look: Look, *, now: float, at: float, assume_quiet: bool, is_ending: bool = False
) -> Unsealed | None:
    """Why the file need not even be opened yet; ``at`` is the wall's ``now``.

    An mtime of the future tells nothing of its age. Then it is enough that the file was seen to be
    quiet for ``min_age``. Where the machine ``is_ending``, nobody waits for ``min_age``: the file
    would be lost.
    """
    settle, min_age = watch.settle_seconds, watch.min_age_seconds
    wait = wait_for_quiet(look, settle_seconds=settle, now=now)
    if wait > 0 and not assume_quiet:
        return Unsealed(wait, f"settles after {settle:g} s of quiet")
    wait = min_age - max(at - look.mtime_ns / 1e9, now - look.since)
    if not min_age or wait <= 0 or is_ending:
        return None
    because = f"min_age: {wait:.0f} s until it was last written {min_age:g} s ago"
    return Unsealed(wait, because, is_expected=True)


def seal(
    look: Look, writer: WriterTest, *, settle_seconds: float, now: float
) -> Sealed | Unsealed:
    """Whether the file is sealed, given the writer test that was made just now."""
    wait = wait_for_quiet(look, settle_seconds=settle_seconds, now=now)
    quiet = now - look.since
    if wait > 0:
        return Unsealed(wait, f"changed {quiet:.1f} s ago, settles after {settle_seconds:g} s")
    if writer is WriterTest.OPEN:
        return Unsealed(max(1.0, settle_seconds, quiet / 4), writer.value)
    if writer is WriterTest.UNKNOWN:
        needed = max(UNPROVEN_QUIET_FACTOR * settle_seconds, UNPROVEN_QUIET_SECONDS)
        if quiet < needed:
            because = f"{writer.value}: waits for {needed:g} s of quiet"
            return Unsealed(needed - quiet, because, is_unproven=True)
    return Sealed(f"quiet for {quiet:.1f} s, {writer.value}")


def wait_for_segment(promised_at: Sequence[float], now: float) -> float:
    """Seconds until a file gets another segment, given when its segments were promised.

    Each pause is at least twice as long as the last. So a program that opens, appends and closes
    once a minute makes about 30 objects a day, and not 1,440.
    """
    if len(promised_at) < 2:
        return 0.0
    last, latest = promised_at[-2:]
    pause = min(LONGEST_PAUSE_SECONDS, 2 * (latest - last))
    is_set_back = latest > now  # the clock: then the times tell nothing
    return 0.0 if is_set_back else max(0.0, latest + pause - now)
