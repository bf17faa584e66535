"""The main job with a real daemon: logs in, objects out."""

import os
import random
import time
from collections.abc import Callable

import pytest

from tests.fakes.servers import Moto
from tests.machines.instance import INSTANCE_ID, Instance, keys_of
from tests.machines.world import MIB, random_log

Make = Callable[..., Instance]
SMALL_PARTS = '[uploads]\npart_size = "5MiB"\n'


def test_small_and_large_logs_arrive_byte_for_byte(instance: Make) -> None:
    machine = instance(more=SMALL_PARTS)
    bodies = [b"line %d\n" % number * 50 for number in range(20)] + [random_log(1, 23 * MIB)]
    machine.start()
    for number, body in enumerate(bodies):
        machine.write(f"app-{number}.log.1", body)
    machine.wait_until_shipped(len(bodies))
    assert sorted(machine.contents()) == sorted(bodies)
    assert machine.moto.unfinished_uploads(machine.bucket) == []
    assert machine.stop() == 0


def test_no_secret_is_in_a_whole_runs_log_at_debug_level(instance: Make) -> None:
    machine = instance(facts={"lifetime_seconds": 3.0})
    machine.start()
    machine.write("app.log.1", b"hello\n")
    machine.wait_until_shipped(1)
    machine.wait_for(lambda: len(machine.events("credentials.refreshed")) >= 3, "refreshes")
    machine.stop()
    text = machine.log_text()
    assert '"level": "debug"' in text
    assert len(machine.imds.issued) >= 3
    for keys in machine.imds.issued:
        assert keys.access_key_id in text
        assert keys.secret_access_key not in text
        assert keys.session_token not in text
    for token in machine.imds.tokens:
        assert token not in text


def test_put_object_and_list_bucket_are_all_the_permissions_it_needs(
    instance: Make, own_moto: Moto
) -> None:
    role = own_moto.assume("least", ("s3:PutObject", "s3:ListBucket"))
    machine = instance(moto=own_moto, facts={"keys": keys_of(role)}, more=SMALL_PARTS)
    own_moto.client("s3")
    bodies = [b"small\n", random_log(3, 12 * MIB)]
    machine.write("app.log.1", bodies[0])
    machine.write("app.log.2", bodies[1])
    with own_moto.enforcing():
        machine.start()
        machine.wait_until_shipped(2)
        assert machine.stop() == 0
        assert "ok    bucket" in machine.run("check")
    assert sorted(machine.contents()) == sorted(bodies)


def test_a_role_without_put_object_holds_everything_and_says_what_is_missing(
    instance: Make, own_moto: Moto
) -> None:
    role = own_moto.assume("reader", ("s3:ListBucket",))
    machine = instance(moto=own_moto, facts={"keys": keys_of(role)})
    machine.write("app.log.1", b"waits\n")
    with own_moto.enforcing():
        machine.start()
        machine.wait_for(lambda: machine.events("gate.shut"), "the gate to shut")
        status = machine.status()
        assert status is not None
        assert status["gate"]["code"] == "AccessDenied"
        assert "s3:PutObject" in status["gate"]["hint"]
        assert status["unshipped_files"] == 1
        assert "AccessDenied" in machine.ask("/healthz")
        assert "NOT WELL: nothing is sent" in machine.run("status", code=1)


def test_odd_names_and_odd_files_each_do_what_they_should_and_stop_nothing_else(
    instance: Make,
) -> None:
    machine = instance()
    good = {
        b"caf\xe9.log.1": b"not UTF-8\n",
        b"two\nlines.log.1": b"a newline in the name\n",
        "grüße.log.1".encode(): b"UTF-8\n",
        b"deep/er/app.log.1": b"in a directory\n",
        b"with space & %41.log.1": b"odd\n",
    }
    for name, body in good.items():
        machine.write(name, body)
    machine.write("empty.log.1", b"")
    target = machine.write("unrelated", b"not to be read\n")
    (machine.logs / "link.log.1").symlink_to(target)
    os.mkfifo(machine.logs / "fifo.log.1")
    (machine.logs / "directory.log.1").mkdir()
    os.link(target, machine.logs / "hard.log.1")
    machine.start()
    vanishing = machine.write("vanishing.log.1", b"x")
    vanishing.unlink()
    machine.wait_until_shipped(len(good))
    assert sorted(machine.contents()) == sorted(good.values())
    status = machine.status()
    assert status is not None
    assert {problem["path"]: problem["code"] for problem in status["problems"]} == {
        "link.log.1": "NotRegular",
        "fifo.log.1": "NotRegular",
        "hard.log.1": "HardLinked",
    }
    assert status["scan"]["empty_files"] == 1
    assert all(problem["hint"] for problem in status["problems"])
    plan = machine.run("plan", code=1)
    assert "nothing in it" in plan
    keys = machine.moto.keys(machine.bucket)
    assert any("caf%E9.log" in key for key in keys)
    assert any("two%0Alines.log" in key for key in keys)


