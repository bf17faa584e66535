"""Which kept connections may be used again: those on which nothing came while they were idle.

libcurl looks for that once a second only, and would take a stray answer for the next one's. It
tells a socket's two ends before a request is sent: by them its descriptor is found.
"""

import os
import select
import socket

Connections = dict[int, tuple[object, ...]]
"""By descriptor: the remote address, the local one, the remote port, the local one. Of a number
that is another's meanwhile, the ends are asked for by nobody."""


def learn(known: Connections, opened: list[int], ends: tuple[object, ...]) -> None:
    """Of the sockets that were opened for a request, the one with these ends is its own."""
    for descriptor in opened:
        try:
            with socket.socket(fileno=os.dup(descriptor)) as same:
                if same.getsockname()[1] == ends[-1]:
                    known[descriptor] = ends
        except OSError:  # of an address that was not as fast: it is closed
            continue


def is_quiet(known: Connections, ends: tuple[object, ...]) -> bool:
    """Whether it is known, and nothing has come: no byte, and no end."""
    poll, found = select.poll(), [each for each, its in known.items() if its == ends]
    for descriptor in found:
        poll.register(descriptor, select.POLLIN)
    return bool(found) and not poll.poll(0)
