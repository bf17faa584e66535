"""``shipper mock-imds`` as a program: scenario, control port, log, and keys from STS."""

import http.client
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from shipper.cli.main import main
from shipper.demo.children import Child, start_imds
from shipper.edges.clock import SystemClock
from shipper.edges.imds.client import ImdsMetadata
from shipper.mock.control import Control, ask
from shipper.mock.facts import Facts, Keys
from shipper.mock.imds import LEGACY, MockImds
from shipper.mock.sts import StsSource
from shipper.ports import PortError
from tests.fakes.servers import Moto
from tests.machines.asker import Asker
from tests.machines.waiting import wait_for

INFO = "/latest/meta-data/iam/info"
SECRETS = {"access_key_id": "AKGIVEN", "secret_access_key": "hush-1", "session_token": "hush-2"}

Start = Callable[..., tuple[Child, str]]


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def service(lines: list[dict[str, Any]]) -> Iterator[MockImds]:
    with MockImds(log=lines.append) as running:
        yield running


@pytest.fixture
def control(service: MockImds) -> Iterator[Control]:
    with Control(service) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the program, and ends it."""
    with ExitStack() as stack:

        def begin(*options: str) -> tuple[Child, str]:
            directory = tempfile.mkdtemp(dir=tmp_path)  # its log is its own
            child, url = start_imds(directory, *options)
            stack.callback(child.stop)
            return child, url

        yield begin


@pytest.fixture
def own(own_moto: Moto) -> Moto:
    """A server of our own: while it enforces, nobody else can use it."""
    return own_moto


def told(child: Child) -> list[dict[str, Any]]:
    """The program's log."""
    return [json.loads(line) for line in child.lines() if line.startswith("{")]


def control_of(child: Child) -> str:
    """Where the program's control port is, as it says."""
    wait_for(lambda: "# answers IMDSv2 until interrupted" in child.lines(), "the first answer")
    (line,) = [line for line in child.lines() if line.startswith("# shipper mock-imds set")]
    return line.split()[-2]


def metadata_at(url: str) -> ImdsMetadata:
    return ImdsMetadata(url, SystemClock(), wait=lambda seconds: True)


def changed(
    capsys: pytest.CaptureFixture[str], url: str, *settings: str
) -> tuple[int, dict[str, Any], str]:
    """What ``shipper mock-imds set`` says: exit code, state, errors."""
    code = main(["mock-imds", "set", "--control", url, *settings])
    said = capsys.readouterr()
    return code, json.loads(said.out or "{}"), said.err


def test_a_running_service_is_changed_by_the_command(
    service: MockImds, control: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["profile=no-role", "tags.Name=web 1", "lifetime-seconds=20", "faults=GET 503 x1"]
    code, state, _ = changed(capsys, control.url, *words)
    assert code == 0
    assert (state["facts"]["profile"], state["facts"]["tags"]) == ("no-role", {"Name": "web 1"})
    assert state["faults"] == ["GET 503 x1"]
    asker = Asker(service.url)
    assert [asker.get(INFO).status for _ in range(2)] == [503, 200]
    assert "does not contain a role" in asker.get(INFO).document["Message"]


@pytest.mark.parametrize(
    ("give", "withdraw", "path"),
    [
        ("spot=terminate", "spot=", "spot/instance-action"),
        ("lifecycle_state=Terminated", "lifecycle_state=", "autoscaling/target-lifecycle-state"),
        (
            "is-rebalance-recommended=true",
            "is-rebalance-recommended=false",
            "events/recommendations/rebalance",
        ),
    ],
)
def test_a_notice_is_given_and_withdrawn_by_the_command(
    service: MockImds,
    control: Control,
    capsys: pytest.CaptureFixture[str],
    give: str,
    withdraw: str,
    path: str,
) -> None:
    asker = Asker(service.url)
    for setting, status in ((give, 200), (withdraw, 404)):
        assert changed(capsys, control.url, setting)[0] == 0
        assert asker.get(f"/latest/meta-data/{path}").status == status


def test_without_settings_the_command_only_shows_what_the_service_is(
    service: MockImds, control: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    Asker(service.url).get(INFO + "?hush")
    before = service.facts
    code, state, _ = changed(capsys, control.url.removeprefix("http://"))
    assert (code, service.facts) == (0, before)
    assert state["tokens"] == 1
    assert {"method": "GET", "path": INFO, "has_token": True, "count": 1} in state["requests"]


def test_neither_the_state_nor_the_log_tells_a_secret(
    service: MockImds, control: Control, lines: list[dict[str, Any]]
) -> None:
    document = {"Token": "hush-3", "Code": "Success"}
    service.facts.extra = {"/latest/x": "hush-4"}
    state = ask(control.url, {"keys": SECRETS, "document_members": document})
    token = Asker(service.url).token().body
    Asker(service.url).get(LEGACY + "shipper")
    state = ask(control.url, {"role_document": document})
    assert (state["facts"]["keys"], state["issued"]) == ("AKGIVEN", ["AKGIVEN"])
    assert state["facts"]["role_document"] == ["Code", "Token"]
    assert lines[0]["changed"] == ["document_members", "keys"]
    assert "hush" not in repr(state) + repr(lines)
    assert token not in repr(state) + repr(lines)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["profil=detached"], "profil: unknown; did you mean profile?"),
        (["lifetime-seconds=-1"], "lifetime_seconds: -1 is not a number from 0"),
        (["faults=sulk"], "'sulk' is no fault"),
        (["role=other", "region"], "'region' is not NAME=VALUE"),
    ],
)
def test_a_setting_that_makes_no_sense_changes_nothing_and_is_explained(
    service: MockImds,
    control: Control,
    capsys: pytest.CaptureFixture[str],
    settings: list[str],
    problem: str,
) -> None:
    before = service.facts
    code, _, said = changed(capsys, control.url, *settings)
    assert code == 1
    assert f"BadSetting: set: {problem}" in said
    assert "hint: settings are role, " in said
    assert service.facts == before


