"""The page: the status document as HTML. Pure; it has nothing that ``/status`` does not have.

Its size is bounded: of each list the first ``SHOWN`` are shown, with the number of all. It does
not load itself anew: that throws back whoever listens to it or reads a long hint (WCAG 2.2.1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shipper.core.heartbeats import State, state_of
from shipper.ports import PortError
from shipper.reports.page.charts import charts
from shipper.reports.page.history import Sample
from shipper.reports.page.markup import Markup, element, joined, table
from shipper.reports.page.style import STYLE
from shipper.reports.rows import age, explained, failure, size, time_left

Document = Mapping[str, Any]
SHOWN = 20
TONES = {State.WELL: "good", State.IMPERFECT: "dim", State.STARTING: "dim"}
WAITING, SHIPPED = ("READY", "UPLOADING", "PARKED"), ("UPLOADED", "VERIFIED", "DONE")


def page(document: Document, samples: Sequence[Sample], now: float) -> bytes:
    """Of a running daemon's status; ``now`` and the samples are of the monotonic clock."""
    instance = document["instance_id"] or "unknown instance"
    word = _state(document)
    curves = element("p", "Kept only with http.listen.")
    if samples:
        sent, waiting = document["rate"]["sent_bytes_per_second"], document["unshipped_bytes"]
        present = Sample(now, sent, document["unshipped_files"], waiting)
        curves = charts([*samples, present], now)
    return _whole(
        f"shipper on {instance}: {word}",
        element(
            "h1",
            f"shipper on {instance}: ",
            element("strong", word, class_=TONES.get(word, "bad")),
        ),
        element(
            "p",
            f"Version {document['version']}, pid {document['pid']}, at {document['at']}. "
            "Curves begin with each start and reload.",
            class_="dim",
        ),
        _section("What is wrong", _reasons([*document["ailments"], *document["imperfections"]])),
        _section("Now", _now(document)),
        _section("The last hours", curves),
        _section("In flight", _in_flight(document["in_flight"])),
        _section("For an operator", _for_an_operator(document)),
        _section("Watches", _watches(document)),
        _section("Destinations", _destinations(document)),
    )


def trouble_page(why: PortError) -> bytes:
    """Where there is no status to show."""
    said = failure(why.code, why.detail, why.hint)
    word = "no status"
    title = element("h1", "shipper: ", element("strong", word, class_="bad"))
    return _whole(f"shipper: {word}", title, _reasons([said]))


def _whole(title: str, *body: Markup) -> bytes:
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"{element('title', title)}<style>{STYLE}</style>"
    )
    main = element("body", element("main", *body))
    text = f'<!DOCTYPE html>\n<html lang="en">{element("head", Markup(head))}{main}</html>\n'
    return text.encode()


def _section(title: str, *body: Markup) -> Markup:
    """Nothing where it would be empty."""
    inner = joined(body)
    return element("section", element("h2", title), inner) if inner else inner


def _state(document: Document) -> State:
    return state_of(
        is_known=document["scan"]["scans"] > 0,
        is_draining=document["termination"]["draining"],
        ailments=bool(document["ailments"]),
        imperfections=bool(document["imperfections"]),
    )


def _reasons(lines: Sequence[str]) -> Markup:
    """Each line with its hint below."""
    items = [element("li", _explained(each)) for each in lines[:SHOWN]]
    if len(lines) > SHOWN:
        items.append(element("li", f"and {len(lines) - SHOWN:,} more"))
    return element("ul", *items) if items else Markup()


def _explained(said: str) -> Markup:
    return _hinted(*explained(said))


def _hinted(what: str, hint: str) -> Markup:
    return joined([what, element("span", f"Hint: {hint}", class_="hint") if hint else ""])


def _now(document: Document) -> Markup:
    rate, held, scan = document["rate"], document["held"], document["scan"]
    unshipped = f"{document['unshipped_files']:,} files, {size(document['unshipped_bytes'])}"
    if document["unshipped_files"]:
        unshipped += f", the oldest promised {age(document['oldest_unshipped_seconds'])} ago"
    speed, files = size(rate["sent_bytes_per_second"]), rate["files_per_second"]
    facts: dict[str, str] = {
        "Not in S3 yet": unshipped,
        "Sent": f"{speed}/s and {files:,.3g} files/s, the mean of a minute at most",
        "Not sealed yet": f"{scan['waiting_files']:,} files",
        "Held": f"{held['descriptors']:,} files, {size(held['unlinked_bytes'])} of deleted ones",
    }
    drain = document["termination"]
    if drain["draining"]:
        left = max(0.0, drain["seconds_left"])
        facts["Draining"] = f"for {drain['reason']}; {age(left)} left"
    if beat := document.get("heartbeat"):
        last = f"the last at {beat['written_at']}" if beat["written_at"] else "none yet"
        facts["Heartbeat"] = _with_problem(last, beat)
    facts |= {
        f"Disk of {one['directory']}": f"{100 * one['used_ratio']:.1f} % full"
        for one in document["disks"][:SHOWN]
    }
    pairs = [each for name, said in facts.items() for each in (("dt", name), ("dd", said))]
    return element("dl", *(element(tag, said) for tag, said in pairs))


