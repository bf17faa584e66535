"""Who of a fleet is late or ill, by what listings show of the heartbeats; and whose to read."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shipper.core.archived import ArchivedObject
from shipper.core.heartbeats import (
    SHUT_DOWN,
    Heartbeat,
    HourText,
    NoHeartbeat,
    State,
    millisecond,
    name_from_key,
    state_from_size,
)
from shipper.core.object_keys import fact

LATE_INTERVALS = 2
"""A heartbeat that is older than so many intervals is late: one may fail, and S3 has its time."""
NEEDY = frozenset({State.ILL, State.STOPPED})
NEVER = "never wrote"
UNREADABLE = "unreadable"
SKEW_SECONDS = 60.0
SHOWN_SECONDS = 86_400.0
"""For so long one that fell silent is named where each hour has keys of its own."""
LONGEST_INTERVAL_SECONDS = 7 * 86_400.0
"""What is said to come less often than any configuration allows is late after this."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest heartbeat of an instance, as a listing shows it."""

    instance: str
    object: ArchivedObject

    @property
    def state(self) -> State | None:
        return state_from_size(self.object.size_bytes)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an instance does. ``word`` is its last state's, ``UNREADABLE`` or ``NEVER``."""

    instance: str
    word: str
    is_late: bool = False
    modified_at: float | None = None
    heartbeat: Heartbeat | None = None
    """Where it was read."""
    problem: str = ""
    """Why it could not be."""
    is_over: bool = False
    """Everything was shipped, and the machine is no more, as far as is known."""

    @property
    def needs_somebody(self) -> bool:
        """A stopped one, too: nobody is shipping there, whoever stopped it."""
        return not self.is_over and (self.is_late or self.word in (*NEEDY, NEVER, UNREADABLE))


def newest(prefix: str, objects: Iterable[ArchivedObject]) -> tuple[dict[str, Seen], int]:
    """By instance; and how many other objects are there."""
    found: dict[str, Seen] = {}
    others = 0
    for each in objects:
        name = name_from_key(prefix, each.key)
        if name is None:
            others += 1
            continue
        before = found.get(name.instance)
        if before is None or _order(before.object) <= _order(each):
            found[name.instance] = Seen(name.instance, each)
    return found, others


def _order(one: ArchivedObject) -> tuple[float, str]:
    """S3 dates to the second; the hour's first key comes before those that name a second."""
    return one.modified_at, one.key.removesuffix(".json")


def is_late(
    seen: Seen, now: float, interval_seconds: float, *, is_expected: bool | None = None
) -> bool:
    """Whether it is older than it may be. One that has ended is not, unless it is expected."""
    age = now - seen.object.modified_at
    is_over = seen.state is State.ENDED and not is_expected
    return not is_over and age > LATE_INTERVALS * interval_seconds


def is_to_read(seen: Seen, *, late: bool, is_thorough: bool = False) -> bool:
    """Whether a listing does not tell enough. ``is_thorough`` asks for all but the well."""
    if seen.state is None:
        return False
    return late or seen.state in NEEDY or (is_thorough and seen.state is not State.WELL)


def standing_of(
    seen: Seen,
    now: float,
    interval_seconds: float,
    content: Heartbeat | NoHeartbeat | None = None,
    problem: str = "",
    *,
    is_expected: bool | None = None,
) -> Standing:
    """``content`` is what was read, where it was; ``problem`` says why it could not be asked for.
    ``is_expected`` is whether a list of those that run has it, None without such a list.

    One that says of itself that it writes less often is late later.
    """
    size, state = seen.object.size_bytes, seen.state
    if isinstance(content, Heartbeat) and content.instance != seen.instance:
        content = NoHeartbeat(f"it is a heartbeat of {content.instance}")
    if state is None:
        content = NoHeartbeat(f"no heartbeat has {size} bytes")
    if isinstance(content, Heartbeat):
        state = State(content.state)
        own_seconds = min(content.interval_seconds, LONGEST_INTERVAL_SECONDS)
        interval_seconds = max(interval_seconds, own_seconds)
    is_unreadable = isinstance(content, NoHeartbeat)
    is_over = _is_over(state, content, is_expected=is_expected)
    return Standing(
        instance=seen.instance,
        word=UNREADABLE if is_unreadable or state is None else state.value,
        is_late=not is_over and is_late(seen, now, interval_seconds, is_expected=is_expected),
        modified_at=seen.object.modified_at,
        heartbeat=content if isinstance(content, Heartbeat) else None,
        problem=str(content) if isinstance(content, NoHeartbeat) else problem,
        is_over=is_over,
    )


def _is_over(
    state: State | None, content: Heartbeat | NoHeartbeat | None, *, is_expected: bool | None
) -> bool:
    """Whether the machine is no more, and everything was shipped. Of one that was shut down, only
    the list of those that run tells the first."""
    if isinstance(content, NoHeartbeat) or is_expected:
        return False
    is_shut_down = content is not None and SHUT_DOWN in content.reasons
    return state is State.ENDED or (
        state is State.STOPPED and is_shut_down and is_expected is False
    )


def hours_after(now: float, interval_seconds: float) -> HourText:
    """The first hour of which heartbeats matter, where each hour has its own: what is older is
    late in any case, and is named for a day."""
    back = max(SHOWN_SECONDS, (LATE_INTERVALS + 1) * interval_seconds)
    return HourText(millisecond(now - back)[:13])


def absent(expected: Iterable[str], found: Mapping[str, Any]) -> Iterator[Standing]:
    """Those that never wrote."""
    for instance in expected:
        if fact(instance) not in found:
            yield Standing(fact(instance), NEVER)


def clock_now(local: float, seen: Iterable[Seen]) -> tuple[float, float]:
    """The time to judge by, and by how much the local clock is behind S3's: nothing that S3 has
    was written in the future."""
    latest = max((one.object.modified_at for one in seen), default=local)
    behind = max(0.0, latest - local)
    return local + behind, behind if behind > SKEW_SECONDS else 0.0


def instances_from(text: str) -> list[str]:
    """The ids in a list as people and ``aws ec2 describe-instances`` write one: JSON, or words.

    Raises:
        ValueError: it is JSON of something else, or names none; with what is wrong.
    """
    text = text.strip()
    if text[:1] in ("[", "{"):
        try:
            words = list(_texts_of(json.loads(text)))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"it is not JSON: {error}") from error
    else:
        words = [word.strip("\"'") for word in text.replace(",", " ").split()]
    named = dict.fromkeys(word for word in words if word not in ("", "None"))
    if not named:
        raise ValueError("it names no instance")
    return list(named)


def _texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts_of(each)
    elif value is not None:
        raise ValueError(f"{value!r} is no instance's id")
