"""How many requests may be under way at once: fewer after ``SlowDown``, slowly more again.

Additive increase, multiplicative decrease (RFC 5681, section 3.1): S3 scales a prefix gradually
and answers 503 until it has.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
"""

from dataclasses import dataclass, replace

PIECE_BYTES = 256 * 1024
"""A body goes out in pieces of this."""
ROUND_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most ``limit`` requests at once, rounded down; ``most`` when nothing was refused."""

    most: int
    limit: float
    slowed_at: float = float("-inf")

    @property
    def allowed(self) -> int:
        return max(1, int(self.limit))


def longest_body_seconds(size_bytes: int) -> float:
    """How long a body may be under way before its request is repeated: down to 50 KiB/s."""
    return 60.0 + size_bytes / (50 * 1024)


def slowest_bandwidth(concurrent_files: int, concurrent_parts: int, memory_limit: int) -> int:
    """The lowest bandwidth limit, in bytes per second, with which no request times out.

    Every request waits up to 15 s for a piece of each of the others (S3 allows 20), and all that
    is in memory goes out in 300 s, half of what the watchdogs allow.
    """
    requests = concurrent_files * concurrent_parts + concurrent_files + 1
    return int(max(requests * PIECE_BYTES / 15, memory_limit / 300)) + 1


def widened(concurrency: Concurrency, factor: int) -> Concurrency:
    """Raise ``most``: the limit follows at once if nothing was refused, else slowly."""
    most, is_full = concurrency.most * factor, concurrency.limit == concurrency.most
    return replace(concurrency, most=most, limit=most if is_full else concurrency.limit)


def slowed(concurrency: Concurrency, now: float) -> Concurrency:
    """Halve the limit, once a round: what was under way is refused together."""
    if now - concurrency.slowed_at < ROUND_SECONDS:
        return concurrency
    return replace(concurrency, limit=max(1.0, concurrency.limit / 2), slowed_at=now)


def passed(concurrency: Concurrency) -> Concurrency:
    """Raise the limit by one for every ``limit`` requests that went well."""
    limit = concurrency.limit + 1.0 / concurrency.limit
    return replace(concurrency, limit=min(concurrency.most, limit))
