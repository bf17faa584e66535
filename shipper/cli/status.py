"""``shipper status``: what is shipped, what is not, and why."""

import argparse
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from shipper.ports import PortError

if TYPE_CHECKING:
    from shipper.cli.layout import Line

SUMMARY = "show what is shipped, what is not, and why"
WATCH_SECONDS = 2.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument(
        "--watch", action="store_true", help="repeat every two seconds, until Ctrl-C"
    )


def run(options: argparse.Namespace) -> int:
    """Ask the running daemon, else read the journal; 1 when an operator is needed."""
    from shipper.config.load import load
    from shipper.reports.inspect import status

    ask = partial(status, load(options.config, os.environ), os.environ)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of files
    if options.watch:
        _watch(ask, is_json=options.json)
    document = ask()
    if options.json:
        print(json.dumps(document, indent=2))
    elif is_terminal():
        from shipper.cli.terminal import show

        show(partial(_lines, document, meter=_meter()))
    else:
        print(_text(document))
    return 0 if document["well"] else 1


def is_terminal() -> bool:
    """Whether standard output is for somebody who wants colours."""
    is_dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown") or "NO_COLOR" in os.environ
    return sys.stdout.isatty() and not is_dumb


def _watch(ask: Callable[[], dict[str, Any]], *, is_json: bool) -> NoReturn:
    """Show it until Ctrl-C. A daemon that is away, and its journal, may come back."""

    def answer() -> dict[str, Any] | PortError:
        try:
            return ask()
        except PortError as error:
            return error

    if is_terminal() and not is_json:
        from shipper.cli.terminal import show_live

        meter = _meter()
        show_live(lambda *room: _lines(answer(), *room, meter=meter), WATCH_SECONDS)
    while True:
        print(json.dumps(ask(), indent=2) if is_json else f"{_text(answer())}\n", flush=True)
        threading.Event().wait(WATCH_SECONDS)


def _lines(
    answer: dict[str, Any] | PortError, width: int | None, height: int | None, *, meter: str
) -> "list[Line]":
    from shipper.cli.status_lines import status_lines, trouble

    if isinstance(answer, PortError):
        problem = {"code": answer.code, "detail": answer.detail, "hint": answer.hint}
        return trouble("shipper: no status", problem, width)[:height]
    return status_lines(answer, width=width, height=height, meter=meter)


def _text(answer: dict[str, Any] | PortError) -> str:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = _lines(answer, width, None, meter="#-")
    return "\n".join("".join(text for text, _ in line) for line in lines)


def _meter() -> str:
    return "━━" if sys.stdout.encoding.lower().startswith("utf") else "#-"
