"""Checksum arithmetic, against the libraries that compute checksums the plain way."""

import base64
import hashlib
import zlib

import pytest
from awscrt.checksums import crc64nvme
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.checksums import (
    base64_from_crc,
    combine,
    full_object_checksum,
    is_from,
    multipart_etag,
    single_etag,
)
from shipper.core.types import ChecksumAlgorithm
from tests.fakes.store import checksum_of

CRCS = {ChecksumAlgorithm.CRC32: zlib.crc32, ChecksumAlgorithm.CRC64NVME: crc64nvme}


@pytest.mark.parametrize("algorithm", list(CRCS))
@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_combined_crcs_are_the_crc_of_the_whole(
    algorithm: ChecksumAlgorithm, first: bytes, second: bytes
) -> None:
    crc = CRCS[algorithm]
    assert combine(algorithm, crc(first), crc(second), len(second)) == crc(first + second)


@given(st.binary(max_size=300), st.integers(0, 2**40))
def test_crc32_combines_at_any_length(first: bytes, zeros: int) -> None:
    longer = combine(ChecksumAlgorithm.CRC32, zlib.crc32(first), 0, zeros)
    assert combine(ChecksumAlgorithm.CRC32, longer, 0, 0) == longer


@pytest.mark.parametrize("algorithm", list(CRCS))
@given(bodies=st.lists(st.binary(max_size=100), min_size=1, max_size=8))
def test_the_whole_objects_checksum_comes_from_its_parts(
    algorithm: ChecksumAlgorithm, bodies: list[bytes]
) -> None:
    parts = [(checksum_of(body, algorithm), len(body)) for body in bodies]
    whole = checksum_of(b"".join(bodies), algorithm)
    assert full_object_checksum(algorithm, parts) == whole


@pytest.mark.parametrize("algorithm", [ChecksumAlgorithm.SHA256, ChecksumAlgorithm.NONE])
def test_what_s3_knows_as_composites_only_has_no_whole(algorithm: ChecksumAlgorithm) -> None:
    assert full_object_checksum(algorithm, [("x", 1)]) == ""


@pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm))
def test_a_checksum_is_recognised_by_its_length(algorithm: ChecksumAlgorithm) -> None:
    for other in ChecksumAlgorithm:
        assert is_from(other, checksum_of(b"x", algorithm)) is (other is algorithm)


def test_headers_show_crcs_as_big_endian_base64() -> None:
    assert base64.b64decode(base64_from_crc(ChecksumAlgorithm.CRC32, 1)) == b"\0\0\0\1"


def test_etags_are_md5s_of_bytes_or_of_md5s() -> None:
    one, two = single_etag(b"one"), single_etag(b"two")
    joined = hashlib.md5(bytes.fromhex(one) + bytes.fromhex(two)).hexdigest()
    assert one == hashlib.md5(b"one").hexdigest()
    assert multipart_etag([one, two]) == f"{joined}-2"


def test_an_etag_that_is_no_md5_cannot_be_combined() -> None:
    with pytest.raises(ValueError, match="non-hexadecimal"):
        multipart_etag(["opaque"])
