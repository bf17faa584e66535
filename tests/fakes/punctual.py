"""A service of AWS that takes only what is signed within 15 minutes of its own time."""

import time
from collections.abc import Callable
from datetime import datetime
from email.utils import formatdate

from tests.fakes.servers import Request

ALLOWED_SECONDS = 900


class Punctual:
    """Refuses as STS and Auto Scaling do; every answer says its time.

    That is so far ahead of this machine's.
    """

    def __init__(
        self,
        accepted: Callable[[], bytes],
        refusal: Callable[[str], bytes],
        ahead_seconds: float = 0.0,
    ) -> None:
        self._accepted, self._refusal = accepted, refusal
        self._ahead_seconds = ahead_seconds
        self.refused = 0

    def answer(self, request: Request) -> bytes:
        """What a ``ScriptedServer`` answers."""
        now = time.time() + self._ahead_seconds
        is_late = abs(signed_at(request) - now) > ALLOWED_SECONDS
        self.refused += is_late
        found = self._refusal("SignatureDoesNotMatch") if is_late else self._accepted()
        first, rest = found.split(b"\r\n", 1)
        return b"\r\n".join([first, f"Date: {formatdate(now, usegmt=True)}".encode(), rest])


def signed_at(request: Request) -> float:
    """The time that a request was signed with; its scope has the same day."""
    said = request.headers["x-amz-date"]
    assert f"/{said[:8]}/" in request.headers["authorization"]
    return datetime.strptime(f"{said}+0000", "%Y%m%dT%H%M%SZ%z").timestamp()
