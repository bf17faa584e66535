"""The long run: a 300 MB log and 200 small ones, and ten times ``kill -9``."""

import hashlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.demo.children import Child, parts_sent, start_s3
from shipper.mock.imds import MockImds
from tests.fakes.servers import Moto
from tests.machines.instance import Instance, facts

BIG_BYTES = 300_000_000
SMALL_FILES = 200
KILLS = 10
CONCURRENT_PARTS = 4
MB = 1_000_000


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[tuple[Child, str]]:
    """An S3 server that logs every request."""
    child, url = start_s3(str(tmp_path))
    yield child, url
    child.stop()


@pytest.fixture
def machine(tmp_path: Path, s3: tuple[Child, str]) -> Iterator[Instance]:
    """An instance that ships to it in small parts."""
    moto = Moto(s3[1])
    moto.create_bucket("soak")
    imds = MockImds(facts(lifetime_seconds=30.0)).start()
    one = Instance(
        tmp_path / "instance",
        moto,
        imds,
        bucket="soak",
        more=f'[uploads]\npart_size = "5MiB"\nconcurrent_parts = {CONCURRENT_PARTS}\n',
    )
    yield one
    one.end()
    imds.stop()


def big_log(path: Path, rng: random.Random) -> None:
    """300 MB that compress to half, written like a log and then rotated by its name."""
    live = path.with_name("big.log")
    with live.open("wb") as file:
        left = BIG_BYTES
        while left:
            block = rng.randbytes(min(left, MB) // 2).hex().encode()
            file.write(block)
            left -= len(block)
    live.rename(path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_kills_during_a_300_mb_log_and_200_small_ones_lose_and_double_nothing(
    machine: Instance, s3: tuple[Child, str], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(20261124)
    started = time.monotonic()
    machine.start()
    big_log(machine.logs / "big.log.1", rng)
    small = [rng.randbytes(rng.randint(1, 50_000)).hex().encode() for _ in range(SMALL_FILES)]
    moments = []
    for kill in range(KILLS):
        for number in range(kill, SMALL_FILES, KILLS):
            machine.write(f"app-{number}.log.1", small[number])
        until = time.monotonic() + rng.uniform(0.2, 2.0)
        machine.wait_for(lambda until=until: time.monotonic() > until, "a random moment")  # type: ignore[misc]
        moments.append(machine.files("DONE"))
        machine.kill()
        machine.start()
    machine.wait_until_shipped(SMALL_FILES + 1, seconds=300)
    assert machine.stop() == 0

    bodies = machine.contents()
    sent = parts_sent(s3[0])
    resent = sum(sent.values()) - len(sent)
    wanted = [hashlib.sha256(body).hexdigest() for body in small]
    wanted.append(hashlib.sha256((machine.logs / "big.log.1").read_bytes()).hexdigest())
    with capsys.disabled():
        print(
            f"\n{len(bodies)} objects of {SMALL_FILES + 1} files; killed after {moments} files; "
            f"{len(sent)} parts, {resent} sent again; {time.monotonic() - started:.0f} s"
        )
    assert sorted(hashlib.sha256(body).hexdigest() for body in bodies) == sorted(wanted)
    assert len(sent) > KILLS
    assert resent <= KILLS * CONCURRENT_PARTS
    assert machine.files("GONE", "PARKED", "SUPERSEDED") == 0
