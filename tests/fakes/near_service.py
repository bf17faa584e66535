"""The mocked metadata service without a wire: a request is a call, and a simulated day is cheap.

``NearService`` stands where urllib3's pool stands in the metadata client. What a status, a silence
and a well-behaved answer are, it knows; an answer that comes in parts needs a connection.
"""

from collections.abc import Mapping
from email.utils import formatdate
from io import BytesIO
from typing import Any, Self
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from shipper.mock.imds import MockImds
from shipper.mock.protocol import TOKEN_HEADER, TTL_HEADER, Exchange


class NearAnswer:
    """What the client reads of urllib3's answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = BytesIO(body)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """There is nothing to give back."""

    def read1(self, size: int) -> bytes:
        return self._body.read1(size)


def _failure(kind: str, url: str) -> HTTPError:
    """What urllib3 raises where there is no answer."""
    if kind == "hang":
        return ReadTimeoutError(None, url, "silence")  # type: ignore[arg-type]  # has no pool
    assert kind in ("reset", "close"), f"{kind} needs a connection"
    return ProtocolError("Connection aborted.")


class NearService:
    """Asks the service in this process."""

    def __init__(self, service: MockImds) -> None:
        self._service = service

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], **_: Any
    ) -> NearAnswer:
        """The answer, logged by the service as it logs each request."""
        path = urlsplit(url).path
        asked = Exchange(
            method, path, headers.get(TTL_HEADER, ""), headers.get(TOKEN_HEADER), False
        )
        self._service.exchange(asked)
        if asked.broken is not None and asked.broken.status:
            asked.status = asked.broken.status
        self._service.say(method=method, path=path, status=asked.status, token=asked.standing)
        if asked.broken is not None and not asked.broken.status:
            raise _failure(asked.broken.kind, url)
        said = {"Date": formatdate(self._service.now(), usegmt=True)}
        if asked.told_seconds and asked.status == 200:
            said[TTL_HEADER] = str(asked.told_seconds)
        return NearAnswer(asked.status, said, asked.body.encode())