@pytest.mark.parametrize("url", ["127.0.0.1:1", "http://127.0.0.1:port", "http://", "://"])
def test_a_control_port_that_is_not_there_is_explained(
    capsys: pytest.CaptureFixture[str], url: str
) -> None:
    code, _, said = changed(capsys, url, "role=other")
    assert code == 1
    assert f"Unreachable: {url}: " in said
    assert "hint: start the service with --control" in said


def test_what_answers_and_is_no_control_port_is_explained(
    service: MockImds, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = changed(capsys, service.url, "role=other")
    assert code == 1
    assert "Unreachable" in said


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "text/plain"}, b'{"role": "other"}'),
        (JSON | {"Host": "rebound.example.org"}, b'{"role": "other"}'),
        (JSON | {"Content-Length": "-1"}, b'{"role": "other"}'),
        (JSON, b"{"),
        (JSON, b"[1]"),
        (JSON, b"\xff"),
        pytest.param(JSON, b"[" * 100_000, id="deep"),
    ],
)
def test_only_a_json_object_from_this_machine_is_taken(
    service: MockImds, control: Control, headers: dict[str, str], body: bytes
) -> None:
    connection = http.client.HTTPConnection(control.url.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (400, "BadRequest")
    finally:
        connection.close()
    assert service.facts.role == "shipper"


def test_the_control_port_is_on_loopback_and_nowhere_else(service: MockImds) -> None:
    with pytest.raises(ValueError, match="nowhere else"):
        Control(service, host="0.0.0.0")


def test_the_program_is_changed_while_it_runs_and_logs_every_request(start: Start) -> None:
    child, url = start(
        "--control", "127.0.0.1:0", "--set", "profile=detached", "--set", "tags.a=b"
    )
    with pytest.raises(PortError, match="no instance profile"):
        metadata_at(url).credentials()
    control = control_of(child)
    assert control.startswith("http://127.0.0.1:")
    assert ask(control, {"profile": "attached"})["facts"]["tags"] == {"a": "b"}
    found = metadata_at(url).credentials()
    assert child.stop() == 0
    requests = [line for line in told(child) if "method" in line]
    assert {line["method"] for line in requests} == {"PUT", "GET"}
    assert {line["token"] for line in requests} == {"none", "valid"}
    assert [line["changed"] for line in told(child) if "control" in line] == [["profile"]]
    assert not any(found.secret_access_key in line for line in child.lines())
    assert not any(found.session_token in line for line in child.lines())


def test_the_program_plays_a_scenario_by_the_clock(start: Start, tmp_path: Path) -> None:
    (tmp_path / "story.toml").write_text(
        '[[at]]\nseconds = 0\nprofile = "no-role"\n'
        '[[at]]\nseconds = 0.3\nprofile = "attached"\nrole = "web"\n'
    )
    child, url = start("--scenario", str(tmp_path / "story.toml"))
    played = [line for line in told(child) if "scenario_seconds" in line]
    assert played[0]["changed"] == ["profile"]
    wait_for(
        lambda: any(line.get("scenario_seconds") == 0.3 for line in told(child)), "the scenario"
    )
    assert metadata_at(url).credentials().role == "web"
    assert child.stop() == 0


def test_the_program_ends_in_the_middle_of_a_scenario(start: Start, tmp_path: Path) -> None:
    (tmp_path / "story.json").write_text('{"at": [{"seconds": 3600, "role": "web"}]}')
    child, _ = start("--scenario", str(tmp_path / "story.json"))
    assert child.stop() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scenario", "/nowhere/story.toml"], "No such file"),
        (["--set", "profil=x"], "--set: profil: unknown; did you mean profile?"),
        (["--control", "0.0.0.0:0"], "--control: 0.0.0.0 is not loopback"),
        (["--control", "127.0.0.1:port"], "--control: invalid literal"),
        (["--listen", "0.0.0.0:0"], "0.0.0.0 is not loopback; --unsafe-listen allows it"),
        (["--credentials-from", "sts"], "needs --endpoint-url"),
        (["--endpoint-url", "http://127.0.0.1:1"], "is for --credentials-from sts"),
    ],
)
def test_options_that_make_no_sense_are_explained(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mock-imds", "--listen", "127.0.0.1:0", *options]) == 1
    assert said in capsys.readouterr().err


def test_a_program_that_is_open_answers_whatever_host_it_is_asked_for(start: Start) -> None:
    _, url = start("--listen", "0.0.0.0:0", "--unsafe-listen")
    port = url.rpartition(":")[2]
    assert Asker(f"http://127.0.0.1:{port}").token(Host="imds.internal").status == 200


def test_keys_from_sts_are_accepted_by_a_server_that_checks_them(own: Moto, start: Start) -> None:
    own.create_bucket("checked")
    own.assume("shipper")
    _, url = start("--credentials-from", "sts", "--endpoint-url", own.url, "--lifetime", "15m")
    found = metadata_at(url).credentials()
    assert found.expires_at == pytest.approx(time.time() + 900, abs=60)
    with own.enforcing():
        own.client_as("s3", found).put_object(Bucket="checked", Key="a", Body=b"x")
        with pytest.raises(ClientError, match="AccessDenied"):
            own.client_as("s3", found).get_object(Bucket="checked", Key="a")
    assert own.read("checked", "a") == b"x"


def test_keys_from_sts_are_renewed_when_half_of_their_life_is_over(own: Moto) -> None:
    source, facts = StsSource(own.url), Facts(lifetime_seconds=20.0)
    now = time.time()
    with MockImds(facts, source=source, clock=lambda: now) as service:
        asker = Asker(service.url)
        old = asker.get(LEGACY + "shipper")
        assert old.expires_at == pytest.approx(time.time() + 20, abs=10)
        now = old.expires_at - 10.5
        assert asker.get(LEGACY + "shipper").document == old.document
        now = old.expires_at - 1
        new = asker.get(LEGACY + "shipper")
        assert new.document["Token"] != old.document["Token"]
        assert new.document["AccessKeyId"] in [keys.access_key_id for keys in service.issued]


def test_sts_is_not_asked_when_keys_are_given(own: Moto) -> None:
    given = Facts(keys=Keys(**SECRETS))
    assert StsSource("http://127.0.0.1:1")(given, 0.0).keys == given.keys


def test_an_sts_that_is_not_there_is_logged_and_is_trouble_of_the_service(
    lines: list[dict[str, Any]],
) -> None:
    with MockImds(source=StsSource("http://127.0.0.1:1"), log=lines.append) as service:
        assert Asker(service.url).get(LEGACY + "shipper").status == 500
    assert [line["code"] for line in lines if "failed" in line] == ["Unreachable"]


def test_the_keys_that_sign_the_request_to_sts_may_be_given(start: Start, own: Moto) -> None:
    base = own.assume("base", ("sts:AssumeRole",))
    own.assume("shipper")
    options = ["--credentials-from", "sts", "--endpoint-url", own.url, "--lifetime", "15m"]
    keys = ["--access-key-id", base.access_key_id, "--secret-access-key", base.secret_access_key]
    _, url = start(*options, *keys, "--session-token", base.session_token)
    _, other = start(*options)
    with own.enforcing():
        found = metadata_at(url).credentials()
        with pytest.raises(PortError, match=r"Unreachable.*500"):
            metadata_at(other).credentials()
    assert found.access_key_id != base.access_key_id
