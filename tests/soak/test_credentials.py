"""The long run with credentials that live twenty seconds, against a server that checks it.

moto keeps no session token's expiry, so a proxy in front of it does: the keys of a request must be
ones that its STS gave to the metadata service, and alive. ``SHIPPER_SOAK_SECONDS`` shortens it.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from shipper.core.types import RoleCredentials
from shipper.mock.facts import Facts, Issued
from shipper.mock.imds import MockImds
from shipper.mock.sts import ANYBODY, StsSource
from tests.fakes.proxy import Proxy, Refusal, Seen
from tests.fakes.servers import Moto, moto_server
from tests.machines.instance import Instance, facts
from tests.machines.world import MIB, decoded, random_log

SOAK_SECONDS = float(os.environ.get("SHIPPER_SOAK_SECONDS", "300"))
LIFE_SECONDS = 20.0
FILE_EVERY_SECONDS = 0.5
BIG_EVERY = 40
BIG_BYTES = 12 * MIB
BUCKET = "soak-credentials"
_EXPIRED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>ExpiredToken</Code>'
    b"<Message>The provided token has expired.</Message></Error>"
)


class Checking:
    """What keys may still be used, and what they were used for; ``_lock`` guards the counts."""

    def __init__(self, moto: Moto) -> None:
        self.until: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.keys_used: set[str] = set()
        self.moto = moto
        self._sts = StsSource(moto.url)
        self._lock = threading.Lock()

    def issue(self, given: Facts, now: float) -> Issued:
        """Keys from moto's STS, and a note of when they end."""
        issued = self._sts(given, now)
        with self._lock:
            self.until[issued.keys.access_key_id] = issued.expires_at
        return issued

    def refuse(self, seen: Seen) -> Refusal | None:
        """Are these keys known and alive? Counts the request."""
        key = seen.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]
        if key == ANYBODY.access_key_id:
            return None  # the test itself
        what = f"{seen.method} part" if "partNumber=" in seen.target else seen.method
        with self._lock:
            is_alive = time.time() < self.until.get(key, 0.0)
            self.keys_used.add(key)
            self.counts[what if is_alive else "refused"] += 1
        return None if is_alive else (400, {"x-amz-request-id": "r-1"}, _EXPIRED)


@pytest.fixture
def checking() -> Iterator[Checking]:
    with moto_server() as moto:
        made = Checking(moto)
        with Proxy(moto, made.refuse) as proxy:
            made.moto = proxy.moto
            made.moto.create_bucket(BUCKET)
            yield made


@pytest.fixture
def machine(tmp_path: Path, checking: Checking) -> Iterator[Instance]:
    given = facts(lifetime_seconds=LIFE_SECONDS)
    with MockImds(given, source=checking.issue) as imds:
        more = '[uploads]\npart_size = "5MiB"\n'
        one = Instance(tmp_path / "instance", checking.moto, imds, bucket=BUCKET, more=more)
        yield one
        one.end()


def test_the_server_takes_keys_while_they_live_and_refuses_them_from_then_on(
    checking: Checking,
) -> None:
    issued = checking.issue(facts(lifetime_seconds=LIFE_SECONDS), time.time())
    assert 10 < issued.expires_at - time.time() <= LIFE_SECONDS + 1
    keys = issued.keys
    role = RoleCredentials(
        keys.access_key_id, keys.secret_access_key, keys.session_token, issued.expires_at
    )
    client = checking.moto.client_as("s3", role)
    client.put_object(Bucket=BUCKET, Key="a", Body=b"a")
    checking.until[keys.access_key_id] = time.time()
    with pytest.raises(ClientError, match="ExpiredToken"):
        client.put_object(Bucket=BUCKET, Key="b", Body=b"b")
    assert checking.counts == {"PUT": 1, "refused": 1}
    assert checking.moto.keys(BUCKET) == ["a"]


@pytest.mark.slow
@pytest.mark.timeout(SOAK_SECONDS + 300)
def test_no_request_is_refused_for_credentials_that_live_twenty_seconds(
    machine: Instance, checking: Checking, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies: list[bytes] = []
    started = time.monotonic()
    machine.start()
    while time.monotonic() - started < SOAK_SECONDS:
        number = len(bodies)
        is_big = number % BIG_EVERY == BIG_EVERY - 1
        bodies.append(random_log(number, BIG_BYTES) if is_big else b"line %d\n" % number * 500)
        machine.write(f"app-{number}.log.1", bodies[-1])
        until = started + len(bodies) * FILE_EVERY_SECONDS
        machine.wait_for(lambda until=until: time.monotonic() > until, "the next file")  # type: ignore[misc]
    machine.wait_until_shipped(len(bodies))
    assert machine.stop() == 0

    failed = machine.events("attempt.failed")
    with capsys.disabled():
        print(
            f"\n{len(bodies)} files in {time.monotonic() - started:.0f} s; {len(checking.until)} "
            f"keys issued, {len(checking.keys_used)} used; requests {dict(checking.counts)}; "
            f"{len(failed)} attempts failed"
        )
    assert checking.counts["refused"] == 0
    assert failed == []
    assert len(checking.keys_used) >= SOAK_SECONDS / LIFE_SECONDS
    assert machine.files("GONE", "PARKED", "SUPERSEDED") == 0
    assert not machine.events("credentials.not_refreshed")
    client = checking.moto.client("s3")
    keys = checking.moto.keys(BUCKET)
    found = [decoded(k, client.get_object(Bucket=BUCKET, Key=k)["Body"].read()) for k in keys]
    assert sorted(found) == sorted(bodies)
