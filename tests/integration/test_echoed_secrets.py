"""Servers that repeat what they were sent: their words are kept, and the secrets in them are not.

What is repeated stands wherever a server or a library may put it, and in every spelling. The
access key's id is no secret: it is shown on purpose.
"""

import base64
import hashlib
import html
import json
import re
import traceback
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import cycle
from random import Random
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest

from shipper.core.destinations import Destination
from shipper.core.object_keys import InstanceFacts
from shipper.core.types import ChecksumAlgorithm, ObjectKey, RoleCredentials
from shipper.daemon import once
from shipper.edges.autoscaling import AutoScalingHook
from shipper.edges.imds.client import TTL_HEADER, ImdsMetadata
from shipper.edges.s3.errors import failures_as_port_errors
from shipper.edges.s3.store import S3Store
from shipper.edges.sts import AssumedRole
from shipper.mock.imds import Keys
from shipper.ports import PortError
from shipper.runtime.logs import Redactor
from tests.fakes.clock import FakeClock
from tests.fakes.metadata import FakeMetadata
from tests.fakes.servers import REGION, Request, ScriptedServer, http_answer
from tests.fakes.store import checksum_of
from tests.machines.here import Here
from tests.machines.instance import Instance

Make = Callable[..., Instance]
Place = Callable[[str], bytes]
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYzEXAMPLEKEY"
TOKEN = "IQoJ" + base64.b64encode(Random(0).randbytes(600)).decode() + "+/=="
METADATA_TOKEN = base64.b64encode(hashlib.sha384(b"metadata").digest()).decode() + "=="
SECRETS = (SECRET, TOKEN, METADATA_TOKEN)
CREDENTIALS = RoleCredentials("ASIAIOSFODNN7EXAMPLE", SECRET, TOKEN, expires_at=4e9)
FACTS = InstanceFacts(prefix="", instance_id="i-1", region=REGION)
ROLE = "arn:aws:iam::123456789012:role/writer"
OK = "HTTP/1.1 200 OK\r\nConnection: close\r\n"
PIECE = 24
"""Of a spelling that was cut, less than so much may be left at each cut."""


def spellings(secret: str) -> Iterator[str]:
    """How programs write a text into another one."""
    raw = secret.encode()
    yield from (secret, repr(secret), repr(raw), json.dumps(secret), html.escape(secret))
    yield json.dumps(secret).replace("/", "\\/")
    yield re.sub("[+/=]", lambda found: f"\\u{ord(found[0]):04x}", secret)
    yield secret.replace("+", "\\u002B")
    yield secret.replace("=", "\\u003d")
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret))
    yield re.sub("%..", lambda found: found[0].lower(), quote(secret, safe=""))
    yield quote(quote(secret, safe=""), safe="")
    yield from (
        raw.hex(),
        raw.hex().upper(),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
    )
    yield base64.b64encode(b"A:" + raw).decode()
    yield base64.b64encode(json.dumps({"Token": secret}).encode()).decode()
    yield secret[5:-5]
    yield "\r\n ".join(secret[at : at + 60] for at in range(0, len(secret), 60))


@cache
def pieces() -> frozenset[str]:
    """Of every spelling of every secret, as long as nothing that was redacted may leave."""
    found = (spelling for secret in SECRETS for spelling in spellings(secret))
    return frozenset(
        text[at : at + PIECE] for text in found for at in range(len(text) - PIECE + 1)
    )


def leaks(text: str) -> list[str]:
    """The pieces of secrets that the text holds."""
    runs = (text[at : at + PIECE] for at in range(len(text) - PIECE + 1))
    return [run for run in runs if run in pieces()]


def error(code: str = "InternalError", *members: str, status: int = 500, **headers: str) -> bytes:
    body = f"<Error><Code>{escape(code)}</Code>{''.join(members)}</Error>"
    return http_answer(status, body, **({"x_amz_request_id": "REQ1"} | headers))


