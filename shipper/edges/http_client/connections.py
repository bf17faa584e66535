"""Which kept connections may be used again: those on which nothing came while they were idle.

libcurl looks for that once a second only, and would take a stray answer for the next one's. It
tells a socket's two ends before a request is sent: by them its descriptor is found.
"""

import os
import select
import socket
from contextlib import suppress

Ends = tuple[object, ...]
"""The remote address, the local one, the remote port, the local one."""
Connections = dict[Ends, int]
"""Descriptors. A number that is another's meanwhile is asked for by nobody."""


def learn(known: Connections, opened: list[int], ends: Ends) -> None:
    """Of the sockets that were opened for a request, the one with these ends is its own."""
    for descriptor in opened:
        for gone in [each for each, its in known.items() if its == descriptor]:
            del known[gone]
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as same:
            if same.getsockname()[1] == ends[-1]:
                known[ends] = descriptor


def is_quiet(known: Connections, ends: Ends) -> bool:
    """Whether it is known, and nothing has come: no byte, and no end."""
    if (descriptor := known.get(ends)) is None:
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return not poll.poll(0)
