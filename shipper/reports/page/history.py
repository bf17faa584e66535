"""What the page's curves are drawn from: a sample a minute of the last six hours.

It is kept in memory only, so it begins anew with each start and each reload, and only where
``http.listen`` is set.
"""

from dataclasses import dataclass

from shipper.core.lifecycle import UNSHIPPED
from shipper.reports.in_flight import rate, summed
from shipper.runtime.services import Services

SAMPLE_SECONDS = 60.0
KEPT = 360


@dataclass(frozen=True, slots=True)
class Sample:
    """What there was at one time of the monotonic clock."""

    at: float
    sent_bytes_per_second: float
    """The mean of the minute before."""
    unshipped_files: int
    unshipped_bytes: int


class History:
    """One thread adds samples; any may read them."""

    def __init__(self) -> None:
        self.samples: tuple[Sample, ...] = ()
        """The oldest first. Replaced as a whole."""

    def is_due(self, now: float) -> bool:
        """Whether the last sample is old enough for another."""
        return not self.samples or now - self.samples[-1].at >= SAMPLE_SECONDS

    def add(self, one: Sample) -> None:
        self.samples = (*self.samples, one)[-KEPT:]


def sample_of(services: Services) -> Sample:
    """How things are now.

    Raises:
        PortError: the journal cannot be read.
    """
    files, raw_bytes = summed(services.journal.figures.totals(), UNSHIPPED)
    sent = rate(services)["sent_bytes_per_second"]
    return Sample(services.clock.monotonic(), sent, files, raw_bytes)
