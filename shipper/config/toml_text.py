"""Values of the configuration as TOML."""

import json
import re
from typing import Any

from shipper.config.schema import Key

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def plain(key: Key, value: Any) -> Any:
    """A field's value as it stands in the file: a text, number, switch, list or table."""
    if key.unit is not None:
        return key.unit.write(value)
    if key.kind == tuple[tuple[str, str], ...]:
        return dict(value)
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, str) else value


def toml_value(value: Any) -> str:
    """The value in TOML, on one line."""
    match value:
        case bool() | int():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(toml_value, value))}]"
        case dict():
            return f"{{{', '.join(f'{_name(key)} = {toml_value(value[key])}' for key in value)}}}"
        case _:
            # JSON's escapes are TOML's. A surrogate would be none: no value holds one.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _name(key: str) -> str:
    return key if _BARE.fullmatch(key) else toml_value(key)
