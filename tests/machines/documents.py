"""The README and the pages of docs/ as tests read them: tables, blocks, words, links."""

import re
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
README = "README.md"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / README, *sorted((ROOT / "docs").glob("*.md"))]
}
"""The text of each page by its path below the root."""

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def rows(first: str, page: str) -> list[list[str]]:
    """The cells of every table of a page whose header's first cell is this."""
    found, is_inside = [], False
    for line in PAGES[page].splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells or not line.startswith("|"):
            is_inside = False
        elif cells[0] == first:
            is_inside = True
        elif is_inside and not cells[0].startswith("---"):
            found.append(cells)
    return found


def quoted(text: str) -> list[str]:
    """What stands between backquotes."""
    return re.findall(r"`([^`\n]*)`", text)


def blocks(language: str) -> list[str]:
    """Every fenced block in this language, on any page."""
    return [
        dedent(body)
        for text in PAGES.values()
        for _, name, body in _FENCE.findall(text)
        if name == language
    ]


def without_blocks(page: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", PAGES[page])


def prose(page: str) -> str:
    """A page without its blocks, and without what is quoted from the code."""
    return re.sub(r"`[^`\n]*`", "", without_blocks(page))


def links(page: str) -> list[str]:
    """The targets of a page's links."""
    return re.findall(r"\]\(([^()\s]+)\)", without_blocks(page))


def anchors(page: str) -> set[str]:
    """What a link may name after its ``#``: the page's headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}
