"""Parts of the status document, each from one service."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from shipper.core.destinations import shown
from shipper.core.object_keys import printable
from shipper.core.types import WatchName
from shipper.ports import PortError
from shipper.reports.rows import failure, instant
from shipper.runtime.services import DestinationServices, Services
from shipper.services.finding.candidate import Candidate
from shipper.services.sending.gate import Shut


def credentials_document(state: Any) -> dict[str, Any]:
    """A keeper's state for JSON; it never holds a secret."""
    document = asdict(state)
    document["state"] = state.state.value
    for name in ("issued_at", "expires_at", "next_refresh_at"):
        document[name] = instant(document[name] or None)
    return document


def drain_row(services: Services) -> dict[str, Any]:
    """The drain that goes on, if one does."""
    drain = services.termination.drain
    if drain is None:
        return {"draining": False}
    return {
        "draining": True,
        "reason": drain.reason.value,
        "seconds_left": round(drain.deadline - services.clock.boottime(), 1),
    }


def gate_row(shut: Shut | None) -> dict[str, Any]:
    """Whether something is sent, and else why not."""
    return {"open": shut is None} | (asdict(shut) if shut is not None else {})


def heartbeat_row(services: Services) -> dict[str, Any] | None:
    """What became of the heartbeats; None where none are asked for."""
    heartbeats = services.heartbeats
    if heartbeats is None:
        return None
    told = heartbeats.told
    return {
        "key": told.key,
        "written_at": instant(told.arrived_at or None),
        "hourly": heartbeats.is_hourly,
        **_problem(told.problem),
    }


def heartbeat_lines(services: Services) -> list[str]:
    """Why the last one did not arrive, if it did not."""
    why = services.heartbeats.told.problem if services.heartbeats is not None else None
    return [f"no heartbeat: {failure(**why.words)}"] if why is not None else []


def destination_row(one: DestinationServices) -> dict[str, Any]:
    """What goes where, and whether it does."""
    return {
        "bucket": one.settings.bucket,
        "endpoint_url": one.settings.endpoint_url,
        "watches": sorted(one.watches),
        "gate": gate_row(one.shut()),
        "credentials": credentials_document(one.keeper.state()),
        "in_flight": one.limiter.under_way,
        "in_flight_allowed": one.limiter.allowed,
    }


def manifest_rows(services: Services) -> dict[str, dict[str, Any]]:
    """The manifests of each destination; none where none are wanted."""
    writer, now = services.manifests, services.clock.now()
    if writer is None:
        return {}
    return {
        shown(one.target.name): {
            "epoch": one.chain.epoch,
            "number": one.chain.number,
            "sha256": one.chain.sha256,
            "until": instant(one.chain.until_at),
            "stored_at": instant(one.chain.stored_at or None),
            "next_at": instant(now + max(0.0, one.due_by - services.clock.boottime())),
            "pending_entries": one.target.journal.manifests.pending(),
            **_problem(one.problem),
        }
        for one in writer.states()
    }


def manifest_lines(services: Services, *, are_ill: bool) -> list[str]:
    """Why manifests are not written, where they have not been for long, or not yet."""
    writer, now = services.manifests, services.clock.now()
    states = writer.states() if writer is not None else []
    return [
        f"no manifest is written to {shown(one.target.name)}, "
        f"{'which costs no log' if not are_ill else 'for more than a day'}: "
        f"{failure(**_problem(one.problem))}"
        for one in states
        if one.problem is not None and one.is_ill(now) == are_ill
    ]


def _problem(error: PortError | None) -> dict[str, str]:
    return error.words if error is not None else {"code": "", "detail": "", "hint": ""}


def by_code(refused: Mapping[tuple[WatchName, str], int]) -> dict[str, dict[str, int]]:
    """The counts, by watch and then by code."""
    watches: dict[str, dict[str, int]] = {}
    for (watch, code), files in refused.items():
        watches.setdefault(watch, {})[code] = files
    return watches


def problem_rows(candidates: Iterable[Candidate]) -> list[dict[str, Any]]:
    """The files that cannot be shipped."""
    return [
        {
            "watch": one.watch.name,
            "path": printable(one.path),
            "code": one.problem.code,
            "detail": one.problem.detail,
            "hint": one.problem.hint,
        }
        for one in candidates
        if one.problem is not None
    ]
