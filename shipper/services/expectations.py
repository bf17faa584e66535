"""When the next log of a watch is due, where ``expect_every`` says how often one is to come.

It counts from when the newest log was found that is in S3 or on its way there. So a log that is
found and not shipped is no overdue one: what keeps it is said elsewhere. Where there never was a
log, it counts from the first start with the key, or on another machine than the disk's last.
"""

from collections.abc import Sequence
from typing import NamedTuple

from shipper.core.types import Watch, WatchName
from shipper.journal.journal import Journal


class Expected(NamedTuple):
    since: float
    every_seconds: float

    def overdue_seconds(self, now: float) -> float:
        """For how long the next log is overdue; 0 where it is not."""
        return max(0.0, now - self.since - self.every_seconds)


def note_expected(watches: Sequence[Watch], journal: Journal, now: float) -> None:
    """Write down since when the watches are expected to ship something.

    From now on, where the clock was ahead when it was written down, or when a log was found.

    Raises:
        PortError: ``JournalUnwritable``.
    """
    asking = [watch for watch in watches if watch.expect_every_seconds]
    newest = journal.figures.newest() if asking else {}
    for watch in asking:
        since = journal.origin.expected_since(watch.name)
        if since is None or max(since, newest.get(watch.name, 0.0)) > now:
            journal.origin.expect(watch.name, now)


def expected_logs(
    watches: Sequence[Watch], journal: Journal, now: float
) -> dict[WatchName, Expected]:
    """The watches of which logs are expected; asks the journal only where there are any."""
    asking = [watch for watch in watches if watch.expect_every_seconds]
    newest = journal.figures.newest() if asking else {}
    return {
        watch.name: Expected(
            newest.get(watch.name) or journal.origin.expected_since(watch.name) or now,
            watch.expect_every_seconds,
        )
        for watch in asking
    }
