"""What this process counts for the metrics and the status: requests and retries by code, what went
out in the last minute; and a refused reload.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Sequence

LONGEST_CODE = 64
MOST_CODES = 100
"""More codes than S3 has are ``other``."""
RATE_SECONDS = 60
_SLOT_SECONDS = 5


class Rate:
    """How much there is in a second: the mean of the last minute, or of the time since the first.

    Times are of the monotonic clock. No lock: of two threads that add at the same instant one may
    be lost, which a rate can bear.
    """

    def __init__(self) -> None:
        self._slots = [(-1, 0)] * (RATE_SECONDS // _SLOT_SECONDS)
        self._begun_at = 0.0

    def add(self, amount: int, now: float) -> None:
        self._begun_at = self._begun_at or now
        slot = int(now) // _SLOT_SECONDS
        at = slot % len(self._slots)
        known, before = self._slots[at]
        self._slots[at] = (slot, before + amount if known == slot else amount)

    def per_second(self, now: float) -> float:
        slot = int(now) // _SLOT_SECONDS
        recent = (amount for at, amount in self._slots if slot - len(self._slots) < at <= slot)
        seconds = min(max(now - self._begun_at, 1.0), RATE_SECONDS)
        return sum(recent) / seconds


class Traffic:
    """What one destination takes."""

    def __init__(self) -> None:
        self.sent_bytes = Rate()
        """What went out of objects' bodies, whatever became of it."""
        self.stored_files = Rate()
        """Writes that S3 accepted and that store a whole file."""


class Counters:
    """``_lock`` guards all that has no name of its own."""

    def __init__(self, started_at: float = 0.0) -> None:
        self.started_at = started_at
        """By the wall clock."""
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._retries: Counter[str] = Counter()
        self._codes: set[str] = set()
        self.traffic = defaultdict[str, Traffic](Traffic)
        """By the destination's name."""
        self.refusal: Sequence[str] = ()
        """Why the last reload was refused; empty once one succeeds. The main thread writes it."""

    def requested(self, operation: str, code: str) -> None:
        """Count a request to S3; ``code`` is empty when it succeeded."""
        with self._lock:
            self._requests[operation, self._label(code)] += 1

    def retried(self, code: str) -> None:
        """Count a call that is repeated because of this code."""
        with self._lock:
            self._retries[self._label(code)] += 1

    def _label(self, code: str) -> str:
        """The code as a label. A server may say anything, and a label costs memory for ever."""
        short = "".join(
            each for each in code[:LONGEST_CODE] if each.isascii() and each.isprintable()
        )
        if short not in self._codes and len(self._codes) >= MOST_CODES:
            return "other"
        self._codes.add(short)
        return short

    def requests(self) -> dict[tuple[str, str], int]:
        with self._lock:
            return dict(self._requests)

    def retries(self) -> dict[str, int]:
        with self._lock:
            return dict(self._retries)
