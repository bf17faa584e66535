"""Scenarios of a metadata service as they are written in ``tests/scenarios/*.toml``.

A scenario is data: ``about``; ``[start]`` and ``[[at]]`` tables with the settings of
``shipper.mock.settings`` and the runner's own acts (``Act``); ``[client]``; ``[[expect]]`` tables
(``Expectation``); ``[limits]`` for the whole run (``Limits``).
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What happens to the machine rather than to the service; seconds."""

    refresh_now: bool = False
    """S3 refused the credentials."""
    kick_every: float | None = None
    """It does so again and again; 0 ends it."""
    suspend: float = 0.0
    set_wall: float = 0.0
    """How far the machine's clock is put forward; it may be backward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What must be so at a time; ``changed`` to ``log`` are about the time since the last one."""

    seconds: float
    state: str | None = None
    code: str | None = None
    role: str | None = None
    account: str | None = None
    detail: str | None = None
    hint: str | None = None
    """As ``detail`` and ``raises``: a part of the text."""
    skew_seconds: float | None = None
    generation: int | None = None
    lends: bool | None = None
    raises: str | None = None
    changed: bool | None = None
    """Is the access key another one?"""
    requests: int | None = None
    """At most."""
    asked: list[str] | None = None
    """Every request, in order."""
    told: list[str] | None = None
    """Every ``credentials.changed``, as "state code"."""
    log: list[str] | None = None
    """Events that were logged, among others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What must be so all the time."""

    requests: int | None = None
    told: int | None = None
    is_never_without: bool = False
    """Once there were credentials, there always are."""
    unauthorized: int | None = None
    """Answers of 401, at most."""
    never_asked: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Options of the client."""

    profile_name: str = ""
    disabled: bool = False


ON_THE_WIRE = {"empty", "malformed", "truncated", "huge"}


@dataclass(frozen=True, slots=True)
class Script:
    """A scenario that was read."""

    about: str
    settings: list[dict[str, Any]]
    acts: list[tuple[float, Act]]
    expectations: list[Expectation]
    client: Client
    limits: Limits

    @property
    def needs_connections(self) -> bool:
        """Does an answer go wrong in a way that only a real connection has?"""
        faults = [text for table in self.settings for text in table.get("faults", [])]
        return any(kind in text.split() for text in faults for kind in ON_THE_WIRE)


def script_from(document: Mapping[str, Any]) -> Script:
    """A scenario from TOML that was parsed.

    Raises:
        ValueError: a key is unknown, or a value is of the wrong kind.
    """
    unknown = set(document) - {"about", "start", "at", "expect", "client", "limits"}
    if unknown:
        raise ValueError(f"unknown: {sorted(unknown)}")
    names = {each.name for each in fields(Act)}
    settings, acts = [], []
    for table in [{"seconds": 0} | document.get("start", {}), *document.get("at", [])]:
        own = {name: table[name] for name in table if name in names}
        settings.append({name: table[name] for name in table if name not in names})
        acts.append((float(table["seconds"]), structured(Act, own)))
    expectations = [structured(Expectation, table) for table in document["expect"]]
    seconds = [each.seconds for each in expectations]
    if seconds != sorted(seconds) or max(at for at, _ in acts) > seconds[-1]:
        raise ValueError("expectations are not in order, or something happens after the last")
    return Script(
        document["about"],
        settings,
        sorted(acts, key=lambda one: one[0]),
        expectations,
        structured(Client, document.get("client", {})),
        structured(Limits, document.get("limits", {})),
    )


def structured(kind: Callable[..., T], table: Mapping[str, Any]) -> T:
    """A table as a dataclass, which has all its keys, and values of its types."""
    hints = get_type_hints(kind)
    for name, value in table.items():
        if name not in hints:
            raise ValueError(f"{name}: unknown; there are {sorted(hints)}")
        kinds = [get_origin(one) or one for one in get_args(hints[name]) or (hints[name],)]
        is_number = type(value) is int and float in kinds
        if type(value) not in kinds and not is_number and get_origin(hints[name]) is not list:
            raise ValueError(f"{name}: {value!r} is not {hints[name]}")
    return kind(**table)


def read(path: Path) -> Script:
    """A scenario of the directory."""
    return script_from(tomllib.loads(path.read_text(encoding="utf-8")))
