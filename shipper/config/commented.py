"""Whole files of configuration, in which every key stands below what the reference says of it."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING
from typing import Any

from shipper.config.load import Configuration
from shipper.config.reference import descriptions
from shipper.config.schema import TABLES, keys_of
from shipper.config.toml_text import plain, toml_value

Table = tuple[str, Mapping[str, Any]]
"""A name of ``TABLES``, or ``""`` for what is outside of tables; and the values by key."""
WIDTH = 97


def commented(tables: Iterable[Table]) -> str:
    """The tables as a file. A key that stands there again is not explained again.

    A key whose value is ``MISSING`` stands in a comment.
    """
    explained: set[tuple[str, str]] = set()
    blocks = []
    for name, values in tables:
        head = "[[watch]]" if name == "watch" else f"[{name}]"
        lines = [head] if name else []
        texts = _texts(name)
        for key, value in values.items():
            if (name, key) not in explained:
                lines += _comment(texts[key])
            explained.add((name, key))
            is_there = value is not MISSING
            lines.append(f"{key} = {toml_value(value)}" if is_there else f"# {key} is required")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def defaults() -> str:
    """Every key with its default; the required ones in comments."""
    tables: list[Table] = [("", {"state_directory": ""})]
    for name, kind in TABLES.items():
        values = {
            key.name: MISSING if key.default is MISSING else plain(key, key.default)
            for key in keys_of(kind)
        }
        tables.append((name, values))
    return commented(tables)


def _texts(name: str) -> dict[str, str]:
    """What the reference says, by key."""
    if not name:
        return descriptions(Configuration)
    texts = descriptions(TABLES[name])
    return {key.name: texts[key.field] for key in keys_of(TABLES[name])}


def _comment(text: str) -> Iterator[str]:
    return (f"# {line}" for line in textwrap.wrap(text, WIDTH, break_on_hyphens=False))
