"""An endpoint to which the session token goes for anybody to read: check and start say so."""

from collections.abc import Callable

import pytest

from tests.machines.here import Here
from tests.machines.inside import Inside
from tests.machines.instance import Instance

Make = Callable[..., Instance]
HOOK = '[termination]\nlifecycle_hook = "drain"\n'
ROLE = 'role_arn = "arn:aws:iam::123456789012:role/writer"\n'


def sent_to(machine: Instance, url: str, more: str = "") -> Instance:
    """The machine, with this endpoint in its destination."""
    text = machine.config.read_text().replace(machine.moto.url, url)
    machine.config.write_text(text.replace("[[watch]]", f"{more}[[watch]]", 1))
    return machine


def said_at_start(machine: Instance) -> list[str]:
    inside = Inside(machine)
    inside.services.close()
    return [event["detail"] for event in inside.events("destination.unencrypted")]


@pytest.mark.parametrize(
    "url",
    ["http://minio.internal:9000", "HTTP://10.0.0.7", "http://[fd00::1]:80", "http://0.0.0.0"],
)
def test_plain_http_to_another_machine_is_an_ailment_of_check_and_a_warning_at_start(
    instance: Make, here: Here, url: str
) -> None:
    machine = sent_to(instance(), url)
    said = here.run(machine, "check", "--offline", code=1)
    assert f"WRONG destination.endpoint_url: Unencrypted: destination.endpoint_url = {url}" in said
    assert "hint: https" in said
    [detail] = said_at_start(machine)
    assert url in detail


@pytest.mark.parametrize(
    "url", ["https://s3.example", "http://127.0.0.1:9", "http://[::1]:9", "http://localhost:9"]
)
def test_tls_and_loopback_are_none(instance: Make, here: Here, url: str) -> None:
    machine = sent_to(instance(), url)
    assert "Unencrypted" not in here.run(machine, "check", "--offline")
    assert said_at_start(machine) == []


@pytest.mark.parametrize(
    ("variable", "more"),
    [("AWS_ENDPOINT_URL_STS", ROLE), ("AWS_ENDPOINT_URL_AUTO_SCALING", HOOK)],
)
def test_what_else_is_sent_the_token_counts_where_it_is_asked(
    instance: Make, here: Here, variable: str, more: str
) -> None:
    machine = instance()
    machine.more_environment[variable] = "http://10.0.0.7"
    assert said_at_start(machine) == []
    sent_to(machine, machine.moto.url, more)
    assert f"{variable}: Unencrypted" in here.run(machine, "check", "--offline", code=1)
    assert len(said_at_start(machine)) == 1
