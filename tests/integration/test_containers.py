"""The real daemon on container credentials: ships, renews, survives, and never asks elsewhere."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shipper.demo.children import Child
from shipper.mock.facts import CONTAINER, TASK, Facts
from shipper.mock.imds import MockImds
from tests.fakes.servers import REGION
from tests.machines.here import Here
from tests.machines.instance import Instance
from tests.machines.waiting import wait_for

Make = Callable[..., Instance]
TASK_ID = "0a1b2c3d"
WORD, NEXT = "the-authorization-word", "the-next-authorization"
FULL = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
TASK_URI = "ECS_CONTAINER_METADATA_URI_V4"
STATIC = {"AWS_ACCESS_KEY_ID": "AKSTATIC", "AWS_SECRET_ACCESS_KEY": "static-secret"}


@pytest.fixture
def endpoint() -> Iterator[MockImds]:
    """A container's endpoints."""
    facts = Facts(instance_id=TASK_ID, region=REGION, authorization=WORD)
    with MockImds(facts, is_container=True) as running:
        yield running


def contained(
    make: Make, endpoint: MockImds, more: str = "", source: str = "container"
) -> Instance:
    """A machine whose daemon is in a container; its own metadata service is there to be left."""
    machine = make(more=f'[credentials]\nsource = "{source}"\n{more}')
    machine.more_environment = endpoint.container_environment | STATIC
    return machine


def keys(machine: Instance) -> list[str]:
    return list(machine.moto.objects(machine.bucket))


def refreshed(machine: Instance) -> int:
    return len(machine.events("credentials.refreshed"))


@pytest.mark.parametrize("source", ["container", "auto"])
def test_a_task_ships_on_its_role_and_nothing_else_is_asked(
    instance: Make, endpoint: MockImds, source: str
) -> None:
    machine = contained(instance, endpoint, source=source)
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_until_shipped(1)
    assert machine.contents() == [b"a line\n"]
    assert TASK_ID in keys(machine)[0]
    assert machine.imds.asked() == {}
    assert set(endpoint.asked()) == {("GET", CONTAINER, True), ("GET", TASK, False)}
    status = machine.status() or {}
    assert status["credentials"]["source"] == "the container credentials endpoint"
    assert status["instance"]["account_id"] == endpoint.facts.account_id
    assert status["instance"]["availability_zone"] == f"{REGION}a"
    (chosen,) = machine.events("credentials.chosen")
    assert chosen["source"] == "the container credentials endpoint"
    text = machine.log_text() + machine.ask("/status") + machine.ask("/metrics")
    for secret in (WORD, "static-secret", *(one.session_token for one in endpoint.issued)):
        assert secret not in text
    assert "AKSTATIC" not in text


@pytest.mark.parametrize("source", ["imds", "auto"])
def test_an_instance_asks_no_container_endpoint_that_it_was_not_told_to(
    instance: Make, endpoint: MockImds, source: str
) -> None:
    machine = instance(more=f'[credentials]\nsource = "{source}"\n')
    machine.more_environment = dict(STATIC)
    if source == "imds":
        machine.more_environment |= endpoint.container_environment
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_until_shipped(1)
    assert endpoint.asked() == {}
    assert (machine.status() or {})["credentials"]["source"] == "the metadata service"
    assert "AKSTATIC" not in machine.log_text()


def test_credentials_are_renewed_through_an_outage_and_a_replaced_token(
    instance: Make, endpoint: MockImds, tmp_path: Path
) -> None:
    machine = contained(instance, endpoint)
    file = tmp_path / "token"
    file.write_text(WORD)
    machine.more_environment |= {TOKEN_FILE: str(file), TOKEN: "not-this-one"}
    endpoint.facts.lifetime_seconds = 8.0
    machine.start()
    machine.wait_for(lambda: refreshed(machine) >= 2, "a renewal")

    endpoint.faults.set("GET /v2 503")
    machine.wait_for(lambda: machine.events("credentials.not_refreshed"), "the outage to be met")
    machine.write("app.log.1", b"while the endpoint is down\n")
    machine.wait_until_shipped(1)
    before = refreshed(machine)
    endpoint.faults.set()
    machine.wait_for(lambda: refreshed(machine) > before, "the end of the outage")

    before = endpoint.asked()["GET", CONTAINER, True]
    machine.wait_for(lambda: endpoint.asked()["GET", CONTAINER, True] > before, "a request")
    file.write_text(NEXT)
    endpoint.facts.authorization = NEXT
    before = refreshed(machine)
    machine.wait_for(lambda: refreshed(machine) > before, "credentials for the next token")
    machine.write("app.log.2", b"with the next token\n")
    machine.wait_until_shipped(2)
    assert machine.imds.asked() == {}
    assert not {WORD, NEXT} & set(re.findall(r"[\w-]+", machine.log_text()))


