"""Heartbeats: what an instance says of itself, in one small object.

It is one JSON object with spaces behind it, so many that its size modulo 16 is the number of its
state: whoever lists the bucket knows the state without reading. ``docs/fleet.md`` has the members,
which are a contract; the names of the fields below are the names in the JSON.

Anybody who may write there may have written one, so nothing of it is trusted: what does not keep
the form is no heartbeat.
"""

import json
import re
from collections.abc import Callable
from dataclasses import Field, asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NewType

from shipper.core.object_keys import fact
from shipper.core.types import ObjectKey

SCHEMA = 1
DIRECTORY = "_fleet/"
MOST_BYTES = 16 * 1024
MOST_ROWS = 50
"""Of a list, as it is written: the rest is counted."""
LONGEST_TEXT = 200
LONGEST_NAME = 128
HourText = NewType("HourText", str)
"""``YYYY-MM-DDTHH``, UTC."""
_LAST = 253_402_300_799.0
"""The end of the year 9999."""
_SIZE_STEP = 16
_MOST_NUMBER = 2**63
_KEY = re.compile(
    r"(hour=(?P<hour>\d{4}-\d\d-\d\dT\d\d)/)?instance=(?P<instance>[^/]+)/heartbeat(?P<more>-\d{4})?"
    r"\.json",
    re.ASCII,
)
_CODE = re.compile(r"(?:^|: )([A-Z][A-Za-z0-9]{2,63})(?=: | \(|$)")


class State(StrEnum):
    """In a word. The order gives each its number, which sizes tell: only append to it."""

    WELL = "well"
    IMPERFECT = "imperfect"
    """It works, and there is something to look at."""
    ILL = "ill"
    """It needs somebody."""
    DRAINING = "draining"
    STOPPED = "stopped"
    ENDED = "ended"
    """The machine ends for good, and everything was shipped."""
    STARTING = "starting"
    """The first scan is not over."""


_STATES = (*State,)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why it is not well. Empty ``code``: there is none."""

    code: str
    text: str


SHUT_DOWN = Reason("ShutDown", "the machine was shut down, and everything was shipped")
"""Why it has stopped: it may come back, or not."""


@dataclass(frozen=True, slots=True)
class WatchCounts:
    """Files of a watch. ``waiting`` are rotated and not sealed, ``unshipped`` promised and not in
    S3, ``gone`` lost and not acknowledged. Seconds are 0 where there is nothing."""

    name: str
    live: int = 0
    waiting: int = 0
    unshipped: int = 0
    unshipped_bytes: int = 0
    parked: int = 0
    refused: int = 0
    gone: int = 0
    left_alone: int = 0
    oldest_unshipped_seconds: float = 0.0
    """The age of the oldest byte that is not in S3, live files included."""
    overdue_seconds: float = 0.0
    """For how long a log is overdue by ``expect_every``."""

    @property
    def badness(self) -> tuple[float, ...]:
        """The worst come first, and are left out last."""
        bad = self.gone + self.parked + self.refused
        return (-self.overdue_seconds, -bad, -self.oldest_unshipped_seconds)


@dataclass(frozen=True, slots=True)
class DestinationWord:
    """``gate`` is ``open``, or the code for which nothing is sent. ``manifest`` is the number of
    the last one, 0 without any, with the SHA-256 of the object, its epoch, and the address as
    manifests have it."""

    name: str
    gate: str
    credentials: str
    """The state of the credentials in a word."""
    credentials_expire_at: str
    manifest: int = 0
    manifest_sha256: str = ""
    epoch: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class DiskWord:
    """A file system that watches are on."""

    directory: str
    free_bytes: int
    used_ratio: float


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Times are UTC in ISO 8601 with milliseconds and a ``Z``."""

    schema: int
    instance: str
    at: str
    state: str
    version: str
    configuration: str
    """SHA-256 (hex) of the configuration."""
    interval_seconds: float
    next_due_at: str
    reasons: tuple[Reason, ...] = ()
    reasons_left_out: int = 0
    watches: tuple[WatchCounts, ...] = ()
    watches_left_out: int = 0
    overdue: int = 0
    """Watches of which a log is overdue, those left out as well."""
    oldest_unshipped_seconds: float = 0.0
    """Of all watches."""
    destinations: tuple[DestinationWord, ...] = ()
    destinations_left_out: int = 0
    disks: tuple[DiskWord, ...] = ()
    disks_left_out: int = 0


_LISTS: dict[str, type[Any]] = {
    "reasons": Reason,
    "watches": WatchCounts,
    "destinations": DestinationWord,
    "disks": DiskWord,
}


class NoHeartbeat(Exception):
    """It cannot be read as a heartbeat; the text says why."""


def state_of(*, is_known: bool, is_draining: bool, ailments: bool, imperfections: bool) -> State:
    """The word for a daemon that runs; ``is_known`` once a scan has told what there is."""
    if is_draining:
        return State.DRAINING
    if ailments:
        return State.ILL
    if not is_known:
        return State.STARTING
    return State.IMPERFECT if imperfections else State.WELL


def last_word(
    look: Heartbeat, *, has_drained: bool = False, is_final: bool = False, died: str = ""
) -> Heartbeat:
    """What a daemon says that stops, and looks so: ``has_drained`` for the machine goes down, and
    ``is_final`` where that does not come back; ``died`` is the loop that met a bug."""
    if died:
        why = Reason("LoopDied", f"the loop {died} met a bug, which ended the daemon")
        return replace(look, state=State.ILL.value, reasons=(why, *look.reasons))
    is_all = has_drained and look.state in (State.WELL, State.IMPERFECT)
    if is_all and is_final:
        return replace(look, state=State.ENDED.value)
    reasons = (SHUT_DOWN, *look.reasons) if is_all else look.reasons
    return replace(look, state=State.STOPPED.value, reasons=reasons)


