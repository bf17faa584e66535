"""A program that writes logs at a rate, until its time is over.

``python -m tests.performance.writer MODE DIRECTORY FILES RATE SECONDS``: ``hold`` keeps its files
open, ``reopen`` opens and closes one for each line, as ``echo >> log`` does, ``lock`` makes and
removes a file instead. RATE is for all files together. Prints how many times a second it did so.
"""

import os
import sys
import threading
import time

LINE = b"2026-11-25T10:00:00Z host app[4711]: a line of a usual length with a few words\n"
SHORTEN_EVERY = 4096
SLICE_SECONDS = 0.002
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Writer:
    """Writes lines to its files in turn; the files stay small."""

    def __init__(self, directory: str, files: int) -> None:
        self._paths = [os.path.join(directory, f"app-{chr(97 + n)}.log") for n in range(files)]
        self._held = [os.open(path, _FLAGS) for path in self._paths]
        self._lines = 0

    def hold(self) -> None:
        """A line to a file that is open."""
        os.write(self._held[self._next()], LINE)

    def reopen(self) -> None:
        """A line to a file that is opened for it."""
        descriptor = os.open(self._paths[self._next()], _FLAGS)
        os.write(descriptor, LINE)
        os.close(descriptor)

    def lock(self) -> None:
        """A file that comes and goes."""
        path = self._paths[self._next()] + ".lock"
        os.close(os.open(path, _FLAGS | os.O_EXCL))
        os.unlink(path)

    def _next(self) -> int:
        self._lines += 1
        number = self._lines % len(self._held)
        if self._lines % SHORTEN_EVERY == 0:
            for descriptor in self._held:
                os.ftruncate(descriptor, 0)
        return number


def main(mode: str, directory: str, files: str, rate: str, seconds: str) -> None:
    """Write at the rate for so long."""
    writer = Writer(directory, int(files))
    act = {"hold": writer.hold, "reopen": writer.reopen, "lock": writer.lock}[mode]
    done, began, pause = 0, time.monotonic(), threading.Event()
    while (passed := time.monotonic() - began) < float(seconds):
        for _ in range(int(passed * float(rate)) - done):
            act()
            done += 1
        pause.wait(SLICE_SECONDS)
    print(done / (time.monotonic() - began))


if __name__ == "__main__":
    main(*sys.argv[1:])
