"""A program that logs: one numbered line after another into each of many logs.

Run as a child: ``python writer.py PACE_SECONDS LATE LOG...``. Each round writes a line into every
log and waits for the pace. A log whose name leads to another file than before was rotated:
``LATE`` more lines go into the old file, as programs do until somebody tells them, then the name
is opened anew. The log number N stays descriptor ``FIRST_DESCRIPTOR + N``, so that a script may
ask through ``/proc`` which file is written to. When its stdin ends, it prints how many lines each
log got.
"""

import json
import os
import select
import sys

FIRST_DESCRIPTOR = 200
PADDING = "the quick brown fox jumps over the lazy dog"


def line(log: str, number: int) -> bytes:
    """The line with that number; ``log`` is the name of the log's directory."""
    return f"{log} {number:07d} {PADDING}\n".encode()


def main(pace_seconds: float, late: int, paths: list[str]) -> None:
    """Write until stdin ends."""
    for number, path in enumerate(paths):
        _open(path, FIRST_DESCRIPTOR + number)
    names = [os.path.basename(os.path.dirname(path)) for path in paths]
    counts = [0] * len(paths)
    left = [late] * len(paths)
    while not select.select([sys.stdin], [], [], pace_seconds)[0]:
        for number, path in enumerate(paths):
            descriptor = FIRST_DESCRIPTOR + number
            if not _is_current(path, descriptor):
                left[number] -= 1
                if left[number] < 0:
                    _open(path, descriptor)
                    left[number] = late
            os.write(descriptor, line(names[number], counts[number]))
            counts[number] += 1
    print(json.dumps(dict(zip(names, counts, strict=True))))


def _open(path: str, descriptor: int) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(opened, descriptor)
    os.close(opened)


def _is_current(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:  # between the rename and the new file
        return True


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
