"""Memory that the C library keeps for later, given back to the system."""

import ctypes

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of glibc; musl keeps little and has none."""


def give_back() -> None:
    """Return what is free in every malloc arena: malloc_trim(3). Well below a millisecond."""
    if _TRIM is not None:
        _TRIM(0)
