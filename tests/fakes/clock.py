"""Time that passes only when a test says so."""

START_AT = 1_764_000_000.0


class FakeClock:
    """``ports.Clock``; the wall clock may be set apart from the others."""

    def __init__(self, now: float = START_AT) -> None:
        self._now = now
        self._monotonic = 1000.0
        self._suspended = 0.0

    def now(self) -> float:
        """Wall time."""
        return self._now

    def monotonic(self) -> float:
        """Stands still while suspended."""
        return self._monotonic

    def boottime(self) -> float:
        """Goes on while suspended."""
        return self._monotonic + self._suspended

    def advance(self, *, seconds: float = 0.0, minutes: float = 0.0, hours: float = 0.0) -> None:
        """Let time pass."""
        passed = seconds + 60 * minutes + 3600 * hours
        self._now += passed
        self._monotonic += passed

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep."""
        self._now += seconds
        self._suspended += seconds

    def set_wall(self, now: float) -> None:
        """Set the wall clock, as an operator or NTP does."""
        self._now = now
