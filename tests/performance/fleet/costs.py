"""What S3's requests of a fleet cost in a month.

Prices are those of us-east-1, S3 Standard: https://aws.amazon.com/s3/pricing/
"""

from collections.abc import Iterator
from dataclasses import dataclass

USD_PER_WRITE_OR_LIST = 0.005 / 1000
"""PUT, POST and LIST cost the same. A request of a multipart upload counts, too; here every file
is one PUT."""
HOURS = 730.0
PAGE_KEYS = 1000
LISTS_PER_REMOVAL = 2
"""One when the object was stored, one before the file is removed: the simulation counts them."""


@dataclass(frozen=True, slots=True)
class Profile:
    title: str
    files_an_hour: float
    """Of one instance."""


PROFILES = (
    Profile("daily logs, 10 watches", 10 / 24),
    Profile("50 files an hour", 50.0),
    Profile('10 live logs, `live_interval = "5m"`', 10 * 12.0),
)


def usd(requests: float) -> float:
    return requests * USD_PER_WRITE_OR_LIST


def rows(hosts: int) -> Iterator[tuple[str, float, float, float, float]]:
    """For each profile, USD a month: objects, their removal's listings, and manifests and
    heartbeats, each one an hour. The last is ``shipper fleet`` once an hour."""
    pages = -(-hosts // PAGE_KEYS)
    for profile in PROFILES:
        objects = hosts * profile.files_an_hour * HOURS
        yield (
            profile.title,
            usd(objects),
            usd(objects * LISTS_PER_REMOVAL),
            usd(2 * hosts * HOURS),
            usd(pages * HOURS),
        )
