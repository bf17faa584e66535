"""What ImdsMetadata makes of every token, silence and refusal, over real HTTP."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from shipper.config.load import load
from shipper.edges.clock import SystemClock
from shipper.edges.imds.asking import BACKOFF, REQUESTS_A_MINUTE
from shipper.edges.imds.client import TOKEN_HEADER, TTL_HEADER
from shipper.ports import PortError
from shipper.runtime.wiring_identity import metadata_for
from tests.fakes.authority import Authority
from tests.fakes.servers import Answer, ScriptedServer, http_answer
from tests.machines.bench import EXTENDED, IMPATIENT, TEXT, THING, TOKEN, Bench, Reply, Scripted


def token_answer(name: str, life: str | None) -> bytes:
    headers = {} if life is None else {TTL_HEADER.replace("-", "_"): life}
    return http_answer(200, name, **headers)


def lines(server: ScriptedServer) -> list[str]:
    """What a scripted server was asked, in the words of ``Bench``."""
    return [f"{each.method} {each.target.removeprefix('/latest/')}" for each in server.requests]


def test_one_token_serves_many_questions(bench: Bench) -> None:
    assert [bench.metadata.get("thing") for _ in range(3)] == ["text"] * 3
    assert bench.asked == [TOKEN, THING, THING, THING]


@pytest.mark.parametrize("is_asleep", [False, True])
def test_a_token_is_renewed_a_minute_before_its_answer_says_it_ends(
    bench: Bench, scripted: Scripted, is_asleep: bool
) -> None:
    one, two = (token_answer(name, "600") for name in ("one", "two"))
    server = scripted(one, TEXT, TEXT, two, TEXT)
    metadata = bench.another(server.url)
    for seconds in (0.0, 539.0, 1.0):
        bench.clock.suspend(seconds) if is_asleep else bench.clock.advance(seconds=seconds)
        metadata.get("thing")
    assert lines(server) == [TOKEN, THING, THING, TOKEN, THING]
    tokens = [each.headers.get(TOKEN_HEADER) for each in server.requests]
    assert tokens == [None, "one", "one", None, "two"]


def test_the_wall_clock_does_not_age_a_token(bench: Bench) -> None:
    bench.metadata.get("thing")
    bench.clock.set_wall(bench.clock.now() + 10 * 86400)
    bench.metadata.get("thing")
    assert bench.asked.count(TOKEN) == 1


@pytest.mark.parametrize(("seconds", "tokens"), [(239.0, 1), (241.0, 2)])
def test_an_answer_that_tells_a_shorter_life_is_believed(
    bench: Bench, seconds: float, tokens: int
) -> None:
    bench.metadata.get("thing")
    (token,) = bench.service.tokens
    bench.service.tokens[token] = time.monotonic() + 300.4
    bench.metadata.get("thing")
    bench.clock.advance(seconds=seconds)
    bench.metadata.get("thing")
    assert bench.asked.count(TOKEN) == tokens


@pytest.mark.parametrize(
    "life", [None, "", "soon", "-600", "6e2", pytest.param("9" * 5000, id="huge"), "\u00b2"]
)
def test_a_token_that_does_not_tell_its_life_is_used_for_a_minute(
    bench: Bench, scripted: Scripted, life: str | None
) -> None:
    token = token_answer("one", life).replace("\u00b2".encode(), "\u00b2".encode("latin-1"))
    server = scripted(token_answer("zero", "70"), TEXT, *[token, TEXT, TEXT] * 2)
    metadata = bench.another(server.url)
    metadata.get("thing")
    for seconds in (10.0, 59.5, 0.5, 59.5):
        bench.clock.advance(seconds=seconds)
        metadata.get("thing")
    assert lines(server) == [TOKEN, THING, *[TOKEN, THING, THING] * 2]


def test_a_token_that_became_unknown_is_replaced_and_the_question_repeated(bench: Bench) -> None:
    bench.metadata.get("thing")
    bench.service.forget_tokens()
    assert bench.metadata.get("thing") == "text"
    assert bench.asked == [TOKEN, THING, THING, TOKEN, THING]
    assert bench.pauses == []


def test_a_second_401_is_an_error_and_leaves_no_token_behind(bench: Bench) -> None:
    bench.answer(THING, (401, ""))
    with pytest.raises(PortError) as caught:
        bench.metadata.get("thing")
    assert (caught.value.code, caught.value.status) == ("BadAnswer", 401)
    assert bench.asked_since() == [TOKEN, THING, TOKEN, THING]

    bench.answer(THING)
    assert bench.metadata.get("thing") == "text"
    assert bench.asked == [TOKEN, THING]


@pytest.mark.parametrize("still_lives", [False, True], ids=["401", "200"])
def test_an_answer_to_an_old_token_leaves_the_new_one_of_another_thread_alone(
    bench: Bench, still_lives: bool
) -> None:
    bench.service.facts.extra["/latest/slow"] = "slow"
    bench.metadata.get("thing")
    (old,) = bench.service.tokens
    behave = bench.service.fault
    others: list[str | None] = []

    def fault(method: str, path: str) -> Reply | None:
        if path == "/latest/slow" and not others:
            bench.service.forget_tokens()
            others.append(bench.metadata.get("thing"))
            if still_lives:
                bench.service.tokens[old] = time.monotonic() + 30.4
        return behave(method, path)

    bench.service.fault = fault
    assert bench.metadata.get("slow") == "slow"
    assert bench.metadata.get("thing") == "text"
    assert others == ["text"]
    assert bench.asked.count(TOKEN) == 2


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (400, "BadAnswer", "IMDSv2"),
        (401, "BadAnswer", "IMDSv2"),
        (403, "MetadataDisabled", "modify-instance-metadata-options"),
        (404, "NotImdsV2", "IMDSv2"),
        (405, "NotImdsV2", "IMDSv2"),
    ],
)
def test_a_refused_token_is_an_error_and_never_a_question_without_one(
    bench: Bench, status: int, code: str, hint: str
) -> None:
    bench.answer(TOKEN, (status, "no"))
    error = bench.failure()
    assert (error.code, error.status) == (code, status)
    assert hint in error.hint
    assert bench.asked == [TOKEN]


@pytest.mark.parametrize("body", ["", " \n", "<html>\n<body>Log in</body>", "t\u00f6ken", "a b"])
def test_what_cannot_be_a_token_is_never_used_as_one(bench: Bench, body: str) -> None:
    bench.answer(TOKEN, (200, body))
    assert bench.failure().code == "BadAnswer"
    assert bench.asked == [TOKEN] * BACKOFF.attempts


def test_outside_of_a_container_a_token_request_without_an_answer_is_an_outage(
    bench: Bench, scripted: Scripted
) -> None:
    server = scripted(*[Answer.NEVER] * BACKOFF.attempts)
    here = bench.another(server.url, send=IMPATIENT, is_in_container=lambda: False)
    error = bench.failure(here)
    assert (error.code, "hop" in error.hint) == ("Unreachable", False)
    assert "no answer in time" in error.detail


def test_a_token_request_without_an_answer_points_at_the_hop_limit_in_a_container(
    bench: Bench, scripted: Scripted
) -> None:
    server = scripted(*[Answer.NEVER] * BACKOFF.attempts)
    contained = bench.another(server.url, send=IMPATIENT, is_in_container=lambda: True)
    error = bench.failure(contained)
    assert error.code == "HopLimit"
    assert "--http-put-response-hop-limit 2" in error.hint
    assert lines(server) == [TOKEN] * BACKOFF.attempts


def test_a_service_that_falls_silent_is_asked_a_few_times(
    bench: Bench, scripted: Scripted
) -> None:
    server = scripted(token_answer("one", "21600"), *[Answer.NEVER] * BACKOFF.attempts, TEXT)
    metadata = bench.another(server.url, send=IMPATIENT)
    error = bench.failure(metadata)
    assert error.code == "Unreachable"
    assert "shipper mock-imds" in error.hint
    assert metadata.get("thing") == "text"
    assert lines(server) == [TOKEN, *[EXTENDED] * BACKOFF.attempts, THING]


@pytest.mark.parametrize(
    "broken",
    [Answer.RESET, Answer.CLOSE, TEXT[:-2], b"SSH-2.0-OpenSSH_9.2\r\n"],
    ids=["reset", "closed", "cut short", "no HTTP"],
)
def test_a_broken_answer_is_asked_for_again(
    bench: Bench, scripted: Scripted, broken: bytes | Answer
) -> None:
    server = scripted(broken, token_answer("one", "21600"), broken, TEXT)
    assert bench.another(server.url).get("thing") == "text"
    assert lines(server) == [TOKEN, TOKEN, THING, THING]
    assert len(bench.pauses) == 2


def test_nobody_listening_is_unreachable(bench: Bench) -> None:
    with ScriptedServer() as gone:
        url = gone.url
    error = bench.failure(bench.another(url))
    assert (error.code, error.status) == ("Unreachable", 0)
    assert "shipper mock-imds" in error.hint
    assert len(bench.pauses) == BACKOFF.attempts - 1


@pytest.mark.parametrize("asked", [TOKEN, EXTENDED])
@pytest.mark.parametrize("status", [429, 500, 501, 502, 503, 504, 599])
def test_a_service_in_trouble_is_asked_a_few_times(bench: Bench, asked: str, status: int) -> None:
    bench.answer(asked, (status, "busy"))
    error = bench.failure()
    assert (error.code, error.status) == ("Unreachable", status)
    assert bench.asked.count(asked) == BACKOFF.attempts
    assert len(bench.pauses) == BACKOFF.attempts - 1
    assert all(0.5 <= pause <= 2.0 for pause in bench.pauses)


def test_the_last_try_may_be_the_one_that_works(bench: Bench) -> None:
    bench.answer(THING, *[(503, "")] * (BACKOFF.attempts - 1), (200, "at last"))
    assert bench.metadata.get("thing") == "at last"


@pytest.mark.parametrize(("status", "code"), [(400, "BadAnswer"), (403, "MetadataDisabled")])
def test_a_refusal_is_not_asked_for_again(bench: Bench, status: int, code: str) -> None:
    bench.answer(EXTENDED, (status, "no"))
    error = bench.failure()
    assert (error.code, error.status) == (code, status)
    assert bench.asked == [TOKEN, EXTENDED]


def test_an_absent_path_is_not_asked_for_again(bench: Bench) -> None:
    assert bench.metadata.get("nothing") is None
    assert bench.asked == [TOKEN, "GET nothing"]


def test_a_wait_that_is_interrupted_ends_the_tries_at_once(bench: Bench) -> None:
    bench.answer(EXTENDED, (503, ""))
    assert bench.failure(bench.another(wait=lambda seconds: True)).code == "Unreachable"
    assert bench.asked == [TOKEN, EXTENDED]


@pytest.mark.parametrize("asked", [TOKEN, EXTENDED])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(
    bench: Bench, scripted: Scripted, asked: str, status: int
) -> None:
    elsewhere = scripted()
    bench.answer(asked, (status, elsewhere.url))
    error = bench.failure()
    assert (error.code, error.status) == ("BadAnswer", status)
    assert bench.asked.count(asked) == 1
    assert elsewhere.requests == []


def test_proxies_of_the_environment_are_not_used(
    bench: Bench, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = scripted()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.lower(), proxy.url)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    assert bench.another().credentials().role == "shipper"
    assert proxy.requests == []


@pytest.mark.parametrize(("value", "is_off"), [("true", True), ("TRUE", True), ("false", False)])
def test_the_switch_of_the_environment_ends_all_traffic(
    bench: Bench, tmp_path: Path, value: str, is_off: bool
) -> None:
    file = tmp_path / "shipper.toml"
    file.write_text(
        f'[destination]\nbucket = "logs-bucket"\n[[watch]]\ndirectory = "{tmp_path}"\n'
    )
    environment = {
        "AWS_EC2_METADATA_DISABLED": value,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": bench.service.url,
        "AWS_EC2_INSTANCE_PROFILE_NAME": "unknown",
    }
    metadata = metadata_for(load(str(file), {}), environment, SystemClock(), lambda seconds: True)
    assert bench.failure(metadata).code == ("MetadataDisabled" if is_off else "NoRole")
    assert bool(bench.asked) is not is_off


def test_an_empty_variable_is_an_unset_one(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "shipper.toml"
    file.write_text(
        f'[destination]\nbucket = "logs-bucket"\n[[watch]]\ndirectory = "{tmp_path}"\n'
    )
    names = ("SERVICE_ENDPOINT_MODE", "DISABLED")
    empty = {f"AWS_EC2_METADATA_{name}": "" for name in names}
    empty |= {"AWS_EC2_INSTANCE_PROFILE_NAME": "", "STATE_DIRECTORY": "", "SHIPPER_CONFIG": ""}
    environment = empty | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": bench.service.url}
    configuration = load(str(file), environment)
    metadata = metadata_for(configuration, environment, SystemClock(), lambda seconds: True)
    assert metadata.credentials().role == "shipper"
    assert configuration.state_directory == "/var/lib/shipper"


def test_an_endpoint_with_tls_is_trusted_by_the_bundle_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, authority = tmp_path / "shipper.toml", Authority(tmp_path)
    file.write_text(
        f'[destination]\nbucket = "logs-bucket"\n[[watch]]\ndirectory = "{tmp_path}"\n'
    )
    configuration = load(str(file), {})
    with ScriptedServer(
        token_answer("one", None), TEXT, tls=authority.context("127.0.0.1")
    ) as server:
        for bundle in ("", str(authority.bundle)):
            monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
            found = metadata_for(
                configuration,
                {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url},
                SystemClock(),
                lambda seconds: True,
            )
            if bundle:
                assert found.get("thing") == "text"
            else:
                with pytest.raises(PortError, match="the certificate is not trusted"):
                    found.get("thing")


def test_the_service_is_never_asked_more_than_60_times_in_any_minute(bench: Bench) -> None:
    for _ in range(100):
        with suppress(PortError):
            bench.metadata.get("thing")
    assert len(bench.asked) == REQUESTS_A_MINUTE == 60
    with pytest.raises(PortError, match="TooOften"):
        bench.metadata.get("thing")
    bench.clock.advance(seconds=59)
    with pytest.raises(PortError, match="TooOften"):
        bench.metadata.get("thing")
    bench.clock.advance(seconds=1)
    assert bench.metadata.get("thing") == "text"


def test_those_who_need_a_token_at_once_send_one_request_for_it(bench: Bench) -> None:
    behave, all_wait = bench.service.fault, threading.Barrier(2)
    begun = threading.Event()

    def fault(method: str, path: str) -> Reply | None:
        if method == "PUT":
            begun.set()
            all_wait.wait(20)
        return behave(method, path)

    bench.service.fault = fault
    with ThreadPoolExecutor(4) as threads:
        texts = [threads.submit(bench.metadata.get, "thing") for _ in range(4)]
        assert begun.wait(20)
        all_wait.wait(20)
        assert [text.result() for text in texts] == ["text"] * 4
    assert bench.asked.count(TOKEN) == 1
