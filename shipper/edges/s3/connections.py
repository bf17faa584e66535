"""Botocore's connections, with interim answers read as RFC 9110 defines them.

Any 1xx answer is an interim one (15.2); ``http.client`` knows 100 only, and would leave the final
answer to the next request on that connection. Whoever answers a request instead of letting its
body come may still wait for the body (10.1.1), so that connection ends; botocore goes on with it.
And where a connection ends within ``100 Continue`` botocore would look for more for ever.

Leaned on beyond documentation: botocore's ``AWSConnection`` and ``_pool_classes_by_scheme``,
``HTTPResponse._read_status``.
"""

import http.client
from functools import partial
from typing import Any

from botocore.awsrequest import (
    AWSConnection,
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPResponse,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

from shipper.edges.answer_limits import AnswerLimits, BoundedSocket

ANSWER_SECONDS = 540.0
"""For a whole answer: S3 may send blanks for minutes while it completes an upload. It is less than
the time after which the daemon counts as stalled."""
ANSWER_BYTES = 8 * 1024**2
"""No answer that is asked for holds more than a listing of 1,000 keys."""
LIMITS = AnswerLimits(ANSWER_SECONDS, ANSWER_BYTES)
MOST_INTERIM = 8
"""So many answers that are none, 103 Early Hints say, before one is."""


class FinalResponse(http.client.HTTPResponse):
    """The first answer that is not an interim one."""

    def __init__(self, sock: Any, *arguments: Any, **named: Any) -> None:
        limits = named.pop("limits", LIMITS)
        super().__init__(BoundedSocket(sock, limits), *arguments, **named)  # type: ignore[arg-type]  # all it asks for

    def _read_status(self) -> Any:
        for _ in range(MOST_INTERIM):
            found = super()._read_status()  # type: ignore[misc]  # of no stub
            if found[1] >= 200:
                return found
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException(f"more than {MOST_INTERIM} interim answers")


class _Refusal(AWSHTTPResponse):
    """An answer that came instead of ``100 Continue``: nothing may follow the body not sent."""

    def __init__(self, sock: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(BoundedSocket(sock, LIMITS), *arguments, **named)

    def begin(self) -> None:
        super().begin()
        self.will_close = True


class _Connection(AWSConnection):
    response_class: Any

    def _handle_expect_response(self, message_body: Any) -> None:
        connected: Any = self.sock  # type: ignore[has-type]  # of no stub
        self.sock = BoundedSocket(connected, LIMITS)
        try:
            super()._handle_expect_response(message_body)  # type: ignore[misc]  # of no stub
        finally:
            self.sock = connected
        if self._response_received:  # type: ignore[attr-defined]  # of no stub
            self.response_class = partial(_Refusal, **self.response_class.keywords)

    def _consume_headers(self, fp: Any) -> None:
        while (line := fp.readline()).strip():
            pass
        if not line:
            raise http.client.RemoteDisconnected("closed within 100 Continue")


class _HttpConnection(_Connection, AWSHTTPConnection):  # type: ignore[misc]  # as botocore's own
    pass


class _HttpsConnection(_Connection, AWSHTTPSConnection):  # type: ignore[misc]  # as botocore's own
    pass


def mend(session: Any, limits: AnswerLimits) -> None:
    """Let botocore's ``URLLib3Session`` open such connections only, through proxies, too."""
    responses: Any = staticmethod(partial(FinalResponse, limits=limits))

    class Http(_HttpConnection):
        response_class = responses

    class Https(_HttpsConnection):
        response_class = responses

    class HttpPool(AWSHTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(AWSHTTPSConnectionPool):
        ConnectionCls = Https

    session._pool_classes_by_scheme.update(http=HttpPool, https=HttpsPool)  # noqa: SLF001
