"""Writes the manual page and the completions of bash, zsh and fish, from the parser.

    python systemd/manual.py DIRECTORY

``install.sh`` runs it with shtab and argparse-manpage beside shipper. Both are needed only here,
and no network.
"""

import argparse
import sys
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from shipper import __version__
from shipper.cli.examples import EXAMPLES
from shipper.cli.main import parser

BASH = "share/bash-completion/completions/shipper"
ZSH = ("share/zsh/vendor-completions/_shipper", "share/zsh/site-functions/_shipper")
"""Where Debian's zsh looks, and where others do."""
FISH = "share/fish/vendor_completions.d/shipper.fish"
PAGE = "share/man/man1/shipper.1"
COMPLETED = {"FILE": shtab.FILE, "PATH": shtab.FILE, "DIRECTORY": shtab.DIRECTORY}


def whole_parser() -> argparse.ArgumentParser:
    """The parser, with what completes names of files."""
    whole = parser()
    [commands] = [one for one in whole._actions if isinstance(one, argparse._SubParsersAction)]
    for each in (whole, *commands.choices.values()):
        for action in each._actions:
            if action.metavar in COMPLETED:
                action.complete = COMPLETED[action.metavar]  # type: ignore[attr-defined]
    return whole


def page() -> str:
    """One page, with a part and two examples for each command."""
    whole = whole_parser()
    data = {
        "description": whole.description,
        "project_name": "shipper",
        "version": __version__,
        "manual_title": "shipper",
        "manual_section": "1",
    }
    manual = Manpage(whole, _data=data, format="single-commands-section")
    lines = [
        f".TP\n.B shipper {_roff(words)}\n{_roff(says)}"
        for examples in EXAMPLES.values()
        for words, says in examples
    ]
    return str(manual) + "\n".join([".SH EXAMPLES", *lines, ""])


def _roff(text: str) -> str:
    """The text as a line of its own, or part of one."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def texts() -> dict[str, str]:
    """Every file below ``/usr``, and what is in it."""
    found = {BASH: shtab.complete(whole_parser(), "bash")}
    found |= dict.fromkeys(ZSH, shtab.complete(whole_parser(), "zsh"))
    found[FISH] = shtab.complete(whole_parser(), "fish")
    found[PAGE] = page()
    return found


if __name__ == "__main__":
    for name, text in texts().items():
        path = Path(sys.argv[1], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
