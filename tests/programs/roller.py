"""A program that rolls its log as log4j2 does: the name moves on, an archive is made, it goes.

Run as a child: ``python roller.py LOG`` with commands on stdin, each answered with a line.
``write N`` logs N numbered lines. ``roll`` renames ``app.log`` to ``app-DATE-I.log`` and opens a
new one. ``compress`` writes the whole archive ``app-DATE-I.log.gz`` under its final name, ``half``
only the first half of it; ``finish`` writes the rest and removes what was compressed.
https://logging.apache.org/log4j/2.x/manual/appenders/rolling-file.html
"""

import gzip
import itertools
import os
import sys
import time

from tests.programs.writer import line


class Roller:
    """The log and its newest archive, as descriptors."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stem = path.removesuffix(".log")
        self._name = os.path.basename(self._stem)
        self._log = _created(path)
        self._numbers = itertools.count()
        self._rolls = itertools.count(1)
        self._rolled = ""
        self._archive = -1
        self._rest = b""

    def write(self, count: int) -> None:
        """Log so many lines."""
        for number in itertools.islice(self._numbers, count):
            os.write(self._log, line(self._name, number))

    def roll(self) -> None:
        """Move the log away and begin another."""
        os.close(self._log)
        self._rolled = f"{self._stem}-{time.strftime('%Y-%m-%d')}-{next(self._rolls)}.log"
        os.rename(self._path, self._rolled)
        self._log = _created(self._path)

    def half(self) -> None:
        """Write the first half of the archive and keep it open."""
        with open(self._rolled, "rb") as rolled:
            whole = gzip.compress(rolled.read())
        self._archive = _created(self._rolled + ".gz")
        written = os.write(self._archive, whole[: len(whole) // 2])
        self._rest = whole[written:]

    def finish(self) -> None:
        """Write the other half, and remove what was compressed."""
        os.write(self._archive, self._rest)
        os.close(self._archive)
        os.unlink(self._rolled)

    def compress(self) -> None:
        """Write the archive in one go."""
        self.half()
        self.finish()


def _created(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)


def main(path: str) -> None:
    """Obey until stdin ends."""
    roller = Roller(path)
    for command in sys.stdin:
        match command.split():
            case ["write", count]:
                roller.write(int(count))
            case [word]:
                getattr(roller, word)()
            case words:
                raise ValueError(words)
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
