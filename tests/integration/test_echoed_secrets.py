"""A server that repeats what it was sent: its words are kept, and the secrets in them are not."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from shipper.edges.s3.errors import failures_as_port_errors
from shipper.ports import PortError

TOKEN = "IQoJb3JpZ2luX2VjEJr" * 60


@pytest.mark.parametrize("member", ["Code", "Message", "Endpoint"])
def test_what_s3_repeats_of_a_secret_is_in_no_error(member: str) -> None:
    said: Any = {"Code": "InvalidToken", "Message": "no", member: f"bad {TOKEN}"}
    with (
        pytest.raises(PortError) as caught,
        failures_as_port_errors("PutObject", secrets=lambda: ("", TOKEN)),
    ):
        raise ClientError({"Error": said}, "PutObject")
    assert TOKEN[:19] not in repr(caught.value)
    assert "[redacted]" in repr(caught.value)
