"""The reference of the configuration: one row a key, read from the classes that hold the keys.

``python -m shipper.config.reference PAGE...`` writes the rows between the page's marks
``<!-- keys: TABLE -->`` and ``<!-- end -->``.
"""

import ast
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from shipper.config.load import Configuration
from shipper.config.schema import TABLES, Key, keys_of
from shipper.config.toml_text import plain, toml_value
from shipper.core.destinations import DEFAULT_KEY

_MARKED = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_KINDS = {
    str: "text",
    int: "number",
    bool: "`true`, `false`",
    tuple[str, ...]: "list of texts",
    tuple[tuple[str, str], ...]: "table of texts",
}


class Row(NamedTuple):
    """A key as people read about it, in Markdown."""

    key: str
    kind: str
    default: str
    text: str


def rows(table: str) -> Iterator[Row]:
    """The rows of a table, in the order of its fields; of ``top``, the keys outside of tables."""
    if table == "top":
        text = descriptions(Configuration)["state_directory"]
        yield Row("`state_directory`", "text", '`""`', text)
        return
    texts = descriptions(TABLES[table])
    for key in keys_of(TABLES[table]):
        yield Row(f"`{table}.{key.name}`", _kind(key), _default(key), texts[key.field])


def descriptions(table: type) -> dict[str, str]:
    """The docstring below each field of a class, on one line, by the field's name."""
    [body] = ast.parse(dedent(inspect.getsource(table))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for one, below in itertools.pairwise(body.body):
        if isinstance(one, ast.AnnAssign) and isinstance(below, ast.Expr):
            text = " ".join(ast.literal_eval(below.value).split())
            found[ast.unparse(one.target)] = text.replace("``", "`")
    return found


def text_of(key: Key) -> str:
    """The key's default as it would be written in TOML; nothing where the key is required."""
    return "" if key.default is MISSING else toml_value(plain(key, key.default))


def page_from(page: str) -> str:
    """The page with the rows between its marks as they are now."""

    def written(marked: re.Match[str]) -> str:
        lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
        for row in rows(marked[2]):
            cells = (cell.replace("|", "\\|") for cell in row)
            lines.append(f"| {' | '.join(cells)} |")
        return marked[1] + "\n".join(lines) + "\n" + marked[3]

    return _MARKED.sub(written, page)


def _kind(key: Key) -> str:
    if key.unit is not None:
        return key.unit.kind
    return ", ".join(f'`"{one}"`' for one in key.choices) or _KINDS.get(key.kind, "text")


def _default(key: Key) -> str:
    if key.default == DEFAULT_KEY:
        return "below"
    return f"`{text_of(key)}`" if text_of(key) else "required"


if __name__ == "__main__":
    for each in map(Path, sys.argv[1:]):
        each.write_text(page_from(each.read_text(encoding="utf-8")), encoding="utf-8")