def member(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def one_line(text: str) -> str:
    return " ".join(text.split())


S3: dict[str, Place] = {
    "the message": lambda echo: error("InternalError", member("Message", echo)),
    "the message of a refusal": lambda echo: error(
        "AccessDenied", member("Message", f"explicit deny in a {echo} policy"), status=403
    ),
    "the message of a checksum": lambda echo: error(
        "InvalidRequest", member("Message", f"x-amz-checksum required {echo}"), status=400
    ),
    "the code": lambda echo: error(one_line(echo), status=400),
    "the code of an outage": lambda echo: error(one_line(echo), status=503),
    "what is told of a region": lambda echo: error(
        "PermanentRedirect", member("Endpoint", echo), member("Region", echo), status=301
    ),
    "the server's time": lambda echo: error("RequestTimeTooSkewed", member("ServerTime", echo)),
    "what was signed": lambda echo: error(
        "SignatureDoesNotMatch",
        member("StringToSign", echo),
        member("CanonicalRequest", echo),
        status=403,
    ),
    "the request id": lambda echo: error(x_amz_request_id=one_line(echo)),
    "the region's header": lambda echo: error(x_amz_bucket_region=one_line(echo), status=400),
    "a wait": lambda echo: error("SlowDown", Retry_After=one_line(echo), status=503),
    "a redirect": lambda echo: error(
        "TemporaryRedirect", Location=f"http://s3.example/{one_line(echo)}", status=307
    ),
    "a reason": lambda echo: error().replace(b"Scripted", one_line(echo).encode()),
    "a body that is no XML": lambda echo: http_answer(400, f"<p>{echo}", x_amz_request_id="R"),
    "an error within a good answer": lambda echo: error(
        "InternalError", member("Message", echo), status=200
    ),
    "a portal's page": lambda echo: http_answer(200, f"<html><p>{echo}</html>"),
    "no HTTP": lambda echo: f"{one_line(echo)}\r\n\r\n".encode(),
    "a status": lambda echo: f"HTTP/1.1 {one_line(echo)} OK\r\n\r\n".encode(),
    "no header": lambda echo: f"{OK}{one_line(echo)}\r\nA: b\r\n\r\nx".encode(),
    "a length": lambda echo: f"{OK}Content-Length: {one_line(echo)}\r\n\r\n".encode(),
    "a chunk": lambda echo: f"{OK}Transfer-Encoding: chunked\r\n\r\n{one_line(echo)}\r\n".encode(),
    "an encoding": lambda echo: http_answer(200, echo, Content_Encoding="gzip"),
}


def query_error(code: str, message: str, status: int) -> bytes:
    """As STS and the Auto Scaling service refuse."""
    body = (
        f"<ErrorResponse><Error><Type>Sender</Type>{member('Code', code)}"
        f"{member('Message', message)}</Error>{member('RequestId', message)}</ErrorResponse>"
    )
    return http_answer(status, body, x_amzn_RequestId="r-1")


QUERY: dict[str, Place] = {
    "the message": lambda echo: query_error("AccessDenied", echo, 403),
    "the message of an outage": lambda echo: query_error("Throttling", echo, 503),
    "the code": lambda echo: query_error(one_line(echo), "no", 400),
    "a message of what was asked": lambda echo: query_error("ValidationError", echo, 400),
    "a document": lambda echo: http_answer(
        200,
        f"<AssumeRoleResponse><AssumeRoleResult><Credentials>{member('SecretAccessKey', echo)}"
        f"{member('Expiration', echo)}</Credentials></AssumeRoleResult></AssumeRoleResponse>",
        x_amzn_RequestId="r-1",
    ),
    **{
        name: S3[name]
        for name in ("no HTTP", "a reason", "a portal's page", "no header", "a status")
    },
}


def hold_nothing(ask: Callable[[], object]) -> None:
    """Whatever comes of it, its text and its traceback hold no secret."""
    try:
        said = [repr(ask())]
    except PortError as refused:
        said = [str(part) for part in (*refused.args, refused.code, refused.detail, refused.hint)]
        said += traceback.format_exception(refused)
    assert leaks("\n".join(said)) == []


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    for secret in SECRETS:
        made.learn(secret)
    return made


each_spelling = [text for secret in SECRETS for text in spellings(secret)]


def repeating(place: Place) -> list[bytes]:
    return [place(f"it said {text}.") for text in each_spelling]


@pytest.mark.parametrize("place", S3)
def test_what_s3_repeats_of_a_secret_is_in_no_error(place: str, redactor: Redactor) -> None:
    answers = repeating(S3[place])
    counted: list[str] = []
    with ScriptedServer(*answers) as server:
        store = S3Store(
            destination=Destination("bucket", endpoint_url=server.url, addressing_style="path"),
            region=REGION,
            credentials=lambda: CREDENTIALS,
            algorithm=ChecksumAlgorithm.CRC32,
            max_connections=1,
            failures=partial(
                failures_as_port_errors,
                count=lambda *words: counted.extend(words),
                redact=redactor.text,
            ),
        )
        body = b"a line"
        checksum = checksum_of(body, ChecksumAlgorithm.CRC32)
        for _ in answers:
            hold_nothing(
                lambda: store.put(ObjectKey("k"), body, checksum=checksum, metadata={}).result()
            )
        assert len(server.requests) == len(answers)
        store.close()
    assert leaks(" ".join(counted)) == []


@pytest.mark.parametrize("place", QUERY)
def test_what_sts_repeats_of_a_secret_is_in_no_error(place: str, redactor: Redactor) -> None:
    answers = repeating(QUERY[place])
    with ScriptedServer(*answers) as server:
        source = AssumedRole(
            role_arn=ROLE,
            external_id="",
            facts=lambda: FACTS,
            base=lambda: CREDENTIALS,
            refused=lambda: None,
            clock=FakeClock(),
            endpoint_url=server.url,
            redact=redactor.text,
        )
        for _ in answers:
            hold_nothing(source.credentials)
        assert len(server.requests) == len(answers)


@pytest.mark.parametrize("place", QUERY)
def test_what_the_auto_scaling_service_repeats_of_a_secret_is_in_no_error(
    place: str, redactor: Redactor
) -> None:
    answers = repeating(QUERY[place])
    with ScriptedServer(*answers) as server:
        hook = AutoScalingHook(
            hook="drain",
            group="web",
            metadata=FakeMetadata(FakeClock()),
            credentials=lambda: CREDENTIALS,
            clock=FakeClock(),
            endpoint_url=server.url,
            redact=redactor.text,
        )
        for _ in answers:
            hold_nothing(hook.complete)
        assert len(server.requests) == len(answers)


class Repeating:
    """A machine whose S3 and STS repeat secrets, and all that it lets be seen."""

    def __init__(self, machine: Instance, here: Here) -> None:
        self.machine = machine
        self.here = here
        machine.imds.facts.keys = Keys("ASIAIOSFODNN7EXAMPLE", SECRET, TOKEN)
        machine.write("app.log.1", b"a line\n")
        self.seen = ""

    def send_to(self, server: ScriptedServer, more: str = "") -> None:
        text = self.machine.config.read_text().replace(self.machine.moto.url, server.url)
        self.machine.config.write_text(text.replace("[[watch]]", f"{more}\n[[watch]]", 1))

    def run(self, *command: str, code: int | None) -> str:
        said = self.here.run(self.machine, *command, code=code)
        self.seen += said
        return said

    def look_everywhere(self) -> str:
        """What commands print and files hold, after what was seen meanwhile."""
        for command in (["status"], ["status", "--json"], ["explain", self.log, "--json"]):
            self.run(*command, code=None)
        for path in (self.machine.directory / "state").iterdir():
            if path.is_file():
                self.seen += path.read_bytes().decode("latin-1")
        return self.seen

    @property
    def log(self) -> str:
        return str(self.machine.logs / "app.log.1")


@pytest.fixture
def repeating_machine(instance: Make, here: Here) -> Repeating:
    return Repeating(instance(), here)


def as_it_came(request: Request) -> str:
    """The session token as S3 was sent it, and the secret beside it, in a few spellings."""
    token = request.headers.get("x-amz-security-token", "")
    return f"it said {quote(SECRET, safe='')} {SECRET!r} {SECRET.encode().hex()} {token}"


@pytest.mark.parametrize("place", ["the message", "the code", "the request id", "no HTTP"])
def test_what_s3_repeats_of_a_secret_is_in_no_log_status_or_journal(
    repeating_machine: Repeating, place: str
) -> None:
    machine = repeating_machine
    with ScriptedServer(otherwise=lambda request: S3[place](as_it_came(request))) as server:
        machine.send_to(server)
        machine.run("ship", code=1)
        machine.run("check", code=1)
        assert len(server.requests) > 1
    assert leaks(machine.look_everywhere()) == []


@pytest.mark.parametrize("place", ["the message", "a document"])
def test_what_sts_repeats_of_a_secret_is_in_no_log_status_or_journal(
    repeating_machine: Repeating, place: str
) -> None:
    machine = repeating_machine
    with ScriptedServer(otherwise=lambda request: QUERY[place](as_it_came(request))) as server:
        machine.send_to(server, f'role_arn = "{ROLE}"')
        machine.machine.more_environment["AWS_ENDPOINT_URL_STS"] = server.url
        machine.run("ship", code=1)
        machine.run("check", code=1)
        machine.run("credentials", "--json", code=1)
        assert len(server.requests) > 1
    assert leaks(machine.look_everywhere()) == []


def test_a_daemon_to_which_s3_repeats_secrets_shows_none_anywhere(
    repeating_machine: Repeating,
) -> None:
    watched = repeating_machine.machine
    places = ["the message", "the request id", "no HTTP", "the server's time", "a portal's page"]
    answers = cycle(S3[place] for place in places)
    for number in range(len(places)):
        watched.write(f"app{number}.log.1", b"a line of %d\n" % number)
    with ScriptedServer(otherwise=lambda request: next(answers)(as_it_came(request))) as server:
        repeating_machine.send_to(server)
        watched.start()
        watched.wait_for(lambda: len(server.requests) >= len(places), "every place")
        for target in ("/status", "/metrics", "/healthz"):
            repeating_machine.seen += watched.ask(target)
        seen = repeating_machine.look_everywhere()  # with the write-ahead log as it is
        assert watched.stop() == 0
    assert leaks(seen + repeating_machine.look_everywhere() + watched.log_text()) == []
    assert "[redacted]" in watched.log_text()


def test_a_bug_in_a_row_is_in_log_and_journal_without_the_secret(
    repeating_machine: Repeating, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(*_: object, **__: object) -> None:
        raise ValueError(f"Invalid header value {TOKEN.encode()!r}")

    monkeypatch.setattr(S3Store, "put", put)
    assert "Traceback" in repeating_machine.run("ship", code=1)
    seen = repeating_machine.look_everywhere()
    assert "ValueError: Invalid header value b'[redacted]'" in seen
    assert leaks(seen) == []


def test_a_crash_is_told_with_its_traceback_and_without_the_secret(
    repeating_machine: Repeating, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError(f"Invalid header value {TOKEN.encode()!r}")

    monkeypatch.setattr(once, "carriers_for", fail)
    said = repeating_machine.run("ship", code=70)
    assert "process.crashed" in said
    assert "Traceback" in said
    assert "this is a bug of shipper" in said
    assert leaks(said) == []


def document(**members: str) -> str:
    good = {"AccessKeyId": "ASIAIOSFODNN7EXAMPLE", "SecretAccessKey": SECRET, "Token": TOKEN}
    return json.dumps({"Code": "Success", **good, "Expiration": "2030-01-01T00:00:00Z"} | members)


LETTERS = re.compile("[^A-Za-z0-9]")
IMDS: dict[str, tuple[str, Place]] = {
    "the message": (
        "extended/role",
        lambda echo: http_answer(200, document(Code="Failed", Message=echo)),
    ),
    "the message of a broken trust": (
        "extended/role",
        lambda echo: http_answer(200, document(Code="AssumeRoleUnauthorizedAccess", Message=echo)),
    ),
    "the code": ("extended/role", lambda echo: http_answer(200, document(Code=echo))),
    "a secret with a space": (
        "extended/role",
        lambda echo: http_answer(200, document(Token=f"{TOKEN} {echo}")),
    ),
    "an expiry": ("extended/role", lambda echo: http_answer(200, document(Expiration=echo))),
    "an account": (
        "extended/role",
        lambda echo: http_answer(200, document(AccountId=LETTERS.sub("", echo)[:127])),
    ),
    "no JSON": ("extended/role", lambda echo: http_answer(200, "{" + echo)),
    "no UTF-8": (
        "extended/role",
        lambda echo: http_answer(200, echo + "xy").replace(b"xy", b"\xff."),
    ),
    "an outage": ("extended/role", lambda echo: http_answer(500, echo)),
    "a refusal": ("extended/role", lambda echo: http_answer(403, echo, X_Said=one_line(echo))),
    "a redirect": ("extended/role", S3["a redirect"]),
    "a reason": ("extended/role", S3["a reason"]),
    "no HTTP": ("extended/role", S3["no HTTP"]),
    "no header": ("extended/role", S3["no header"]),
    "a length": ("extended/role", S3["a length"]),
    "a chunk": ("extended/role", S3["a chunk"]),
    "a date": ("extended/role", lambda echo: http_answer(200, document(), Date=one_line(echo))),
    "the list": ("extended/", lambda echo: http_answer(200, echo)),
    "a role's name": ("extended/", lambda echo: http_answer(200, LETTERS.sub("", echo)[:128])),
    "the profile": ("info", lambda echo: http_answer(200, json.dumps({"Message": echo}))),
    "the profile's name": (
        "info",
        lambda echo: http_answer(200, json.dumps({"InstanceProfileArn": f"arn/{echo}"})),
    ),
    "the instance": (
        "identity/document",
        lambda echo: http_answer(200, json.dumps({"instanceId": LETTERS.sub("", echo)[:99]})),
    ),
    "the region": (
        "identity/document",
        lambda echo: http_answer(200, json.dumps({"instanceId": "i-1", "region": echo})),
    ),
    "a metadata token": ("api/token", lambda echo: http_answer(403, echo)),
}


@pytest.mark.parametrize("place", IMDS)
def test_what_the_metadata_service_repeats_of_a_secret_is_in_no_error(place: str) -> None:
    redactor, clock, script = Redactor(), FakeClock(), list[str]()
    end, made = IMDS[place]

    def answer(request: Request) -> bytes:
        if script and request.target.endswith(end):
            return made(script[-1])
        if request.method == "PUT":
            life = {TTL_HEADER.replace("-", "_"): "100"}
            return http_answer(200, METADATA_TOKEN, **life)
        if request.target.endswith("extended/role") and end not in ("extended/", "info"):
            return http_answer(200, document())
        is_list = request.target.endswith("extended/") and end != "info"
        return http_answer(200, "role") if is_list or not script else http_answer(404)

    with ScriptedServer(otherwise=answer) as server:
        metadata = ImdsMetadata(
            server.url,
            clock,
            wait=lambda seconds: True,
            learn=redactor.learn,
            redact=redactor.text,
        )
        end, wanted = "nothing", end
        metadata.credentials()
        end = wanted
        for text in each_spelling:
            script.append(f"it said {text}" if "role" not in place else text)
            clock.advance(seconds=120)
            hold_nothing(metadata.instance if "identity" in end else metadata.credentials)
        assert len(server.requests) > len(script)
