"""Fixtures that many tests share."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shipper.mock.imds import MockImds
from tests.fakes.instance import BUCKET, Instance, facts
from tests.fakes.servers import Moto, moto_server


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """One S3 server for a whole (worker's) session; each test has a bucket of its own."""
    with moto_server() as running:
        yield running


@pytest.fixture
def instance(tmp_path: Path, moto: Moto) -> Iterator[Callable[..., Instance]]:
    """Makes instances, and ends them."""
    made: list[tuple[Instance, MockImds]] = []

    def make(**options: Any) -> Instance:
        number = len(made)
        bucket = f"{BUCKET}-{abs(hash(str(tmp_path)))}-{number}"[:60]
        server = options.pop("moto", moto)
        server.create_bucket(bucket)
        imds = MockImds(facts(**options.pop("facts", {}))).start()
        one = Instance(tmp_path / f"instance-{number}", server, imds, bucket=bucket, **options)
        made.append((one, imds))
        return one

    yield make
    for one, imds in made:
        one.end()
        imds.stop()


@pytest.fixture
def logrotate() -> str:
    """The real logrotate. Absent, the test is skipped, or failed where it must not be absent."""
    program = shutil.which("logrotate", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        message = "logrotate is not installed: the tests with the real one do not run"
        if os.environ.get("SHIPPER_REQUIRE_LOGROTATE"):
            pytest.fail(message)
        pytest.skip(message)
    return program
