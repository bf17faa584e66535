"""HTML whose text is escaped by construction.

A ``str`` is text and is escaped; only what ``element`` returns is markup. Names of files may hold
anything, so what is not printable (controls, directions of writing, half a surrogate) is replaced.
"""

import html
from collections.abc import Iterable, Sequence


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: object) -> Markup:
    """An element with its end tag. A ``_`` at the end of an attribute's name is left out."""
    said = "".join(
        f' {key.rstrip("_")}="{escaped(str(value))}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{said}>{joined(children)}</{name}>")


def joined(children: Iterable[str]) -> Markup:
    """All of them as one; what is no markup is escaped."""
    return Markup(
        "".join(each if isinstance(each, Markup) else escaped(each) for each in children)
    )


def escaped(text: str) -> str:
    """The text as HTML shows it, in an attribute, too."""
    return html.escape(
        "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    )


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table whose first column names its rows; nothing where it has none."""
    if not rows:
        return Markup()
    top = element("tr", *(element("th", each, scope="col") for each in head))
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", each) for each in others))
        for first, *others in rows
    ]
    parts = element("caption", caption), element("thead", top), element("tbody", *body)
    return element("table", *parts)