def test_an_existing_backlog_is_shipped_at_start_and_nothing_twice_after_a_restart(
    instance: Make,
) -> None:
    machine = instance()
    bodies = [b"%d\n" % number for number in range(30)]
    for number, body in enumerate(bodies):
        machine.write(f"app.log.{number + 1}", body)
    for _ in range(2):
        machine.start()
        machine.wait_until_shipped(30)
        assert machine.stop() == 0
    assert sorted(machine.contents()) == sorted(bodies)
    assert machine.files("DONE") == 30


def test_a_daemon_on_a_cloned_disk_ships_what_is_new_there_and_nothing_of_the_firsts(
    instance: Make,
) -> None:
    machine = instance()
    machine.write("app.log.2", b"the first's\n")
    machine.start()
    machine.wait_for(lambda: machine.events("shipment.finished"), "the first's log")
    machine.kill()
    machine.imds.facts.instance_id = "i-0ddddeeeeffff0000"
    machine.start()
    machine.wait_for(lambda: machine.events("journal.adopted"), "the journal to be adopted")
    machine.write("app.log.1", b"the second's\n")
    machine.wait_until_shipped(2)
    assert machine.stop() == 0
    by_instance = {key.split("/")[2] for key in machine.moto.keys(machine.bucket)}
    assert by_instance == {INSTANCE_ID, "i-0ddddeeeeffff0000"}
    assert sorted(machine.contents()) == [b"the first's\n", b"the second's\n"]
    assert len(machine.events("shipment.finished")) == 2


@pytest.mark.system
def test_kill_nine_in_the_middle_loses_nothing_and_repeats_nothing(instance: Make) -> None:
    machine = instance(more=SMALL_PARTS)
    rng = random.Random(9)
    bodies = [random_log(1, 30 * MIB)] + [b"%d\n" % number * 99 for number in range(40)]
    machine.write("big.log.1", bodies[0])
    machine.start()
    for kill in range(4):
        for number in range(10):
            machine.write(f"app-{kill}-{number}.log.1", bodies[1 + kill * 10 + number])
        moment = time.monotonic() + rng.uniform(0.05, 1.2)
        machine.wait_for(lambda until=moment: time.monotonic() > until, "a random moment")  # type: ignore[misc]
        machine.kill()
        machine.start()
    machine.wait_until_shipped(len(bodies))
    assert machine.stop() == 0
    assert sorted(machine.contents()) == sorted(bodies)


@pytest.mark.system
def test_sigterm_in_the_middle_of_an_upload_ends_within_the_grace_time_and_resumes(
    instance: Make,
) -> None:
    machine = instance(more=SMALL_PARTS)
    body = random_log(2, 60 * MIB)
    machine.write("big.log.1", body)
    machine.start()
    machine.wait_for(lambda: machine.events("part.stored"), "a part to be stored")
    started = time.monotonic()
    assert machine.stop() == 0
    assert time.monotonic() - started < 25
    machine.start()
    machine.wait_until_shipped(1)
    assert machine.contents() == [body]
    parts = [(event["key"], event["part"]) for event in machine.events("part.stored")]
    assert len(parts) == len(set(parts))


def test_uploads_go_on_through_a_metadata_outage_while_credentials_last(instance: Make) -> None:
    machine = instance()
    machine.start()
    machine.wait_for(lambda: machine.events("credentials.refreshed"), "credentials")
    machine.wait_for(lambda: (machine.status() or {}).get("instance"), "its instance")
    machine.imds.fault = lambda method, path: (500, "down")
    machine.write("app.log.1", b"during the outage\n")
    machine.wait_until_shipped(1)
    assert machine.contents() == [b"during the outage\n"]


@pytest.mark.system
@pytest.mark.lengthy
def test_a_daemon_that_starts_before_its_role_exists_ships_once_it_does(instance: Make) -> None:
    machine = instance(facts={"role": ""})
    machine.write("app.log.1", b"waits for a role\n")
    machine.start()
    machine.wait_for(lambda: machine.events("credentials.not_refreshed"), "a first refusal")
    machine.wait_for(lambda: machine.events("gate.shut"), "the gate to shut")
    assert "misconfigured" in machine.ask("/healthz")
    machine.imds.facts.role = "shipper"
    machine.wait_until_shipped(1, seconds=100)
    assert machine.ask("/healthz") == "ok\n"


def test_deleting_waits_for_the_confirmation_and_then_frees_the_disk(instance: Make) -> None:
    machine = instance(watch='after_upload = "delete"\ndelete_after = "1s"')
    path = machine.write("app.log.1", b"goes\n")
    machine.start()
    machine.wait_until_shipped(1)
    assert not path.exists()
    assert machine.contents() == [b"goes\n"]


def test_archiving_moves_the_file_and_does_not_find_it_again(instance: Make) -> None:
    machine = instance(watch='after_upload = "archive"\ndelete_after = "0s"')
    text = machine.config.read_text()
    archive = machine.logs / "shipped"
    machine.config.write_text(
        text.replace(
            'delete_after = "0s"', f'delete_after = "0s"\narchive_directory = "{archive}"'
        )
    )
    path = machine.write("deep/app.log.1", b"moves\n")
    machine.start()
    machine.wait_until_shipped(1)
    assert not path.exists()
    assert (archive / "deep" / "app.log.1").read_bytes() == b"moves\n"
    machine.write("app.log.2", b"another\n")
    machine.wait_until_shipped(2)
    assert len(machine.contents()) == 2
