"""``${NAME}`` and ``${NAME:-default}`` in the texts of a configuration.

They are replaced in what TOML has been read to, so that no value can become a key or a table. They
are replaced once: what a variable holds is not looked at again. An empty variable is an unset one,
as everywhere in shipper. ``$${`` stands for ``${``; a text without ``${`` is taken as it is.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

NO_PLACE = "there is no place for keys: the instance profile is the only identity"

_FOUND = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\})?")
_IS_SECRET = re.compile(
    r"(?i)access_?key|secret|token|passw|private_?key|api_?key|_pwd(?![a-z])"
    r"|(?<![a-z])(?:pass|passphrase|credentials?|auth|keys?)(?![a-z])"
)
"""``PWD`` alone is the shell's directory."""


class _NotReplacedError(Exception):
    """What is wrong with a text, and what would be right."""


def replaced(
    value: Any,
    place: str,
    environment: Mapping[str, str],
    report: Callable[[str, str, str], None],
) -> Any:
    """The value with every variable replaced in its texts, also those in lists and tables.

    A text in which that cannot be done stays as it is, and is reported as ``(key, what, right)``.
    """
    match value:
        case dict():
            below = f"{place}." if place else ""
            return {
                key: replaced(one, f"{below}{key}", environment, report)
                for key, one in value.items()
            }
        case list():
            return [
                replaced(one, _place_in_list(place, number, one), environment, report)
                for number, one in enumerate(value)
            ]
        case str():
            try:
                return _FOUND.sub(lambda found: _value_of(found, environment), value)
            except _NotReplacedError as error:
                what, right = error.args
                report(place, what, right)
                return value
        case _:
            return value


def _place_in_list(place: str, number: int, value: Any) -> str:
    return f"{place}[{number}]" if isinstance(value, dict) else place


def literal(value: Any) -> Any:
    """The value as a file has to say it: nothing in its texts is taken for a variable."""
    match value:
        case str():
            return value.replace("${", "$${")
        case list():
            return [literal(one) for one in value]
        case dict():
            return {key: literal(one) for key, one in value.items()}
        case _:
            return value


def names_in(text: str) -> list[str]:
    """The variables of a text."""
    return [found[1] for found in _FOUND.finditer(text) if found[1]]


def _value_of(found: re.Match[str], environment: Mapping[str, str]) -> str:
    name, default = found[1], found[2]
    if found[0] == "$${":
        return "${"
    if name is None or "${" in (default or ""):
        what = f"{found.string!r} is not a text with variables"
        raise _NotReplacedError(what, "${NAME} or ${NAME:-default}; $${ stands for ${")
    if _IS_SECRET.search(name):
        raise _NotReplacedError(f"${{{name}}} may hold a secret", NO_PLACE)
    value = environment.get(name, "")
    if not value and default is None:
        what = f"the environment has no {name}"
        raise _NotReplacedError(what, f"set it where shipper is started, or ${{{name}:-default}}")
    if not value.isascii() and any("\udc80" <= one <= "\udcff" for one in value):
        raise _NotReplacedError(f"{name} is not UTF-8", "TOML is UTF-8")
    return value or default.removeprefix(":-")
