"""``python -m tests.performance.signing``: what lending a snapshot adds to botocore's signature.

One PutObject of 1 KiB is signed by botocore's own signer: with static credentials, and with those
that ``shipper.edges.s3.session`` lends from a keeper. Both in turn, in batches, in one run. The
request is botocore's own, prepared once by each client; only signing is timed. The issue allows
``ALLOWED_MICROSECONDS`` above botocore's own.
"""

import statistics
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Any

from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.session import Session

from shipper.edges.s3.session import session_with
from shipper.services.credentials import CredentialKeeper
from tests.fakes.clock import FakeClock
from tests.fakes.log import RecordingLog
from tests.fakes.metadata import FakeMetadata

ALLOWED_MICROSECONDS = 50.0
ROUNDS = 200
BATCH = 50
REGION = "eu-central-1"
URL = f"https://s3.{REGION}.amazonaws.com/bucket/logs/app.log.1.zst"


def main() -> int:
    """Print the medians; 1 when shipper's is too far above botocore's."""
    own, lent = measure(static_client(), lending_client())
    above = lent - own
    print(
        f"signing one PutObject, median of {ROUNDS} rounds of {BATCH}: botocore's own static "
        f"credentials {own:.1f} µs, a lent snapshot {lent:.1f} µs, difference {above:+.1f} µs "
        f"(allowed: {ALLOWED_MICROSECONDS:.0f} µs)"
    )
    return int(above >= ALLOWED_MICROSECONDS)


def static_client() -> Any:
    """Botocore with keys it was given."""
    return Session().create_client(
        "s3",
        region_name=REGION,
        aws_access_key_id="ASIAEXAMPLE",
        aws_secret_access_key="secret-1",
        aws_session_token="session-1",
        config=Config(proxies={"no": "proxy"}),
    )


def lending_client() -> Any:
    """Botocore with the keeper's."""
    clock = FakeClock()
    keeper = CredentialKeeper(
        source=FakeMetadata(clock), clock=clock, rng=Random(0), log=RecordingLog()
    )
    keeper.step()
    session = session_with(keeper.current)
    return session.create_client("s3", region_name=REGION, config=Config(proxies={"no": "proxy"}))


def measure(own: Any, lent: Any) -> tuple[float, float]:
    """Median microseconds of one signature by each, in turn, so that noise is shared."""
    taken: tuple[list[float], list[float]] = ([], [])
    signers = [signer(own, "ASIAEXAMPLE"), signer(lent, "AK1")]
    for number in range(ROUNDS + 1):
        order = (0, 1) if number % 2 else (1, 0)
        for which in order:
            started = time.perf_counter()
            for _ in range(BATCH):
                signers[which]()
            if number:  # the first round warms up
                taken[which].append((time.perf_counter() - started) / BATCH * 1e6)
    return statistics.median(taken[0]), statistics.median(taken[1])


def signer(client: Any, access_key_id: str) -> Callable[[], None]:
    """Signs a fresh PutObject as the client does before it sends one."""
    # Botocore has no public way to sign a prepared request as a client would.
    sign = client._request_signer.sign

    def once() -> None:
        request = AWSRequest("PUT", URL, headers={"If-None-Match": "*"}, data=b"x" * 1024)
        request.context.update(client_region=REGION, has_streaming_input=True, signing={})
        sign("PutObject", request)
        assert f"Credential={access_key_id}/" in request.headers["Authorization"]

    return once


if __name__ == "__main__":
    sys.exit(main())
