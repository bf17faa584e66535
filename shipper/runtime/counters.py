"""What this process counts for the metrics: requests and retries by code; and a refused reload."""

import threading
from collections import Counter
from collections.abc import Sequence


class Counters:
    """``_lock`` guards both counters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._retries: Counter[str] = Counter()
        self.refusal: Sequence[str] = ()
        """Why the last reload was refused; empty once one succeeds. The main thread writes it."""

    def requested(self, operation: str, code: str) -> None:
        """Count a request to S3; ``code`` is empty when it succeeded."""
        with self._lock:
            self._requests[operation, code] += 1

    def retried(self, code: str) -> None:
        """Count a call that is repeated because of this code."""
        with self._lock:
            self._retries[code] += 1

    def requests(self) -> dict[tuple[str, str], int]:
        with self._lock:
            return dict(self._requests)

    def retries(self) -> dict[str, int]:
        with self._lock:
            return dict(self._retries)
