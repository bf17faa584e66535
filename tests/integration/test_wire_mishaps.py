"""The table of lost answers, end to end: a real sender and carrier, real requests, real sockets.

The bucket has carried the request out or not, and then the answer goes wrong. Whatever it was:
exactly one object, whole; no success before it stands; few requests.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from shipper.core import parts
from shipper.core.destinations import Destination
from shipper.core.types import (
    AfterUpload,
    ChecksumAlgorithm,
    Compression,
    State,
)
from shipper.edges.http_client.transfer import SMALL_BODY_BYTES, Limits
from shipper.edges.s3.store import S3Store
from shipper.services.sending import part_cutter
from shipper.services.sending.part_cutter import Part, PartCutter, Parts
from tests.fakes.s3_stores import s3_store
from tests.fakes.servers import http_answer
from tests.fakes.store import FakeStore
from tests.fakes.wire_store import BUCKET, At, Broken, Flipped, Instead, Mishap, WireStore
from tests.machines.world import WATCH, World, random_log

SMALL = b"a line\n" * 100
WATCHES = {WATCH.name: Destination(BUCKET)}
PART = SMALL_BODY_BYTES + 1
"""Long enough to be waited for with ``100 Continue``, and S3's smallest part in these tests."""
WAITED_FOR = random_log(3, PART)
LARGE = random_log(7, PART + 100_000)
FRAME = PART // 4 + 1
SILENCE_SECONDS = 2.0
"""Longer than any answer takes on a busy machine."""

XML = {"x_amz_request_id": "R-1", "Content_Type": "application/xml"}
PORTAL = "<html><head><title>Log in</title></head><body><p>Welcome<br></body></html>"


def said(code: str, status: int) -> Instead:
    return Instead(
        http_answer(status, f"<Error><Code>{code}</Code><Message>m</Message></Error>", **XML)
    )


BEFORE = {f"{at.name}-reset": Broken(at) for at in list(At)[:6]} | {
    "BODY_MIDDLE-close": Broken(At.BODY_MIDDLE, is_reset=False)
}
"""These come before the last byte of the request: nothing can have been carried out."""
AFTER: dict[str, Broken | Instead] = {
    **{f"{at.name}-reset": Broken(at) for at in list(At)[6:]},
    **{f"{at.name}-close": Broken(at, is_reset=False) for at in list(At)[6:]},
    "412": said("PreconditionFailed", 412),
    "412-without-code": Instead(http_answer(412, **XML)),
    "409": said("ConditionalRequestConflict", 409),
    "409-aborted": said("OperationAborted", 409),
    "404-no-upload": said("NoSuchUpload", 404),
    "400-digest": said("BadDigest", 400),
    "400-timeout": said("RequestTimeout", 400),
    "500": said("InternalError", 500),
    "503": said("SlowDown", 503),
    "200-error": said("InternalError", 200),
    "200-slow": said("SlowDown", 200),
    "200-empty": Instead(http_answer(200)),
    "200-empty-from-s3": Instead(http_answer(200, **XML)),
    "200-html": Instead(http_answer(200, PORTAL, Content_Type="text/html", ETag='"p"')),
    "502-html": Instead(http_answer(502, PORTAL, Content_Type="text/html")),
    "garbage": Instead(b"\x16\x03\x01\x02\x00 not HTTP at all\r\n\r\n"),
    "timeout": Instead(b""),
}
WORK = {
    "PutObject": SMALL,
    "PutObject-waited-for": WAITED_FOR,
    "CreateMultipartUpload": LARGE,
    "UploadPart": LARGE,
    "CompleteMultipartUpload": LARGE,
    "ListObjectsV2": SMALL,
}
MORE_OF_THE_SAME = {
    "412-without-code",
    "409-aborted",
    "400-timeout",
    "200-slow",
    "502-html",
    "garbage",
    *(name for name in (*BEFORE, *AFTER) if name.endswith("-close")),
}
UNDONE = {"SILENCE-reset", "412", "404-no-upload", "409", "200-error"}
WITH_BODY = [name for name in WORK if name.startswith(("PutObject", "UploadPart"))]


