"""Fixtures of the metadata client's and the commands' tests."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from shipper.edges.imds.client import TOKEN_HEADER
from shipper.mock.imds import MockImds
from tests.fakes.servers import Answer, ScriptedServer
from tests.machines.bench import Bench, Scripted
from tests.machines.here import Here


@pytest.fixture(scope="module")
def server() -> Iterator[MockImds]:
    """One for all, because its end takes half a second."""
    with MockImds() as running:
        yield running


@pytest.fixture
def bench(server: MockImds) -> Iterator[Bench]:
    made = Bench(server)
    yield made
    bare = [asked for asked in server.requests if asked[0] == "GET" and not asked[2]]
    assert bare == [], "a GET without a metadata token"


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """Starts servers that answer byte for byte as told."""
    started: list[ScriptedServer] = []
    with ExitStack() as stack:

        def start(*script: bytes | Answer) -> ScriptedServer:
            started.append(stack.enter_context(ScriptedServer(*script)))
            return started[-1]

        yield start
    bare = [
        request
        for each in started
        for request in each.requests
        if request.method == "GET" and not request.headers.get(TOKEN_HEADER)
    ]
    assert bare == [], "a GET without a metadata token"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs commands in this process."""
    return Here(monkeypatch, capsys)


@pytest.fixture
def handlers() -> Iterator[None]:
    """The daemon sets signal handlers; afterwards they are as before."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
