"""When a live log gets its next segment, and what that costs."""

from shipper.core.types import AfterUpload, Watch

LEAST_PAUSE_SECONDS = 30.0
"""No log gets segments more often: each is a request, and an object."""
LEAST_BYTES = 64 * 1024
DOLLARS_PER_REQUEST = 0.005 / 1000
"""S3 Standard's list price of a PUT in us-east-1 (https://aws.amazon.com/s3/pricing/)."""
MONTH_SECONDS = 30 * 86400.0
NEVER = float("inf")


def is_shipped_live(watch: Watch) -> bool:
    """Whether live files are shipped before the machine ends."""
    return bool(watch.live_interval_seconds or watch.live_bytes)


def seconds_until_due(watch: Watch, left_bytes: int, since_at: float | None, now: float) -> float:
    """Until the next segment; ``left_bytes`` are in none, and none is older than ``since_at``.

    No wait is longer than the interval, whoever sets the clock.
    """
    if since_at is None or left_bytes <= 0:
        return NEVER
    if watch.live_bytes and left_bytes >= watch.live_bytes:
        return 0.0
    interval = watch.live_interval_seconds
    return min(interval, max(0.0, since_at + interval - now)) if interval else NEVER


def is_due(watch: Watch, left_bytes: int, since_at: float | None, now: float) -> bool:
    """Whether the log gets a segment now."""
    return seconds_until_due(watch, left_bytes, since_at, now) <= 0


def requests_a_month(watch: Watch) -> int:
    """The most requests for the segments of one log; 0 where only their bytes are bounded.

    Each is one, and two more where files are removed: listings have to show its object when it
    was stored, and before the removal.
    """
    each = 1 if watch.after_upload is AfterUpload.KEEP else 3
    interval = watch.live_interval_seconds
    return each * round(MONTH_SECONDS / interval) if interval else 0
