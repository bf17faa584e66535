"""``python -m tests.performance.signing``: what a signature costs, ours and botocore's.

One PutObject of 1 KiB is signed by botocore's client with static credentials, and by
``shipper.edges.s3.signer`` with those of a keeper. Both in turn, in batches, in one run. Only
signing is timed.
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

from shipper.edges.http_client.body import Body
from shipper.edges.s3.signer import Signer
from shipper.services.credentials import CredentialKeeper
from tests.fakes.clock import FakeClock
from tests.fakes.log import RecordingLog
from tests.fakes.metadata import FakeMetadata

ROUNDS = 200
BATCH = 50
REGION = "eu-central-1"
TARGET = "/bucket/logs/app.log.1.zst"
URL = f"https://s3.{REGION}.amazonaws.com{TARGET}"


def main() -> int:
    """Print the medians; 1 when shipper's is not below botocore's."""
    botocores, ours = measure(by_botocore(static_client()), by_us())
    print(
        f"signing one PutObject, median of {ROUNDS} rounds of {BATCH}: "
        f"botocore {botocores:.1f} µs, shipper {ours:.1f} µs"
    )
    return int(ours >= botocores)


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


def by_us() -> Callable[[], None]:
    """Signs with the keeper's."""
    clock = FakeClock()
    keeper = CredentialKeeper(
        source=FakeMetadata(clock), clock=clock, rng=Random(0), log=RecordingLog()
    )
    keeper.step()
    ours, body = Signer(keeper.current, lambda _: clock.now(), hashes=False), Body(b"x" * 1024)

    def once() -> None:
        headers = {"If-None-Match": "*", "Host": f"s3.{REGION}.amazonaws.com"}
        ours.sign("PUT", TARGET, headers, body, region=REGION, service="s3")
        assert "Credential=AK1/" in headers["Authorization"]

    return once


def measure(*signers: Callable[[], None]) -> tuple[float, float]:
    """Median microseconds of one signature by each, in turn, so that noise is shared."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + 1):
        order = (0, 1) if number % 2 else (1, 0)
        for which in order:
            started = time.perf_counter()
            for _ in range(BATCH):
                signers[which]()
            if number:  # the first round warms up
                taken[which].append((time.perf_counter() - started) / BATCH * 1e6)
    return statistics.median(taken[0]), statistics.median(taken[1])


def by_botocore(client: Any) -> Callable[[], None]:
    """Signs a fresh PutObject as the client does before it sends one."""
    # Botocore has no public way to sign a prepared request as a client would.

    def once() -> None:
        request = AWSRequest("PUT", URL, headers={"If-None-Match": "*"}, data=b"x" * 1024)
        request.context.update(client_region=REGION, has_streaming_input=True, signing={})
        client._request_signer.sign("PutObject", request)
        assert "Credential=ASIAEXAMPLE/" in request.headers["Authorization"]

    return once


if __name__ == "__main__":
    sys.exit(main())
