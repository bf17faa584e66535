"""When to refresh credentials, when to scan, and when to try again.

The caller draws the jitter from [0, 1), so that machines that booted together do not ask together.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum

from shipper.core.failures import MISCONFIGURED_CODES

REFRESH_BEFORE_EXPIRY_SECONDS = 900.0
LONGEST_USE_SECONDS = 3600.0
REFRESH_SPREAD = 0.2
UNCHANGED_SECONDS = 60.0
"""Credentials that the service has not renewed yet are asked for again no sooner than this, or an
eighth of their life where that is less."""
FIRST_REFRESH_RETRY_SECONDS = 1.0
LONGEST_REFRESH_RETRY_SECONDS = 60.0
EXPIRED_RETRY_SECONDS = (300.0, 900.0)
FIRST_SHIPMENT_RETRY_SECONDS = 5.0
LONGEST_SHIPMENT_RETRY_SECONDS = 300.0
SMALLEST_SKEW_SECONDS = 5.0
AWS_YEARS = range(2020, 2100)
"""A Date header of another year is broken: who believed it would sign nothing that AWS takes."""
_MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often to make a call, and how long to wait in between: full jitter."""

    attempts: int = 4
    first_wait_seconds: float = 0.5
    shortest_wait_seconds: float = 0.0
    longest_wait_seconds: float = 10.0

    def wait_seconds(
        self, failures: int, jitter: float, *, asked_seconds: float = 0.0
    ) -> float | None:
        """Seconds until the next attempt after so many failures; None when there is none.

        Never sooner than the other side asked for; none if that is beyond the longest wait.
        """
        if failures >= self.attempts or asked_seconds > self.longest_wait_seconds:
            return None
        ceiling = self.first_wait_seconds * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)
        wait = min(self.longest_wait_seconds, ceiling) * jitter
        return max(asked_seconds, self.shortest_wait_seconds, wait)


class CredentialsState(Enum):
    NONE_YET = "none-yet"
    FRESH = "fresh"
    STALE = "stale"
    EXTENDED = "extended"
    """Past their life, and no others are to be had: offered all the same, for S3 decides."""
    EXPIRED = "expired"
    """Handed out by the service as expired: offered all the same."""
    MISCONFIGURED = "misconfigured"


def time_from(date: str) -> float | None:
    """The time of a Date header; None where it is none, or none that AWS can have."""
    try:
        at = parsedate_to_datetime(date)
        return at.timestamp() if at.year in AWS_YEARS else None
    except (ValueError, TypeError, OverflowError):
        return None


def skew_from(date: str, now: float) -> float:
    """Seconds by which a clock that says ``now`` is behind an answer's Date header.

    0 where they are few, because the header has whole seconds and the answer takes time.
    """
    at = time_from(date)
    skew = 0.0 if at is None else at - now
    return skew if abs(skew) >= SMALLEST_SKEW_SECONDS else 0.0


def refresh_wait(life_seconds: float, jitter: float, whole_seconds: float = 0.0) -> float:
    """Seconds until credentials that live so long are refreshed: 15 minutes before they expire.

    After half of a short life; after an hour at the latest, because the role may have changed.
    ``whole_seconds`` is the life they had when they came: at their end they are asked for at
    least ``UNCHANGED_SECONDS`` apart.
    """
    wait = min(LONGEST_USE_SECONDS, life_seconds - REFRESH_BEFORE_EXPIRY_SECONDS)
    wait = max(wait, life_seconds / 2)
    wait = min(wait, LONGEST_USE_SECONDS) * (1 - REFRESH_SPREAD * jitter)
    shortest = min(UNCHANGED_SECONDS, whole_seconds / 8)
    return max(FIRST_REFRESH_RETRY_SECONDS, min(life_seconds, max(shortest, wait)))


def expired_wait(jitter: float) -> float:
    """Seconds until a service that hands out expired credentials is asked again."""
    shortest, longest = EXPIRED_RETRY_SECONDS
    return shortest + (longest - shortest) * jitter


def refresh_retry_wait(attempts: int, jitter: float) -> float:
    """Seconds until a refresh that failed so often in a row is tried again: 1 s to 60 s.

    All of it is jitter.
    """
    ceiling = FIRST_REFRESH_RETRY_SECONDS * 2.0 ** min(attempts, _MOST_DOUBLINGS)
    return max(FIRST_REFRESH_RETRY_SECONDS, min(LONGEST_REFRESH_RETRY_SECONDS, ceiling) * jitter)


def shipment_retry_wait(attempts: int, jitter: float) -> float:
    """Seconds until a shipment that failed ``attempts`` times before is due again: 5 s to 5 min.

    Half of it is jitter.
    """
    ceiling = FIRST_SHIPMENT_RETRY_SECONDS * 2.0 ** min(attempts, _MOST_DOUBLINGS)
    return min(LONGEST_SHIPMENT_RETRY_SECONDS, ceiling) * (1 + jitter) / 2


def failed_since(due_at: float, attempts: int) -> float:
    """When a shipment that is due then has failed at the earliest, for the latest time."""
    return due_at - shipment_retry_wait(max(0, attempts - 1), 1.0)


def start_splay(longest_seconds: float, jitter: float, *, is_draining: bool) -> float:
    """Seconds that what a scan promises waits, so that a fleet's hosts do not begin together."""
    return 0.0 if is_draining else longest_seconds * jitter


def scan_interval(configured_seconds: float, *, has_unwatched: bool) -> float:
    """Seconds between two scans that no event asks for.

    While a directory gives no events, that is a third, but no less than 5 s.
    """
    often = max(5.0, configured_seconds / 3)
    return min(configured_seconds, often) if has_unwatched else configured_seconds


def state_of(
    life_seconds: float | None, *, is_late: bool, code: str, is_handed_out: bool = False
) -> CredentialsState:
    """The state to show; ``life_seconds`` is None without credentials.

    ``is_late`` when their refresh is overdue; ``code`` is that of the last refresh's failure;
    ``is_handed_out`` when they had expired when the service handed them out.
    """
    if life_seconds is not None and life_seconds > 0:
        return CredentialsState.STALE if is_late or code else CredentialsState.FRESH
    if code in MISCONFIGURED_CODES:
        return CredentialsState.MISCONFIGURED
    if life_seconds is None:
        return CredentialsState.NONE_YET
    return CredentialsState.EXPIRED if is_handed_out else CredentialsState.EXTENDED