def test_expired_credentials_that_are_handed_out_are_said_and_tried(
    instance: Make, endpoint: MockImds
) -> None:
    endpoint.facts.is_expired = True
    machine = contained(instance, endpoint)
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_for(
        lambda: any(one["state"] == "expired" for one in machine.events("credentials.changed")),
        "the state",
    )
    machine.wait_until_shipped(1)


def test_a_refusal_is_said_with_the_endpoints_own_words(
    instance: Make, endpoint: MockImds
) -> None:
    endpoint.facts.profile = "detached"
    machine = contained(instance, endpoint)
    machine.start()
    machine.wait_for(
        lambda: any(
            one["code"] == "ContainerRefused" for one in machine.events("credentials.changed")
        ),
        "the refusal",
    )
    said = machine.run("status", code=None)
    assert "ContainerRefused" in said
    assert "InvalidIdInRequest" in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({FULL: ""}, "neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor"),
        ({FULL: "http://example.com/x"}, "names example.com, where no token may be sent"),
        ({FULL: "nonsense"}, "is not an http URL"),
        ({TOKEN: "two\nlines"}, "holds what no header can"),
        ({TASK_URI: "http://198.51.100.1/v4"}, f"{TASK_URI} names 198.51.100.1"),
        ({TASK_URI: ""}, "no instance.id"),
    ],
)
def test_an_environment_that_cannot_be_used_ends_the_start_with_78(
    instance: Make, endpoint: MockImds, changes: dict[str, str], says: str
) -> None:
    machine = contained(instance, endpoint)
    machine.more_environment |= changes
    said = machine.run("run", code=78)
    assert says in said
    assert "hint: " in said
    assert endpoint.asked() == {}
    assert machine.imds.asked() == {}


def test_every_command_that_asks_for_credentials_ends_so(
    instance: Make, endpoint: MockImds, here: Here
) -> None:
    machine = contained(instance, endpoint)
    machine.more_environment |= {FULL: "http://example.com/x"}
    for command in ("ship", "check", "credentials", "plan"):
        assert "no token may be sent" in here.run(machine, command, code=78)
    assert "no token may be sent" not in here.run(machine, "check", "--offline", code=None)


def test_a_reload_into_an_unusable_environment_is_refused(
    instance: Make, endpoint: MockImds
) -> None:
    machine = instance()
    machine.more_environment = {FULL: "http://example.com/x"}
    machine.start()
    machine.config.write_text(machine.config.read_text() + '[credentials]\nsource = "container"\n')
    assert machine.daemon is not None
    machine.daemon.process.send_signal(1)
    machine.wait_for(lambda: machine.events("reload.refused"), "the refusal")
    assert "no token may be sent" in machine.events("reload.refused")[0]["problems"][0]


def test_pod_identity_ships_under_the_given_instance_and_asks_for_nothing_but_credentials(
    instance: Make, endpoint: MockImds, here: Here
) -> None:
    given = f'[instance]\nid = "pod-1"\nregion = "{REGION}"\naccount_id = "210987654321"\n'
    machine = contained(instance, endpoint, more=given)
    machine.more_environment[TASK_URI] = ""
    machine.write("app.log.1", b"a line\n")
    checked = here.run(machine, "check", code=None)
    assert "ok    instance\n" in checked
    assert "ok    role credentials of the container credentials endpoint\n" in checked
    machine.start()
    machine.wait_until_shipped(1)
    assert "/pod-1/" in keys(machine)[0]
    assert set(endpoint.asked()) == {("GET", CONTAINER, True)}
    assert (machine.status() or {})["instance"]["account_id"] == "210987654321"
    assert here.json(machine, "credentials")["source"] == "the container credentials endpoint"


