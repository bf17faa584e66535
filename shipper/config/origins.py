"""The configuration as it is in effect, and where each value comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, replace
from typing import Any, NamedTuple

from shipper.config.load import Configuration
from shipper.config.schema import TABLES, keys_of
from shipper.config.toml_text import plain, toml_value
from shipper.config.variables import literal, names_in

Documents = Mapping[str, Mapping[str, Any]]
"""What each file says, by its path."""
Raw = tuple[str, Mapping[str, Any]]
"""A file, and one table of it as it is written there."""

_STANDING_IN = {
    "credentials.metadata_endpoint": "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "credentials.metadata_endpoint_mode": "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "credentials.instance_profile_name": "AWS_EC2_INSTANCE_PROFILE_NAME",
}
"""The variable that decides where the key has its default."""


DEFAULT = "default"
DERIVED = "derived"
"""Worked out from other keys: a watch's name, and its archive among what it excludes."""


class Setting(NamedTuple):
    """A key as it is in effect."""

    key: str
    value: str
    """In TOML."""
    origin: str


class Section(NamedTuple):
    """A table with its settings; ``head`` is empty for what is outside of tables."""

    head: str
    settings: tuple[Setting, ...]


def sections(
    configuration: Configuration, documents: Documents, environment: Mapping[str, str]
) -> Iterator[Section]:
    """Every table, in the order of the reference."""
    main = next(iter(documents))
    yield Section("", (_state_directory(configuration, (main, documents[main]), environment),))
    watches = [
        (file, raw) for file, document in documents.items() for raw in document.get("watch", [])
    ]
    for name in TABLES:
        if name == "watch":
            for watch, raw in zip(configuration.watches, watches, strict=True):
                written = replace(watch, directory=watch.whole_directory)
                yield Section("[[watch]]", tuple(_settings(name, written, raw, environment)))
        else:
            raw = (main, documents[main].get(name, {}))
            table = getattr(configuration, name)
            yield Section(f"[{name}]", tuple(_settings(name, table, raw, environment)))
    for name, written in documents[main].get("destinations", {}).items():
        settings = _settings(
            "destination", configuration.destinations[name], (main, written), environment
        )
        yield Section(f"[destinations.{name}]", tuple(settings))


def _state_directory(
    configuration: Configuration, raw: Raw, environment: Mapping[str, str]
) -> Setting:
    origin = "$STATE_DIRECTORY" if environment.get("STATE_DIRECTORY") else DEFAULT
    if raw[1].get("state_directory"):
        origin = _written("state_directory", raw)
    return Setting("state_directory", toml_value(literal(configuration.state_directory)), origin)


def _settings(
    name: str, table: Any, raw: Raw, environment: Mapping[str, str]
) -> Iterator[Setting]:
    for key in keys_of(TABLES[name]):
        value = plain(key, getattr(table, key.field))
        is_default = key.default is not MISSING and value == plain(key, key.default)
        variable = _STANDING_IN.get(f"{name}.{key.name}", "")
        if is_default and environment.get(variable):
            shown, origin = environment[variable], f"${variable}"
        elif key.name in raw[1]:
            shown, origin = value, _written(key.name, raw)
        else:
            shown, origin = value, DEFAULT if is_default else DERIVED
        yield Setting(key.name, toml_value(literal(shown)), origin)


def _written(key: str, raw: Raw) -> str:
    """The file, and the variables that the value was written with."""
    file, table = raw
    return ", ".join([file, *(f"${{{one}}}" for one in dict.fromkeys(_variables(table[key])))])


def _variables(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield from names_in(value)
        case list() | dict():
            for one in value if isinstance(value, list) else value.values():
                yield from _variables(one)
        case _:
            pass
