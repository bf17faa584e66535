"""AWS's time, as its answers tell it: requests are signed with it where this machine's is wrong.

A signature is refused 15 minutes from AWS's time. The time is kept on the clock that cannot be
set, so that it stays right when the machine's clock is set back or ahead.
"""

from shipper.core.backoff import SMALLEST_SKEW_SECONDS, time_from
from shipper.ports import Clock


class ServerTime:
    """Safe to share between threads: fields that are written as a whole."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard = ""
        self._ahead_seconds: float | None = None
        """Of the boottime clock."""

    def heard(self, date: str) -> None:
        """Learn from the Date header of an answer that AWS gave.

        A second has many answers in a busy daemon, and the first of them is as good as all.
        """
        if date == self._heard:
            return
        self._heard = date
        at = time_from(date)
        if at is not None:
            self._ahead_seconds = at - self._clock.boottime()

    def skew_seconds(self, otherwise: float = 0.0) -> float:
        """How far this machine's clock is behind; ``otherwise`` before anything was heard.

        0 where it is little, because the header has whole seconds and the answer takes time.
        """
        if self._ahead_seconds is None:
            return otherwise
        skew = self._ahead_seconds + self._clock.boottime() - self._clock.now()
        return skew if abs(skew) >= SMALLEST_SKEW_SECONDS else 0.0

    def now(self, otherwise: float = 0.0) -> float:
        """The time to sign with."""
        return self._clock.now() + self.skew_seconds(otherwise)
