"""Termination: asks whether the machine is about to end, and drains it if so.

One step asks the metadata service (one request for each path; the next step is the retry) and
moves the drain on. Others do its work and ask ``is_draining``: more workers claim, the small and
the old first, and discovery makes the passes over the live files. What is left when the time is up
stays in the journal.
"""

import re
from collections.abc import Callable
from typing import Any

from shipper.core.failures import Verdict, judge
from shipper.core.lifecycle import UNSHIPPED
from shipper.core.termination import (
    PATHS,
    Answers,
    Drain,
    DrainPolicy,
    Notice,
    Reason,
    awaited,
    drain_for,
    due_pass,
    extended,
    is_more_urgent,
    is_over,
    is_withdrawn,
    notice_from,
    passed,
)
from shipper.core.types import State
from shipper.journal.journal import Journal
from shipper.ports import Clock, LifecycleHook, Metadata, PortError
from shipper.services.finding.live_files import LiveFiles

POLL_SECONDS = 5.0
SLOW_POLLS = 3
"""The spot notice is asked for at each poll, the others at every third one."""
LIFE_CYCLE_PATH = "meta-data/instance-life-cycle"
_LIFE_CYCLE = re.compile("[a-z][a-z-]{0,39}")
DRAINING_SECONDS = 0.2
IDLE_SECONDS = 600.0
TELL_SECONDS = 5.0
"""Wait this long before repeating a lifecycle call that failed."""


