"""What programs do to a log directory: writers, rotators, compressors, operators.

Everything happens on a real file system and is entered into the ledger. Modification times are
the fake clock's, each different from every other unless a program is known to copy them.
"""

import bz2
import gzip
import lzma
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import zstandard

from tests.fakes.clock import FakeClock
from tests.machines.ledger import Body, Chunk, Ledger

ARCHIVERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda plain: gzip.compress(plain, mtime=0),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
_NUMBERED = re.compile(
    r"(?P<stem>.+\.log)\.(?P<number>\d+)(?P<extension>(\.gz|\.xz|\.bz2|\.zst)?)"
)


def line(number: int, size_bytes: int) -> bytes:
    """The n-th line of all that are written; it does not compress to nothing."""
    start = b"%06d " % number
    filler = Random(number).randbytes(max(0, size_bytes - len(start) - 1) // 2).hex().encode()
    return start + filler + b"\n"


class Rotator:
    """Acts below ``top``: ``logs`` is watched, ``logs/old`` with it, ``elsewhere`` is not."""

    def __init__(self, top: Path, clock: FakeClock, ledger: Ledger) -> None:
        self.logs, self.elsewhere = top / "logs", top / "elsewhere"
        for directory in (self.logs, self.logs / "old", self.elsewhere):
            directory.mkdir(parents=True)
        self._clock = clock
        self._ledger = ledger
        self._stamps = 0
        self.born: dict[int, int] = {}
        """When each inode's file was created, by the clock that dates the files."""
        self.writers: dict[int, int] = {}
        """Descriptors that are open for writing, by inode."""

    # Where things are.

    def rotated(self) -> list[Path]:
        """Every regular file with a rotator's name below the watch, in a stable order."""
        found = [*self.logs.iterdir(), *(self.logs / "old").iterdir()]
        return sorted(
            path
            for path in found
            if path.is_file() and not path.is_symlink() and path.suffix != ".log"
        )

    def doubly_named(self) -> set[int]:
        """The inodes of rotated logs with more than one name."""
        stats = [path.lstat() for path in self.rotated()]
        return {one.st_ino for one in stats if one.st_nlink > 1}

    def body(self, path: Path) -> Body:
        """The ledger's word on what is there."""
        return self._ledger.body(path.lstat().st_ino)

    # Writers.

    def write(self, path: Path, text: bytes) -> None:
        """Append to a log, or begin one."""
        is_new = not path.exists()
        with path.open("ab") as file:
            file.write(text)
        if is_new:
            self._created(path)
        self.body(path).chunks.append(self._ledger.written(text))
        self._date(path)

    def append(self, path: Path, text: bytes) -> None:
        """Append to a rotated log that is not compressed, as a writer does that has it open."""
        if self.body(path).archive is None:
            self.write(path, text)

    def open_writer(self, path: Path) -> None:
        """Keep it open for writing, and write nothing."""
        inode = path.stat().st_ino
        if inode not in self.writers:
            self.writers[inode] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def close_writers(self) -> None:
        """Whoever had files open has not any more."""
        for descriptor in self.writers.values():
            os.close(descriptor)
        self.writers.clear()

    def rewrite(self, path: Path, text: bytes) -> None:
        """Truncate the file and write other content into the same inode."""
        body = self.body(path)
        self._fill(path, text, is_archive=body.archive is not None, overwrites=body)

    def replace(self, path: Path, text: bytes) -> None:
        """Give the name to another file, as editors and ``sed -i`` do."""
        other = path.with_name("replacement" + path.suffix)
        self._fill(other, text, is_archive=self.body(path).archive is not None)
        other.rename(path)

    def _fill(
        self, path: Path, text: bytes, *, is_archive: bool, overwrites: Body | None = None
    ) -> None:
        packed = ARCHIVERS[path.suffix](text) if is_archive else None
        path.write_bytes(text if packed is None else packed)
        chunk = self._ledger.written(text)
        self._created(path, [chunk], archive=packed, overwrites=overwrites)
        self._date(path)

    # Rotators.

    def shift(self, log: Path, limit: int) -> None:
        """Rename ``.n`` to ``.n+1``, from the highest; what would be above the limit goes."""
        numbered = []
        for path in log.parent.iterdir():
            found = _NUMBERED.fullmatch(path.name)
            if found and found["stem"] == log.name:
                numbered.append((int(found["number"]), found["extension"], path))
        for number, extension, path in sorted(numbered, reverse=True):
            if number >= limit:
                path.unlink()
            else:
                path.rename(log.with_name(f"{log.name}.{number + 1}{extension}"))

    def rotate(
        self, log: Path, limit: int, *, creates: bool = False, is_held_open: bool = False
    ) -> None:
        """logrotate with numbers. ``creates`` begins the next log at once; ``is_held_open`` is
        for a writer that has not noticed yet."""
        self.shift(log, limit)
        if is_held_open:
            self.open_writer(log)
        log.rename(log.with_name(f"{log.name}.1"))
        if creates:
            self.touch_new(log)

    def rotate_by_date(self, log: Path) -> None:
        """logrotate with ``dateext`` and ``dateformat -%s``; never over a file that is there."""
        dated = log.with_name(f"{log.name}-{int(self._clock.now())}")
        if not dated.exists():
            log.rename(dated)

    def copy_and_truncate(self, log: Path, limit: int, between: bytes) -> None:
        """logrotate's copytruncate; what is written ``between`` the two is its own loss."""
        self.shift(log, limit)
        copy = log.with_name(f"{log.name}.1")
        copy.write_bytes(log.read_bytes())
        self._created(copy, self.body(log).chunks)
        self._date(copy)
        if between:
            self.write(log, between)
        os.truncate(log, 0)
        self._created(log, overwrites=self.body(log))
        self._date(log)

    def touch_new(self, path: Path) -> None:
        """An empty file."""
        path.touch()
        self._created(path)
        self._date(path)

    # Compressors.

    def compress(self, path: Path, extension: str, *, until: str = "the end") -> None:
        """logrotate's compressor: it writes into the final name, and sets the mtime back.

        Killed in ``the middle`` it leaves both, and an archive that is cut short; killed before
        ``the unlink`` it leaves both.
        """
        body, archive = self.body(path), path.with_name(path.name + extension)
        if body.archive is not None or archive.exists():
            return
        packed = ARCHIVERS[extension](path.read_bytes())
        if until == "the middle":
            packed = packed[: len(packed) // 2]
        archive.write_bytes(packed)
        is_cut = until == "the middle"
        self._created(
            archive,
            [] if is_cut else body.chunks,
            archive=packed,
            is_damaged=is_cut,
            is_touched=body.is_touched,
        )
        if is_cut:
            self._date(archive)
            return
        found = path.stat()
        os.utime(archive, ns=(found.st_atime_ns, found.st_mtime_ns))
        if until == "the end":
            path.unlink()

    # Operators.

    def delete(self, path: Path) -> None:
        """rm."""
        path.unlink()

    def reuse(self, path: Path, text: bytes) -> None:
        """Delete the file and begin another at once, which gets the inode if nobody holds it."""
        self._stamps += 1
        fresh = path.with_name(f"fresh.log.{self._stamps}")
        path.unlink()
        self.write(fresh, text)

    def copy(self, path: Path, *, is_kept: bool) -> None:
        """``cp -p`` to another rotated name; what was copied is kept or goes."""
        body = self.body(path)
        copy = self._other_name(path)
        shutil.copy2(path, copy)
        self._created(
            copy,
            body.chunks,
            archive=body.archive,
            copied_from=body,
            is_damaged=body.is_damaged,
            is_touched=body.is_touched,
        )
        if not is_kept:
            path.unlink()

    def touch(self, path: Path) -> None:
        """A new mtime and nothing else."""
        self.body(path).is_touched = True
        self._date(path)

    def move(self, path: Path, directory: Path) -> None:
        """mv within the file system; never over a file that is there."""
        target = directory / path.name
        if not target.exists():
            path.rename(target)

    def bring_back(self) -> None:
        """What was moved away returns to the watch."""
        for path in sorted(self.elsewhere.iterdir()):
            if path.name != "secret":
                self.move(path, self.logs)

    def link(self, path: Path) -> None:
        """A second name in the watch."""
        os.link(path, self._other_name(path))

    def unlink_second_names(self) -> None:
        """Every file has one name again."""
        for path in self.rotated():
            if path.lstat().st_nlink > 1:
                path.unlink()

    def symlink(self, path: Path) -> None:
        """A symbolic link with a rotator's name to a file that is no log."""
        secret = self.elsewhere / "secret"
        if not secret.exists():
            self.touch_new(secret)
        self._stamps += 1
        path.with_name(f"pointer.log.{self._stamps}").symlink_to(secret)

    def _other_name(self, path: Path) -> Path:
        """A name of the same log that no file has."""
        self._stamps += 1
        log, extension = path.name.partition(".log")[0], ""
        if self.body(path).archive is not None:
            extension = path.suffix
        return path.with_name(f"{log}.log.{100 + self._stamps}{extension}")

    def _created(
        self,
        path: Path,
        chunks: Iterable[Chunk] = (),
        *,
        overwrites: Body | None = None,
        **facts: Any,
    ) -> None:
        """Enter a new file, or the new content of one that was truncated."""
        inode = path.stat().st_ino
        if overwrites is None:
            self.born[inode] = self._stamp()
        self._ledger.created(inode, chunks, overwrites=overwrites, **facts)

    def _date(self, path: Path) -> None:
        stamp = self._stamp()
        os.utime(path, ns=(stamp, stamp))

    def _stamp(self) -> int:
        self._stamps += 1
        return int(self._clock.now()) * 10**9 + self._stamps
