"""Text laid out in columns of a terminal: measured, wrapped, cut and put into tables. Pure.

A line is made of spans: a text, and its tone, which whoever prints it may turn into a colour.
What is shown may come from names of files and answers of servers, so every text is escaped here.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from shipper.core.escapes import escaped

Tone = Literal["", "title", "good", "bad", "dim"]
Span = tuple[str, Tone]
Line = tuple[Span, ...]
ELLIPSIS = "..."
HANGING = 4
BRIEF_LINES = 4
"""Of an item, where not all fit on the screen."""
_NARROWEST = 8
"""Columns of a name in a table, however narrow the terminal is."""


@dataclass(frozen=True, slots=True)
class Section:
    """Of ``items`` so many are shown as there is room for, and the first in any case.

    ``more`` is how many there are besides.
    """

    items: Sequence[Sequence[Line]]
    head: Sequence[Line] = ()
    more: int = 0

    def lines(self, shown: int) -> list[Line]:
        left = len(self.items) - shown + self.more
        more: list[Line] = [((f"    and {left:,} more", "dim"),)] if left else []
        return [*self.head, *(line for item in self.items[:shown] for line in item), *more]


def fitted(sections: Sequence[Section], width: int | None, height: int | None) -> list[Line]:
    """The sections in at most so many lines; None for no bound.

    Where they do not fit, long items are cut short, and each section gets another item in turn,
    so that a long one leaves room for the others.
    """
    shown = [len(section.items) for section in sections]
    if height is not None and _height(sections, shown) > height:
        sections = [replace(section, items=[*map(_brief, section.items)]) for section in sections]
        shown = [min(1, items) for items in shown]
        growing = list(range(len(sections)))
        while growing:
            growing = [at for at in growing if _has_grown(sections, shown, at, height)]
    lines = [
        cropped(line, width)
        for section, items in zip(sections, shown, strict=True)
        for line in section.lines(items)
    ]
    return lines[:height]


def _has_grown(sections: Sequence[Section], shown: list[int], at: int, height: int) -> bool:
    if shown[at] == len(sections[at].items):
        return False
    shown[at] += 1
    if _height(sections, shown) <= height:
        return True
    shown[at] -= 1
    return False


def _height(sections: Sequence[Section], shown: Sequence[int]) -> int:
    return sum(len(one.lines(items)) for one, items in zip(sections, shown, strict=True))


def _brief(item: Sequence[Line]) -> Sequence[Line]:
    rest: Line = ((f"    {ELLIPSIS}", "dim"),)
    return item if len(item) <= BRIEF_LINES else [*item[: BRIEF_LINES - 1], rest]


def columns(text: str) -> int:
    """How many columns a terminal gives to the text, or fewer."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    is_wide = unicodedata.east_asian_width(character) in "WF"
    # What this Python does not know yet is often wide.
    return 2 if is_wide or unicodedata.category(character) == "Cn" else 1


def counted(count: int, what: str) -> str:
    """``1 manifest``, ``2 manifests``."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def shown(text: str) -> str:
    """The text on one line, without anything that steers a terminal."""
    return " ".join(escaped(text).replace("\t", " ").split("\n"))


def paragraph(
    text: str, width: int | None, *, tone: Tone = "", lead: str = "", lead_tone: Tone = "title"
) -> list[Line]:
    """The lead and the text, wrapped; what follows the first line is indented further."""
    whole = shown(lead + text)
    first, *others = _wrapped(whole, width, _indent_of(whole) + HANGING)
    at = min(len(shown(lead)), len(first))
    return [((first[:at], lead_tone), (first[at:], tone)), *(((line, tone),) for line in others)]


def _indent_of(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


def _wrapped(text: str, width: int | None, indent: int) -> list[str]:
    if width is None or columns(text) <= width:
        return [text]
    margin = " " * (indent if 2 * indent < width else 0)
    lines, line = list[str](), ""
    for word in re.split("(?<= )", text):
        if columns(line + word.rstrip(" ")) > width and line.strip(" "):
            lines.append(line.rstrip(" "))
            line = margin
        line += word
        while columns(line.rstrip(" ")) > width:
            head = _begin(line, width)
            if len(head) <= len(margin):  # one character is wider than there is room for
                return [*lines, head]
            lines.append(head)
            line = margin + line[len(head) :]
    return [*lines, line.rstrip(" ")]


def _begin(text: str, width: int) -> str:
    """As much of the beginning as fits."""
    used = 0
    for at, character in enumerate(text):
        used += _columns_of(character)
        if used > width:
            return text[:at]
    return text


def _end(text: str, width: int) -> str:
    return _begin(text[::-1], width)[::-1]


def cut(text: str, width: int) -> str:
    """The text in so many columns, without its middle: names differ at both ends."""
    text = shown(text)
    if columns(text) <= width:
        return text
    room = max(0, width - len(ELLIPSIS))
    end = _end(text, (room + 1) // 2)
    return f"{_begin(text, room - columns(end))}{ELLIPSIS}{end}"


def cropped(line: Iterable[Span], width: int | None) -> Line:
    """What of the line fits; of lines that have no place to break."""
    if width is None:
        return tuple(line)
    fitting, left = list[Span](), width
    for text, tone in line:
        fitting.append((_begin(text, left), tone))
        left -= columns(fitting[-1][0])
    return tuple(fitting)


def table(rows: Sequence[Sequence[str]], width: int | None) -> list[Line]:
    """Rows of cells: the first is a name and gives way to the others, which are numbers.

    Columns that are empty below their title are left out.
    """
    kept = [at for at in range(len(rows[0])) if not at or any(row[at] for row in rows[1:])]
    wide = {at: max(columns(row[at]) for row in rows) for at in kept[1:]}
    name = max(columns(shown(row[0])) for row in rows)
    if width is not None:
        name = min(name, max(_NARROWEST, width - sum(each + 2 for each in wide.values())))
    lines = list[Line]()
    for number, row in enumerate(rows):
        first = cut(row[0], name)
        numbers = "".join("  " + row[at].rjust(size) for at, size in wide.items())
        text = f"{first}{' ' * (name - columns(first))}{numbers}"
        lines.append(((text.rstrip(), "" if number else "title"),))
    return lines
