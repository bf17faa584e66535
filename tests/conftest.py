"""Fixtures that many tests share."""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import create_loader
from hypothesis import settings

from shipper.edges.s3.models import lean_loader
from shipper.mock.imds import MockImds
from tests.fakes.s3_stores import close_stores
from tests.fakes.servers import Moto, moto_server, shared_moto
from tests.machines.instance import BUCKET, Instance, facts
from tests.machines.needs import program_path, summary

settings.register_profile("any machine", deadline=None)  # other things run there, too
settings.load_profile("any machine")


class ClosesItself(sqlite3.Connection):
    """A connection that nobody closed is closed without a word, as at the end of a process.

    Many tests end a life as a crash does. Since Python 3.13 that is a warning, and here an error.
    """

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it was never opened
            self.close()


def pytest_itemcollected(item: pytest.Item) -> None:
    """What asks for a real program is of the tier that has them."""
    if "program" in getattr(item, "fixturenames", ()):
        item.add_marker("system")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let every worker begin with its share of what takes long: none is waited for at the end.

    xdist cuts the list into as many stretches as there are workers (``--dist worksteal``).
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    lengthy = [item for item in items if item.get_closest_marker("lengthy")]
    others = iter([item for item in items if not item.get_closest_marker("lengthy")])
    count, ordered = len(items), list[pytest.Item]()
    for number in range(workers):
        ordered += lengthy[number::workers]
        ordered += islice(others, max(0, count * (number + 1) // workers - len(ordered)))
    items[:] = [*ordered, *others]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say last what this machine left out."""
    skipped = [one.longrepr for one in terminalreporter.getreports("skipped")]
    for line in summary(one[2] for one in skipped if isinstance(one, tuple)):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def databases_close_themselves() -> Iterator[None]:
    """For the tests' own process; a daemon that is a child has nothing of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=ClosesItself))
        yield


@pytest.fixture(autouse=True)
def signals_are_blocked_as_before() -> Iterator[None]:
    """What a command blocks in the tests' own process, children of later tests would inherit."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture(autouse=True)
def stores_are_closed() -> Iterator[None]:
    """Each has a thread."""
    yield
    close_stores()


@pytest.fixture(scope="session", autouse=True)
def models_are_read_once() -> Iterator[None]:
    """A client for each test is what is tested; reading botocore's models each time is not.

    The models are seven eighths of what a client costs: 0.1 s of CPU.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", cache(create_loader))
        for user in ("shipper.edges.s3.store", "shipper.edges.sts"):
            patch.setattr(f"{user}.lean_loader", _lean_loader)
        yield


_lean_loader = cache(lean_loader)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Moto:
    """One S3 server for all workers; each test has a bucket of its own."""
    shared = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        return shared_moto(shared.parent, until=os.getppid())
    return shared_moto(shared, until=os.getpid())


@pytest.fixture(scope="session")
def worker_moto() -> Iterator[Moto]:
    """A server of this worker's own. Take ``own_moto``."""
    with moto_server() as running:
        yield running


@pytest.fixture
def own_moto(worker_moto: Moto) -> Moto:
    """An empty S3 server that nobody else uses: for roles, and for enforcing their policies."""
    worker_moto.reset()
    return worker_moto


@pytest.fixture
def instance(tmp_path: Path, moto: Moto) -> Iterator[Callable[..., Instance]]:
    """Makes instances, and ends them."""
    with _instances(tmp_path, moto) as make:
        yield make


@pytest.fixture(scope="module")
def shared_instance(
    tmp_path_factory: pytest.TempPathFactory, moto: Moto
) -> Iterator[Callable[..., Instance]]:
    """Makes instances for all tests of a module."""
    with _instances(tmp_path_factory.mktemp("shared"), moto) as make:
        yield make


@contextmanager
def _instances(directory: Path, moto: Moto) -> Iterator[Callable[..., Instance]]:
    made: list[tuple[Instance, MockImds]] = []

    def make(**options: Any) -> Instance:
        number = len(made)
        bucket = f"{BUCKET}-{abs(hash(str(directory)))}-{number}"[:60]
        server = options.pop("moto", moto)
        server.create_bucket(bucket)
        imds = MockImds(facts(**options.pop("facts", {}))).start()
        one = Instance(directory / f"instance-{number}", server, imds, bucket=bucket, **options)
        made.append((one, imds))
        return one

    try:
        yield make
    finally:
        for one, imds in made:
            one.end()
            imds.stop()


@pytest.fixture
def program() -> Callable[[str], str]:
    """Finds a real program. Absent, the test is skipped, or failed where it must not be absent."""

    return program_path


@pytest.fixture
def logrotate(program: Callable[[str], str]) -> str:
    """The real logrotate."""
    return program("logrotate")
