"""Where a container's environment may send the authorization token, and where not."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.edges.imds.container import Place, is_container, place_from
from shipper.ports import PortError

RELATIVE = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
FULL = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
TASK = "ECS_CONTAINER_METADATA_URI_V4"


def refusal(environment: dict[str, str]) -> PortError:
    with pytest.raises(PortError) as caught:
        place_from(environment)
    assert caught.value.code == "BadEndpoint"
    assert caught.value.hint
    return caught.value


def test_on_ecs_the_path_is_asked_at_the_agents_address_and_the_full_uri_does_not_count() -> None:
    environment = {
        RELATIVE: "/v2/credentials/abc?id=1",
        FULL: "http://localhost/x",
        TASK: "http://169.254.170.2/v4/abc/",
    }
    place = place_from(environment)
    assert place.credentials_url == "http://169.254.170.2/v2/credentials/abc?id=1"
    assert place.task_url == "http://169.254.170.2/v4/abc"
    assert "abc" not in repr(place)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.170.23/v1/credentials",
        "http://[fd00:ec2::23]/v1/credentials",
        "http://[FD00:EC2:0::23]:80/v1/credentials",
        "http://169.254.170.2",
        "http://127.0.0.1:1338/x",
        "http://127.9.9.9/x",
        "HTTP://[::1]:80/x",
        "http://localhost:8080/x",
        "https://127.0.0.1:8443/x",
        "https://localhost/x",
    ],
)
def test_addresses_of_this_machine_are_asked(url: str) -> None:
    assert place_from({FULL: url}) == Place(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "http://localhost.example.com/x",
        "http://LOCALHOST.:80/x",
        "http://169.254.169.254/x",
        "http://169.254.170.3/x",
        "http://10.0.0.1/x",
        "http://2130706433/x",
        "http://0177.0.0.1/x",
        "http://127.1/x",
        "http://0x7f000001/x",
        "http://[::1%25lo]/x",
        "http://[fd00:ec2::254]/x",
        "http://[::ffff:169.254.170.2]/x",
        "http://0.0.0.0/x",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_other_host_is_asked_and_no_name_is_resolved_for_it(url: str, scheme: str) -> None:
    error = refusal({FULL: url.replace("http", scheme, 1)})
    assert "where no token may be sent" in error.detail
    assert FULL in error.detail
    assert "169.254.170.23" in error.hint


@pytest.mark.parametrize(
    "url",
    [
        "169.254.170.2/x",
        "ftp://localhost/x",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://localhost:0/x",
        "http://localhost:99999/x",
        "http://[::1/x",
        "http://user:word@127.0.0.1/x",
        "http://127.0.0.1\\@example.com/x",
        "http://127.0.0.1#@example.com/x",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\nb",
        "http://exa\tmple.com/x",
        "http://127.0.0.1/\u00fc",
    ],
)
def test_what_two_readers_may_understand_in_two_ways_is_no_url(url: str) -> None:
    error = refusal({FULL: url})
    assert error.detail == f"{FULL} is not an http URL"


@pytest.mark.parametrize("path", ["v2/credentials", "@example.com/", ".example.com/x", ":80/x"])
def test_a_relative_uri_cannot_lead_to_another_host(path: str) -> None:
    assert "does not begin with a slash" in refusal({RELATIVE: path}).detail


def test_a_relative_uri_with_what_no_url_has_is_refused() -> None:
    assert RELATIVE in refusal({RELATIVE: "/x\r\nHost: example.com"}).detail


def test_the_task_metadata_is_asked_at_this_machine_only() -> None:
    assert TASK in refusal({RELATIVE: "/x", TASK: "http://example.com/v4/x"}).detail


@pytest.mark.parametrize("token", ["a\nb", "a\r", " a", "a ", "\u00fc", "a\x00"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_repeated(token: str) -> None:
    error = refusal({FULL: "http://localhost/x", TOKEN: token})
    assert error.detail == f"{TOKEN} holds what no header can"
    # The file counts, so what the variable holds does not matter.
    place = place_from({FULL: "http://localhost/x", TOKEN: token, TOKEN_FILE: "/token"})
    assert place.token_file == "/token"


@pytest.mark.parametrize("environment", [{}, {RELATIVE: "", FULL: ""}, {TOKEN: "t"}])
def test_without_either_uri_there_is_no_endpoint(environment: dict[str, str]) -> None:
    assert not is_container(environment)
    error = refusal(environment)
    assert "taskRoleArn" in error.hint
    assert "Pod Identity" in error.hint


@given(st.ip_addresses(), st.sampled_from(["http", "https"]))
def test_of_all_addresses_only_the_known_ones_and_loopback_are_asked(
    address: object, scheme: str
) -> None:
    text = str(address)
    known = {"::1", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"}
    is_allowed = text in known or text.startswith("127.")
    host = f"[{text}]" if ip_address(text).version == 6 else text
    url = f"{scheme}://{host}/x"
    try:
        place_from({FULL: url})
    except PortError:
        assert not is_allowed
    else:
        assert is_allowed
