"""What the C library's allocator keeps for later, and how it is made to give it back.

glibc gives each thread a heap of its own, up to eight for each core, and hands back the free top
of the first one only (malloc_trim(3) does not touch the others). The parts of a busy hour stayed
resident for ever in the heaps of those that had read, compressed and sent them: 150 MiB and more.
With one heap for all, the next thread uses what the last one has freed, and the rest can be given
back. Threads hardly wait for one another there: large pieces are few, small ones have a cache for
each thread.
"""

import ctypes

_LIBC = ctypes.CDLL(None)
_M_ARENA_MAX = -8  # malloc.h


def share_one_heap() -> None:
    """For all threads that are started after this. Nothing where the C library is not glibc."""
    mallopt = getattr(_LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return all free pages to the system, in well under a millisecond when there are few."""
    trim = getattr(_LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)
