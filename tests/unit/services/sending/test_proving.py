"""Pieces are a log only if every segment's digest says so, and nothing is left over."""

import hashlib
import zlib
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shipper.core.types import Shipment
from shipper.services.sending.proving import Whole, is_whole
from tests.fakes.examples import shipment

RAW = st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=5)


def chain_of_bodies(bodies: Sequence[bytes]) -> list[Shipment]:
    chain, at = [], 0
    for body in bodies:
        sha256 = hashlib.sha256(body).hexdigest()
        chain.append(shipment(raw_start=at, raw_end=at + len(body), raw_sha256=sha256))
        at += len(body)
    return chain


@given(segments=RAW, cut=st.integers(1, 7), change=st.integers(-9, 9))
def test_pieces_of_any_size_are_the_log_or_are_not(
    segments: list[bytes], cut: int, change: int
) -> None:
    raw = b"".join(segments)
    other = raw[:change] if change < 0 else raw + bytes(change)
    pieces = [other[at : at + cut] for at in range(0, len(other), cut)]
    assert is_whole(chain_of_bodies(segments), iter(pieces)) == (other == raw)


@given(pieces=RAW)
def test_pieces_add_up_to_the_whole(pieces: list[bytes]) -> None:
    whole, raw = Whole(), b"".join(pieces)
    assert list(whole.of(pieces)) == pieces
    assert (whole.length, whole.crc32) == (len(raw), zlib.crc32(raw))
    assert whole.sha256 == hashlib.sha256(raw).hexdigest()
