"""``shipper mock-imds`` as a program: scenario, log, and keys from STS."""

import json
import signal
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
from shipper.mock.facts import Facts, Keys
from shipper.mock.imds import LEGACY, MockImds
from shipper.mock.sts import StsSource
from shipper.ports import PortError
from tests.fakes.servers import Moto
from tests.machines.asker import Asker
from tests.machines.waiting import wait_for

SECRETS = {"access_key_id": "AKGIVEN", "secret_access_key": "hush-1", "session_token": "hush-2"}

Start = Callable[..., tuple[Child, str]]


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return []


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


def hang_up(child: Child) -> None:
    """SIGHUP, once the program is ready for it."""
    wait_for(lambda: "# answers IMDSv2 until interrupted" in child.lines(), "the first answer")
    child.process.send_signal(signal.SIGHUP)


def changes(child: Child) -> list[set[str]]:
    """What the moments of its scenarios changed so far."""
    return [set(line["changed"]) for line in told(child) if "scenario_seconds" in line]


def metadata_at(url: str) -> ImdsMetadata:
    return ImdsMetadata(url, SystemClock(), wait=lambda seconds: True)


def test_the_program_reads_its_scenario_again_on_sighup_and_logs_every_request(
    start: Start, tmp_path: Path
) -> None:
    story = tmp_path / "story.toml"
    story.write_text('[[at]]\nseconds = 0\nprofile = "detached"\n')
    child, url = start("--scenario", str(story), "--set", "tags.a=b")
    with pytest.raises(PortError, match="no instance profile"):
        metadata_at(url).credentials()
    story.write_text('about = "it is back"\n[[at]]\nseconds = 0\nprofile = "attached"\n')
    hang_up(child)
    wait_for(lambda: {"profile"} in changes(child)[1:], "the profile to change")
    found = metadata_at(url).credentials()
    assert metadata_at(url).get("meta-data/tags/instance/a") == "b", "what it does not name stays"
    assert child.stop() == 0
    assert [line["about"] for line in told(child) if line.get("scenario") == "read"] == [
        "it is back"
    ]
    requests = [line for line in told(child) if "method" in line]
    assert {line["method"] for line in requests} == {"PUT", "GET"}
    assert {line["token"] for line in requests} == {"none", "valid"}
    assert not any(found.secret_access_key in line for line in child.lines())
    assert not any(found.session_token in line for line in child.lines())


def test_a_scenario_that_makes_no_sense_on_sighup_is_refused_and_the_old_one_goes_on(
    start: Start, tmp_path: Path
) -> None:
    story, begun = tmp_path / "story.toml", time.monotonic()
    story.write_text('[[at]]\nseconds = 3\nrole = "web"\n')
    child, _ = start("--scenario", str(story))
    story.write_text('[[at]]\nseconds = -1\nrolle = "web"\n')
    hang_up(child)
    wait_for(lambda: any(line.get("scenario") == "refused" for line in told(child)), "the refusal")
    [refused] = [line for line in told(child) if line.get("scenario") == "refused"]
    assert refused["problems"] == [
        f"{story}: at 1: seconds: -1 is not a number from 0 to 1e9",
        f"{story}: at 1: rolle: unknown; did you mean role?",
    ]
    wait_for(lambda: {"role"} in changes(child), "the role to change")
    assert time.monotonic() - begun >= 3, "by the clock that it began with"
    assert child.stop() == 0


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
    source, facts = StsSource(own.url), Facts(lifetime_seconds=2000.0)
    now = time.time()
    with MockImds(facts, source=source, clock=lambda: now) as service:
        asker = Asker(service.url)
        old = asker.get(LEGACY + "shipper")
        assert old.expires_at == pytest.approx(time.time() + 2000, abs=100)
        now = old.expires_at - 1100
        assert asker.get(LEGACY + "shipper").document == old.document
        now = old.expires_at - 900
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
