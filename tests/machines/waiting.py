"""Waiting for what another thread, process or the kernel does: generously, and never for luck."""

import threading
import time
from collections.abc import Callable

LONGEST_SECONDS = 60.0
"""A bound for the hung, not a measure: on a busy machine everything takes ten times as long."""
_POLL_SECONDS = 0.01


def comes_true(
    is_so: Callable[[], object],
    seconds: float = LONGEST_SECONDS,
    *,
    pause: Callable[[], object] = lambda: threading.Event().wait(_POLL_SECONDS),
) -> bool:
    """Whether it becomes true within ``seconds``. Asks at least twice, and once after the end."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return bool(is_so())
        pause()
    return True


def wait_for(is_so: Callable[[], object], what: str, seconds: float = LONGEST_SECONDS) -> None:
    """Wait until it is so, for ``seconds`` at most; else say what was waited for."""
    assert comes_true(is_so, seconds), f"waited in vain, for {seconds:.0f} s, for {what}"
