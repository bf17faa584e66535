"""Temporary credentials: one snapshot, and the step that keeps it fresh.

While a refresh fails, the snapshot is used, also past its expiry: S3 decides, which may accept it
in an outage, and shuts the gate with ExpiredToken where it does not (static stability, as the SDKs
have it). Expired credentials that the service itself hands out are used, too; then it is asked
again after minutes.

Deadlines are on the clock that cannot be set and goes on while the machine sleeps. How long
credentials live is reckoned once, when they arrive, by the clock of the service that issued them.
So a wall clock that is wrong, or jumps, makes no good credentials look expired, or the reverse.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from shipper.core import hints
from shipper.core.backoff import (
    CredentialsState,
    expired_wait,
    refresh_retry_wait,
    refresh_wait,
    state_of,
)
from shipper.core.failures import MISCONFIGURED_CODES
from shipper.core.types import RoleCredentials
from shipper.ports import Clock, CredentialSource, PortError

SLOW_RETRY_SECONDS = 30.0
"""What an operator must mend is tried again this often, give or take half of it."""
SHORTEST_REFRESH_NOW_SECONDS = 5.0
"""A refresh that was made less than this ago is not repeated on demand."""


@dataclass(frozen=True, slots=True)
class KeeperState:
    """What an operator can see of the credentials; never a secret. Times are wall times."""

    state: CredentialsState
    is_usable: bool = False
    """Whether there is something to sign with, expired or not."""
    source: str = ""
    role: str = ""
    account_id: str = ""
    access_key_id: str = ""
    issued_at: float | None = None
    expires_at: float | None = None
    next_refresh_at: float | None = None
    skew_seconds: float = 0.0
    code: str = ""
    detail: str = ""
    hint: str = ""
    refreshes: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class _Snapshot:
    credentials: RoleCredentials
    expires_boottime: float
    is_vouched_for: bool
    """The service handed them out as expired: only S3 can tell."""
    whole_seconds: float
    """The life that they had when they came."""


_NONE = RoleCredentials("", "", "", 0.0)


class CredentialKeeper:
    """Refreshes and lends. ``step`` belongs to one thread; the rest may be called from any.

    ``_lock`` guards the snapshot and what is known about it, and is never held over a request.
    ``learn`` is told every secret before anything else may see it.
    """

    def __init__(
        self,
        *,
        source: CredentialSource,
        clock: Clock,
        rng: Random,
        log: Any,
        name: str = "the metadata service",
        nudge: Callable[[], None] = lambda: None,
        refreshed: Callable[[], None] = lambda: None,
        learn: Callable[[str], None] = lambda secret: None,
    ) -> None:
        self._source = source
        self._clock = clock
        self._rng = rng
        self._log = log
        self._name = name
        self._nudge = nudge
        self._refreshed = refreshed
        self._learn = learn
        self._lock = threading.Lock()
        self._snapshot: _Snapshot | None = None
        self._error: PortError | None = None
        self._refresh_boottime = 0.0
        self._due_at = 0.0
        self._asked_at = float("-inf")
        self._failures_in_a_row = 0
        self._refreshes = 0
        self._failures = 0
        self._told = (CredentialsState.NONE_YET, "", "")
        self.generation = 0
        """Grows whenever the credentials in use become different ones."""

    def step(self) -> float:
        """Refresh if it is due; the seconds to wait before the next step."""
        wait = self._due_at - self._clock.boottime()
        if wait > 0:
            return wait
        self._asked_at = self._clock.boottime()
        try:
            fresh = self._source.credentials()
        except PortError as error:
            wait = self._failed(error)
        else:
            wait = self._took(fresh)
        self._due_at = self._clock.boottime() + wait
        self._tell()
        return wait

    def current(self) -> RoleCredentials:
        """The credentials to sign with now; ``CredentialsUnavailable`` before there are any."""
        with self._lock:
            snapshot, error = self._snapshot, self._error
        if snapshot is None:
            error = error or PortError("", "none yet")
            raise PortError("CredentialsUnavailable", str(error), error.hint)
        return snapshot.credentials

    def refresh_now(self) -> None:
        """S3 refused the credentials: refresh at once, unless that was just done.

        Credentials that the service handed out as expired do not count: it is asked when due.
        """
        with self._lock:
            is_known = self._snapshot is not None and self._snapshot.is_vouched_for
        is_recent = self._clock.boottime() - self._asked_at < SHORTEST_REFRESH_NOW_SECONDS
        if not is_known and not is_recent:
            self._due_at = 0.0
            self._nudge()

    def make_due(self) -> None:
        """What a refresh needs has changed: if the last one failed, the next is due at once."""
        with self._lock:
            is_failing = self._error is not None or self._snapshot is None
        if is_failing:
            self._due_at = 0.0
            self._nudge()

    def state(self) -> KeeperState:
        with self._lock:
            snapshot, error = self._snapshot, self._error or PortError("")
            refresh_boottime = self._refresh_boottime
        now, boottime = self._clock.now(), self._clock.boottime()
        life, used, is_handed_out = None, _NONE, False
        if snapshot is not None:
            life = snapshot.expires_boottime - boottime
            used, is_handed_out = snapshot.credentials, snapshot.is_vouched_for
        state = state_of(
            life,
            is_late=boottime > refresh_boottime,
            code=error.code,
            is_handed_out=is_handed_out,
        )
        return KeeperState(
            state=state,
            is_usable=snapshot is not None,
            source=self._name,
            role=used.role,
            account_id=used.account_id,
            access_key_id=used.access_key_id,
            issued_at=used.issued_at or None,
            expires_at=used.expires_at or None,
            next_refresh_at=now + max(0.0, self._due_at - boottime),
            skew_seconds=used.skew_seconds,
            code=error.code,
            detail=error.detail,
            hint=error.hint or _HINTS.get(state, ""),
            refreshes=self._refreshes,
            failures=self._failures,
        )

    def _took(self, fresh: RoleCredentials) -> float:
        self._learn(fresh.secret_access_key)
        self._learn(fresh.session_token)
        boottime = self._clock.boottime()
        life = fresh.expires_at - (self._clock.now() + fresh.skew_seconds)
        is_expired = life <= 0
        with self._lock:
            held = self._snapshot
        if is_expired and held is not None and held.expires_boottime > boottime:
            detail = "what was handed out has expired; what is in use has not"
            return self._failed(PortError("ExpiredDocument", detail))
        before = held.credentials if held is not None else _NONE
        is_new = held is None or before.session_token != fresh.session_token
        whole = life if held is None or is_new else held.whole_seconds
        jitter = self._rng.random()
        wait = expired_wait(jitter) if is_expired else refresh_wait(life, jitter, whole)
        with self._lock:
            self._snapshot = _Snapshot(fresh, boottime + life, is_expired, whole)
            self._refresh_boottime = boottime + wait
            self._error = None
            self._refreshes += 1
            self._failures_in_a_row = 0
            self.generation += is_new
        if is_new:
            self._log.info(
                "credentials.refreshed",
                role=fresh.role,
                access_key_id=fresh.access_key_id,
                expires_in_seconds=round(life),
            )
            self._refreshed()
        if fresh.skew_seconds and not before.skew_seconds:
            self._log.warning(
                "clock.skewed", behind_seconds=round(fresh.skew_seconds), hint=hints.CLOCK
            )
        return wait

    def _failed(self, error: PortError) -> float:
        with self._lock:
            self._error = error
            self._failures += 1
            self._failures_in_a_row += 1
        if error.code in MISCONFIGURED_CODES:
            wait = SLOW_RETRY_SECONDS * (0.5 + self._rng.random())
        else:
            wait = refresh_retry_wait(self._failures_in_a_row, self._rng.random())
        self._log.debug(
            "credentials.not_refreshed",
            code=error.code,
            detail=error.detail,
            retry_in_seconds=round(wait, 1),
        )
        return wait

    def _tell(self) -> None:
        """Log each change of state once."""
        now = self.state()
        told = (now.state, now.code, now.role)
        if told == self._told:
            return
        is_well = now.state is CredentialsState.FRESH
        log = self._log.info if is_well else self._log.warning
        self._told = told
        words = {"code": now.code, "detail": now.detail, "hint": "" if is_well else now.hint}
        log("credentials.changed", state=now.state.value, role=now.role, **words)


_HINTS = {
    CredentialsState.EXTENDED: "they are offered all the same, for S3 decides; their source "
    "has not given new ones: `shipper check` asks it now",
    CredentialsState.EXPIRED: "their source hands out credentials that have expired; they "
    "are tried all the same, and it is asked again in 5 to 15 minutes",
    CredentialsState.NONE_YET: "is their source reachable? `shipper check` asks it",
}
