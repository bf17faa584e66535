"""AWS Signature Version 4, as botocore makes it for S3, at a fraction of what it costs there.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. A key of a path is
encoded once, and no path is normalized. Over https a body is hashed only where that is asked for.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from functools import partial

from botocore.auth import SIGNED_HEADERS_BLACKLIST as _NOT_SIGNED
from botocore.auth import SIGV4_TIMESTAMP, UNSIGNED_PAYLOAD

from shipper.core.concurrency import PIECE_BYTES
from shipper.core.types import RoleCredentials
from shipper.edges.http_client.body import Body


class Signer:
    """Safe to share between threads: its one field that changes is written as a whole.

    ``credentials`` is called for every signature; ``now`` gets their skew.
    """

    def __init__(
        self,
        credentials: Callable[[], RoleCredentials],
        now: Callable[[float], float],
        *,
        hashes: bool,
    ) -> None:
        self._credentials = credentials
        self._now = now
        self._hashes = hashes
        self._key = ("", "", b"")
        """A key, with what it was derived from."""

    def sign(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: Body,
        *,
        region: str,
        service: str,
    ) -> None:
        """Add to the headers, among which is ``Host``, what S3 asks for. ``target`` is the URL's
        path and query.
        """
        role = self._credentials()
        at = time.strftime(SIGV4_TIMESTAMP, time.gmtime(self._now(role.skew_seconds)))
        payload = _hash(body) if self._hashes else UNSIGNED_PAYLOAD
        headers["X-Amz-Date"] = at
        if role.session_token:
            headers["X-Amz-Security-Token"] = role.session_token
        headers["X-Amz-Content-SHA256"] = payload
        lower = sorted([(name.lower(), text) for name, text in headers.items()])
        to_sign = [(name, text) for name, text in lower if name not in _NOT_SIGNED]
        names = ";".join([name for name, _ in to_sign])
        path, _, query = target.partition("?")
        terms = [term if "=" in term else f"{term}=" for term in query.split("&") if term]
        lines = [f"{name}:{' '.join(text.split())}" for name, text in to_sign]
        canonical = "\n".join([method, path, "&".join(sorted(terms)), *lines, "", names, payload])
        scope = f"{at[:8]}/{region}/{service}/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}"
        signature = hmac.digest(self._derived(role, scope), text.encode(), "sha256").hex()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={role.access_key_id}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )

    def _derived(self, role: RoleCredentials, scope: str) -> bytes:
        """The key of a day, a region and a service."""
        secret, for_scope, key = self._key
        if (secret, for_scope) != (role.secret_access_key, scope):
            key = f"AWS4{role.secret_access_key}".encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = role.secret_access_key, scope, key
        return key


def _hash(body: Body) -> str:
    found = hashlib.sha256()
    for piece in iter(partial(body.read, PIECE_BYTES), b""):
        found.update(piece)
    body.seek(0)
    return found.hexdigest()
