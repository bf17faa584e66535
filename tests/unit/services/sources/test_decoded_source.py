"""The decoded content of a compressed file, read as a file."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.types import RelativePath, Watch, WriterTest
from shipper.edges.encoder import FrameEncoder
from shipper.ports import PortError
from shipper.services.sources.decoded_source import DecodedSource
from tests.fakes.clock import FakeClock
from tests.fakes.files import FakeFiles

CONTENT = b"".join(b"line %d\n" % number for number in range(300_000))
WATCH = Watch("/logs")


def decoded_source(body: bytes) -> DecodedSource:
    files = FakeFiles(FakeClock())
    files.write(b"app.log.1.gz", body)
    source = files.open(WATCH, RelativePath(b"app.log.1.gz"))
    return DecodedSource(source, ".gz", FrameEncoder(), lambda: None)


@given(
    reads=st.lists(
        st.tuples(st.integers(0, len(CONTENT) + 9), st.integers(0, 2 * 1024 * 1024)), max_size=6
    )
)
def test_whatever_is_read_in_whatever_order_is_the_content(reads: list[tuple[int, int]]) -> None:
    source = decoded_source(gzip.compress(CONTENT, 1))
    for offset, length in reads:
        assert source.read(offset, length) == CONTENT[offset : offset + length]
    source.close()


def test_all_else_is_the_files_own() -> None:
    packed = gzip.compress(CONTENT, 1)
    source = decoded_source(packed)
    assert source.stat().size_bytes == len(packed)
    assert source.writer() is WriterTest.NONE
    assert source.unlinked_bytes() == 0


def test_a_file_that_cannot_be_decoded_any_more_has_changed() -> None:
    source = decoded_source(gzip.compress(CONTENT, 1)[:-100])
    with pytest.raises(PortError, match="SourceChanged"):
        source.read(len(CONTENT) - 10, 10)


def test_whatever_else_goes_wrong_is_told_as_it_is() -> None:
    def tick() -> None:
        raise PortError("Unreadable")

    source = decoded_source(gzip.compress(CONTENT, 1))
    source._tick = tick
    source._begin()
    with pytest.raises(PortError, match="Unreadable"):
        source.read(0, 1)
