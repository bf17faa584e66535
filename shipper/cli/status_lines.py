"""The status as ``shipper status`` shows it: nothing that JSON does not have. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from shipper.cli.layout import Line, Section, Tone, cut, fitted, paragraph, table
from shipper.reports.rows import (
    age,
    failure_lines,
    left_alone_lines,
    matching_lines,
    size,
    time_left,
)

Document = Mapping[str, Any]
METER_COLUMNS = 20
UNFINISHED = ("READY", "UPLOADING", "UPLOADED", "VERIFIED")
HEAD = ("watch", "shipped", "raw", "stored", "copies", "waiting", "size", "oldest")
TROUBLE = ("parked", "refused", "gone")
NOTHING_IN_FLIGHT: Document = {"files": 0, "raw_bytes": 0, "largest": []}
"""What a daemon that was not restarted since an upgrade may not tell is taken as nothing."""


def status_lines(
    document: Document, *, width: int | None, height: int | None = None, meter: str = "#-"
) -> list[Line]:
    """The whole status; ``width`` and ``height`` are None where lines and pages have no end.

    ``meter`` is what is done and what is left of a file in flight.
    """
    runs = document["running"]
    sections = [
        Section([], head=_head(document, width)),
        Section([_ailment(one, width) for one in document["ailments"]]),
        Section([_imperfection(one, width) for one in document.get("imperfections", [])]),
        Section([[line] for line in _watches(document, width)[1:]], _summary(document, width)),
        *([_in_flight(document, width, meter)] if runs else []),
        *(_shipments(title, document, width) for title in ("lost", "parked")),
        Section([_refused(one, width) for one in document.get("problems", [])]),
        _shipments("unfinished", document, width),
        Section([_remark(one, width) for one in _remarks(document)] if runs else []),
    ]
    return fitted(sections, width, height)


# The head.


def _head(document: Document, width: int | None) -> list[Line]:
    word, tone = _state(document)
    name = f"shipper {document['version']} on {document['instance_id'] or 'unknown instance'}: "
    running = f", running, pid {document['pid']}" if document["running"] else ""
    lines = paragraph(f"{word}{running}; {document['at'][11:]}", width, lead=name, tone=tone)
    if not document["running"]:
        return lines
    lines += _credentials(document, width)
    for each, one in _destinations(document).items():
        lines += _destination(each, one, width)
    for each, one in document["scan"]["unwatched"].items():
        lines += trouble(f"no events: {each}; scans do the work", one, width)
    for disk in document.get("disks", ()):
        early = ", what S3 has is removed early" if disk["removes_early"] else ""
        full = f"{100 * disk['used_ratio']:.1f} % full{early}"
        lines += paragraph(full, width, lead=f"disk of {disk['directory']}: ")
    lines += _heartbeat(document, width)
    for each, one in document.get("manifests", {}).items():
        lines += _manifest(each, one, width)
    drain = document["termination"]
    if drain["draining"]:
        left = f"draining, for {drain['reason']}: {drain['seconds_left']:.0f} s are left; "
        lines += paragraph("small and old files first, then live ones", width, lead=left)
    return lines


def _heartbeat(document: Document, width: int | None) -> list[Line]:
    one = document.get("heartbeat")
    if one is None:
        return []
    last = f"the last at {one['written_at']}" if one["written_at"] else "none yet"
    if one["code"]:
        return trouble(f"heartbeat: FAILED, {last}", one, width)
    often = ", hourly keys, for the bucket refuses to replace one" if one["hourly"] else ""
    return paragraph(last + often, width, lead="heartbeat: ")


def _state(document: Document) -> tuple[str, Tone]:
    if not document["running"]:
        return "NOT RUNNING", "bad"
    if document["termination"]["draining"]:
        return "DRAINING", "bad"
    return ("WELL", "good") if document["well"] else ("NOT WELL", "bad")


def _credentials(document: Document, width: int | None) -> list[Line]:
    credentials = document["credentials"]
    until = credentials["expires_at"]
    left = "" if until is None else f"{time_left(until, document['at'])}, until {until}"
    said = f"{credentials['state']}, role {credentials['role'] or '?'}, {left or 'until ?'}"
    if credentials["code"]:
        return trouble(f"credentials: {said}", credentials, width)
    return paragraph(said, width, lead="credentials: ")


def _destinations(document: Document) -> Mapping[str, Document]:
    found = document.get("destinations") or {"default": document}
    rate = {"rate": document.get("rate")} if len(found) == 1 else {}
    return {name: one | rate for name, one in found.items()}


def _destination(name: str, one: Document, width: int | None) -> list[Line]:
    gate, rate = one["gate"], one.get("rate")
    where = f"{one['bucket']}, " if "bucket" in one else ""
    if not gate["open"]:
        return trouble(f"destination {name}: {where}SHUT", gate, width)
    said = f"{where}open"
    if rate:
        files = rate["files_per_second"]
        speed = size(rate["sent_bytes_per_second"])
        said += f", {speed}/s and {files:,.3g} files/s, the mean of a minute at most"
    return paragraph(said, width, lead=f"destination {name}: ")


def _manifest(name: str, one: Document, width: int | None) -> list[Line]:
    said = f"manifest {one['number']} of epoch {one['epoch']}, until {one['until']}"
    said = said if one["number"] else f"none of epoch {one['epoch']} yet"
    rest = f"; the next at {one['next_at']}, with {one['pending_entries']:,} entries so far"
    lead = f"manifests for {name}: "
    if one["code"]:
        return trouble(f"{lead}{said}, and it is not written", one, width)
    return paragraph(said + rest, width, lead=lead)


def trouble(what: str, why: Document, width: int | None) -> list[Line]:
    """What is wrong, and why: the code, detail and hint of a failure."""
    return [*paragraph(what, width, tone="bad"), *_explained(why, width)]


def _explained(row: Document, width: int | None) -> list[Line]:
    return [
        line for said in failure_lines(row) for line in paragraph(f"    {said}", width, tone="dim")
    ]


def _ailment(said: str, width: int | None) -> list[Line]:
    return paragraph(said, width, lead="NOT WELL: ", lead_tone="bad")


def _imperfection(said: str, width: int | None) -> list[Line]:
    return paragraph(said, width, lead="imperfect: ")


# The watches.


def _summary(document: Document, width: int | None) -> list[Line]:
    files, raw_bytes = document["unshipped_files"], document["unshipped_bytes"]
    said = f"{files:,} files, {size(raw_bytes)}"
    if files:
        said += f", the oldest promised {age(document['oldest_unshipped_seconds'])} ago"
    return [*paragraph(said, width, lead="unshipped: "), *_watches(document, width)[:1]]


def _watches(document: Document, width: int | None) -> list[Line]:
    """The table's head, and a line for each watch."""
    names = sorted(document["watches"])
    return table([(*HEAD, *TROUBLE), *(_watch(name, document) for name in names)], width)