def millisecond(at: float) -> str:
    """A wall-clock instant as the JSON has it."""
    return (
        datetime.fromtimestamp(min(max(at, 0.0), _LAST), UTC).isoformat(timespec="milliseconds")[
            :23
        ]
        + "Z"
    )


def reason_from(text: str) -> Reason:
    """An ailment as the status says it, without its hint."""
    found = _CODE.search(text)
    return Reason(found[1] if found else "", _cut(text, LONGEST_TEXT))


def encoded(heartbeat: Heartbeat) -> bytes:
    """The object: at most ``MOST_BYTES``, however much there is to say."""
    number, rows = _STATES.index(State(heartbeat.state)), MOST_ROWS
    body = _json_of(_fitted(heartbeat, rows))
    while len(body) > MOST_BYTES - _SIZE_STEP:
        rows = rows // 2
        body = _json_of(_fitted(heartbeat, rows))
    return body + b" " * ((number - len(body)) % _SIZE_STEP)


def _json_of(heartbeat: Heartbeat) -> bytes:
    return json.dumps(asdict(heartbeat), separators=(",", ":"), allow_nan=False).encode()


def _fitted(heartbeat: Heartbeat, rows: int) -> Heartbeat:
    """At most so many of each list, with names and texts of bounded length."""
    lists: dict[str, Any] = {}
    for name in _LISTS:
        every = getattr(heartbeat, name)
        if name == "watches":
            every = sorted(every, key=lambda one: one.badness)
        lists[name] = tuple(map(_short, every[:rows]))
        left_out = f"{name}_left_out"
        lists[left_out] = getattr(heartbeat, left_out) + len(every) - len(lists[name])
    short: Heartbeat = _short(heartbeat)
    return replace(short, **lists)


def _short(row: Any) -> Any:
    texts = {one.name: getattr(row, one.name) for one in fields(row) if one.type is str}
    longest = {"text": LONGEST_TEXT}
    cut = {name: _cut(text, longest.get(name, LONGEST_NAME)) for name, text in texts.items()}
    return replace(row, **cut)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def state_from_size(size_bytes: int) -> State | None:
    """The state that an object of this size tells; None where it is none of a heartbeat."""
    number = size_bytes % _SIZE_STEP
    is_one = 0 < size_bytes <= MOST_BYTES and number < len(_STATES)
    return _STATES[number] if is_one else None


def decoded(body: bytes) -> Heartbeat:
    """What the object says; members that this shipper does not know are left out.

    Raises:
        NoHeartbeat: it is too long, no JSON, of a schema that is too new, misses a member, has
            one of another type, or its size tells another state.
    """
    if len(body) > MOST_BYTES:
        raise NoHeartbeat(f"it has {len(body)} bytes, and at most {MOST_BYTES} make one")
    try:
        members = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoHeartbeat(f"it is not JSON: {error}") from error
    if not isinstance(members, dict):
        raise NoHeartbeat("it is no JSON object")
    schema = members.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise NoHeartbeat(f"its schema is {schema}; this shipper knows {SCHEMA}")
    found: Heartbeat = _row_from(Heartbeat, members)
    if found.state != state_from_size(len(body)):
        raise NoHeartbeat(f"its size is not one of the state {found.state!r}")
    return found


def _row_from(kind: type[Any], members: Any) -> Any:
    if not isinstance(members, dict):
        raise NoHeartbeat(f"{members!r} is no JSON object")
    return kind(**{one.name: _value_of(one, members.get(one.name)) for one in fields(kind)})


def _value_of(one: Field[Any], value: Any) -> Any:
    if one.name in _LISTS and type(value) is list:
        return tuple(_row_from(_LISTS[one.name], each) for each in value)
    if one.name in _LISTS or not _IS_GOOD[one.type](value):
        raise NoHeartbeat(f"{one.name} is {value!r}")
    return float(value) if one.type is float else value


_IS_GOOD: dict[Any, Callable[[Any], bool]] = {
    str: lambda value: type(value) is str,
    int: lambda value: type(value) is int and 0 <= value < _MOST_NUMBER,
    float: lambda value: type(value) in (int, float) and 0 <= value < _MOST_NUMBER,
}


@dataclass(frozen=True, slots=True)
class HeartbeatName:
    """Whose it is, as the key writes it (``fact``), and of which hour where there is one each."""

    instance: str
    hour: HourText = HourText("")


def name_from_key(prefix: str, key: str) -> HeartbeatName | None:
    """The heartbeat that a key below this prefix names; None where it is no heartbeat's."""
    top = prefix + DIRECTORY
    found = _KEY.fullmatch(key, len(top)) if key.startswith(top) else None
    if found is None or (found["more"] and not found["hour"]):
        return None
    return HeartbeatName(found["instance"], HourText(found["hour"] or ""))


def overwritten_key(prefix: str, instance_id: str) -> ObjectKey:
    """The one key of an instance."""
    return ObjectKey(f"{prefix}{DIRECTORY}instance={fact(instance_id)}/heartbeat.json")


def hourly_key(prefix: str, instance_id: str, at: str, *, is_another: bool) -> ObjectKey:
    """A key that is written once, where nothing may be overwritten.

    ``at`` begins with ``YYYY-MM-DDTHH:MM:SS``; ``is_another`` says that the hour has one.
    """
    hour, more = at[:13], f"-{at[14:16]}{at[17:19]}" if is_another else ""
    directory = f"{prefix}{DIRECTORY}hour={hour}/instance={fact(instance_id)}/"
    return ObjectKey(f"{directory}heartbeat{more}.json")
