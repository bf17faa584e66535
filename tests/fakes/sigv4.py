"""AWS Signature Version 4, computed once more from the bytes that came in, by the specification.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. Nothing of botocore
is used, so that it cannot agree with itself. S3 takes the path as it was sent, encoded once.
"""

import hashlib
import hmac
import re

from tests.fakes.servers import Request

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]+)"
)
UNSIGNED = "UNSIGNED-PAYLOAD"


def scope_of(request: Request) -> str:
    """Date, region, service and the rest of what the signature is good for."""
    return _parts(request)[1]


def is_well_signed(request: Request, secret: str) -> bool:
    """Whether S3 would take the request for one of who knows ``secret``."""
    _, scope, signed, signature = _parts(request)
    names = signed.split(";")
    payload = request.headers["x-amz-content-sha256"]
    is_whole = payload in (UNSIGNED, hashlib.sha256(request.body).hexdigest())
    path, _, query = request.target.partition("?")
    terms = [each if "=" in each else f"{each}=" for each in query.split("&") if each]
    canonical = "\n".join(
        [
            request.method,
            path,
            "&".join(sorted(terms)),
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in names),
            "",
            signed,
            payload,
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, digest])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    is_covered = {"host"} | {name for name in request.headers if name.startswith("x-amz-")}
    computed = hmac.digest(key, text.encode(), "sha256").hex()
    return is_whole and is_covered <= set(names) and computed == signature


def _parts(request: Request) -> tuple[str, str, str, str]:
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    assert found is not None, request.headers
    key_id, scope, signed, signature = found.groups()
    return key_id, scope, signed, signature