def cases(names: Iterable[str], done: Iterable[bool]) -> list[ParameterSet]:
    """The table in full; in a hurry only what has a reason of its own to go wrong."""
    made = []
    for name, is_done, work in itertools.product(names, done, WORK):
        is_usual = (
            name not in MORE_OF_THE_SAME
            and (is_done or name in BEFORE or name in UNDONE)
            and (work != "PutObject-waited-for" or name in BEFORE)
        )
        done_word = "done" if is_done else "undone"
        marks = [] if is_usual else [pytest.mark.slow]
        case = f"{name}-{done_word}-{work}"
        made.append(pytest.param(name, is_done, work, marks=marks, id=case))
    return made


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same cuts of smaller files: what is tried here is many times one large file."""
    monkeypatch.setattr(parts, "MIN_PART_BYTES", PART)
    monkeypatch.setattr(parts, "FRAME_BYTES", FRAME)
    monkeypatch.setattr(part_cutter, "FRAME_BYTES", FRAME)


@pytest.fixture(scope="module")
def wire() -> Iterator[WireStore]:
    with WireStore(FakeStore()) as server:
        yield server


@pytest.fixture
def store(wire: WireStore) -> S3Store:
    """It waits as long as the daemon's: a busy machine is no silence."""
    return s3_store(wire.url, bucket=BUCKET, watches=WATCHES)


class Sight:
    """A world that ships through the wire, and what was true whenever a source was let go."""

    def __init__(
        self,
        directory: Path,
        store: S3Store,
        wire: WireStore,
        body: bytes,
        *,
        compression: Compression = Compression.NONE,
        **bucket: Any,
    ) -> None:
        watch = replace(
            WATCH,
            compression=compression,
            after_upload=AfterUpload.DELETE,
            delete_after_seconds=0.0,
        )
        self.body, self.wire = body, wire
        bucket |= {"smallest_part_bytes": PART, "repeats_complete": False}
        self.world = World(directory, watch=watch, through=lambda _: store, **bucket)
        self.world.part_size_bytes = PART
        self.world.restart()
        self.world.files.write(b"app.log.1", body)

    def ship(self, *mishaps: Mishap) -> None:
        """Let everything happen, and see to it that nothing is acknowledged before it stands."""
        world = self.world
        self.wire.begin(world.store, *mishaps)
        world.discover()
        for _ in range(12):
            world.carry()
            stored = world.rows(State.UPLOADED, State.VERIFIED, State.DONE)
            if stored:
                assert world.contents() == [self.body]
            if not world.files.paths():
                assert [row.state for row in stored] == [State.DONE]
                return
            assert world.rows()[0].state is not State.PARKED, world.rows()[0]
            world.clock.advance(minutes=5)
        raise AssertionError(f"it is never shipped: {world.rows()}")


@pytest.mark.parametrize(
    ("name", "is_carried_out", "work"),
    cases(BEFORE, [False]) + cases(AFTER, [True, False]),
)
def test_whatever_goes_wrong_there_is_one_object_and_no_success_before_it(
    tmp_path: Path,
    wire: WireStore,
    name: str,
    is_carried_out: bool,
    work: str,
) -> None:
    operation = work.removesuffix("-waited-for")
    limits = Limits(stall_seconds=SILENCE_SECONDS) if name == "timeout" else Limits()
    store = s3_store(wire.url, bucket=BUCKET, watches=WATCHES, limits=limits)
    sight = Sight(tmp_path, store, wire, WORK[work])
    usual = 3 if WORK[work] is not LARGE else 6
    sight.ship(Mishap(operation, (BEFORE | AFTER)[name], is_carried_out=is_carried_out))
    assert len(wire.met) == 1
    assert sight.world.contents() == [WORK[work]]
    assert len(wire.asked) <= 2 * usual + 3, wire.asked
    assert len(sight.world.store.unfinished_uploads()) <= 1, "one abandoned upload at the most"


