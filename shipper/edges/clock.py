"""The machine's clocks."""

import time


class SystemClock:
    """``ports.Clock`` on the system's clocks."""

    def now(self) -> float:
        """Wall time: seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """CLOCK_MONOTONIC, in seconds."""
        return time.monotonic()

    def boottime(self) -> float:
        """CLOCK_BOOTTIME, in seconds: goes on while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
