"""A command on a real pseudo-terminal of some size, and what it wrote there."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from shipper.demo.children import clean_environment
from tests.machines.waiting import LONGEST_SECONDS, comes_true

HOME = "\x1b[H"
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs a command of shipper there until it ends, or until this is left."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        rows: int = 24,
        columns: int = 80,
        stdout: int | None = None,
    ) -> None:
        """``stdout`` is a descriptor that the command writes to instead of the terminal."""
        self._main, other = pty.openpty()
        self.written = ""
        self.resize(rows, columns)
        own = clean_environment()
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            own.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shipper", *arguments],
            stdin=other,
            stdout=other if stdout is None else stdout,
            stderr=other,
            env=own | {"TERM": "xterm-256color"} | dict(environment),
            start_new_session=True,
        )
        os.close(other)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._main >= 0:
            os.close(self._main)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if hasattr(self, "process"):  # it has no controlling terminal to be told by
            self.process.send_signal(signal.SIGWINCH)

    def hang_up(self) -> None:
        """The terminal goes away; no signal tells, for it controls nothing."""
        os.close(self._main)
        self._main = -1

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def read(self) -> str:
        """All that was written so far."""
        while self._main >= 0 and select.select([self._main], [], [], 0.02)[0]:
            try:
                found = os.read(self._main, 65536)
            except OSError:  # nobody has the other end any more
                break
            self.written += found.decode("utf-8", "replace")
        return self.written

    def wait_for(self, text: str, times: int = 1) -> None:
        def is_there() -> bool:
            return self.read().count(text) >= times

        assert comes_true(is_there, pause=lambda: None), f"no {text!r} in {self.written!r}"

    def code(self) -> int:
        """The exit code, once it has ended."""

        def has_ended() -> bool:
            self.read()
            return self.process.poll() is not None

        assert comes_true(has_ended, pause=lambda: None), self.written
        self.read()
        return self.process.wait(LONGEST_SECONDS)

    @property
    def screens(self) -> list[list[str]]:
        """The lines of each screen that was drawn from the top, without colours."""
        return [
            [_ESCAPE.sub("", line).rstrip() for line in screen.splitlines()]
            for screen in self.written.split(HOME)
        ]


def without_styles(text: str) -> str:
    """The text without colours; other escape codes stay."""
    return _STYLE.sub("", text)
