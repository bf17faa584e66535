"""What a key says: a key template as a parser of keys, and as the prefixes to list.

A template's fields are matched twice, as long and as short as they can be. Where the two differ,
the template cannot be read backwards, and the key tells nothing. A field whose values hold what
follows it (``{watch}-{instance_id}`` with a dash in both) is such a case.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from string import Formatter
from urllib.parse import unquote_to_bytes

from shipper.core.object_keys import TAG, fact, printable, tidy
from shipper.core.rotated_names import COMPRESSED_EXTENSIONS

_DIRECTIVES = {
    "Y": r"\d{1,4}",
    **dict.fromkeys("mdHMSy", r"\d\d"),
    "j": r"\d{3}",
    "%": "%",
}
_TOLD = "YmdHMS"
"""The directives that tell a time; of the others only the form is known, or nothing."""
_LENGTHS = (0, 366 * 86_400, 31 * 86_400, 86_400, 3600, 60, 1)
"""Seconds, by how many of these are told."""
_PLAIN_TIME = "%Y-%m-%d %H:%M:%S+00:00"
"""As ``{mtime}`` without a format is written."""
_ENDS = sorted({one.decode() for one in COMPRESSED_EXTENSIONS}, key=len, reverse=True)
_COMPONENT = "[^/]*{more}"
_FIELDS = {
    "watch": "[^/]+{more}",
    "instance_id": _COMPONENT,
    "account_id": _COMPONENT,
    "region": _COMPONENT,
    "availability_zone": _COMPONENT,
    "hostname": _COMPONENT,
    "tag": _COMPONENT,
    "directory": "(?s:.*{more})",
    "stem": "[^/]+{more}",
    "digest": "[0-9a-f]{{12}}",
    "segment": r"(?:\.at[0-9]+)?",
    "extension": f"(?:{'|'.join(map(re.escape, _ENDS))})?",
}
_COMPONENTS = frozenset(name for name, form in _FIELDS.items() if form.startswith("[^/]")) - {
    "stem"
}
_DAY = re.compile(r"(?:[^%]|%[Ymd%])*%[Ymd](?:[^%]|%[Ymd%])*")
"""Formats of a day, or a month or a year."""
_IN_ORDER = re.compile(r"[^%]*%Y(?:[^%]*%m(?:[^%]*%d)?)?[^%]*")
"""Those of them whose texts come in the order of time."""
_DAY_SECONDS = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_DAYS = 62
"""More days than these are found by listing them, not by trying each."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What a key says of its object; empty or None where the template does not have it.

    The file was last written at ``since_at`` or later, and before ``until_at``.
    """

    watch: str
    instance: str
    directory: bytes
    stem: bytes
    since_at: float | None
    until_at: float | None
    raw_start: int | None
    extension: str


class KeyParser:
    """Of one template and prefix. ``{tag:NAME}`` in either stands for any one component."""

    def __init__(self, template: str, prefix: str) -> None:
        self._pieces = list(_pieces(template, prefix))
        self._longest = re.compile(self._pattern(""))
        self._shortest = re.compile(self._pattern("?"))
        self.literal_length = sum(len(text) for text, field, _ in self._pieces if not field)

    def parsed(self, key: str) -> StoredKey | None:
        """What the key says; None where it is not of this template, or may be read in two ways."""
        for candidate in (key, _without_count(key)):
            found = self._parsed(candidate.replace("%2E%2E", ".."))
            if found is not None:
                return found
        return None

    def _parsed(self, key: str) -> StoredKey | None:
        match = self._longest.fullmatch(key) or self._longest.fullmatch(f"/{key}")
        if match is None:
            return None
        other = self._shortest.fullmatch(match.string)
        if other is None or other.groups() != match.groups():
            return None
        said = {name: text or "" for name, text in match.groupdict().items()}
        times = {name[-1]: int(text) for name, text in said.items() if name.startswith("time_")}
        try:
            since_at, until_at = _period(times)
        except (ValueError, OverflowError):
            return None
        segment = said.get("segment")
        return StoredKey(
            watch=_text(said.get("watch", "")),
            instance=_text(said.get("instance_id", "")),
            directory=unquote_to_bytes(said.get("directory", "")),
            stem=unquote_to_bytes(said.get("stem", "")),
            since_at=since_at,
            until_at=until_at,
            raw_start=None if segment is None else int(segment[3:] or 0),
            extension=said.get("extension", ""),
        )

    def _pattern(self, more: str) -> str:
        known, pattern = set[str](), ""
        for text, field, spec in self._pieces:
            if field == "mtime":
                pattern += _time_pattern(spec or _PLAIN_TIME, known)
            elif not field:
                pattern += re.escape(text)
            elif field in known:
                pattern += f"(?P={field})"
            elif field == "tag":
                pattern += _FIELDS[field].format(more=more)
            else:
                known.add(field)
                pattern += f"(?P<{field}>{_FIELDS[field].format(more=more)})"
        return pattern

    def steps(
        self,
        *,
        watch: str = "",
        instance: str = "",
        since_at: float | None = None,
        until_at: float | None = None,
    ) -> list["Step"]:
        """How to come from the beginning of the keys to prefixes as narrow as can be.

        Of the files that were last written in this time (None: no bound).
        """
        name = printable(watch.encode("utf-8", "surrogateescape"))
        known = {"watch": tidy(name), "instance_id": tidy(fact(instance))}
        steps, formats = list[Step](), ""
        for at, (text, field, spec) in enumerate(self._pieces):
            following = self._pieces[at + 1][0] if at + 1 < len(self._pieces) else ""
            if not field:
                steps.append(Step((text,)))
            elif known.get(field):
                steps.append(Step((known[field],)))
            elif field == "mtime" and _DAY.fullmatch(spec):
                formats += spec
                steps.append(_days_step(spec, formats, since_at, until_at))
                if not steps[-1].texts and ("/" in spec or not following.startswith("/")):
                    return _joined(steps[:-1])
            elif following.startswith("/") and field in _COMPONENTS:
                steps.append(Step(()))
            else:
                break
        return _joined(steps)


@dataclass(frozen=True, slots=True)
class Step:
    """The next piece of a prefix: one of these texts; if there is none, whatever a listing of
    directories has there, from ``first`` to ``last``. What is below a period was written in it;
    periods come in the order of their texts."""

    texts: tuple[str, ...]
    is_period: bool = False
    first: str = ""
    last: str = ""

    def takes(self, text: str) -> bool:
        return self.first <= text and (not self.last or text <= self.last)


def _days_step(spec: str, formats: str, since_at: float | None, until_at: float | None) -> Step:
    """``formats`` are those up to here: by their texts, the prefixes come in the order of time."""
    days = days_between(since_at, until_at)
    is_period = _IN_ORDER.fullmatch(formats) is not None
    if days is not None:
        return Step(tuple(dict.fromkeys(format(day, spec) for day in days)), is_period)
    if not _IN_ORDER.fullmatch(spec):
        return Step((), is_period)
    first, last = (
        "" if at is None else format(datetime.fromtimestamp(at, UTC), spec)
        for at in (since_at, until_at)
    )
    return Step((), is_period, first, last)


def _joined(steps: Iterable[Step]) -> list[Step]:
    """With the texts that are sure in one."""
    joined = list[Step]()
    for step in steps:
        before = joined[-1] if joined else None
        if before and len(step.texts) == len(before.texts) == 1 and not step.is_period:
            joined[-1] = Step((before.texts[0] + step.texts[0],), before.is_period)
        else:
            joined.append(step)
    return joined


def days_between(since_at: float | None, until_at: float | None) -> list[datetime] | None:
    """The days (UTC) that the time touches; None where there are too many to try each."""
    if since_at is None or until_at is None:
        return None
    first, last = (int(at // _DAY_SECONDS) for at in (since_at, until_at))
    if last - first >= MOST_DAYS:
        return None
    return [_EPOCH + timedelta(days=day) for day in range(first, last + 1)]


def _pieces(template: str, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Text, or field and format, in turn; the prefix and the tags in it as pieces of their own."""
    for text, field, spec, _ in Formatter().parse(template):
        if text:
            yield text, "", ""
        if field == "prefix":
            at = 0
            for tag in TAG.finditer(prefix):
                yield prefix[at : tag.start()], "", ""
                yield "", "tag", ""
                at = tag.end()
            yield prefix[at:], "", ""
        elif field is not None:
            yield "", field, spec or ""


