"""Writes manifests: each interval, when a drain ends, and at the end.

The journal makes a manifest (``journal.manifests``) and keeps it until S3 has it; here it is
decided when, and it is sent. What fails is tried again, and holds up nothing else: a policy that
does not allow the key must stop no log.

All but ``add`` and ``states`` is one thread's.
"""

from collections.abc import Callable, Collection, Generator
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from shipper.core.backoff import shipment_retry_wait
from shipper.core.checksums import single_etag
from shipper.core.destinations import etags_are_md5
from shipper.core.failures import Verdict, hint_for, judge
from shipper.core.intents import Likeness, likeness
from shipper.core.manifests import (
    Beginning,
    Chain,
    ManifestName,
    broken_off,
    epoch_name,
    first_wait,
)
from shipper.core.object_keys import fact
from shipper.core.termination import Drain
from shipper.core.types import NO_WATCH, ListedObject, ObjectKey
from shipper.journal.journal import Journal
from shipper.journal.manifests import FULL, Manifest, Wording
from shipper.ports import Clock, Encoder, ObjectStore, PortError
from shipper.services.bugs import Bugs

Sending = Generator[Future[Any], None, None]
"""Yields the answers it waits for, and goes on once they are there."""

IDLE_SECONDS = 30.0
DRAINING_SECONDS = 1.0
ANSWER_SECONDS = 0.1
"""How often it is looked whether an answer is there: none is waited for, before the end."""
DRAIN_MARGIN_SECONDS = 10.0
"""So long before the end of a drain its manifest is made, if the drain is not over sooner."""
ILL_SECONDS = 86_400.0
"""What fails for so long is an ailment."""
STOP, SHIP = "stop", "ship"
BEGINS_TAKEN = "another object was under the next number"


@dataclass(frozen=True, slots=True)
class Target:
    """A destination that can be written to."""

    name: str
    prefix: str
    address: str
    """As ``Header.destination``."""
    journal: Journal
    """Its own."""
    store: ObjectStore
    is_shut: Callable[[], bool]
    refresh_now: Callable[[], None]
    log: Any


@dataclass(slots=True)
class ManifestState:
    """Where the manifests of one destination stand. Times that end with ``_by`` are boottime."""

    target: Target
    chain: Chain
    due_by: float
    retry_by: float = 0.0
    because: str = ""
    """Why one is to be made, or is on its way."""
    drain: Drain | None = None
    """Whose manifest is still to be made."""
    told_drain: float = float("-inf")
    """When the one began whose manifest was made last."""
    sending: Sending | None = None
    """What is under way, until it is over."""
    answer: "Future[Any] | None" = None
    """What it waits for."""
    failures: int = 0
    """In a row."""
    failing_since: float = 0.0
    """Wall time."""
    problem: PortError | None = None
    stored: int = 0
    failed: int = 0

    def is_ill(self, now: float) -> bool:
        return self.problem is not None and now - self.failing_since > ILL_SECONDS


