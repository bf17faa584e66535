"""What real servers refuse, as users reported it: one hint, no flood, and the others go on."""

from collections.abc import Callable

import pytest

from tests.fakes.proxy import Proxy, Refusal, Seen
from tests.fakes.servers import Moto
from tests.machines.instance import Instance

pytestmark = pytest.mark.system
Make = Callable[..., Instance]
FILES = 4


def answer(status: int, code: str, message: str) -> Refusal:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return status, {"x-amz-request-id": "R", "Content-Type": "application/xml"}, body.encode()


def without_checksum(seen: Seen) -> bool:
    return not any(name.startswith("x-amz-checksum-") for name in seen.headers)


DENIED = "User: arn:aws:sts::111122223333:assumed-role/r/i is not authorized to perform: "
REFUSALS: dict[str, tuple[str, Callable[[Seen], bool], Refusal, str]] = {
    "ACLs are disabled": (
        'acl = "bucket-owner-full-control"',
        lambda seen: "x-amz-acl" in seen.headers,
        answer(400, "AccessControlListNotSupported", "The bucket does not allow ACLs"),
        "destination.acl",
    ),
    "a tag is refused": (
        'tags = {team = "web"}',
        lambda seen: "x-amz-tagging" in seen.headers,
        answer(400, "InvalidTag", "The TagValue you have provided is invalid"),
        "destination.tags",
    ),
    "object lock asks for a checksum": (
        'checksum = "none"',
        without_checksum,
        answer(400, "InvalidRequest", "x-amz-checksum- HTTP header is required with Object Lock"),
        "checksum",
    ),
    "the endpoint's policy denies": (
        "",
        lambda seen: True,
        answer(403, "AccessDenied", DENIED + "s3:PutObject with an explicit deny in a VPC "
               "endpoint policy"),
        "endpoint policy",
    ),
    "an unknown code of tomorrow": (
        "",
        lambda seen: True,
        answer(400, "XTomorrowsRefusal", "not today"),
        "",
    ),
}  # fmt: skip


def configure(machine: Instance, destination: str) -> None:
    text = machine.config.read_text()
    machine.config.write_text(text.replace("[destination]", f"[destination]\n{destination}"))


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_that_only_an_operator_can_mend_is_told_with_the_setting_and_not_repeated(
    instance: Make, moto: Moto, name: str
) -> None:
    destination, is_refused, refusal, hint = REFUSALS[name]
    with Proxy(moto) as s3:
        machine = instance(moto=s3.moto)
        configure(machine, destination)
        writes: list[str] = []

        def refuse(seen: Seen) -> Refusal | None:
            if seen.method != "PUT" or not is_refused(seen):
                return None
            writes.append(seen.target)
            return refusal

        s3.refuse = refuse
        for number in range(FILES):
            machine.write(f"app{number}.log.1", b"line %d\n" % number)
        machine.start()
        machine.wait_for(lambda: machine.events("gate.shut"), "the gate to shut")
        [event, *_] = machine.events("gate.shut")
        assert hint in event["hint"]
        assert 'checksum = "none"' not in event["hint"]
        assert event["code"] in machine.run("status", code=1)
        assert len(writes) <= 2 * FILES
        s3.refuse = lambda seen: None
        assert machine.stop() == 0
        machine.start()
        machine.wait_until_shipped(FILES)


def test_where_a_server_takes_only_content_md5_it_gets_that(instance: Make, moto: Moto) -> None:
    wanted = answer(400, "InvalidRequest", "Content-MD5 HTTP header is required")
    with Proxy(moto) as s3:
        machine = instance(moto=s3.moto)
        configure(machine, 'checksum = "md5"')
        s3.refuse = lambda seen: (
            wanted if seen.method == "PUT" and "content-md5" not in seen.headers else None
        )
        machine.write("app.log.1", b"a line\n")
        machine.start()
        machine.wait_until_shipped(1)
        assert machine.contents() == [b"a line\n"]


def test_denied_logs_are_named_and_a_hundred_others_pass_meanwhile(
    instance: Make, moto: Moto
) -> None:
    denied = answer(403, "AccessDenied", "Access Denied")
    with Proxy(moto) as s3:
        machine = instance(moto=s3.moto)
        s3.refuse = lambda seen: denied if seen.method == "PUT" and "bad" in seen.target else None
        for number in range(5):
            machine.write(f"bad{number}.log.1", b"bad %d\n" % number)
        machine.start()
        machine.wait_for(lambda: machine.events("attempt.failed"), "a refusal")
        for number in range(100):
            machine.write(f"good{number}.log.1", b"good %d\n" % number)
        machine.wait_until_shipped(100)
        machine.wait_for(lambda: "AccessDenied" in machine.ask("/healthz"), "the ailment")
        assert "bad" in machine.ask("/healthz")
        assert machine.files("READY") == 5
