"""How people are shown a shipment, a candidate and a failure: JSON fields, and lines of text.

Every report takes them from here, so that one thing is called and written the same everywhere.
"""

import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shipper.core.destinations import shown
from shipper.core.failures import hint_for, is_refusal
from shipper.core.left_alone import LeftAlone
from shipper.core.live_segments import DOLLARS_PER_REQUEST, requests_a_month
from shipper.core.object_keys import printable
from shipper.core.types import Shipment, Watch, WatchName
from shipper.runtime.services import Services
from shipper.services.finding.candidate import Candidate, Decision

OLD = Decision.OLD.value
CODES_TOLD = 100
SHOWN_SKEW_SECONDS = 60.0
_LAST = 253_402_300_799.0
"""The end of the year 9999."""


def instant(at: float | None) -> str | None:
    """A wall-clock instant in UTC, to the second; the nearest one that a calendar has."""
    if at is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(max(at, 0.0), _LAST)))


def shipment_row(shipment: Shipment) -> dict[str, Any]:
    """What every report says of a shipment."""
    return {
        "id": shipment.id,
        "path": printable(shipment.path),
        "destination": shown(shipment.destination),
        "key": shipment.key,
        "state": shipment.state.value,
        "attempts": shipment.attempts,
        "due_at": instant(shipment.due_at),
        "code": shipment.code,
        "detail": shipment.detail,
        "hint": hint_for(shipment.code, shipment.detail),
    }


def candidate_row(candidate: Candidate) -> dict[str, Any]:
    """A candidate with its key, or with the reason why it has none."""
    known, problem, hint = candidate.known, "", ""
    if candidate.problem is not None:
        problem, hint = str(candidate.problem), candidate.problem.hint
    elif candidate.decision is Decision.PARKED and known is not None:
        problem = failure(known.code, known.detail)
        hint = hint_for(known.code, known.detail)
    row = candidate.promise or known
    key = str(row.key) if row is not None else None
    if candidate.decision is Decision.DUPLICATE and known is not None:
        key = known.detail  # of the log it is a copy of
    return {
        "watch": candidate.watch.name,
        "path": printable(candidate.path),
        "decision": candidate.decision.value,
        "because": candidate.because,
        "destination": shown(candidate.watch.destination),
        "key": key,
        "problem": problem,
        "hint": hint,
    }


def left_alone_row(found: LeftAlone) -> dict[str, Any]:
    """What a watch leaves alone."""
    return {
        "files": found.files,
        "older": found.older,
        "looks_rotated": found.rotated,
        "such_as": [printable(path) for path in found.names],
        "links": found.links,
        "links_such_as": [printable(path) for path in found.links_named],
    }


def left_alone_lines(watches: Mapping[Any, Mapping[str, Any]]) -> list[str]:
    """What each watch leaves alone, a line for files and one for links.

    A daemon that was not restarted since an upgrade may not tell all of it.
    """
    files = [
        f"left alone: {watch}: {row['files']} files match nothing, "
        f"{row['looks_rotated']} of them look rotated; such as {', '.join(row['such_as'])}"
        for watch, row in watches.items()
        if row["files"]
    ]
    files += [
        f"left alone: {watch}: {row['older']} files are older than ignore_older"
        for watch, row in watches.items()
        if row.get("older")
    ]
    return files + [
        f"left alone: {watch}: {row['links']} symbolic links to directories, which no scan "
        f"follows; such as {', '.join(row['links_such_as'])}"
        for watch, row in watches.items()
        if row.get("links")
    ]


def live_row(watch: Watch, logs: int) -> dict[str, Any]:
    """What the segments of the watch's live logs, as many as there are now, cost a month."""
    requests = logs * requests_a_month(watch)
    return {
        "logs": logs,
        "requests_a_month": requests,
        "dollars_a_month": round(requests * DOLLARS_PER_REQUEST, 2),
        "live_bytes": watch.live_bytes,
    }


