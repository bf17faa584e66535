"""An endpoint to which the session token goes for anybody to read is said."""

import pytest

from shipper.runtime.wiring_identity import unencrypted


@pytest.mark.parametrize(
    "url",
    ["http://minio.internal:9000", "HTTP://10.0.0.7", "http://[fd00::1]:80", "http://0.0.0.0"],
)
def test_plain_http_to_another_machine_is_an_ailment(url: str) -> None:
    problem = unencrypted(url)
    assert problem is not None
    assert (problem.code, url in problem.detail) == ("Unencrypted", True)


@pytest.mark.parametrize(
    "url", ["", "https://s3.example", "http://127.0.0.1:9", "http://[::1]:9", "http://localhost:9"]
)
def test_tls_and_loopback_are_none(url: str) -> None:
    assert unencrypted(url) is None
