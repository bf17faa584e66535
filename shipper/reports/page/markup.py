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
    """An element with its end tag. ``aria_label`` is ``aria-label``, and ``class_`` ``class``."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for key, value in attributes.items()
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


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], look: str) -> Markup:
    """A table whose first column names its rows; nothing where it has none.

    The look is ``even``, or ``stacked``: on a narrow screen the cells of a row stand below each
    other. The roles keep it a table for those who hear it, whatever the style makes of it.
    """
    if not rows:
        return Markup()
    top = (element("th", each, scope="col", role="columnheader") for each in head)
    body = [
        element(
            "tr",
            element("th", first, scope="row", role="rowheader"),
            *(element("td", each, role="cell") for each in others),
            role="row",
        )
        for first, *others in rows
    ]
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *top, role="row"), role="rowgroup"),
        element("tbody", *body, role="rowgroup"),
        role="table",
        class_=look,
    )
