"""The real logrotate over many logs at once, and an account of what became of every line.

A ``Cell`` is one log with one way of rotating it, in a directory and a watch of its own. A
``Rotating`` has a writer (a child) that writes into all of them while logrotate runs, and notes
after every run what stands in the rotated files. From that, and from nothing shipper says, follows
which lines must be in S3, which ones copytruncate itself has lost, and how many logs there were.
"""

import gzip
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.machines.waiting import wait_for
from tests.machines.world import decoded
from tests.programs import writer

KEPT = 3
"""logrotate deletes the fourth."""
LOG = "app.log"
_REOPENED = (
    "for i in $(seq 2000); do "
    '[ "{log}" -ef /proc/{pid}/fd/{descriptor} ] && exit 0; sleep 0.01; done; exit 1'
)
"""A program that can be told to reopen its log is told so and waited for, before logrotate
compresses what it wrote: else gzip would lose lines, and neither logrotate nor shipper could help.
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to rotate and to ship a log; ``more`` is for logrotate."""

    rotation: str
    compression: str = "nocompress"
    naming: str = "numeric"
    olddir: str = ""
    encoding: str = "none"
    more: str = ""
    kept: int = KEPT
    is_shared: bool = False

    @property
    def name(self) -> str:
        """The cell's directory and watch."""
        said = (self.rotation, self.compression, self.naming, self.olddir, self.encoding)
        words = [*said, *self.more.split(), "shared" if self.is_shared else ""]
        return "-".join(word.replace(".", "") for word in words if word)

    @property
    def copies(self) -> bool:
        """Whether lines may be lost between the copy and the cut."""
        return self.rotation == "copytruncate"

    @property
    def waits_for_writer(self) -> bool:
        """Whether the writer must have left the file before it is compressed."""
        return self.rotation == "create" and self.compression == "compress"


MATRIX = tuple(
    Cell(*words)
    for words in itertools.product(
        ("create", "copytruncate"),
        ("nocompress", "compress", "delaycompress"),
        ("numeric", "dateext"),
        ("", "olddir"),
        ("zstd", "gzip", "none"),
    )
)
"""For one life of the daemon; with three lives it is the matrix of 216."""