def _in_flight(flight: Document) -> Markup:
    names = [f"{one['watch']}/{one['path']}" for one in flight["largest"][:SHOWN]]
    rows = [
        (name, _progress(name, one["raw_bytes_done"], one["raw_bytes"]))
        for name, one in zip(names, flight["largest"], strict=False)
    ]
    caption = _counted(f"{size(flight['raw_bytes'])} in", flight["files"], len(rows))
    return table(caption, ("File", "In S3"), rows, "stacked") or element("p", "Nothing.")


def _progress(name: str, done: int, of: int) -> Markup:
    ratio = min(1.0, done / max(1, of))
    said = f"{ratio:.0%} of {size(of)}"
    return joined(
        [element("progress", said, max=1, value=f"{ratio:.3f}", aria_label=name), f" {said}"]
    )


def _for_an_operator(document: Document) -> Markup:
    refused = sum(_refused(name, document) for name in document["refused"])
    problems = document["problems"]
    lost = document["lost"]  # without the number of all, which only a reason tells
    more = ", at least" * (len(lost) >= SHOWN)
    lists = (
        ("Parked:", _files_in(document, "PARKED"), document["parked"]),
        ("Refused:", max(refused, len(problems)), problems),
        (f"Lost{more}:", len(lost), lost),
    )
    return joined(
        table(
            _counted(title, files, min(len(rows), SHOWN)), ("File", "Why"), _files(rows), "stacked"
        )
        for title, files, rows in lists
    )


def _files(rows: Sequence[Document]) -> list[tuple[str, str]]:
    return [
        (
            f"{row['watch']}/{row['path']}",
            _hinted(failure(row["code"], row["detail"]), row["hint"]),
        )
        for row in rows[:SHOWN]
    ]


def _files_in(document: Document, *states: str) -> int:
    return sum(
        one[state]["files"]
        for one in document["watches"].values()
        for state in states
        if state in one
    )


def _counted(title: str, files: int, shown: int) -> str:
    return f"{title} {files:,} files" + (f", {shown} of them here" if files > shown else "")


def _watches(document: Document) -> Markup:
    names = sorted(document["watches"])
    rows = [_watch(name, document) for name in names[:SHOWN]]
    caption = f"{len(names):,} watches" + (f", {SHOWN} of them here" * (len(names) > SHOWN))
    return table(
        caption, ("Watch", "Shipped", "Not in S3", "Oldest byte", "Trouble"), rows, "even"
    )


def _watch(name: str, document: Document) -> Sequence[str]:
    states = document["watches"][name]

    def total(what: str, of: Sequence[str]) -> int:
        return sum(states[state][what] for state in of if state in states)

    counts = {
        "parked": total("files", ["PARKED"]),
        "refused": _refused(name, document),
        "gone": total("files", ["GONE"]),
    }
    troubles = [f"{files:,} {what}" for what, files in counts.items() if files]
    overdue_seconds = document.get("expected", {}).get(name, {}).get("overdue_seconds")
    troubles += [f"overdue for {age(overdue_seconds)}"] if overdue_seconds else []
    oldest = document["unshipped_age_seconds"].get(name)
    return (
        name,
        f"{total('files', SHIPPED):,} ({size(total('raw_bytes', SHIPPED))})",
        f"{total('files', WAITING):,} ({size(total('raw_bytes', WAITING))})",
        age(oldest) if oldest else "none",
        ", ".join(troubles) or "none",
    )


def _refused(name: str, document: Document) -> int:
    """Files of the watch that are refused and not parked, which the status counts twice."""
    states = document["watches"].get(name, {})
    parked: int = states["PARKED"]["files"] if "PARKED" in states else 0
    refused: int = sum(document["refused"].get(name, {}).values())
    return max(0, refused - parked)


def _destinations(document: Document) -> Markup:
    manifests, now = document["manifests"], document["at"]
    rows = [
        (
            joined([name, element("span", one["bucket"], class_="hint")]),
            _gate(one["gate"]),
            _credentials(one["credentials"], now),
            _manifest(manifests[name]) if name in manifests else "no manifests are wanted",
        )
        for name, one in list(document["destinations"].items())[:SHOWN]
    ]
    head = ("Destination", "Gate", "Credentials", "Last manifest")
    return table("Where logs go", head, rows, "stacked")


def _manifest(one: Document) -> Markup:
    last = (
        f"manifest {one['number']:,}, until {one['until']}" if one["number"] else "no manifest yet"
    )
    return _with_problem(last, one)


def _with_problem(said: str, one: Document) -> Markup:
    """What is so, and why the next one fails, if it does."""
    if not one["code"]:
        return joined([said])
    failed = element("strong", "failed", class_="bad")
    return joined(
        [said, "; ", failed, " ", _explained(failure(one["code"], one["detail"], one["hint"]))]
    )


def _gate(gate: Document) -> str:
    if gate["open"]:
        return element("span", "open", class_="good")
    shut = element("strong", "shut", class_="bad")
    return joined([shut, " ", _explained(failure(gate["code"], gate["detail"], gate["hint"]))])


def _credentials(one: Document, now: str) -> str:
    until = one["expires_at"]
    left = f", {time_left(until, now)}" if until else ""
    below = element("span", f"role {one['role'] or '?'}, until {until or '?'}", class_="hint")
    said = failure(one["code"], one["detail"], one["hint"]) if one["code"] else ""
    return joined([f"{one['state']}{left}", below, _explained(said)])
