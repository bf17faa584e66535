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

MOST_INTERIM = 8
"""So many answers that are none, 103 Early Hints say, before one is."""


class FinalResponse(http.client.HTTPResponse):
    """The first answer that is not an interim one."""

    def _read_status(self) -> Any:
        for _ in range(MOST_INTERIM):
            found = super()._read_status()  # type: ignore[misc]  # of no stub
            if found[1] >= 200:
                return found
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException(f"more than {MOST_INTERIM} interim answers")


class _Refusal(AWSHTTPResponse):
    """An answer that came instead of ``100 Continue``: nothing may follow the body not sent."""

    def begin(self) -> None:
        super().begin()
        self.will_close = True


class _Connection(AWSConnection):
    response_class: Any = FinalResponse

    def _handle_expect_response(self, message_body: Any) -> None:
        super()._handle_expect_response(message_body)  # type: ignore[misc]  # of no stub
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


class _HttpPool(AWSHTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(AWSHTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


def mend(session: Any) -> None:
    """Let botocore's ``URLLib3Session`` open such connections only, through proxies, too."""
    session._pool_classes_by_scheme.update(http=_HttpPool, https=_HttpsPool)  # noqa: SLF001
