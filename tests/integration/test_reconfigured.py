"""A daemon that is killed in the midst of an upload and started with another configuration."""

import threading
from collections.abc import Callable

from tests.fakes.proxy import Proxy, Refusal, Seen
from tests.fakes.servers import Moto
from tests.machines.instance import Instance
from tests.machines.world import MIB, random_log

BUSY: Refusal = (503, {"x-amz-request-id": "R"}, b"<Error><Code>SlowDown</Code></Error>")


def parts(proxy: Proxy, number: int) -> int:
    """How often that part was sent."""
    return sum(f"partNumber={number}&" in each.target for each in proxy.seen)


def creates(proxy: Proxy) -> list[str]:
    """The buckets in which uploads were begun."""
    found = [each.target for each in proxy.seen if each.target.endswith("?uploads")]
    return [target.split("/")[1] for target in found]


def test_an_upload_goes_on_with_other_settings_and_begins_anew_in_another_bucket(
    instance: Callable[..., Instance], moto: Moto
) -> None:
    body = random_log(9, 9 * MIB)

    def refuse(seen: Seen) -> Refusal | None:
        return BUSY if "partNumber=2&" in seen.target else None

    with Proxy(moto, refuse) as proxy:
        machine = instance(
            moto=proxy.moto,
            watch='compression = "none"\nafter_upload = "delete"\ndelete_after = "0s"',
            more='[uploads]\npart_size = "5MiB"\n',
        )
        another = f"{machine.bucket}-2"
        moto.create_bucket(another)
        log = machine.write("app.log.1", body)
        machine.start()
        machine.wait_for(lambda: machine.events("part.stored"), "the first part")
        machine.wait_for(lambda: parts(proxy, 2), "the second")
        machine.kill()

        reconfigure(machine, '"5MiB"', '"6MiB"\nmemory_limit = "16MiB"')
        reconfigure(machine, '"none"', '"gzip"\ncompression_level = 9')
        tried = parts(proxy, 2)
        machine.start()
        machine.wait_for(lambda: parts(proxy, 2) > tried, "the second part again")
        machine.kill()
        assert (parts(proxy, 1), creates(proxy)) == (1, [machine.bucket])

        reconfigure(machine, f'"{machine.bucket}"', f'"{another}"')
        proxy.refuse = lambda seen: None
        machine.start()
        machine.wait_until_shipped(1)
        assert creates(proxy) == [machine.bucket, another]
        assert [line["shipments"] for line in machine.events("destination.changed")] == [1]
        assert list(moto.objects(another).values()) == [body]
        assert moto.keys(machine.bucket) == []
        assert not log.exists()
        assert machine.stop() == 0


def test_a_server_that_does_not_answer_an_abort_holds_nobody_up(
    instance: Callable[..., Instance], moto: Moto
) -> None:
    body, is_over = random_log(9, 9 * MIB), threading.Event()

    def refuse(seen: Seen) -> Refusal | None:
        return BUSY if "partNumber=2&" in seen.target else None

    def hang(seen: Seen) -> Refusal | None:
        if seen.method == "DELETE":
            is_over.wait(60)
        return None

    with Proxy(moto, refuse) as proxy:
        machine = instance(
            moto=proxy.moto, watch='compression = "none"', more='[uploads]\npart_size = "5MiB"\n'
        )
        machine.write("app.log.1", body)
        machine.start()
        machine.wait_for(lambda: machine.events("part.stored"), "the first part")
        machine.kill()
        proxy.refuse = hang
        reconfigure(machine, "[destination]", '[destination]\nstorage_class = "STANDARD_IA"')
        machine.start()
        machine.wait_until_shipped(1)
        assert [each.method for each in proxy.seen].count("DELETE") == 1
        assert machine.stop() == 0
        assert not is_over.is_set()
        is_over.set()
        assert list(moto.objects(machine.bucket).values()) == [body]


def reconfigure(machine: Instance, old: str, new: str) -> None:
    text = machine.config.read_text()
    assert text.count(old) == 1
    machine.config.write_text(text.replace(old, new))