def test_the_signing_helper_of_roles_anywhere_serves_and_its_empty_keys_have_their_hint(
    instance: Make, here: Here
) -> None:
    """`aws_signing_helper serve`: token, role list and role document, and 404 for all else."""
    machine = instance(
        more=f'[instance]\nid = "rack-7"\nregion = "{REGION}"\n', facts={"has_extended": False}
    )
    machine.imds.faults.set("GET /latest/dynamic 404", "GET /latest/meta-data/iam/info 404")
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_until_shipped(1)
    assert "/rack-7/" in keys(machine)[0]
    assert not any("/dynamic/" in path for _, path, _ in machine.imds.asked())
    machine.stop()
    empty = {"AccessKeyId": "", "SecretAccessKey": "", "Token": "", "Code": "Success"}
    machine.imds.facts.role_document = {**empty, "Expiration": "0001-01-01T00:00:00Z"}
    said = here.run(machine, "check", code=1)
    assert "NotIssued: the service hands out empty keys" in said
    assert "aws_signing_helper serve" in said


EXTENDED = "/latest/meta-data/iam/security-credentials-extended/"


def test_check_compares_both_lists_of_roles_and_names_the_setting_that_helps(
    instance: Make, here: Here
) -> None:
    """kube2iam answers the old list with the pod's role, and passes the other one on."""
    machine = instance()
    assert "two roles" not in here.run(machine, "check", code=None)
    node = {**json.loads(_document(machine)), "AccessKeyId": "AKNODE"}
    machine.imds.facts.extra = {EXTENDED: "node-role", f"{EXTENDED}node-role": json.dumps(node)}
    said = here.run(machine, "check", code=None)
    assert (
        "WARN  the metadata service has two roles: node-role, which is used, and shipper" in said
    )
    assert 'credentials.instance_profile_name = "shipper"' in said
    assert here.json(machine, "credentials")["role"] == "node-role"
    text = machine.config.read_text()
    machine.config.write_text(f'{text}[credentials]\ninstance_profile_name = "shipper"\n')
    machine.imds.faults.set(f"GET {EXTENDED}shipper 404")
    assert "two roles" not in here.run(machine, "check", code=None)
    assert here.json(machine, "credentials")["role"] == "shipper"


def _document(machine: Instance) -> str:
    return machine.imds.answer(f"{EXTENDED}shipper")[1]


def test_a_lifecycle_hook_and_notices_are_left_alone_in_a_container(
    instance: Make, endpoint: MockImds
) -> None:
    more = '[termination]\nlifecycle_hook = "drain"\nautoscaling_group = "web"\nrebalance = true\n'
    machine = contained(instance, endpoint, more=more)
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_until_shipped(1)
    assert machine.events("notice.unreadable") == []
    assert machine.stop() == 0


def test_the_mocks_program_prints_an_environment_on_which_shipper_ships(
    instance: Make, tmp_path: Path
) -> None:
    arguments = ["shipper", "mock-imds", "--listen", "127.0.0.1:0", "--container"]
    arguments += ["--set", "authorization=a 'word' $(of) shells; &"]
    child = Child([*arguments, "--region", REGION], str(tmp_path / "mock.log"))
    try:
        wait_for(lambda: any("until interrupted" in line for line in child.lines()), "the mock")
        said = [line for line in child.lines() if line.startswith("export ")]
        machine = instance(more='[credentials]\nsource = "auto"\n')
        machine.more_environment = dict(
            shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in said
        )
        assert set(machine.more_environment) == {FULL, TOKEN, TASK_URI}
        machine.write("app.log.1", b"a line\n")
        assert "1" in machine.run("ship")
        assert machine.contents() == [b"a line\n"]
    finally:
        assert child.stop() == 0
    told: list[dict[str, Any]] = [json.loads(x) for x in child.lines() if x.startswith("{")]
    assert {line["token"] for line in told if line["path"] == CONTAINER} == {"valid"}
    token = machine.more_environment[TOKEN]
    assert not any(token in line for line in child.lines() if not line.startswith("export"))
