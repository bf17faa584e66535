"""Counts what should be in S3 and is not: every file, by watch and code, with one example of each.

A file that merely needs time is not counted before ``LATE_SECONDS``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from shipper.core.types import State, WatchName
from shipper.services.finding.candidate import Candidate, Decision

LATE_SECONDS = 3600.0
"""A file that is not in S3 after an hour is worth an operator's look, whatever the reason."""
NOT_SEALED = "NotSealed"
CODES_TOLD = 20
OTHER = "Other"
"""Stands for the codes of a watch beyond the first ``CODES_TOLD``."""


@dataclass(slots=True)
class Refused:
    """So many files of a watch, of which the example is one."""

    example: Candidate
    files: int = 0


Refusals = dict[tuple[WatchName, str], Refused]


def count(refusals: Refusals, candidate: Candidate, now: float, at: float) -> None:
    """Count the candidate if it should be shipped and is not; ``at`` is the wall's ``now``."""
    code = _code_of(candidate, now, at)
    if not code:
        return
    key = candidate.watch.name, code
    if key not in refusals and len(codes_of(refusals, key[0])) >= CODES_TOLD:
        key = candidate.watch.name, OTHER
    refusals.setdefault(key, Refused(candidate)).files += 1


def codes_of(refusals: Iterable[tuple[WatchName, str]], watch: WatchName) -> list[str]:
    """The codes that were counted for a watch."""
    return [code for name, code in refusals if name == watch]


def _code_of(candidate: Candidate, now: float, at: float) -> str:
    known, look = candidate.known, candidate.look
    if candidate.problem is not None:
        return candidate.problem.code
    if candidate.decision is Decision.PARKED and known is not None:
        return known.code if known.etag is None else ""  # else S3 has it
    if known is not None and known.state in (State.READY, State.UPLOADING):
        return known.code if at - known.promised_at > LATE_SECONDS else ""
    is_late = look is not None and now - look.first_at > LATE_SECONDS
    is_late = is_late and not candidate.is_expected
    return NOT_SEALED if candidate.decision is Decision.WAITING and is_late else ""