@dataclass(kw_only=True)
class ManifestWriter:
    """One thread's work; see the module."""

    journal: Journal
    interval_seconds: float
    instance_id: Callable[[], str]
    wording: Wording
    encoder: Encoder
    drain: Callable[[], Drain | None]
    clock: Clock
    rng: Random
    bugs: Bugs
    names: Collection[str]
    """Of all destinations, also of those that are not known yet."""
    log: Any

    def __post_init__(self) -> None:
        self._new: list[Target] = []
        self._states: list[ManifestState] = []

    def add(self, target: Target) -> None:
        """Write manifests there, too; from any thread."""
        self._new.append(target)

    def states(self) -> list[ManifestState]:
        """Of each destination; for any thread."""
        return [*self._states]

    def step(self) -> float:
        """Make and send what is due; the seconds to wait."""
        try:
            self._begin()
        except PortError:  # the journal's disk is full, which discovery says
            return IDLE_SECONDS
        waits = [self._contained(one, partial(self._advance, one)) for one in self._states]
        return min(waits, default=IDLE_SECONDS)

    def finish(self, end_by: float, because: str = STOP) -> None:
        """Make the last manifests; at the end of a ``SHIP`` only those that are due, or have
        entries. What cannot be sent until ``end_by`` (monotonic) waits in the journal for the next
        start. All are under way at once: none waits for another."""
        try:
            self._begin()
        except PortError:
            return
        for one in self._states:
            one.sending = self._finish(one, end_by, because, one.sending)
        while self._answers(end_by):
            pass
        for one in self._states:
            if one.answer is not None:
                self._failed(one, PortError("Timeout", "no answer before the end"))

    def _answers(self, end_by: float) -> bool:
        """Go on with all that is under way, and wait for the next answer; whether one came."""
        for one in self._states:
            self._contained(one, partial(self._go_on, one))
        answers = [one.answer for one in self._states if one.answer is not None]
        left = end_by - self.clock.monotonic()
        timeout = None if left == float("inf") else max(0.0, left)
        return bool(answers and wait_for(answers, timeout, FIRST_COMPLETED).done)

    def _contained(self, one: ManifestState, work: Callable[[], float]) -> float:
        def failed(error: PortError) -> float:
            self._failed(one, error)
            return one.retry_by - self.clock.boottime()

        try:
            return self.bugs.contained(work, failed, destination=one.target.name)
        except PortError as error:
            return failed(error)

    def _begin(self) -> None:
        """Take up new destinations.

        Raises:
            PortError: the journal's, or a bug.
        """

        def failed(error: PortError) -> None:
            raise error

        if self._new:
            self.bugs.contained(partial(self._take_up, self._new[:]), failed)

    def _take_up(self, new: list[Target]) -> None:
        beginnings = {one.name: self._beginning(one) for one in new}
        begun = dict(self.journal.manifests.begin(beginnings, self.wording, self.names))
        for one in new:
            chain = one.journal.manifests.chain()
            assert chain is not None
            if one.name in begun:
                _tell_epoch(one, chain)
            wait = first_wait(chain, self.clock.now(), self.interval_seconds, self.rng.random())
            self._states.append(ManifestState(one, chain, self.clock.boottime() + wait))
        del self._new[: len(new)]
        if {one.target.name for one in self._states} >= {*self.names}:
            left = self.journal.manifests.leave_out(self.names)
            for name, entries in left.items():
                self.log.warning("manifest.left_out", destination=name, entries=entries)

    def _beginning(self, target: Target) -> Beginning:
        now = self.clock.now()
        epoch = epoch_name(now, self.rng.getrandbits(32))
        return Beginning(fact(self.instance_id()), target.address, epoch, now)

    def _advance(self, one: ManifestState) -> float:
        if one.sending is not None:
            return self._go_on(one)
        now, drain = self.clock.boottime(), self.drain()
        waiting = one.target.journal.manifests.waiting()
        one.because = one.because or self._reason(one, drain, now)
        if waiting is None and one.because:
            waiting = self._cut(one)
        if waiting is not None:
            if now < one.retry_by or one.target.is_shut():
                return max(one.retry_by - now, DRAINING_SECONDS)
            one.sending = self._send(one, waiting)
            return self._go_on(one)
        return DRAINING_SECONDS if drain is not None else max(0.0, one.due_by - now)

    def _go_on(self, one: ManifestState) -> float:
        """Go on with what is under way as far as there are answers; the seconds to wait."""
        sending = one.sending
        while sending is not None and (one.answer is None or one.answer.done()):
            one.sending = one.answer = None
            try:
                one.answer = next(sending)
            except StopIteration:
                return 0.0
            one.sending = sending
        return ANSWER_SECONDS

    def _reason(self, one: ManifestState, drain: Drain | None, now: float) -> str:
        """Why a manifest is due; empty if none is."""
        if drain is not None and drain.begun_at != one.told_drain:
            one.drain = drain
        is_over = drain is None or drain.deadline - now < DRAIN_MARGIN_SECONDS
        if one.drain is not None and is_over:
            one.told_drain, one.drain = one.drain.begun_at, None
            return "drain"
        return "interval" if now >= one.due_by else ""

    def _finish(
        self, one: ManifestState, end_by: float, because: str, under_way: Sending | None
    ) -> Sending:
        manifests, is_last = one.target.journal.manifests, False
        if under_way is not None:  # whose answer is there by now
            yield from under_way
        while not is_last:
            waiting = manifests.waiting()
            if waiting is None and because == SHIP and not self._is_due(one):
                return
            if waiting is None:
                one.because = because
                waiting = self._cut(one)
                is_last = waiting.because != FULL
            if one.target.is_shut() or self.clock.monotonic() >= end_by:
                break
            yield from self._send(one, waiting)

    def _is_due(self, one: ManifestState) -> bool:
        now, manifests = self.clock.now(), one.target.journal.manifests
        is_late = now - one.chain.until_at >= self.interval_seconds
        return is_late or bool(broken_off(one.chain, now)) or manifests.pending() > 0

    def _cut(self, one: ManifestState) -> Manifest:
        manifests, now = one.target.journal.manifests, self.clock.now()
        chain = manifests.chain()
        if chain is not None and (why := broken_off(chain, now)):
            self._begin_another(one, why)
        manifest = manifests.cut(now, one.because, self.wording)
        one.due_by = self.clock.boottime() + self.interval_seconds
        if manifest.because != FULL:
            one.because = ""
        return manifest

    def _send(self, one: ManifestState, manifest: Manifest) -> Sending:
        """Send it, and note that S3 has it.

        Raises:
            PortError: S3's, or the journal's. It waits as it is.
        """
        target = one.target
        name = ManifestName(target.prefix, one.chain.instance, one.chain.epoch, manifest.number)
        is_first = target.journal.manifests.going_out(manifest)
        other = yield from self._other_there(target, name.key, manifest.body, is_first=is_first)
        if other is not None:
            self._restart(one, name.key, other)
            return
        one.chain = target.journal.manifests.stored(manifest, self.clock.now())
        one.problem, one.failures, one.retry_by = None, 0, 0.0
        one.stored += 1
        target.log.info(
            "manifest.stored",
            key=name.key,
            entries=manifest.entries,
            stored_bytes=len(manifest.body),
            because=manifest.because,
        )

    def _restart(self, one: ManifestState, key: ObjectKey, other: ListedObject) -> None:
        """Begin another epoch with what was to be told under the key."""
        target = one.target
        detail = f"{other.size_bytes} bytes with ETag {other.etag or 'unknown'} are there"
        hint = hint_for("ManifestTaken")
        target.log.error("manifest.taken", key=key, detail=detail, hint=hint)
        self._begin_another(one, BEGINS_TAKEN)

    def _begin_another(self, one: ManifestState, because: str) -> None:
        beginning, manifests = self._beginning(one.target), one.target.journal.manifests
        one.chain = manifests.restart(beginning, because, self.wording)
        _tell_epoch(one.target, one.chain)

    def _other_there(
        self, target: Target, key: ObjectKey, body: bytes, *, is_first: bool
    ) -> Generator[Future[Any], None, ListedObject | None]:
        """Have S3 have it; the object that is there where it is another: before the first write
        of it, one that is only as long is none of ours.

        Raises:
            PortError: S3's.
        """
        store = target.store
        found: ListedObject | None = None
        if not store.is_conditional:
            yield (listed := store.find(key))
            found = listed.result()
        if found is None:
            checksum = self.encoder.checksum(store.algorithm)
            checksum.add(body)
            stored = store.put(key, body, checksum=checksum.value(), metadata={})
            yield stored
            try:
                stored.result()
            except PortError as error:
                if judge(error.code, error.status) is not Verdict.CHECK_STORE:
                    raise
                yield (listed := store.find(key))
                found = listed.result()
                if found is None:
                    raise
        likely = {Likeness.SAME} if is_first else {*Likeness} - {Likeness.OTHER}
        return (
            found if found is not None and _likeness(target, found, body) not in likely else None
        )

    def _failed(self, one: ManifestState, error: PortError) -> None:
        if judge(error.code, error.status) is Verdict.AWAIT_CREDENTIALS:
            one.target.refresh_now()
        wait = shipment_retry_wait(one.failures, self.rng.random())
        one.failures += 1
        one.failed += 1
        one.retry_by = self.clock.boottime() + max(wait, error.retry_after)
        if one.problem is None:
            one.failing_since = self.clock.now()
        if one.problem is None or one.problem.code != error.code:
            one.target.log.warning("manifest.failed", **error.words)
        one.problem = error


def _likeness(target: Target, found: ListedObject, body: bytes) -> Likeness:
    """Whether it can be what was written; ETags may tell nothing."""
    encryption, told = target.store.encryption(NO_WATCH), target.journal.origin.answers()
    known = told.get("etags_are_md5")
    is_md5 = known.get(encryption) if isinstance(known, dict) else None
    is_md5 = is_md5 if etags_are_md5(encryption) else False
    return likeness(f"{single_etag(body)}:{len(body)}", found, is_md5)


def _tell_epoch(target: Target, chain: Chain) -> None:
    target.log.info("epoch.begun", epoch=chain.epoch, because=chain.begins, before=chain.before)