def live_lines(watches: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The same, in a line for each watch."""
    lines = []
    for watch, row in watches.items():
        price = f"about {row['dollars_a_month']:.2f} USD at S3 Standard's list price"
        most = f"; at most {row['requests_a_month']:,} requests in 30 days, {price}"
        each = f"; one for every {row['live_bytes']:,} bytes, at most every 30 s"
        most, each = most * bool(row["requests_a_month"]), each * bool(row["live_bytes"])
        lines.append(f"live: {watch}: {row['logs']} logs go in segments{most}{each}")
    return lines


def matching_lines(watches: Mapping[Any, Mapping[str, Any]]) -> list[str]:
    """How many directories each pattern matches."""
    return [
        f"matching: {watch}: {row['count']} directories match {row['directory']}"
        for watch, row in watches.items()
    ]


def skew_line(seconds: float) -> str:
    """What is wrong with the clock, which is so far behind AWS's; empty where it is little."""
    if abs(seconds) < SHOWN_SKEW_SECONDS:
        return ""
    side = "behind" if seconds > 0 else "ahead of"
    why = f"this machine's clock is {abs(seconds):.0f} seconds {side} AWS's"
    return f"{why}; requests are signed with AWS's"


def waited_seconds(shipment: Shipment | None, now: float) -> float:
    """How long ago it was promised; 0 where there is none, and where the clock was set back."""
    return 0.0 if shipment is None else max(0.0, now - shipment.promised_at)


def unshipped_ages(services: Services) -> dict[WatchName, float]:
    """How many seconds ago the oldest byte of each watch may have been written that S3 lacks."""
    now = services.clock.now()
    since = (
        services.journal.figures.unsent_since(),
        services.discovery.waiting_since,
        services.termination.live.logs.oldest_at,
    )
    return {
        watch.name: max(0.0, now - min(each.get(watch.name, now) for each in since))
        for watch in services.configuration.watches
    }


def failure(code: str, detail: str, hint: str = "") -> str:
    """A failure in one line."""
    said = plain(": ".join(" ".join(word.split()) for word in (code, detail) if word))
    return f"{said}{HINT}{hint})" if hint else said


HINT = " (hint: "
"""Behind it stands what we advise, so no name of a file and no answer of S3 may have it."""


def plain(text: str) -> str:
    """A text of others, without what begins a hint."""
    return text.replace(HINT, " (hint; ")


def named(path: bytes) -> str:
    """A file's name in a line that may have a hint."""
    return plain(printable(path))


def explained(line: str) -> tuple[str, str]:
    """What a line says, and its hint, which may be empty."""
    what, _, hint = line.partition(HINT)
    return what, hint.removesuffix(")")


def failure_lines(row: Mapping[str, Any]) -> list[str]:
    """What went wrong with the row, and its hint: no line, one, or two."""
    hint = f"hint: {row['hint']}" if row["hint"] else ""
    return [line for line in (failure(row["code"], row["detail"]), hint) if line]


def refused_by_s3(services: Services) -> Counter[tuple[WatchName, str]]:
    """How many files wait because S3 refuses them or their like, by watch and code.

    The journal tells them, so that those are counted that were never tried themselves, or that a
    process before this one tried.
    """
    gates = (one.gate for one in services.destinations)
    told = {one.code for gate in gates for _, one in gate.standing()[:CODES_TOLD]}
    return Counter(
        {
            (watch, code): files
            for (code, watch), files in services.journal.figures.failed_files().items()
            if code in told or is_refusal(code)
        }
    )


def refused_files(services: Services) -> dict[tuple[WatchName, str], int]:
    """How many files should be in S3 and are not, by watch and code."""
    found = {key: one.files for key, one in services.discovery.refusals.items()}
    return found | refused_by_s3(services)


def time_left(until: str, now: str) -> str:
    """How long it is from ``now`` until then; both are instants as ``instant`` writes them."""
    seconds = (datetime.fromisoformat(until) - datetime.fromisoformat(now)).total_seconds()
    return f"{age(seconds)} left" if seconds > 0 else f"expired {age(-seconds)} ago"


def size(amount: float) -> str:
    """Bytes with three digits and a unit."""
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1024
        units.pop(0)
    digits = 0 if units[0] == "B" or amount >= 99.95 else 1
    return f"{amount:,.{digits}f} {units[0]}"


def age(seconds: float) -> str:
    """The two largest units of a duration: ``4d2h``, ``43s``."""
    left, said = round(seconds), list[str]()
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        said += [f"{count}{unit}"] if count else []
    return "".join(said[:2]) or "0s"
