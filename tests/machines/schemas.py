"""The schemas of ``docs/schemas``: whether a document keeps one, and documents that do."""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

DIRECTORY = Path(__file__).parents[2] / "docs" / "schemas"
_INSTANTS = st.datetimes().map(lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"))
_TEXTS = st.text(max_size=60) | st.text(string.printable, max_size=200)
_TYPES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "integer": st.integers(0, 2**70),
    "string": _TEXTS,
}


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DIRECTORY / f"{name}.schema.json").read_text("utf-8"))
    return found


def broken(name: str, document: object) -> list[str]:
    """Where and how the document breaks the schema."""
    validator = Draft202012Validator(schema(name), format_checker=FormatChecker())
    errors = [
        part for error in validator.iter_errors(document) for part in [error, *error.context]
    ]
    return [f"{list(error.absolute_path)}: {error.message}" for error in errors]


def documents(name: str, definition: str = "") -> st.SearchStrategy[Any]:
    """Documents that keep the schema, or one of its definitions, whatever texts and numbers are
    in them."""
    whole = schema(name)
    return _documents(whole["$defs"][definition] if definition else whole, whole)


def _documents(part: dict[str, Any], whole: dict[str, Any]) -> st.SearchStrategy[Any]:
    def of(inner: dict[str, Any]) -> st.SearchStrategy[Any]:
        return _documents(inner, whole)

    match part:
        case {"$ref": name}:
            return of(whole["$defs"][name.rpartition("/")[2]])
        case {"oneOf": choices} | {"anyOf": choices}:
            return st.one_of(*map(of, choices))
        case {"type": list(types)}:
            return st.one_of(*(of(part | {"type": each}) for each in types))
        case {"type": "array", "items": item}:
            return st.lists(of(item), max_size=6)
        case {"type": "object"}:
            return _objects(part, of)
        case _:
            return _values(part)


def _objects(
    part: dict[str, Any], of: Callable[[dict[str, Any]], st.SearchStrategy[Any]]
) -> st.SearchStrategy[Any]:
    if "properties" in part:
        return st.fixed_dictionaries({key: of(one) for key, one in part["properties"].items()})
    names = of(part["propertyNames"]) if "propertyNames" in part else _TEXTS
    return st.dictionaries(names, of(part["additionalProperties"]), max_size=4)


def _values(part: dict[str, Any]) -> st.SearchStrategy[Any]:
    match part:
        case {"const": value}:
            return st.just(value)
        case {"enum": values}:
            return st.sampled_from(values)
        case {"format": "date-time", "type": "string"}:
            return _INSTANTS
        case {"type": "number"}:
            return st.floats(part.get("minimum", -1e12), 1e15)
        case _:
            return _TYPES[part["type"]]
