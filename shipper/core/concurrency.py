"""How many requests may be under way at once: fewer after ``SlowDown``, slowly more again.

Additive increase, multiplicative decrease, as TCP does it (RFC 5681, section 3.1): S3 scales a
prefix gradually and answers 503 until it has; whoever goes on as before keeps it from scaling.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
"""

from dataclasses import dataclass, replace

SLOWEST_BYTES_PER_SECOND = 50 * 1024
REQUEST_SECONDS = 60.0
"""A body may take so long, and as long again as it has bytes at the slowest pace that is worth
waiting for: behind anything slower a connection made anew is the better bet."""
PIECE_BYTES = 256 * 1024
"""A body goes out in pieces of this size."""
LONGEST_PAUSE_SECONDS = 15.0
"""S3 gives up a request that brings nothing for 20 s (``RequestTimeout``)."""
LONGEST_ROUND_SECONDS = 300.0
"""Half of what the watchdogs allow a worker between two signs of life."""
ROUND_SECONDS = 1.0
"""All that was under way is refused together; that is one reason to slow down and not many."""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most ``limit`` requests at once (the whole part of it), and ``most`` when all is well."""

    most: int
    limit: float
    slowed_at: float | None = None
    """Monotonic; None before the first time."""

    @property
    def allowed(self) -> int:
        """How many requests may be under way; at least one, which is the probe."""
        return max(1, int(self.limit))


def longest_body_seconds(size_bytes: int) -> float:
    """How long a body may be under way before its request is given up and repeated."""
    return REQUEST_SECONDS + size_bytes / SLOWEST_BYTES_PER_SECOND


def slowest_bandwidth(concurrent_files: int, concurrent_parts: int, memory_limit: int) -> int:
    """Bytes per second below which a limit would undo what it limits.

    The wire is shared in turns, so every request waits for a piece of each of the others, and all
    that is in memory goes out at about the same time.
    """
    requests = concurrent_files * concurrent_parts + concurrent_files + 1
    by_pause = requests * PIECE_BYTES / LONGEST_PAUSE_SECONDS
    return int(max(by_pause, memory_limit / LONGEST_ROUND_SECONDS)) + 1


def full_concurrency(most: int) -> Concurrency:
    """Nothing has asked to slow down yet."""
    return Concurrency(most, float(most))


def widened(concurrency: Concurrency, factor: int) -> Concurrency:
    """Room for so many times as many: at once if nothing has asked to slow down, else slowly."""
    most = concurrency.most * factor
    return replace(
        concurrency,
        most=most,
        limit=float(most) if concurrency.limit == concurrency.most else concurrency.limit,
    )


def slowed(concurrency: Concurrency, now: float) -> Concurrency:
    """Half as many, once a round."""
    if concurrency.slowed_at is not None and now - concurrency.slowed_at < ROUND_SECONDS:
        return concurrency
    return replace(concurrency, limit=max(1.0, concurrency.limit / 2), slowed_at=now)


def passed(concurrency: Concurrency) -> Concurrency:
    """One more for every ``limit`` requests that went well."""
    return replace(
        concurrency,
        limit=min(float(concurrency.most), concurrency.limit + 1.0 / concurrency.limit),
    )
