"""The explanation of one path: what it is, why, and what has to be done about it. Pure.

``path_facts`` gathers the facts, and ``cli.explain`` lays the document out for people.
"""

from dataclasses import dataclass, replace
from typing import Any, assert_never

from shipper.core.destinations import shown
from shipper.core.failures import hint_for, is_refusal
from shipper.core.lifecycle import ACKNOWLEDGED_CODE, UNSHIPPED
from shipper.core.live_segments import NEVER, seconds_until_due
from shipper.core.object_keys import printable
from shipper.core.types import (
    AfterUpload,
    FileKind,
    FileStat,
    Role,
    Shipment,
    State,
    Watch,
    WriterTest,
)
from shipper.edges.files.open_writers import Writers
from shipper.reports.path_facts import Facts, Location, Relation, Row
from shipper.reports.rows import instant, shipment_row
from shipper.reports.status import not_running
from shipper.services.finding.candidate import Candidate, Decision
from shipper.services.finding.live_logs import LiveLog

_KEPT = {
    Decision.REFUSED: "kept until that is mended",
    Decision.PARKED: "kept until that is mended",
    Decision.OLD: "kept: it is older than ignore_older",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The first line, and what is wrong; ``is_well`` when nobody has to do anything."""

    words: str
    because: str = ""
    code: str = ""
    detail: str = ""
    hint: str = ""
    is_well: bool = True


def document_from(facts: Facts) -> dict[str, Any]:
    """The whole explanation, ready for JSON; it never holds a secret."""
    answer, location, candidate = answer_for(facts), facts.location, facts.candidate
    promise = candidate.promise if candidate is not None else None
    afterwards, seconds = afterwards_of(facts)
    return {
        "path": printable(facts.path),
        "answer": answer.words,
        "because": answer.because,
        "well": answer.is_well and not any(map(_is_lost, facts.rows)),
        "code": answer.code,
        "detail": answer.detail,
        "hint": answer.hint,
        "watch": None if location is None else _watch(location),
        "file": None if facts.stat is None else _file(facts.stat),
        "sealed": _sealed(facts),
        "writers": None if facts.writers is None else _writers(facts.writers, candidate),
        "live": None if facts.log is None else _live(facts.log, facts.now),
        "promise": None
        if promise is None
        else {"key": promise.key, "raw_start": promise.raw_start, "raw_end": promise.raw_end},
        "shipments": [_shipment(row, facts.now) for row in facts.rows],
        "shipments_left_out": facts.rows_left_out,
        "moved_to": None if facts.moved_to is None else printable(facts.moved_to),
        "afterwards": afterwards,
        "afterwards_in_seconds": seconds,
        "daemon_runs": facts.status is not None or facts.is_locked,
    }


def _is_lost(row: Row) -> bool:
    return row.shipment.state is State.GONE and row.shipment.code != ACKNOWLEDGED_CODE


def answer_for(facts: Facts) -> Answer:
    """What the path is to shipper."""
    location = facts.location
    if facts.stat is None:
        return _absent(facts)
    if facts.stat.kind is FileKind.DIRECTORY:
        hint = "give the path of a file"
        return Answer("a directory", code="NotRegular", hint=hint, is_well=False)
    if location is None:
        hint = "a [[watch]] for its directory would ship it"
        return Answer("outside of every watch", hint=hint, is_well=False)
    if facts.candidate is not None:
        return _of_candidate(facts, facts.candidate)
    if location.is_archive and any(row.relation is Relation.SAME for row in facts.rows):
        return Answer("archived", location.because)
    words = "live" if location.role is Role.LIVE else "left alone"
    return Answer(words, location.because, hint=location.hint, is_well=not location.hint)


def _absent(facts: Facts) -> Answer:
    if not facts.rows:
        detail = "neither here nor in the journal"
        return Answer("unknown", code="NotFound", detail=detail, is_well=False)
    last = facts.rows[-1].shipment
    because = f"the last of this name is shipment {last.id}, {last.state}"
    problem = facts.problem
    if problem is not None:
        return Answer("not here", because, problem.code, problem.detail, problem.hint, False)
    words = "gone" if facts.moved_to is None else "renamed"
    if last.state in (State.GONE, State.PARKED):
        is_known = last.code == ACKNOWLEDGED_CODE
        hint = "" if is_known else hint_for(last.code, last.detail)
        return Answer(words, because, last.code, last.detail, hint, is_well=is_known)
    if last.state in UNSHIPPED:
        hint = hint_for(last.code, last.detail)
        answer = Answer(words, because, last.code, last.detail, hint, not is_refusal(last.code))
        return _held_up(facts, answer)
    return Answer(words, because)


def _of_candidate(facts: Facts, candidate: Candidate) -> Answer:
    words, problem, known = candidate.decision.value, candidate.problem, candidate.known
    if problem is not None:
        return Answer(words, "", problem.code, problem.detail, problem.hint, is_well=False)
    answer = Answer(words, candidate.because)
    if known is not None:
        because = "S3 has confirmed it" if known.state is State.DONE else known.state
        answer = Answer(
            words, because, known.code, known.detail, hint_for(known.code, known.detail)
        )
    if candidate.decision is Decision.PARKED:
        return replace(answer, because="", is_well=False)
    if known is not None and known.state in UNSHIPPED and is_refusal(known.code):
        answer = replace(answer, is_well=False)
    is_wanted = candidate.decision in (Decision.NEW, Decision.WAITING, Decision.UNDERWAY)
    is_unshipped = known is None or known.state in UNSHIPPED
    return _held_up(facts, answer) if is_wanted and is_unshipped else answer


def _held_up(facts: Facts, answer: Answer) -> Answer:
    """The answer, unless the whole daemon stands still: then that is what is wrong."""
    status = facts.status
    if status is None and facts.is_locked:
        return answer
    if status is None:
        missing = not_running(is_locked=False)
        wrong = (missing.code, missing.detail, missing.hint)
    elif not (gate := _gate_of(facts, status))["open"]:
        wrong = (gate["code"], gate["detail"], gate["hint"])
    elif status["scan"]["trouble"]:
        wrong = ("NotPromised", status["scan"]["trouble"], "")
    elif status["instance"] is None:
        hint = "`shipper check` says why"
        wrong = ("InstanceUnknown", "the instance is not identified", hint)
    else:
        return answer
    return Answer(answer.words, answer.because, *wrong, is_well=False)


def _gate_of(facts: Facts, status: dict[str, Any]) -> dict[str, Any]:
    """That of the watch's destination."""
    name = shown(facts.location.watch.destination if facts.location is not None else "")
    gate: dict[str, Any] = status.get("destinations", {}).get(name, status)["gate"]
    return gate


def afterwards_of(facts: Facts) -> tuple[str, float | None]:
    """What becomes of the file in the end, and in how many seconds where that can be told."""
    candidate = facts.candidate
    if candidate is None:
        return "", None
    watch, known, decision = candidate.watch, candidate.known, candidate.decision
    ends = _end_of(facts, watch)
    if watch.after_upload is AfterUpload.KEEP and decision is not Decision.OLD:
        return ends, None
    if decision in _KEPT:
        return _KEPT[decision], None
    if known is not None and known.code == "WriterUnproven":
        return f"{ends} once nobody can be writing to it", None
    if decision is Decision.EMPTY:
        return f"{ends} once it has been seen for {watch.delete_after_seconds:g} s", None
    due_at = None if known is None else _removed_at(known, watch)
    if due_at is not None:
        return ends, max(0.0, due_at - facts.now)
    if known is not None and known.state is State.DONE:
        return "kept: its shipment is over", None
    return f"{ends} {watch.delete_after_seconds:g} s after S3 has confirmed it", None


def _end_of(facts: Facts, watch: Watch) -> str:
    """What ``after_upload`` says, and whether a disk that fills up changes that."""
    disk = facts.disk
    is_high = f"{100 * disk.high_water_ratio:g} % full" if disk and disk.high_water_ratio else ""
    match watch.after_upload:
        case AfterUpload.ARCHIVE:
            return "archived"
        case AfterUpload.DELETE:
            return f"deleted (sooner if its disk is {is_high})" if is_high else "deleted"
        case AfterUpload.KEEP:
            unless = f", unless its disk is {is_high} and nothing else is left to remove"
            return "kept" + (unless if disk and disk.removes_kept else "")
        case after_upload:
            assert_never(after_upload)


def _removed_at(known: Shipment, watch: Watch) -> float | None:
    if known.state is State.DUPLICATE and known.finished_at is not None:
        return known.finished_at + watch.delete_after_seconds
    return known.due_at if known.state is State.VERIFIED else None


def _watch(location: Location) -> dict[str, Any]:
    return {
        "name": location.watch.name,
        "directory": printable(location.watch.whole_directory.encode("utf-8", "surrogateescape")),
        "path": printable(location.path),
        "role": None if location.role is None else location.role.value,
        "because": location.because,
    }


def _file(stat: FileStat) -> dict[str, Any]:
    return {
        "kind": stat.kind.value,
        "size_bytes": stat.size_bytes,
        "inode": stat.inode,
        "links": stat.link_count,
        "modified_at": instant(stat.mtime_ns / 1e9),
        "changed_at": instant(stat.ctime_ns / 1e9),
    }


def _sealed(facts: Facts) -> dict[str, Any] | None:
    candidate = facts.candidate
    unsealed = (Decision.REFUSED, Decision.EMPTY, Decision.OLD)
    if candidate is None or candidate.decision in unsealed:
        return None
    if candidate.decision is not Decision.WAITING:
        known = candidate.known
        because = candidate.because if known is None else known.sealed_because
        return {"sealed": True, "because": because, "wait_seconds": 0.0}
    wait = None if _is_written(candidate) else candidate.wait_seconds
    return {"sealed": False, "because": candidate.because, "wait_seconds": wait}


def _live(log: LiveLog, now: float) -> dict[str, Any]:
    """How far a live file is promised, and the earliest time of its next segment.

    A running daemon may know that its bytes are younger than the journal tells.
    """
    watch, seconds = log.watch, seconds_until_due(log.watch, log.left_bytes, log.since_at, now)
    return {
        "promised_to": log.end,
        "left_bytes": log.left_bytes,
        "due_in_seconds": None if seconds == NEVER else round(seconds, 1),
        "due_within_seconds": watch.live_interval_seconds or None,
    }


def _is_written(candidate: Candidate | None) -> bool:
    return candidate is not None and candidate.because == WriterTest.OPEN.value


def _writers(writers: Writers, candidate: Candidate | None) -> dict[str, Any]:
    return {
        "seen": [{"pid": one.pid, "command": one.command} for one in writers.seen],
        "complete": writers.is_complete,
        "someone": bool(writers.seen) or _is_written(candidate),
    }


def _shipment(row: Row, now: float) -> dict[str, Any]:
    shipment = row.shipment
    due_at = shipment.due_at
    return shipment_row(shipment) | {
        "relation": row.relation.value,
        "raw_start": shipment.raw_start,
        "raw_end": shipment.raw_end,
        "parts_stored": row.parts_stored,
        "sealed_because": shipment.sealed_because,
        "promised_at": instant(shipment.promised_at),
        "finished_at": instant(shipment.finished_at),
        "due_in_seconds": None if due_at is None else max(0.0, due_at - now),
        "continues": shipment.copy_of if shipment.decoded_end else None,
        "decoded_start": shipment.decoded_start,
        "decoded_end": shipment.decoded_end,
        "twin_of": shipment.detail if shipment.state is State.DUPLICATE else None,
    }