def _time_pattern(spec: str, known: set[str]) -> str:
    pattern, at = "", 0
    while at < len(spec):
        if spec[at] != "%" or at + 1 == len(spec):
            pattern += re.escape(spec[at])
            at += 1
            continue
        directive = spec[at + 1]
        form, name = _DIRECTIVES.get(directive, "[^/]*?"), f"time_{directive}"
        if directive not in _TOLD:
            pattern += form
        elif name in known:
            pattern += f"(?P={name})"
        else:
            known.add(name)
            pattern += f"(?P<{name}>{form})"
        at += 2
    return pattern


def _period(times: dict[str, int]) -> tuple[float | None, float | None]:
    """From when to when it was, as exactly as the directives tell."""
    told = [times[one] for one in _TOLD if one in times]
    if not told or any(one not in times for one in _TOLD[: len(told)]):
        return None, None
    year, month, day, hour, minute, second = told + [1, 1, 1, 0, 0, 0][len(told) :]
    at = datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    return at, at + _LENGTHS[len(told)]


def _without_count(key: str) -> str:
    """The key that ``object_keys.another_key`` made this one of, if it did."""
    directory, slash, name = key.rpartition("/")
    body, dot, extension = name.rpartition(".")
    stem, _, count = body.rpartition(".")
    if count.isdecimal() and len(count) < 4 and stem:
        return f"{directory}{slash}{stem}{dot}{extension}"
    return key.removesuffix(f".{extension}") if extension.isdecimal() else key


def _text(component: str) -> str:
    return unquote_to_bytes(component).decode("utf-8", "surrogateescape")
