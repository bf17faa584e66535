"""The status on a terminal, in colours and drawn anew in place. Only this module loads rich."""

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from shipper.cli.layout import Line, Tone

STYLES: dict[Tone, str] = {
    "": "",
    "title": "bold",
    "good": "green",
    "bad": "bold red",
    "dim": "dim",
}
ENDS = (signal.SIGTERM, signal.SIGHUP)
Screen = Callable[[int, int], list[Line]]
"""The lines for a width and a height."""


def show(screen: Screen) -> None:
    """Print it once; the shell's next prompt has the last line."""
    console = Console(highlight=False)
    console.print(rendered(screen(console.width, console.height - 1)))


def show_live(screen: Screen, seconds: float) -> NoReturn:
    """Draw it every so many seconds, and when the terminal is resized; until Ctrl-C or a signal.

    Whatever ends it, the terminal is left as it was.
    """
    ends = {one for one in ENDS if signal.getsignal(one) is not signal.SIG_IGN}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH, *ends})
    console, number = Console(highlight=False), 0
    try:
        with Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
            while not number:
                live.update(rendered(screen(console.width, console.height)), refresh=True)
                found = signal.sigtimedwait({signal.SIGWINCH, *ends}, seconds)
                number = found.si_signo if found and found.si_signo in ends else 0
    except OSError:
        if not number:  # the terminal may be what has ended
            raise
    sys.exit(128 + number)


def rendered(lines: list[Line]) -> Group:
    return Group(*(_text(line) for line in lines))


def _text(line: Line) -> Text:
    spans = [(text, STYLES[tone]) for text, tone in line]
    return Text.assemble(*spans, no_wrap=True, overflow="crop", end="\n")
