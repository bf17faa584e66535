"""A body that is made anew reads like one in memory."""

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.checksums import single_etag
from shipper.core.replay import Replay, ReplayView

PIECES = st.lists(st.binary(max_size=9), max_size=9)


def replay_of(pieces: list[bytes]) -> Replay:
    def again() -> Iterator[bytes]:
        yield from pieces

    return Replay(sum(map(len, pieces)), again)


@given(PIECES, st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90))))
def test_every_slice_is_that_of_the_whole(
    pieces: list[bytes], cuts: list[tuple[int, int]]
) -> None:
    replay, whole = replay_of(pieces), b"".join(pieces)
    view = ReplayView(replay)
    assert (bytes(replay), len(view)) == (whole, len(whole))
    for start, stop in cuts:
        assert view[start : max(start, stop)] == whole[start : max(start, stop)]


@given(PIECES)
def test_its_etag_is_that_of_the_whole(pieces: list[bytes]) -> None:
    assert single_etag(replay_of(pieces)) == hashlib.md5(b"".join(pieces)).hexdigest()


def test_a_body_that_is_shorter_than_before_is_no_body() -> None:
    view = ReplayView(Replay(9, lambda: iter([b"four"])))
    with pytest.raises(ValueError, match="5 bytes too early"):
        view[0:9]
