"""How many requests may be under way at once: fewer after ``SlowDown``, slowly more again.

Additive increase, multiplicative decrease (RFC 5681, section 3.1): S3 scales a prefix gradually
and answers 503 until it has.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
"""

from dataclasses import dataclass, replace

SLOWEST_BYTES_PER_SECOND = 50 * 1024
REQUEST_SECONDS = 60.0
"""A body may take this long, plus its bytes at the slowest speed that is worth waiting for."""
PIECE_BYTES = 256 * 1024
"""A body goes out in pieces of this size."""
LONGEST_PAUSE_SECONDS = 15.0
"""S3 ends a request that brings nothing for 20 s (``RequestTimeout``)."""
LONGEST_ROUND_SECONDS = 300.0
"""Half of what the watchdogs allow a worker between two signs of life."""
ROUND_SECONDS = 1.0
"""What was under way is refused together: that halves the limit once."""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most ``limit`` requests at once, rounded down; ``most`` when nothing was refused."""

    most: int
    limit: float
    slowed_at: float | None = None
    """Monotonic; None before the first time."""

    @property
    def allowed(self) -> int:
        """How many requests may be under way; at least one."""
        return max(1, int(self.limit))


def longest_body_seconds(size_bytes: int) -> float:
    """How long a body may be under way before its request is repeated."""
    return REQUEST_SECONDS + size_bytes / SLOWEST_BYTES_PER_SECOND


def slowest_bandwidth(concurrent_files: int, concurrent_parts: int, memory_limit: int) -> int:
    """The lowest bandwidth limit, in bytes per second, with which no request times out.

    Every request waits for a piece of each of the others, and all that is in memory goes out at
    about the same time.
    """
    requests = concurrent_files * concurrent_parts + concurrent_files + 1
    by_pause = requests * PIECE_BYTES / LONGEST_PAUSE_SECONDS
    return int(max(by_pause, memory_limit / LONGEST_ROUND_SECONDS)) + 1


def full_concurrency(most: int) -> Concurrency:
    """The state before any refusal."""
    return Concurrency(most, float(most))


def widened(concurrency: Concurrency, factor: int) -> Concurrency:
    """Raise ``most``: the limit follows at once if nothing was refused, else slowly."""
    most = concurrency.most * factor
    return replace(
        concurrency,
        most=most,
        limit=float(most) if concurrency.limit == concurrency.most else concurrency.limit,
    )


def slowed(concurrency: Concurrency, now: float) -> Concurrency:
    """Halve the limit, once a round."""
    if concurrency.slowed_at is not None and now - concurrency.slowed_at < ROUND_SECONDS:
        return concurrency
    return replace(concurrency, limit=max(1.0, concurrency.limit / 2), slowed_at=now)


def passed(concurrency: Concurrency) -> Concurrency:
    """Raise the limit by one for every ``limit`` requests that went well."""
    return replace(
        concurrency,
        limit=min(float(concurrency.most), concurrency.limit + 1.0 / concurrency.limit),
    )