def _watch(name: str, document: Document) -> Sequence[str]:
    states = document["watches"][name]

    def total(what: str, *of: str) -> int:
        return sum(states[state][what] for state in of if state in states)

    shipped, waiting = ("UPLOADED", "VERIFIED", "DONE"), ("READY", "UPLOADING")
    ages, refused = document.get("unshipped_age_seconds", {}), document.get("refused", {})
    oldest, copies = ages.get(name), total("files", "DUPLICATE")
    done, files = total("files", *shipped), total("files", *waiting)
    trouble = (
        total("files", "PARKED"),
        sum(refused.get(name, {}).values()),
        total("files", "GONE"),
    )
    return (
        name,
        f"{done:,}",
        size(total("raw_bytes", *shipped)) if done else "",
        size(total("stored_bytes", *shipped)) if done else "",
        f"{copies:,}" if copies else "",
        f"{files:,}",
        size(total("raw_bytes", *waiting)) if files else "",
        age(oldest) if oldest else "",
        *(f"{each:,}" if each else "" for each in trouble),
    )


# Files.


def _in_flight(document: Document, width: int | None, meter: str) -> Section:
    flight = document.get("in_flight", NOTHING_IN_FLIGHT)
    largest, files = flight["largest"], flight["files"]
    head = paragraph(f"{files:,} files, {size(flight['raw_bytes'])}", width, lead="in flight: ")
    items = [[_meter(one, width, meter)] for one in largest]
    return Section(items, head if files else (), files - len(largest))


def _meter(one: Document, width: int | None, meter: str) -> Line:
    done = min(1.0, one["raw_bytes_done"] / max(1, one["raw_bytes"]))
    full = int(METER_COLUMNS * done)
    name = f"{one['watch']}/{one['path']}"
    numbers = f" {done:4.0%} {size(one['raw_bytes']):>9}  "
    room = len(name) if width is None else max(0, width - METER_COLUMNS - len(numbers) - 2)
    return (
        ("  " + meter[0] * full, "good"),
        (meter[1] * (METER_COLUMNS - full), "dim"),
        (f"{numbers}{cut(name, room)}", ""),
    )


def _shipments(title: str, document: Document, width: int | None) -> Section:
    flight = document.get("in_flight", NOTHING_IN_FLIGHT)
    flying = {one["id"] for one in flight["largest"]}
    rows = [row for row in document[title] if row["id"] not in flying]
    states = {"parked": ("PARKED",), "unfinished": UNFINISHED}.get(title, ())
    watches = document["watches"].values()
    files = sum(each[state]["files"] for each in watches for state in states if state in each)
    others = files - len(document[title]) if len(document[title]) else 0
    return Section(
        [_shipment(title, row, document["at"], width) for row in rows], (), max(0, others)
    )


def _shipment(title: str, row: Document, now: str, width: int | None) -> list[Line]:
    tone: Tone = "title" if title == "unfinished" else "bad"
    lead, name = f"{title} {row['id']}: ", f"{row['watch']}/{row['path']}: {row['state']}"
    lines = paragraph(name, width, lead=lead, lead_tone=tone)
    lines += _explained(row, width) if row["code"] else []
    if row["due_at"] and row["due_at"] > now:
        lines += paragraph(f"    next attempt at {row['due_at']}", width, tone="dim")
    return lines


def _refused(one: Document, width: int | None) -> list[Line]:
    name = f"{one['watch']}/{one['path']}"
    return [*paragraph(name, width, lead="refused: ", lead_tone="bad"), *_explained(one, width)]


# What is worth a line.


def _remarks(document: Document) -> list[str]:
    lines = matching_lines(document.get("matching", {}))
    lines += left_alone_lines(document["left_alone"])
    waiting, held = document["scan"]["waiting_files"], document["held"]
    if waiting:
        lines.append(f"not sealed yet: {waiting} files (`shipper plan` names them, and why)")
    if any(held.values()):
        deleted = size(held["unlinked_bytes"])
        lines.append(f"held: {held['descriptors']} descriptors, {deleted} of deleted files")
    return lines


def _remark(said: str, width: int | None) -> list[Line]:
    lead, colon, text = said.partition(":")
    return paragraph(text, width, lead=lead + colon)
