"""A client of the mocked metadata service that does nothing of its own."""

import http.client
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shipper.mock.imds import TOKEN_HEADER, TTL_HEADER


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    body: str
    headers: dict[str, str]

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def expires_at(self) -> float:
        return datetime.fromisoformat(self.document["Expiration"]).timestamp()


class Asker:
    """A plain HTTP client: no retries, no token but the one it is told to send."""

    def __init__(self, url: str) -> None:
        self._host = url.removeprefix("http://")

    def ask(self, method: str, path: str, **headers: str) -> Answered:
        connection = http.client.HTTPConnection(self._host, timeout=10)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=sent)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, answer.read().decode(), names)
        finally:
            connection.close()

    def token(self, ttl: str = "21600", **headers: str) -> Answered:
        sent = {TTL_HEADER: ttl} | headers
        return self.ask("PUT", "/latest/api/token", **sent)

    def get(self, path: str) -> Answered:
        return self.ask("GET", path, **{TOKEN_HEADER: self.token().body})
