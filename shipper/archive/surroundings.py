"""What stands just before and behind the part of logs that a time selects.

A log whose beginning was not asked for is given from there; one whose beginning is missing is an
error. What is in the bucket before that time tells which it is. So that a part is not taken for
the whole, what is behind that time is looked for, too: by keys alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from shipper.core.archived_logs import ArchivedLog, is_rotated, logs_of
from shipper.core.archived_segments import ArchivedSegment, Selection

_DAY = 86_400.0
LOOKED_BACK = (_DAY, 60 * _DAY)
"""Seconds, one after the other, while a beginning is not found."""
LOOKED_AHEAD = 2 * _DAY

Listed = Callable[[Selection], Iterable[ArchivedSegment]]
"""By their keys alone."""
Known = Callable[[Sequence[ArchivedSegment]], Iterable[ArchivedSegment]]
"""With all that is known of them."""


def selected_logs(
    segments: Sequence[ArchivedSegment], selection: Selection, listed: Listed, known: Known
) -> list[ArchivedLog]:
    """The logs of the selected segments, each from where it was asked for."""
    logs = logs_of(segments)
    if selection.since_at is not None and any(log.start for log in logs):
        logs = _with_beginnings(segments, selection, listed, known)
    if selection.until_at is not None and any(map(_may_go_on, logs)):
        behind = set(_behind(selection, listed))
        for log in logs:
            log.goes_on = _may_go_on(log) and (*_name(log.last), log.end) in behind
    return logs


def _with_beginnings(
    segments: Sequence[ArchivedSegment], selection: Selection, listed: Listed, known: Known
) -> list[ArchivedLog]:
    until_at, earlier = selection.since_at or 0.0, list[ArchivedSegment]()
    logs = logs_of(segments)
    for seconds in LOOKED_BACK:
        since_at = (selection.since_at or 0.0) - seconds
        late = {_name(log.first) for log in logs if log.start}
        window = replace(selection, name="", since_at=since_at, until_at=until_at)
        found = [one for one in listed(window) if _name(one) in late]
        earlier += known(found)
        logs = logs_of([*segments, *earlier])
        until_at = since_at
        if not any(log.start for log in logs):
            break
    asked_for = {one.label for one in segments}
    return [one for log in logs for one in _part(log, asked_for)]


def _part(log: ArchivedLog, asked_for: set[str]) -> Iterator[ArchivedLog]:
    own = [one for one in log.segments if one.label in asked_for]
    if own:
        start = own[0].raw_start or 0
        yield ArchivedLog(own, [gap for gap in log.gaps if gap[1] >= start])


def _behind(selection: Selection, listed: Listed) -> Iterator[tuple[str, str, bytes, int]]:
    since_at = selection.until_at or 0.0
    window = replace(selection, name="", since_at=since_at, until_at=since_at + LOOKED_AHEAD)
    for one in listed(window):
        if one.raw_start:
            yield *_name(one), one.raw_start


def _may_go_on(log: ArchivedLog) -> bool:
    """Whether it went in segments, or was live when it was shipped."""
    return bool(log.last.raw_start) or not is_rotated(log.last)


def _name(one: ArchivedSegment) -> tuple[str, str, bytes]:
    return one.instance, one.watch, one.stem
