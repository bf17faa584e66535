"""A line on a terminal that says how far a long command is. It is gone at the end.

There is none on anything but a terminal. It is drawn without escape codes, by going back to the
line's begin and writing over what was there.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from shipper.cli.layout import columns, cut
from shipper.ports import PortError

FIRST_SECONDS = 1.0
"""What takes no longer than this needs no such line."""
AGAIN_SECONDS = 0.25


class ProgressLine:
    """Wraps the terminal, so that what others write there stands above the line.

    ``_lock`` guards what the terminal shows.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._lock = threading.Lock()
        self._shown = ""
        self._is_gone = False

    @property
    def encoding(self) -> str:
        return self._terminal.encoding

    def isatty(self) -> bool:
        return self._terminal.isatty()

    def flush(self) -> None:
        self._terminal.flush()

    def write(self, text: str) -> int:
        with self._lock:
            self._draw("")
            return self._terminal.write(text)

    @contextmanager
    def shown(self, say: Callable[[], str]) -> Iterator[None]:
        """While this lasts, show what ``say`` says; it is asked by a thread of its own."""
        if not self.isatty() or os.environ.get("TERM", "dumb") == "dumb":
            yield
            return
        over = threading.Event()

        def redraw() -> None:
            wait = FIRST_SECONDS
            while not over.wait(wait) and not self._is_gone:
                wait = AGAIN_SECONDS
                with suppress(PortError):  # the command meets it, too, and says it
                    text = say()
                    with self._lock:
                        self._draw(text)

        thread = threading.Thread(target=redraw, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with self._lock:
                self._draw("")

    def _draw(self, text: str) -> None:
        """A terminal that has gone away is no fault of the command, and is not tried again."""
        if text == self._shown or self._is_gone:
            return
        try:
            self._overwrite(text)
        except (OSError, ValueError):
            self._is_gone = True

    def _overwrite(self, text: str) -> None:
        wide = os.get_terminal_size(self._terminal.fileno()).columns or 80
        before, self._shown = self._shown, cut(text, wide - 1)
        blank = " " * (min(columns(before), wide - 1) - columns(self._shown))
        self._terminal.write(f"\r{self._shown}{blank}" + "\r" * (not text))
        self._terminal.flush()