class Termination:
    """Polls and drains. ``step`` belongs to one thread; ``shut_down`` may be called from any.

    ``begun`` is called when a drain begins, ``look`` when a pass over live files is wanted.
    ``skew_seconds`` is how far this clock is behind that of AWS.
    """

    def __init__(
        self,
        *,
        metadata: Metadata,
        policy: DrainPolicy,
        journal: Journal,
        live: LiveFiles,
        hook: LifecycleHook | None,
        begun: Callable[[], None],
        look: Callable[[], None],
        skew_seconds: Callable[[], float],
        clock: Clock,
        log: Any,
    ) -> None:
        self._metadata = metadata
        self._policy = policy
        self._journal = journal
        self.live = live
        self._hook = hook
        self._begun = begun
        self._look = look
        self._skew_seconds = skew_seconds
        self._clock = clock
        self._log = log
        self._reasons = policy.reasons
        self._knows_life_cycle = Reason.SPOT not in policy.reasons
        self._polls = 0
        self._poll_at = float("-inf")
        self._answers: dict[Reason, Notice | None] = {}
        self._handled: frozenset[str] = frozenset()
        self._shutdown: Notice | None = None
        self._asked_pass: bool | None = None
        self._extend_at = self._tell_at = 0.0
        self._left_then: tuple[int, int] | None = None
        self._is_mute: set[str] = set()
        self._drained_for = ""
        """The notice that the machine goes down, for which the last drain was."""
        self.drain: Drain | None = None
        """What is going on; None most of the time."""

    @property
    def is_draining(self) -> bool:
        return self.drain is not None

    @property
    def is_shut_down(self) -> bool:
        """Whether all was done that ``shut_down`` asked for."""
        return self._shutdown is not None and self._shutdown.text in self._handled

    @property
    def has_drained(self) -> bool:
        """Whether everything was shipped because the machine goes down, and nothing came since.

        What no scan has promised is not asked here: it is an ailment.
        """
        if self._drained_for not in self._handled or self.live.logs.oldest_at:
            return False
        return not (self.left()[0] + self.live.unsealed()[0] + len(self.live.refused))

    @property
    def is_final(self) -> bool:
        """Whether it is known that the machine goes down for good: others may come back."""
        return any(notice is not None and notice.is_final for notice in self._answers.values())

    def shut_down(self, seconds: float) -> None:
        """Drain: the machine is being shut down, in so many seconds."""
        self._shutdown = Notice(Reason.SHUTDOWN, "shutdown", seconds=seconds)

    def left(self) -> tuple[int, int]:
        """Files and raw bytes that are promised and not in S3, but for what is parked."""
        waiting = UNSHIPPED - {State.PARKED}
        totals = [total for total in self._journal.figures.totals() if total.state in waiting]
        return sum(total.files for total in totals), sum(total.raw_bytes for total in totals)

    def step(self) -> float:
        """Ask if it is time to, and move the drain on; the seconds to wait."""
        self._poll()
        self._handle_notice()
        if self.drain is not None:
            self.drain = self._moved(self.drain)
        if self.drain is not None:
            return DRAINING_SECONDS
        return self._poll_at - self._clock.boottime() if self._reasons else IDLE_SECONDS

    def _poll(self) -> None:
        now = self._clock.boottime()
        if now < self._poll_at or not self._reasons:
            return
        is_slow_turn = self._polls % SLOW_POLLS == 0
        if is_slow_turn and not self._knows_life_cycle:
            self._ask_life_cycle()
        if Reason.SPOT in self._reasons:
            self._polls += 1
            self._poll_at = now + POLL_SECONDS
        else:  # every turn is a slow one
            self._polls = 0
            self._poll_at = now + POLL_SECONDS * SLOW_POLLS
        for reason in sorted(self._reasons):
            if reason is Reason.SPOT or is_slow_turn:
                self._ask(reason)

    def _ask_life_cycle(self) -> None:
        """No spot notice can come to an instance that says that it is of another kind.

        That never changes, so it is asked once, and again only where nothing answered. A service
        that does not know it, or answers with no word, may be one of a spot instance.
        """
        try:
            text = (self._metadata.peek(LIFE_CYCLE_PATH) or "").strip()
        except PortError:
            return
        self._knows_life_cycle = True
        if text != "spot" and _LIFE_CYCLE.fullmatch(text):
            self._reasons -= {Reason.SPOT}

    def _ask(self, reason: Reason) -> None:
        path = PATHS[reason]
        try:
            text = self._metadata.peek(path)
            self._answers[reason] = None if text is None else notice_from(reason, text)
        except (PortError, ValueError) as error:
            self._answers.pop(reason, None)
            code = error.code if isinstance(error, PortError) else "BadAnswer"
            self._log.debug("notice.unreadable", path=path, code=code, detail=str(error))

    def _handle_notice(self) -> None:
        """Begin what is announced, end what was withdrawn."""
        answers: Answers = self._answers
        if self._shutdown is not None:
            answers = {**answers, Reason.SHUTDOWN: self._shutdown}
        standing = {notice.text for notice in answers.values() if notice is not None}
        if self._reasons <= answers.keys():
            self._handled &= standing
        if self.drain is not None and is_withdrawn(self.drain, answers):
            self._log.info("drain.withdrawn", reason=self.drain.reason.value, **self._numbers())
            self._end()
        notice = awaited(answers, self._handled, now=self._wall())
        is_news = self.drain is None or (notice and is_more_urgent(notice, self.drain))
        if notice is not None and is_news:
            self._begin(notice)

    def _begin(self, notice: Notice) -> None:
        now = self._clock.boottime()
        self._end()
        self.drain = drain_for(notice, self._policy, wall=self._wall(), now=now)
        self._extend_at = self._tell_at = now
        self._left_then = None
        self._log.warning(
            "drain.begun",
            reason=notice.reason.value,
            notice=notice.text,
            seconds=round(self.drain.deadline - now, 1),
            **self._numbers(),
        )
        try:
            self._journal.queue.make_due(self._clock.now())
        except PortError:
            pass  # its disk is full, which discovery says
        self._begun()

    def _end(self) -> None:
        self.drain = self._asked_pass = self.live.wanted = None

    def _moved(self, drain: Drain) -> Drain | None:
        now = self._clock.boottime()
        left, left_bytes = self.left()
        if self._asked_pass is not None and self.live.wanted is None:
            whole, self._asked_pass = self._asked_pass, None
            drain = passed(drain, whole=whole, promised=self.live.promised, now=now)
            left, left_bytes = self.left()
        if self._asked_pass is None:
            drain = self._with_pass(drain, left, now)
        if drain.reason is Reason.AUTOSCALING and self._hook is not None:
            drain = self._waited_for(drain, self._hook, (left, left_bytes))
        if self._asked_pass is not None and now < drain.deadline:
            return drain
        left += self.live.unsealed()[0]
        return self._ended(drain, left) if is_over(drain, left=left, now=now) else drain

    def _with_pass(self, drain: Drain, left: int, now: float) -> Drain:
        whole = due_pass(drain, left=left, now=now)
        if whole is None:
            return drain
        if not self._policy.ships_live:
            return passed(drain, whole=whole, promised=0, now=now)
        self._asked_pass = self.live.wanted = whole
        self._look()
        return drain

    def _ended(self, drain: Drain, left: int) -> Drain | None:
        """Say what came of it, once. A failed lifecycle call is repeated by a later step first."""
        if left == 0 and drain.reason is Reason.AUTOSCALING and self._hook is not None:
            now = self._clock.boottime()
            if now < min(self._tell_at, drain.deadline):
                return drain
            self._tell_at = now + TELL_SECONDS
            is_told = self._told("complete", self._hook.complete)
            if not is_told and self._clock.boottime() < drain.deadline:
                return drain
            if is_told and "complete" not in self._is_mute:
                self._log.info("lifecycle.completed")
        refused = len(self.live.refused)
        log = self._log.warning if left or refused else self._log.info
        seconds = round(self._clock.boottime() - drain.begun_at, 1)
        log(
            "drain.ended",
            reason=drain.reason.value,
            seconds=seconds,
            **self._numbers(),
            refused_files=refused,
        )
        self._handled |= {drain.notice.text}
        self._drained_for = drain.notice.text if drain.reason is not Reason.REBALANCE else ""
        self._end()
        return None

    def _waited_for(self, drain: Drain, hook: LifecycleHook, left: tuple[int, int]) -> Drain:
        """Ask for more time, as long as files get shipped."""
        now = self._clock.boottime()
        if now < self._extend_at or left == self._left_then or left[0] == 0:
            return drain
        self._extend_at = now + self._policy.autoscaling_seconds / 3
        self._left_then = left
        if self._told("extend", hook.extend) and "extend" not in self._is_mute:
            return extended(drain, self._policy, now=now)
        return drain

    def _told(self, what: str, tell: Callable[[], None]) -> bool:
        """Whether the call is over; a refusal is logged once, and the call is not made again."""
        if what in self._is_mute:
            return True
        try:
            tell()
        except PortError as error:
            if judge(error.code, error.status) in (Verdict.RETRY, Verdict.AWAIT_CREDENTIALS):
                return False
            self._is_mute.add(what)
            self._log.warning("lifecycle.refused", action=what, **error.words)
        return True

    def _wall(self) -> float:
        return self._clock.now() + self._skew_seconds()

    def _numbers(self) -> dict[str, int]:
        (files, raw_bytes), (waiting, waiting_bytes) = self.left(), self.live.unsealed()
        return {"left_files": files + waiting, "left_bytes": raw_bytes + waiting_bytes}
