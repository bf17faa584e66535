"""The role credentials: one snapshot, and the step that keeps it fresh.

No failure to refresh impedes the use of what is there until it expires. Expired credentials that
the service itself hands out are used all the same: S3 decides, and the service is asked again
after some minutes, once, not once per request.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from shipper.core.schedule import (
    MISCONFIGURED_CODES,
    CredentialsState,
    backoff_wait,
    expired_wait,
    refresh_wait,
    state_of,
)
from shipper.core.types import RoleCredentials
from shipper.ports import Clock, Metadata, PortError

SLOW_RETRY_SECONDS = 30.0
"""What an operator must mend is looked at this often, give or take half of it."""
SHORTEST_KICK_SECONDS = 5.0
"""Kicks closer together than this are one kick."""


@dataclass(frozen=True, slots=True)
class KeeperState:
    """What an operator can see of the credentials; never a secret."""

    state: CredentialsState
    role: str = ""
    account_id: str = ""
    access_key_id: str = ""
    expires_at: float | None = None
    code: str = ""
    detail: str = ""
    hint: str = ""
    refreshes: int = 0
    failures: int = 0


class CredentialKeeper:
    """Refreshes and lends. ``step`` belongs to one thread; the rest may be called from any.

    ``_lock`` guards the snapshot and what is known about it, and is never held over a request.
    ``learn`` is told every secret before anything else may see it.
    """

    def __init__(
        self,
        *,
        metadata: Metadata,
        clock: Clock,
        rng: Random,
        log: Any,
        ring: Callable[[], None] = lambda: None,
        refreshed: Callable[[], None] = lambda: None,
        learn: Callable[[str], None] = lambda secret: None,
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._rng = rng
        self._log = log
        self._ring = ring
        self._refreshed = refreshed
        self._learn = learn
        self._lock = threading.Lock()
        self._snapshot: RoleCredentials | None = None
        self._is_vouched_for = False
        self._error: PortError | None = None
        self._refresh_at = 0.0
        self._due_at = 0.0
        self._asked_at = float("-inf")
        self._failures_in_a_row = 0
        self._refreshes = 0
        self._failures = 0
        self.generation = 0
        """Grows whenever the credentials in use become different ones."""

    def step(self) -> float:
        """Refresh if it is due; the seconds to wait before the next step."""
        wait = self._due_at - self._clock.boottime()
        if wait > 0:
            return wait
        self._asked_at = self._clock.boottime()
        try:
            fresh = self._metadata.credentials()
        except PortError as error:
            wait = self._failed(error)
        else:
            wait = self._took(fresh)
        self._due_at = self._clock.boottime() + wait
        return wait

    def current(self) -> RoleCredentials:
        """The credentials to sign with now; never blocks and never asks the metadata service.

        Raises:
            PortError: code ``CredentialsUnavailable``; none yet, or past their expiry.
        """
        with self._lock:
            snapshot, is_vouched_for, error = self._snapshot, self._is_vouched_for, self._error
        if snapshot is None:
            detail = str(error) if error is not None else "none yet"
            raise PortError("CredentialsUnavailable", detail, error.hint if error else "")
        if self._clock.now() >= snapshot.expires_at and not is_vouched_for:
            raise PortError("CredentialsUnavailable", "they have expired", _HINT_EXPIRED)
        return snapshot

    def kick(self) -> None:
        """S3 refused the credentials: refresh at once, unless that was just done."""
        if self._clock.boottime() - self._asked_at >= SHORTEST_KICK_SECONDS:
            self._due_at = 0.0
            self._ring()

    def state(self) -> KeeperState:
        """What there is to show."""
        with self._lock:
            snapshot, error = self._snapshot, self._error
            code = error.code if error is not None else ""
            state = state_of(
                snapshot, now=self._clock.now(), refresh_at=self._refresh_at, code=code
            )
            return KeeperState(
                state=state,
                role=snapshot.role if snapshot else "",
                account_id=snapshot.account_id if snapshot else "",
                access_key_id=snapshot.access_key_id if snapshot else "",
                expires_at=snapshot.expires_at if snapshot else None,
                code=code,
                detail=error.detail if error is not None else "",
                hint=(error.hint if error is not None else "") or _HINTS.get(state, ""),
                refreshes=self._refreshes,
                failures=self._failures,
            )

    def _took(self, fresh: RoleCredentials) -> float:
        self._learn(fresh.secret_access_key)
        self._learn(fresh.session_token)
        now = self._clock.now()
        life = fresh.expires_at - now
        is_expired = life <= 0
        jitter = self._rng.random()
        wait = expired_wait(jitter) if is_expired else refresh_wait(life, jitter)
        with self._lock:
            before, self._snapshot = self._snapshot, fresh
            is_new = before is None or before.session_token != fresh.session_token
            self._is_vouched_for = is_expired
            self._refresh_at = now + wait
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
        if is_expired:
            self._log.warning("credentials.expired", retry_in_seconds=round(wait))
        return wait

    def _failed(self, error: PortError) -> float:
        with self._lock:
            is_news = self._error is None or self._error.code != error.code
            self._error = error
            self._failures += 1
            self._failures_in_a_row += 1
        if error.code in MISCONFIGURED_CODES:
            wait = SLOW_RETRY_SECONDS * (0.5 + self._rng.random())
        else:
            wait = backoff_wait(self._failures_in_a_row, self._rng.random())
        log = self._log.warning if is_news else self._log.debug
        log(
            "credentials.not_refreshed",
            code=error.code,
            detail=error.detail,
            hint=error.hint,
            retry_in_seconds=round(wait, 1),
        )
        return wait


_HINT_EXPIRED = "the metadata service has not given new ones; `shipper credentials` asks it now"
_HINTS = {
    CredentialsState.EXPIRED: _HINT_EXPIRED,
    CredentialsState.NONE_YET: "is the metadata service reachable? `shipper check` asks it",
}
