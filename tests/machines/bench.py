"""A bench for the metadata client: the mocked service with a script in front of it.

What is not scripted behaves. What no well-behaved HTTP server says comes byte for byte from a
``ScriptedServer``. The fixtures in ``tests/integration/conftest.py`` see to it that no GET ever
arrives without a metadata token.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from shipper.edges.http_client.transfer import Limits, exchange
from shipper.edges.imds.client import ImdsMetadata
from shipper.mock.imds import Facts, MockImds
from shipper.ports import Metadata, PortError
from tests.fakes.clock import FakeClock
from tests.fakes.servers import ScriptedServer, http_answer

TOKEN = "PUT api/token"
EXTENDED = "GET meta-data/iam/security-credentials-extended/"
LEGACY = "GET meta-data/iam/security-credentials/"
INFO = "GET meta-data/iam/info"
THING = "GET thing"
IMPATIENT = partial(exchange, limits=Limits(answer_seconds=0.1))
KEYS = {"AccessKeyId": "AK", "SecretAccessKey": "the-secret", "Token": "the-session"}
GOOD: dict[str, Any] = {"Code": "Success", **KEYS, "Expiration": "2030-01-01T00:00:00Z"}
ABSENT = "absent"
GOOD_UNTIL = 1_893_456_000.0
NO_ROLE = (
    "Instance Profile arn:aws:iam::1:instance-profile/p does not contain a role. "
    "Please see documentation"
)

TEXT = http_answer(200, "text")

Reply = tuple[int, str]
Scripted = Callable[..., ScriptedServer]


class Bench:
    """``asked`` are the requests in order; ``pauses`` what was waited between tries."""

    def __init__(self, service: MockImds) -> None:
        self.service = service
        self.clock = FakeClock()
        self.asked: list[str] = []
        self.pauses: list[float] = []
        self._script: dict[str, list[Reply]] = {}
        service.facts = Facts(extra={"/latest/thing": "text"})
        service.fault = self._fault
        service.forget_tokens()
        service.rotate()
        service.requests.clear()
        self.metadata = self.another()

    def another(self, url: str = "", **options: Any) -> ImdsMetadata:
        """A new one, as after a restart."""
        made = {"wait": self._wait} | options
        return ImdsMetadata(url or self.service.url, self.clock, **made)

    def answer(self, asked: str, *replies: Reply) -> None:
        """Answer this request so; the last reply for ever, and with none as the mock does."""
        self._script[asked] = list(replies)

    def failure(self, metadata: Metadata | None = None) -> PortError:
        """The error of asking for credentials."""
        with pytest.raises(PortError) as caught:
            (metadata or self.metadata).credentials()
        assert "the-secret" not in repr(caught.value)
        assert "the-session" not in repr(caught.value)
        return caught.value

    def asked_since(self) -> list[str]:
        """What was asked since the last look."""
        asked, self.asked = self.asked, []
        return asked

    def _wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return False

    def _fault(self, method: str, path: str) -> Reply | None:
        asked = f"{method} {path.removeprefix('/latest/')}"
        self.asked.append(asked)
        replies = self._script.get(asked)
        if not replies:
            return None
        return replies[0] if len(replies) == 1 else replies.pop(0)