CHECKSUMS = [each for each in ChecksumAlgorithm if each is not ChecksumAlgorithm.NONE]


@pytest.mark.parametrize("work", WITH_BODY)
@pytest.mark.parametrize("algorithm", CHECKSUMS)
def test_a_bit_that_flips_on_the_way_is_never_part_of_an_object(
    tmp_path: Path, wire: WireStore, algorithm: ChecksumAlgorithm, work: str
) -> None:
    store = s3_store(wire.url, bucket=BUCKET, watches=WATCHES, algorithm=algorithm)
    sight = Sight(tmp_path, store, wire, WORK[work], algorithm=algorithm)
    operation = work.removesuffix("-waited-for")
    sight.ship(Mishap(operation, Flipped()))
    assert sight.world.contents() == [WORK[work]]
    assert wire.asked.count(operation) >= 2, "it was sent again"


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("algorithm", CHECKSUMS)
@pytest.mark.parametrize("body", [WAITED_FOR[:-1], LARGE], ids=["put", "parts"])
def test_a_bit_that_flips_between_the_reading_and_the_sending_is_never_part_of_an_object(
    tmp_path: Path,
    wire: WireStore,
    body: bytes,
    algorithm: ChecksumAlgorithm,
    compression: Compression,
) -> None:
    """The same bytes would be refused for ever: they are read from the log again."""
    store = s3_store(wire.url, bucket=BUCKET, watches=WATCHES, algorithm=algorithm)
    sight = Sight(tmp_path, store, wire, body, algorithm=algorithm, compression=compression)
    flips: Any = _FlipsOnce(sight.world.carrier.services.sender.part_cutter)
    for carrier in (sight.world.carrier, sight.world.small.carrier):
        carrier.services.sender.part_cutter = flips
    sight.ship()
    assert flips.flipped == 1
    assert sight.world.contents() == [body]


class _FlipsOnce:
    """Cuts, and a bit of the first part flips while it waits for its turn to be sent."""

    def __init__(self, part_cutter: PartCutter) -> None:
        self._part_cutter = part_cutter
        self.flipped = 0

    def parts(self, *asked: Any) -> Parts:
        for part in self._part_cutter.parts(*asked):
            if not self.flipped:
                assert isinstance(part.body, memoryview)
                part.body[len(part.body) // 3] ^= 0x01
                self.flipped = 1
            yield part

    def let_go(self, part: Part) -> None:
        self._part_cutter.let_go(part)


REFUSALS = [
    ("NotImplemented", 501, "Header x-amz-sdk-checksum-algorithm CRC64NVME", "checksum = "),
    ("InvalidArgument", 400, "Unsupported header 'x-amz-checksum-crc32'", "checksum = "),
    ("MissingContentLength", 411, "no trailers here", "checksum = "),
    ("NotImplemented", 501, "If-None-Match is not implemented", "conditional_writes = false"),
    ("InvalidRequest", 400, "", "conditional_writes = false"),
]


@pytest.mark.parametrize(("code", "status", "message", "key"), REFUSALS)
def test_a_server_that_refuses_what_protects_the_log_is_not_given_less_behind_anybodys_back(
    tmp_path: Path,
    wire: WireStore,
    store: S3Store,
    code: str,
    status: int,
    message: str,
    key: str,
) -> None:
    """Two refusals shut the gate for all, and say which setting would leave it out."""
    sight = Sight(tmp_path, store, wire, SMALL)
    world = sight.world
    world.in_flight = 0  # those that are on their way at the same time are refused together
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    answer = Instead(http_answer(status, body, **XML))
    wire.begin(world.store, Mishap("PutObject", answer, for_ever=True))
    for number in range(2, 12):
        world.files.write(b"app.log.%d" % number, b"%d\n" % number)
    world.discover()
    world.carry()
    assert wire.asked == ["PutObject"] * 2
    (shut,) = world.log.of("gate.shut")
    assert key in shut["hint"]
    assert [row.attempts for row in world.rows()] == [0] * 11
