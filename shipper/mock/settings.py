"""Settings of a mocked metadata service, by name: in a scenario, or by ``--set`` at the start.

A setting is a field of ``Facts``, or ``faults``, or one of the acts ``rotate`` and
``forget_tokens`` (with true). A table (``tags``, ``extra``...) replaces a table; ``tags.NAME``
sets one member. What may be absent is taken back by false.
"""

import difflib
import json
import math
from collections.abc import Mapping
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

_ONE_OF = "one of "
_TEXTS = (
    "role",
    "instance_id",
    "account_id",
    "region",
    "availability_zone",
    "profile_name",
    "instance_type",
    "image_id",
    "private_ip",
    "availability_zone_id",
    "lifecycle_state",
)
_FORMS = {
    **dict.fromkeys(_TEXTS, "a text"),
    **dict.fromkeys(("lifetime_seconds", "renew_before_seconds", _SPOT_IN), "a number from 0"),
    "clock_offset_seconds": "a number",
    **dict.fromkeys(
        ("has_extended", "is_renewed", "is_expired", "is_rebalance_recommended"), "true or false"
    ),
    **dict.fromkeys(("tags", "extra"), "a table of texts"),
    "document_members": "a table",
    "document_without": "a list of texts",
    "maintenance": "a list of tables",
    "role_document": "a table, or false",
    "role_list": "a text, or false",
    "keys": "a table of access_key_id, secret_access_key and session_token, or false",
    "profile": _ONE_OF + ", ".join(map(repr, get_args(Profile))),
    "spot": _ONE_OF + ", ".join(map(repr, get_args(SpotAction))),
    FAULTS: "a list of faults",
    **dict.fromkeys(ACTS, "true"),
}
"""What a value must be; ``_checked`` decides by these texts."""
NAMES = tuple(_FORMS)
_WITH_MEMBERS = ("a table of texts", "a table")
_KEYS = {"access_key_id", "secret_access_key", "session_token"}


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
    """The changes that a table asks for.

    Raises:
        PortError: ``BadSetting``, with everything that is wrong, and where.
    """
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
    """``NAME=VALUE`` words as a table for ``changes_from``; ``-`` in a name is ``_``.

    Raises:
        PortError: ``BadSetting``; a word without ``=``, or a value that cannot be read.
    """
    table: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        base, dot, member = name.partition(".")
        name = base.replace("-", "_") + dot + member
        try:
            if not equals:
                raise ValueError(f"{text!r} is not NAME=VALUE")
            table[name] = _read(name, value)
        except ValueError as error:
            raise bad_setting([f"{where}: {error}"]) from error
    return table


def bad_setting(problems: list[str]) -> PortError:
    """All problems as one error."""
    return PortError("BadSetting", "\n".join(problems), f"settings are {', '.join(NAMES)}")


def unknown(name: str, known: tuple[str, ...]) -> ValueError:
    """An unknown name, with the one that may have been meant."""
    near = difflib.get_close_matches(name, known, 1)
    return ValueError(f"{name}: unknown" + (f"; did you mean {near[0]}?" if near else ""))


def _value(name: str, value: Any) -> object:
    base, dot, member = name.partition(".")
    form = _FORMS.get(base)
    if form is None or (dot and not (member and form in _WITH_MEMBERS)):
        raise unknown(name, NAMES)
    if dot and form == "a table of texts":
        form = "a text"
    elif dot:
        return value
    if form.endswith(", or false") and value is False:
        return None
    found = _checked(form.removesuffix(", or false"), value)
    if found is None:
        raise ValueError(f"{name}: {_shown(name, value)} is not {form}")
    return found


def _checked(form: str, value: Any) -> object | None:
    """The value as the facts hold it; None where it has not this form."""
    match form:
        case "a text":
            return value if isinstance(value, str) else None
        case "a number" | "a number from 0":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            is_good = is_number and math.isfinite(value) and (form == "a number" or value >= 0)
            return float(value) if is_good else None
        case "true or false":
            return value if isinstance(value, bool) else None
        case "true":
            return True if value is True else None
        case "a table":
            return value if isinstance(value, dict) else None
        case _:
            return _composed(form, value)


def _composed(form: str, value: Any) -> object | None:
    match form:
        case "a table of texts":
            return value if _is_all(str, value, dict) else None
        case "a list of texts":
            return value if _is_all(str, value, list) else None
        case "a list of tables":
            return value if _is_all(dict, value, list) else None
        case "a list of faults":
            is_good = _is_all(str, value, list)
            return tuple(fault_from(text).text for text in value) if is_good else None
        case _ if form.startswith("a table of access_key_id"):
            is_good = _is_all(str, value, dict) and set(value) == _KEYS
            return Keys(**value) if is_good else None
        case _:
            words = form.removeprefix(_ONE_OF).split(", ")
            return value if isinstance(value, str) and repr(value) in words else None


def _is_all(kind: type, value: Any, container: type) -> bool:
    if not isinstance(value, container):
        return False
    each: Any = value.values() if isinstance(value, dict) else value
    return all(isinstance(one, kind) for one in each)


def _shown(name: str, value: object) -> str:
    """A value in a message; never keys, or a document that may have some."""
    return "this" if name in ("keys", "role_document") else repr(value)


def _read(name: str, text: str) -> object:
    """A word's value; what is no text is JSON."""
    base, dot, _ = name.partition(".")
    form = _FORMS.get(base)
    if form is None:
        raise unknown(name, NAMES)
    if dot or form.startswith(("a text", _ONE_OF)):
        return False if text == "false" and form.endswith("or false") and not dot else text
    if form == "a list of faults" and not text.startswith("["):
        return [one.strip() for one in text.split(",") if one.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: {_shown(base, text)} is not {form}") from error
