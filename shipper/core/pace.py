"""When the next heartbeat goes out. Times are seconds of a clock that is never set.

At its turn, which comes once an interval and at another moment on each instance, and when the
state is another one than was last said. In any case at most once a minute.

And in which way: over the last one, or, where the bucket's policy refuses that, once an hour under
a key of its own, and others of that hour under the second's.
"""

from dataclasses import dataclass, replace
from enum import Enum

from shipper.core.heartbeats import State

LEAST_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 600.0
_MOST_DOUBLINGS = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """``turn_at`` is the next turn; ``rest_until`` is when another may go out at all."""

    interval_seconds: float
    turn_at: float
    patient_until: float = float("-inf")
    """So long the first waits for the end of the first scan, which tells how the instance does."""
    rest_until: float = float("-inf")
    said: State | None = None
    """None before the first has arrived."""
    failures: int = 0
    """Since the last that arrived."""

    def due_at(self, state: State) -> float:
        """When the next one is due, for as long as the state is this one."""
        if state is self.said:
            return max(self.rest_until, self.turn_at)
        is_first = state is State.STARTING and self.said is None
        return max(self.rest_until, self.patient_until) if is_first else self.rest_until


def first_pace(interval_seconds: float, now: float, jitter: float) -> Pace:
    """At a start: the first goes out soon, and the turns are spread over the interval."""
    turn_at = now + jitter * interval_seconds
    return Pace(interval_seconds, turn_at=turn_at, patient_until=now + LEAST_SECONDS)


def begun(pace: Pace, now: float) -> Pace:
    """One goes out now."""
    return replace(pace, rest_until=now + LEAST_SECONDS)


def arrived(pace: Pace, state: State, now: float) -> Pace:
    """S3 has it; its turn is over, if it was one."""
    turns = max(0, int((now - pace.turn_at) // pace.interval_seconds) + 1)
    turn_at = pace.turn_at + turns * pace.interval_seconds
    return replace(pace, said=state, failures=0, turn_at=turn_at)


def failed(pace: Pace, now: float, jitter: float) -> Pace:
    """S3 does not have it: again after a minute, and less and less often."""
    longest = LEAST_SECONDS * 2.0 ** min(pace.failures, _MOST_DOUBLINGS)
    wait = min(LONGEST_RETRY_SECONDS, longest) * (1 + jitter) / 2
    rest_until = max(pace.rest_until, now + wait)
    # What the bucket says is not known now, so whatever the state, it is to be said.
    return replace(pace, said=None, failures=pace.failures + 1, rest_until=rest_until)


class Way(Enum):
    """Which key one gets, and whether what is there is replaced."""

    OVERWRITE = "overwrite"
    HOUR = "hour"
    SECOND = "second"


def first_way(*, is_hourly: bool, is_another: bool) -> Way:
    """``is_hourly`` once the bucket refused to replace one; ``is_another`` of the same hour."""
    if not is_hourly:
        return Way.OVERWRITE
    return Way.SECOND if is_another else Way.HOUR


def next_way(way: Way, code: str) -> Way | None:
    """How to try at once what was refused with this code; None where it has failed.

    S3 says ``AccessDenied``, whatever a policy demands; a free key in the same place tells whether
    it was the condition. A process before this one may have taken the hour's key.
    """
    match way, code:
        case Way.OVERWRITE, "AccessDenied":
            return Way.HOUR
        case Way.HOUR, "PreconditionFailed":
            return Way.SECOND
        case _:
            return None
