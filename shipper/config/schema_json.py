"""The JSON Schema of the configuration, for editors; from the classes that hold the keys.

It refuses nothing that the loader takes, and not all that the loader refuses: rules between keys
(``config.rules``) are not in it. Draft 7 is what taplo and editors read. A file of ``conf.d`` has
only watches, so no table is required.

https://json-schema.org/draft-07/json-schema-validation
"""

from dataclasses import MISSING
from typing import Any

from shipper.config.load import Configuration
from shipper.config.reference import descriptions
from shipper.config.schema import TABLES, Key, keys_of
from shipper.config.toml_text import plain

Schema = dict[str, Any]

_VARIABLE = r"\$\{"
"""A text with a variable may become any text."""
_TEXT: Schema = {"type": "string"}
_KINDS: dict[Any, Schema] = {
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    tuple[str, ...]: {"type": "array", "items": _TEXT},
    tuple[tuple[str, str], ...]: {"type": "object", "additionalProperties": _TEXT},
}


def schema() -> Schema:
    """The schema of a whole file."""
    tables = {name: _of_table(name, kind) for name, kind in TABLES.items()}
    tables["watch"] = {"type": "array", "items": tables["watch"]}
    another = tables["destination"] | {"description": "[destinations.NAME]"}
    tables["destinations"] = {"type": "object", "additionalProperties": another}
    text = descriptions(Configuration)["state_directory"]
    directory = {**_TEXT, "default": "", "description": text}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "shipper's configuration",
        **_object({"state_directory": directory, **tables}),
    }


def _of_table(name: str, kind: type) -> Schema:
    texts, keys = descriptions(kind), keys_of(kind)
    required = [key.name for key in keys if key.default is MISSING]
    properties = {key.name: _of_key(key) | {"description": texts[key.field]} for key in keys}
    head = "[[watch]]" if name == "watch" else f"[{name}]"
    return {"description": head, **_object(properties), "required": required}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _of_key(key: Key) -> Schema:
    if key.unit is not None:
        empty = "^$|" * (key.default == 0)
        found: Schema = {"type": "string", "pattern": f"{empty}{key.unit.pattern}|{_VARIABLE}"}
    elif key.choices:
        found = {"anyOf": [{"enum": list(map(str, key.choices))}, {"pattern": _VARIABLE} | _TEXT]}
    else:
        found = dict(_KINDS.get(key.kind, _TEXT))
    if key.default is MISSING:
        return found
    return found | {"default": plain(key, key.default)}
