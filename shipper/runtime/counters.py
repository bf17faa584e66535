"""What only this process knows: requests and retries by their outcome, and a refused reload."""

import threading
from collections import Counter
from collections.abc import Sequence


class Counters:
    """Two counters, both guarded by ``_lock``, and why the last reload was refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._retries: Counter[str] = Counter()
        self.refusal: Sequence[str] = ()
        """Empty once one succeeds; written by the main thread alone."""

    def requested(self, operation: str, code: str) -> None:
        """A request to S3 was answered (code empty: well) or failed."""
        with self._lock:
            self._requests[operation, code] += 1

    def retried(self, code: str) -> None:
        """A call is repeated because of this code."""
        with self._lock:
            self._retries[code] += 1

    def requests(self) -> dict[tuple[str, str], int]:
        """Requests by (operation, code)."""
        with self._lock:
            return dict(self._requests)

    def retries(self) -> dict[str, int]:
        """Retries by code."""
        with self._lock:
            return dict(self._retries)
