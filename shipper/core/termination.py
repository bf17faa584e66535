"""The notices that the machine is about to end, and the drain that follows one.

A drain ships until its deadline everything that can still be shipped. Only an answer begins or
ends it; a question that was not answered does neither.

Spot: two minutes before a wall time. Wall clocks may be wrong, so two minutes are the most.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
Auto Scaling: until the lifecycle hook times out; the instance is not told when.
https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
Rebalance recommendation: no time is told, and often nothing follows, so one pass is made.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never

SPOT_SECONDS = 120.0
STALE_SECONDS = 300.0
"""Ignore a notice of an end that should have come so long ago."""
MARGIN_SECONDS = 10.0
"""Stop so long before the end: the network goes first."""
REBALANCE_SECONDS = 600.0
PASS_SECONDS = 30.0
"""How often live files are shipped during a drain; what an early end may lose."""
LAST_PASS_SECONDS = 10.0
"""Make the last pass so long before the deadline, to send what it promises."""


class Reason(StrEnum):
    """The more urgent first."""

    SHUTDOWN = "shutdown"
    SPOT = "spot"
    AUTOSCALING = "autoscaling"
    REBALANCE = "rebalance"


PATHS = {
    Reason.SPOT: "meta-data/spot/instance-action",
    Reason.AUTOSCALING: "meta-data/autoscaling/target-lifecycle-state",
    Reason.REBALANCE: "meta-data/events/recommendations/rebalance",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """An end that was announced. ``text`` tells one notice from the next.

    It comes at the wall time ``at``, or in ``seconds`` (a shutdown), or that is not told. Only of
    what ``is_final`` it is known that the machine does not come back.
    """

    reason: Reason
    text: str
    at: float | None = None
    seconds: float = 0.0
    is_final: bool = False


Answers = Mapping[Reason, Notice | None]
"""None: there is no such notice. What is absent was not asked, or not answered."""


@dataclass(frozen=True, slots=True)
class DrainPolicy:
    """Which notices begin a drain, and how it goes. With a hook somebody waits for its end."""

    autoscaling_seconds: float = 300.0
    has_hook: bool = False
    reasons: frozenset[Reason] = frozenset()
    ships_live: bool = True


@dataclass(frozen=True, slots=True)
class Drain:
    """What is being done about a notice; instants are of a clock that cannot be set.

    With ``most_passes`` it is over once so many passes were made and all is shipped; without, at
    its deadline, because live files grow until the end. ``cuts_lines`` is for every pass.
    """

    notice: Notice
    begun_at: float
    deadline: float
    cuts_lines: bool
    most_passes: int | None
    passes: int = 0
    passed_at: float = 0.0
    is_last_made: bool = False

    @property
    def reason(self) -> Reason:
        return self.notice.reason


def notice_from(reason: Reason, text: str) -> Notice | None:
    """The notice in an answer, if it announces anything; ``ValueError`` if it makes no sense."""
    match reason:
        case Reason.AUTOSCALING:
            state = text.strip()
            return Notice(reason, state, is_final=True) if state == "Terminated" else None
        case Reason.SPOT:
            at = _instant(text, "time")
            is_final = json.loads(text).get("action") == "terminate"  # else stopped, hibernated
            return Notice(reason, text, at, is_final=is_final)
        case Reason.REBALANCE:
            _instant(text, "noticeTime")
            return Notice(reason, text)
        case Reason.SHUTDOWN:
            raise ValueError("nobody answers that")
        case _:
            assert_never(reason)


def _instant(text: str, member: str) -> float:
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    at = document.get(member) if isinstance(document, dict) else None
    return datetime.fromisoformat(at if isinstance(at, str) else "").timestamp()


def awaited(answers: Answers, handled: frozenset[str], *, now: float) -> Notice | None:
    """The most urgent notice that is not handled; ``now`` is wall time."""
    for reason in Reason:
        notice = answers.get(reason)
        if notice is None or notice.text in handled:
            continue
        if notice.at is None or notice.at > now - STALE_SECONDS:
            return notice
    return None


def is_withdrawn(drain: Drain, answers: Answers) -> bool:
    return drain.reason in answers and answers[drain.reason] is None


def is_more_urgent(notice: Notice, drain: Drain) -> bool:
    order = list(Reason)
    is_other = notice.reason is drain.reason and notice.text != drain.notice.text
    return is_other or order.index(notice.reason) < order.index(drain.reason)


def drain_for(notice: Notice, policy: DrainPolicy, *, wall: float, now: float) -> Drain:
    """The drain that a notice asks for; ``wall`` is wall time, ``now`` the drain's clock."""
    cuts_lines, most_passes = False, None
    match notice.reason:
        case Reason.SHUTDOWN:
            seconds, cuts_lines, most_passes = notice.seconds, True, 2
        case Reason.SPOT:
            told = (notice.at or wall) - wall
            # Whoever hears of it late, or has a wrong clock, is still there: one pass, at once.
            seconds = max(LAST_PASS_SECONDS, min(told, SPOT_SECONDS) - MARGIN_SECONDS)
        case Reason.AUTOSCALING:
            seconds = max(0.0, policy.autoscaling_seconds - MARGIN_SECONDS)
            cuts_lines, most_passes = (True, 2) if policy.has_hook else (False, None)
        case Reason.REBALANCE:
            seconds, most_passes = REBALANCE_SECONDS, 1
        case _:
            assert_never(notice.reason)
    return Drain(notice, now, now + seconds, cuts_lines, most_passes)


def due_pass(drain: Drain, *, left: int, now: float) -> bool | None:
    """The pass over the live files that is due: True where it may cut lines; None for none yet.

    ``left`` files are not in S3. Of two passes in all, the second is for what was written while
    the first was shipped. The last one before a deadline may cut lines, because nothing is
    written after it; a line that is cut while its writer lives on stays cut.
    """
    if drain.most_passes is not None:
        is_due = drain.passes == 0 or (drain.passes < drain.most_passes and left == 0)
        return drain.cuts_lines if is_due else None
    if now >= drain.deadline - LAST_PASS_SECONDS:
        return None if drain.is_last_made else True
    is_due = drain.passes == 0 or now >= drain.passed_at + PASS_SECONDS
    return drain.cuts_lines if is_due else None


def passed(drain: Drain, *, whole: bool, promised: int, now: float) -> Drain:
    """The drain after a pass; one that found nothing is the last where their number is bounded."""
    passes = drain.passes + 1
    if drain.most_passes is not None and not promised:
        passes = drain.most_passes
    return replace(drain, passes=passes, passed_at=now, is_last_made=drain.is_last_made or whole)


def is_over(drain: Drain, *, left: int, now: float) -> bool:
    """Whether nothing more is to be done, or can be; ``left`` files are not in S3."""
    is_last_made = drain.most_passes is not None and drain.passes >= drain.most_passes
    return now >= drain.deadline or (is_last_made and left == 0)


def extended(drain: Drain, policy: DrainPolicy, *, now: float) -> Drain:
    deadline = now + max(0.0, policy.autoscaling_seconds - MARGIN_SECONDS)
    return replace(drain, deadline=max(drain.deadline, deadline))
