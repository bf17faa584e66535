"""What happens to a mocked instance, and when: moments, as TOML or JSON.

    about = "the profile is detached, and another role attached a minute later"
    [[at]]
    seconds = 0
    lifetime_seconds = 20
    [[at]]
    seconds = 5
    profile = "detached"
    faults = ["PUT 503 x2", "GET /latest/meta-data/iam/ hang x1"]
    [[at]]
    seconds = 65
    profile = "attached"
    role = "other"

Seconds count from the start, or from the SIGHUP that the file was read again at. Settings
(``settings``) stay until a later moment changes them.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipper.mock.imds import MockImds
from shipper.mock.settings import Changes, bad_setting, changes_from, checked, unknown
from shipper.ports import PortError

_KNOWN = ("about", "at")


@dataclass(frozen=True, slots=True)
class Moment:
    seconds: float
    changes: Changes


@dataclass(frozen=True, slots=True)
class Scenario:
    """``moments`` in the order of time."""

    moments: tuple[Moment, ...]
    about: str = ""


class Player:
    """Plays a scenario to a service, each moment once."""

    def __init__(self, scenario: Scenario, service: MockImds) -> None:
        self._left = list(scenario.moments)
        self._service = service

    def advance(self, at_seconds: float) -> float | None:
        """Apply every moment up to this one; seconds until the next, None at the end."""
        while self._left and self._left[0].seconds <= at_seconds:
            moment = self._left.pop(0)
            moment.changes.apply(self._service)
            self._service.say(scenario_seconds=moment.seconds, changed=moment.changes.names)
        return self._left[0].seconds - at_seconds if self._left else None


def load(path: str) -> Scenario:
    """Read a scenario: JSON where the name ends in ``.json``, else TOML."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        document = json.loads(text) if path.endswith(".json") else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise PortError("BadSetting", f"{path}: {error}", "--scenario FILE") from error
    return scenario_from(document, path)


def scenario_from(document: Any, where: str) -> Scenario:
    """A scenario from a document; ``BadSetting`` has everything that is wrong, and ``where``."""
    if not isinstance(document, Mapping):
        raise bad_setting([f"{where}: not a table"])
    problems = [f"{where}: {unknown(name, _KNOWN)}" for name in document if name not in _KNOWN]
    about, tables = document.get("about", ""), document.get("at", [])
    if not isinstance(about, str):
        problems.append(f"{where}: about: {about!r} is not a text")
    if not isinstance(tables, list) or not all(isinstance(one, Mapping) for one in tables):
        problems.append(f"{where}: at: not a list of tables; write [[at]]")
        tables = []
    moments = []
    for number, table in enumerate(tables, 1):
        try:
            moments.append(_moment(table, f"{where}: at {number}"))
        except PortError as error:
            problems.append(error.detail)
    if problems:
        raise bad_setting(problems)
    return Scenario(tuple(sorted(moments, key=lambda moment: moment.seconds)), about)


def _moment(table: Mapping[str, Any], where: str) -> Moment:
    problems, seconds = [], 0.0
    try:
        seconds = float(checked("a number from 0 to 1e9", "seconds", table.get("seconds")))
    except ValueError as error:
        problems.append(f"{where}: {error}")
    try:
        changes = changes_from({key: table[key] for key in table if key != "seconds"}, where)
    except PortError as error:
        raise bad_setting([*problems, error.detail]) from error
    if problems:
        raise bad_setting(problems)
    return Moment(seconds, changes)
