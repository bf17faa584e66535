"""Keeps the memory of this process, in which credentials are, from disks and from its own user.

The unit says so, too; here it holds in a container as well. Executing a program anew undoes the
second, so every program does it at its start.

Afterwards /proc/self belongs to root. What the daemon reads there is what a process may read of
itself all the same: its descriptors, ``mountinfo``, ``status``.
"""

import ctypes
import resource

_PR_SET_DUMPABLE = 4  # prctl.h


def forbid_dumps() -> None:
    """No core file, and no reading of this memory by others than root (PR_SET_DUMPABLE)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if prctl := getattr(ctypes.CDLL(None), "prctl", None):
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
