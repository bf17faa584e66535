"""How many requests may be under way at once: as many as S3 takes without answering later.

Additive increase, multiplicative decrease (RFC 5681, section 3.1): S3 scales a prefix gradually
and answers 503 until it has. As long as nothing speaks against it, the first increase is faster.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
"""

from dataclasses import dataclass, replace

PIECE_BYTES = 256 * 1024
"""A body goes out in pieces of this."""
PIECE_SECONDS = 15
"""No request waits longer for its next piece."""
REQUEST_BYTES = 160 * 1024
"""What a request in flight takes beside its body, most of it for its connection and TLS."""
SMALL_BYTES = 1024**2
"""What takes as long as S3 takes to answer, and not as long as the network takes for a body."""
ROUND_SECONDS = 1.0
FIRST_LIMIT = 16
FEWEST = 8
"""Later answers alone let the limit sink no lower than this."""
LATE_FACTOR, LATE_SECONDS = 2.0, 0.05
"""Answers come late when they take so many times as long as usual, and so much longer."""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most ``limit`` requests at once, rounded down, and never more than ``most``.

    ``usual_seconds`` and ``latest_seconds`` are what a small request takes, in the long and in the
    short run; 0 while none was answered.
    """

    most: int
    limit: float
    slowed_at: float = float("-inf")
    is_first_rise: bool = True
    usual_seconds: float = 0.0
    latest_seconds: float = 0.0

    @property
    def allowed(self) -> int:
        return max(1, int(self.limit))

    @property
    def is_late(self) -> bool:
        return self.latest_seconds > LATE_FACTOR * self.usual_seconds + LATE_SECONDS


def begun(most: int) -> Concurrency:
    return Concurrency(most, min(most, FIRST_LIMIT))


def longest_body_seconds(size_bytes: int) -> float:
    """How long a body may be under way before its request is repeated: down to 50 KiB/s."""
    return 60.0 + size_bytes / (50 * 1024)


def slowest_bandwidth(memory_limit: int) -> int:
    """The lowest bandwidth limit, in bytes per second, with which no request times out.

    All that is in memory goes out in 300 s, half of what the watchdogs allow.
    """
    return int(max(8 * PIECE_BYTES / PIECE_SECONDS, memory_limit / 300)) + 1


def in_flight_within(max_in_flight: int, memory_limit: int, bytes_per_second: float) -> int:
    """How many requests may share the memory, and a bandwidth limit if it is not 0.

    Connections take an eighth of the memory at most. Every request waits for a piece of each of
    the others, for less than the 20 s that S3 allows.
    """
    most = min(max_in_flight, memory_limit // 8 // REQUEST_BYTES)
    if bytes_per_second:
        most = min(most, int(bytes_per_second * PIECE_SECONDS / PIECE_BYTES))
    return max(1, most)


def slowed(
    concurrency: Concurrency, now: float, share: float = 0.5, fewest: float = 1.0
) -> Concurrency:
    """Halve the limit, once a round: what was under way is refused together."""
    if now - concurrency.slowed_at < ROUND_SECONDS or concurrency.limit <= fewest:
        return concurrency
    limit = max(fewest, concurrency.limit * share)
    return replace(concurrency, limit=limit, slowed_at=now, is_first_rise=False)


def passed(
    concurrency: Concurrency, now: float, seconds: float | None = None, *, is_used: bool = True
) -> Concurrency:
    """Raise the limit, if it is used, by one for every ``limit`` requests that went well.

    The first rise is one for each. ``seconds`` is what a small request took: when these come late,
    the limit sinks by a fifth instead.
    """
    if seconds is not None:
        usual = concurrency.usual_seconds or seconds
        latest = concurrency.latest_seconds or seconds
        concurrency = replace(
            concurrency,
            usual_seconds=usual + (seconds - usual) / 256,
            latest_seconds=latest + (seconds - latest) / 16,
        )
        if concurrency.is_late:
            return slowed(concurrency, now, share=0.8, fewest=FEWEST)
    if not is_used:
        return concurrency
    step = 1.0 if concurrency.is_first_rise else 1.0 / concurrency.limit
    return replace(concurrency, limit=min(concurrency.most, concurrency.limit + step))
