"""Real stores, in front of servers that tests make; ``tests/conftest.py`` closes them."""

from typing import Any

from shipper.core.destinations import Destination
from shipper.core.types import ChecksumAlgorithm, RoleCredentials
from shipper.edges.s3.store import S3Store
from tests.fakes.servers import REGION

_made: list[S3Store] = []


def s3_store(url: str = "", *, bucket: str = "bucket", **options: Any) -> S3Store:
    """A store on the bucket at this address, closed when the test is over."""
    usual: dict[str, Any] = {
        "destination": Destination(bucket, endpoint_url=url, addressing_style="path"),
        "region": REGION,
        "credentials": lambda: RoleCredentials("AKOURS", "secret", "our-token", expires_at=0.0),
        "algorithm": ChecksumAlgorithm.CRC32,
        "max_connections": 4,
    }
    _made.append(S3Store(**(usual | options)))
    return _made[-1]


def close_stores() -> None:
    while _made:
        _made.pop().close()