MORE = (
    Cell("create", "compress", is_shared=True),
    Cell("create", "delaycompress", is_shared=True, encoding="zstd"),
    Cell("create", "delaycompress", more="extension .log"),
    Cell("copytruncate", "compress", more="extension .log"),
    Cell("create", "nocompress", "dateext", more="maxage 1"),
    Cell("create", "delaycompress", "dateext", olddir="elsewhere"),
    Cell("copytruncate", olddir="elsewhere"),
)
"""What else people write into logrotate's configuration. ``elsewhere`` is an olddir outside of the
log's directory, which is watched instead of it."""


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the lines; ``wrong`` has a sentence for whatever should not be."""

    cells: int
    logs: int
    objects: int
    lines: int
    lost_by_copytruncate: int
    wrong: tuple[str, ...]

    def row(self, title: str, *more: object) -> str:
        """A line of the table whose head is ``TABLE``."""
        counts = (self.cells, self.logs, self.objects, self.lines, self.lost_by_copytruncate)
        return f"{title:<8}" + "".join(f"{count:>12}" for count in (*counts, *more))


TABLE = f"{'daemon':<8}" + "".join(
    f"{word:>12}"
    for word in ("cells", "logs", "objects", "lines", "lost by cut", "twins", "kills")
)


class Rotating:
    """Logs below ``directory``, with a writer at work from ``__enter__`` to ``end_writing``."""

    def __init__(
        self,
        directory: Path,
        logrotate: str,
        cells: Sequence[Cell],
        *,
        pace_seconds: float = 0.02,
        late: int = 3,
    ) -> None:
        self.cells = cells
        self.directory = directory
        self._logrotate = logrotate
        self._options = (str(pace_seconds), str(late))
        self._writer: subprocess.Popen[bytes] | None = None
        self._counts: dict[str, int] = {}
        self._stood: dict[str, dict[bytes, list[bytes]]] = {cell.name: {} for cell in cells}
        self._before: dict[str, set[int]] = {}
        self._rotated_at = 0.0
        for cell in cells:
            self.log_of(cell).parent.mkdir(parents=True)
            self.rotated_of(cell).mkdir(exist_ok=True)

    def log_of(self, cell: Cell) -> Path:
        """The live log."""
        return self.directory / cell.name / LOG

    def rotated_of(self, cell: Cell) -> Path:
        """Where rotated logs go."""
        below = {"": cell.name, "olddir": f"{cell.name}/old", "elsewhere": f"{cell.name}.old"}
        return self.directory / below[cell.olddir]

    def watches(self, settle: str = "200ms", more: str = "") -> str:
        """A ``[[watch]]`` table for each cell."""
        return "".join(
            f'[[watch]]\nname = "{cell.name}"\nsettle = "{settle}"\n'
            f'directory = "{self._watched(cell)}"\ncompression = "{cell.encoding}"\n{more}\n'
            for cell in self.cells
        )

    def __enter__(self) -> Self:
        logs = [str(self.log_of(cell)) for cell in self.cells]
        self._writer = subprocess.Popen(
            [sys.executable, writer.__file__, *self._options, *logs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._await_lines()
        self._write_configuration(self._writer.pid)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._writer is not None:
            self._writer.kill()
            self._writer.communicate()

    def end_writing(self) -> None:
        """Let the writer close its logs, none of them empty, and say how many lines it wrote."""
        assert self._writer is not None
        self._await_lines()
        said, self._writer = self._writer.communicate(timeout=60)[0], None
        self._counts = json.loads(said)
        self._write_configuration(0)

    def begin(self) -> "subprocess.Popen[bytes]":
        """Start logrotate over every log, at the earliest in another second than before.

        Names with dates are unique by the second, as the kernel's coarse clock has it. What is
        empty is not rotated, so the writer is waited for.
        """
        if self._writer is not None:
            self._await_lines()
        while (left := self._rotated_at + 1.05 - time.time()) > 0:
            time.sleep(left)
        self._before = {cell.name: self._inodes(cell) for cell in self.cells}
        state = str(self.directory / "state")
        arguments = [self._logrotate, "-f", "-s", state, str(self.directory / "logrotate.conf")]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def reached(self) -> int:
        """How many logs the running logrotate has come to."""
        return sum(self._inodes(cell) != self._before[cell.name] for cell in self.cells)

    def finish(self, running: "subprocess.Popen[bytes]") -> None:
        """Wait until logrotate has ended well, and note what it left."""
        said, _ = running.communicate(timeout=60)
        assert running.returncode == 0, said.decode()
        self._rotated_at = float(int(time.time()))
        for cell in self.cells:
            stood = self._stood[cell.name]
            for path in self.rotated(cell):
                lines = _content(path).splitlines(keepends=True)
                stood[lines[0]] = lines

    def rotate(self) -> None:
        """One run of logrotate from beginning to end."""
        self.finish(self.begin())

    def let_age(self) -> list[Path]:
        """Make what ``maxage`` cells have rotated three days old; which files these are."""
        aged = [
            path for cell in self.cells if "maxage" in cell.more for path in self.rotated(cell)
        ]
        for path in aged:
            os.utime(path, (time.time() - 3 * 86400,) * 2)
        return aged

    def rotated(self, cell: Cell) -> list[Path]:
        """The cell's rotated files."""
        return [
            path for path in self.rotated_of(cell).iterdir() if path.is_file() and path.name != LOG
        ]

    def files(self) -> list[tuple[str, Path]]:
        """Every rotated file, with the watch that it is in."""
        return [(cell.name, path) for cell in self.cells for path in self.rotated(cell)]

    def account(self, objects: Mapping[str, bytes], *, in_segments: bool = False) -> Account:
        """Compare the bucket with what was written; the writer has ended.

        Logs that went ``in_segments`` are more objects than logs.
        """
        by_cell: dict[str, list[list[bytes]]] = {cell.name: [] for cell in self.cells}
        for key, body in objects.items():
            by_cell[key.split("/")[1]].append(decoded(key, body).splitlines(keepends=True))
        wrong: list[str] = []
        for cell in self.cells:
            wrong += self._wrong(cell, by_cell[cell.name], in_segments=in_segments)
        return Account(
            cells=len(self.cells),
            logs=sum(len(stood) for stood in self._stood.values()),
            objects=len(objects),
            lines=sum(self._counts.values()),
            lost_by_copytruncate=sum(len(self._lost(cell)) for cell in self.cells),
            wrong=tuple(wrong),
        )

    def _wrong(
        self, cell: Cell, shipped: list[list[bytes]], *, in_segments: bool
    ) -> Iterable[str]:
        expected = Counter(self._expected(cell))
        found = Counter(itertools.chain.from_iterable(shipped))
        if in_segments and cell.copies:  # what was lost between copy and cut may have been sent
            expected |= Counter(self._lost(cell)) & found
        logs = len(self._stood[cell.name])
        if found != expected:
            missing, more = (expected - found).total(), (found - expected).total()
            yield f"{cell.name}: {missing} lines are missing, {more} too many"
        if len(shipped) < logs or (len(shipped) > logs and not in_segments):
            yield f"{cell.name}: {logs} logs are {len(shipped)} objects"
        if odd := self._lost(cell) - self._behind_a_copy(cell):
            yield f"{cell.name}: {len(odd)} lines are lost in the midst of a copy"

    def _expected(self, cell: Cell) -> Iterable[bytes]:
        """Every line written; where logrotate copied and cut, every line its copies had."""
        if cell.copies:
            return itertools.chain.from_iterable(self._stood[cell.name].values())
        return self._written(cell)

    def _written(self, cell: Cell) -> list[bytes]:
        return [writer.line(cell.name, number) for number in range(self._counts[cell.name])]

    def _lost(self, cell: Cell) -> set[bytes]:
        """Lines that stood in no copy: what logrotate itself has lost."""
        if not cell.copies:
            return set()
        stood = set(itertools.chain.from_iterable(self._stood[cell.name].values()))
        return set(self._written(cell)) - stood

    def _behind_a_copy(self, cell: Cell) -> set[bytes]:
        """The lines between the last whole one of a copy and the first of the next."""
        between: set[bytes] = set()
        copies = sorted(self._stood[cell.name].values(), key=lambda lines: lines[0])
        for one, next_one in itertools.pairwise(copies):
            last = int(one[-1].split()[1]) if one[-1].endswith(b"\n") else _whole(one)
            first = int(next_one[0].split()[1])
            between |= {writer.line(cell.name, number) for number in range(last + 1, first)}
        return between

    def _inodes(self, cell: Cell) -> set[int]:
        entries = os.scandir(self.rotated_of(cell))
        return {entry.inode() for entry in entries if entry.name != LOG}

    def _watched(self, cell: Cell) -> Path:
        return self.rotated_of(cell) if cell.olddir == "elsewhere" else self.log_of(cell).parent

    def _await_lines(self) -> None:
        wait_for(self._has_lines, "the writer to write to every log")

    def _has_lines(self) -> bool:
        logs = [self.log_of(cell) for cell in self.cells]
        return all(log.exists() and log.stat().st_size for log in logs)

    def _write_configuration(self, pid: int) -> None:
        """``pid`` is the writer's, or 0 when there is none to wait for."""
        path = self.directory / "logrotate.conf"
        sections = (self._section(number, cell, pid) for number, cell in enumerate(self.cells))
        path.write_text("".join(sections))
        path.chmod(0o600)

    def _section(self, number: int, cell: Cell, pid: int) -> str:
        cut = "copytruncate" if cell.copies else "create 0644"
        compress = "compress\n  delaycompress" if "delay" in cell.compression else cell.compression
        lines = [cut, compress, "notifempty", f"rotate {cell.kept}", cell.more]
        if cell.naming == "dateext":
            lines.append("dateext\n  dateformat -%Y%m%d-%s")
        if cell.olddir:
            lines.append(f"olddir {self.rotated_of(cell)}")
        if pid and (cell.waits_for_writer or cell.is_shared):
            descriptor = writer.FIRST_DESCRIPTOR + number
            script = _REOPENED.format(log=self.log_of(cell), pid=pid, descriptor=descriptor)
            lines += ["sharedscripts"] * cell.is_shared
            lines += ["postrotate", script, "endscript"]
        body = "".join(f"  {line}\n" for line in lines if line)
        return f'"{self.log_of(cell)}" {{\n{body}}}\n'


def _content(path: Path) -> bytes:
    body = path.read_bytes()
    return gzip.decompress(body) if path.suffix == ".gz" else body


def _whole(lines: list[bytes]) -> int:
    """The number of the last line but the torn one at the end; the first one is whole."""
    return int(lines[-2].split()[1])
