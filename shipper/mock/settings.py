"""Settings of a mocked metadata service, by name: in a scenario, or by ``--set`` at the start.

A setting is a field of ``Facts``, or ``faults``, or one of the acts ``rotate`` and
``forget_tokens`` (with true). A table (``tags``, ``extra``...) replaces a table; ``tags.NAME``
sets one member. What may be absent is taken back by false.
"""

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from shipper.mock.facts import Keys, Profile, SpotAction
from shipper.mock.fault import fault_from
from shipper.mock.imds import MockImds
from shipper.ports import PortError

SPOT_SECONDS = 120.0
"""How long before an interruption its notice comes."""
FAULTS = "faults"
ACTS = ("rotate", "forget_tokens")
_SPOT_IN = "spot_in_seconds"
_MOST_SECONDS = 1e9
"""Thirty years: a time beyond the calendar could not be written into a document."""

_ONE_OF = "one of "
_PROFILE = _ONE_OF + ", ".join(map(repr, get_args(Profile)))
_SPOT = _ONE_OF + ", ".join(map(repr, get_args(SpotAction)))
_KEYS = {"access_key_id", "secret_access_key", "session_token"}


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= _MOST_SECONDS


def _is_all(kind: type, value: Any, container: type) -> bool:
    if not isinstance(value, container):
        return False
    each: Any = value.values() if isinstance(value, dict) else value
    return all(isinstance(one, kind) for one in each)


_FORMS: dict[str, Callable[[Any], bool]] = {
    "a text": lambda value: isinstance(value, str),
    "a number from -1e9 to 1e9": _is_number,
    "a number from 0 to 1e9": lambda value: _is_number(value) and value >= 0,
    "true or false": lambda value: isinstance(value, bool),
    "true": lambda value: value is True,
    "a table": lambda value: isinstance(value, dict),
    "a table of texts": lambda value: _is_all(str, value, dict),
    "a list of texts": lambda value: _is_all(str, value, list),
    "a list of faults": lambda value: _is_all(str, value, list),
    "a table of access_key_id, secret_access_key and session_token": (
        lambda value: _is_all(str, value, dict) and set(value) == _KEYS
    ),
    _PROFILE: lambda value: value in get_args(Profile),
    _SPOT: lambda value: value in get_args(SpotAction),
}
"""What a value may have to be, in the words of a problem, and whether it is that."""
_OR_FALSE = ", or false"

_SETTINGS = {
    **dict.fromkeys(("role", "instance_id", "account_id", "region", "authorization"), "a text"),
    **dict.fromkeys(
        ("availability_zone", "profile_name", "life_cycle", "lifecycle_state"), "a text"
    ),
    **dict.fromkeys(
        ("lifetime_seconds", "renew_before_seconds", _SPOT_IN), "a number from 0 to 1e9"
    ),
    "clock_offset_seconds": "a number from -1e9 to 1e9",
    **dict.fromkeys(("has_extended", "is_renewed", "is_expired"), "true or false"),
    "is_rebalance_recommended": "true or false",
    **dict.fromkeys(("tags", "extra"), "a table of texts"),
    "document_members": "a table",
    "document_without": "a list of texts",
    "role_document": "a table" + _OR_FALSE,
    "role_list": "a text" + _OR_FALSE,
    "keys": "a table of access_key_id, secret_access_key and session_token" + _OR_FALSE,
    "profile": _PROFILE,
    "spot": _SPOT,
    FAULTS: "a list of faults",
    **dict.fromkeys(ACTS, "true"),
}
NAMES = tuple(_SETTINGS)


@dataclass(frozen=True, slots=True)
class Changes:
    """Settings that were checked."""

    values: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        return sorted(self.values)

    def apply(self, service: MockImds) -> None:
        service.facts = replace(service.facts, **self._facts(service))
        if FAULTS in self.values:
            service.faults.set(*self.values[FAULTS])
        if "rotate" in self.values:
            service.rotate()
        if "forget_tokens" in self.values:
            service.forget_tokens()

    def _facts(self, service: MockImds) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for name, value in self.values.items():
            table, dot, member = name.partition(".")
            if dot:
                facts[table] = {**facts.get(table, getattr(service.facts, table)), member: value}
            elif name not in (FAULTS, _SPOT_IN, *ACTS):
                facts[name] = value
        if "spot" in facts or _SPOT_IN in self.values:
            facts["spot_at"] = service.now() + self.values.get(_SPOT_IN, SPOT_SECONDS)
        if "is_rebalance_recommended" in facts:
            facts["rebalance_at"] = service.now()
        return facts


def changes_from(table: Mapping[str, object], where: str) -> Changes:
    """The changes that a table asks for; ``BadSetting`` has everything that is wrong."""
    problems, values = [], {}
    for name, value in table.items():
        try:
            values[name] = _value(name, value)
        except ValueError as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise bad_setting(problems)
    return Changes(values)


def changes_from_texts(texts: list[str], where: str) -> dict[str, object]:
    """``NAME=VALUE`` words as a table for ``changes_from``; ``-`` in a name is ``_``."""
    table: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        base, dot, member = name.partition(".")
        name = base.replace("-", "_") + dot + member
        if not equals:
            raise bad_setting([f"{where}: {text!r} is not NAME=VALUE"])
        try:
            table[name] = _read(name, value)
        except ValueError as error:
            raise bad_setting([f"{where}: {error}"]) from error
    return table


def bad_setting(problems: list[str]) -> PortError:
    return PortError("BadSetting", "\n".join(problems), f"settings are {', '.join(NAMES)}")


def unknown(name: str, known: tuple[str, ...]) -> ValueError:
    """An unknown name, with the one that may have been meant."""
    near = difflib.get_close_matches(name, known, 1)
    return ValueError(f"{name}: unknown" + (f"; did you mean {near[0]}?" if near else ""))


def checked(form: str, name: str, value: Any) -> Any:
    """The value, if it has this form; else ``ValueError`` in words."""
    if not _FORMS[form.removesuffix(_OR_FALSE)](value):
        raise ValueError(f"{name}: {_shown(name, value)} is not {form}")
    return value


def _value(name: str, value: Any) -> object:
    """The value as the facts hold it."""
    base, dot, member = name.partition(".")
    form = _SETTINGS.get(base)
    if form is None or (dot and not (member and form in ("a table of texts", "a table"))):
        raise unknown(name, NAMES)
    if dot:
        return value if form == "a table" else checked("a text", name, value)
    if form.endswith(_OR_FALSE) and value is False:
        return None
    checked(form, name, value)
    if form.startswith("a number from -1e9 to 1e9"):
        return float(value)
    if name == FAULTS:
        return tuple(fault_from(text).text for text in value)
    return Keys(**value) if name == "keys" else value


def _shown(name: str, value: object) -> str:
    """A value in a message; never keys, or a document that may have some."""
    return "this" if name in ("keys", "role_document", "authorization") else repr(value)


def _read(name: str, text: str) -> object:
    """A word's value; what is no text is JSON."""
    base, dot, _ = name.partition(".")
    form = _SETTINGS.get(base)
    if form is None:
        raise unknown(name, NAMES)
    if dot or form.startswith(("a text", _ONE_OF)):
        return False if text == "false" and form.endswith(_OR_FALSE) and not dot else text
    if form == "a list of faults" and not text.startswith("["):
        return [one.strip() for one in text.split(",") if one.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: {_shown(base, text)} is not {form}") from error
