"""The role's keys: made up, or from an STS endpoint, and renewed before they expire."""

import secrets
import threading
from collections.abc import Callable

from shipper.mock.facts import Facts, Issued, Keys
from shipper.ports import PortError

Source = Callable[[Facts, float], Issued]
"""(facts, now) -> new keys. May block; raises ``PortError`` where it has none."""


def made_up(facts: Facts, now: float) -> Issued:
    """The facts' own keys, else random ones that nobody checks."""
    keys = facts.keys or Keys(
        access_key_id="ASIA" + secrets.token_hex(8).upper(),
        secret_access_key=secrets.token_urlsafe(30),
        session_token=secrets.token_urlsafe(90),
    )
    return Issued(keys, facts.role, now, now + facts.lifetime_seconds)


class Issuer:
    """Renews the keys; ``history`` has every key ever issued.

    ``_lock`` guards both, also while the source works: whoever asks meanwhile gets the new keys.
    """

    def __init__(self, source: Source) -> None:
        self.history: list[Keys] = []
        self._source = source
        self._lock = threading.Lock()
        self._issued: Issued | None = None

    def rotate(self) -> None:
        """The next request gets new keys."""
        with self._lock:
            self._issued = None

    def current(self, facts: Facts, now: float) -> Issued:
        """The keys to hand out.

        Raises:
            PortError: there are none yet, and the source has none.
        """
        with self._lock:
            old = self._issued
            if old is not None and not _is_due(facts, old, now):
                return old
            try:
                self._issued = self._source(facts, now)
            except PortError:
                if old is None or old.role != facts.role:
                    raise
                return old  # as EC2 does: better old keys than none
            self.history.append(self._issued.keys)
            return self._issued


def _is_due(facts: Facts, issued: Issued, now: float) -> bool:
    if issued.role != facts.role or facts.keys not in (None, issued.keys):
        return True
    if not facts.is_renewed:
        return False
    half_life_seconds = (issued.expires_at - issued.issued_at) / 2
    return issued.expires_at - now < (facts.renew_before_seconds or half_life_seconds)
