"""The mocked metadata service without a wire: a request is a call, and a simulated day is cheap.

``NearService`` stands where libcurl stands in the metadata client. What a status, a silence
and a well-behaved answer are, it knows; an answer that comes in parts needs a connection.
"""

from email.utils import formatdate
from urllib.parse import urlsplit

from shipper.edges.http_client.transfer import SILENCE, TOO_LONG, Answer, Request
from shipper.edges.imds.asking import BODY_BYTES
from shipper.mock.imds import MockImds
from shipper.mock.protocol import TOKEN_HEADER, TTL_HEADER, Exchange
from shipper.ports import PortError


class NearService:
    """Asks the service in this process."""

    def __init__(self, service: MockImds) -> None:
        self._service = service

    def send(self, request: Request) -> Answer:
        """The answer, logged by the service as it logs each request."""
        method, path, headers = request.method, urlsplit(request.url).path, request.headers
        asked = Exchange(
            method, path, headers.get(TTL_HEADER, ""), headers.get(TOKEN_HEADER), False
        )
        self._service.exchange(asked)
        if asked.broken is not None and asked.broken.status:
            asked.status = asked.broken.status
        self._service.say(method=method, path=path, status=asked.status, token=asked.standing)
        if asked.broken is not None and not asked.broken.status:
            assert asked.broken.kind in ("hang", "reset", "close"), "it needs a connection"
            raise PortError("Unreachable", SILENCE if asked.broken.kind == "hang" else "")
        if len(asked.body) > BODY_BYTES:
            raise PortError("Unreachable", TOO_LONG)
        said = {"date": formatdate(self._service.now(), usegmt=True)}
        if asked.told_seconds and asked.status == 200:
            said[TTL_HEADER] = str(asked.told_seconds)
        return Answer(asked.status, said, asked.body.encode())
