"""The metadata service in memory."""

from datetime import timedelta

from shipper.core.types import Instance, RoleCredentials
from shipper.ports import Clock, PortError


class FakeMetadata:
    """Hands out ``AK1``, then ``AK2`` once half of its life is over, and so on."""

    def __init__(self, clock: Clock, *, life: timedelta = timedelta(hours=6)) -> None:
        self._clock = clock
        self._life = life.total_seconds()
        self._error: PortError | None = None
        self._issued = 0
        self._expires_at = 0.0
        self._expires_in: float | None = None
        self.is_stuck = False
        """While set, the same credentials are handed out, expired or not."""
        self.skew_seconds = 0.0
        """How far its clock is ahead of ours; its documents are dated by its own."""
        self.asked = 0
        self.found = Instance("i-1", "123456789012", "eu-central-1", "eu-central-1a")
        self.texts: dict[str, str] = {}

    def fail_with(self, code: str, detail: str = "", hint: str = "") -> None:
        """Fail every question from now on."""
        self._error = PortError(code, detail, hint)

    def recover(self) -> None:
        """Answer again."""
        self._error = None

    def expires_in(self, seconds: float | None) -> None:
        """From now on the documents expire this long after they are asked for; None: as before."""
        self._expires_in = seconds

    def instance(self) -> Instance:
        """The identity document."""
        self._answer()
        return self.found

    def credentials(self) -> RoleCredentials:
        """The role's credentials."""
        self._answer()
        left = self._expires_at - self._clock.now()
        if not self._issued or (left < self._life / 2 and not self.is_stuck):
            self._issued += 1
            self._expires_at = self._clock.now() + self._life
        expires_at = self._expires_at
        if self._expires_in is not None:
            expires_at = self._clock.now() + self._expires_in
        return RoleCredentials(
            access_key_id=f"AK{self._issued}",
            secret_access_key=f"secret-{self._issued}",
            session_token=f"session-{self._issued}",
            expires_at=expires_at + self.skew_seconds,
            skew_seconds=self.skew_seconds,
            role="shipper",
            account_id="123456789012",
        )

    def get(self, path: str) -> str | None:
        """Any other text."""
        self._answer()
        return self.texts.get(path)

    def peek(self, path: str) -> str | None:
        """As ``get``."""
        return self.get(path)

    def _answer(self) -> None:
        self.asked += 1
        if self._error is not None:
            raise self._error
