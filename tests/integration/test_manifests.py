"""A real daemon's manifests: whatever is done to it, they tell of each object once."""

import hashlib
import signal
import sys
import threading
from collections.abc import Callable
from itertools import groupby

import zstandard

from shipper.cli.status_lines import status_lines
from shipper.core.manifests import (
    Header,
    Line,
    LossEntry,
    ManifestName,
    ObjectEntry,
    lines_of,
    name_from_key,
)
from tests.fakes.proxy import Proxy, Seen
from tests.fakes.servers import Moto
from tests.machines.instance import Instance
from tests.programs import eager

Make = Callable[..., Instance]
OFTEN = '[manifest]\ninterval = "1s"\n'
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
Found = list[tuple[ManifestName, bytes, list[Line]]]


def often(instance: Make, **options: object) -> Instance:
    """A machine whose daemon writes a manifest every second."""
    machine = instance(more=OFTEN, **options)
    machine.confined_by = [sys.executable, eager.__file__]
    return machine


def manifests(machine: Instance) -> Found:
    found = []
    for key, body in machine.moto.manifests(machine.bucket).items():
        name = name_from_key(key)
        assert name is not None
        reader = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True)
        found.append((name, body, [*lines_of(reader.read().splitlines(keepends=True))]))
    return sorted(found, key=lambda one: (one[0].epoch, one[0].number))


def headers(machine: Instance) -> list[Header]:
    lines = [line for _, _, lines in manifests(machine) for line in lines[:1]]
    return [line for line in lines if isinstance(line, Header)]


def entries(machine: Instance) -> list[ObjectEntry]:
    lines = [line for _, _, lines in manifests(machine) for line in lines[1:]]
    return [line for line in lines if isinstance(line, ObjectEntry)]


def require_chained(machine: Instance) -> None:
    """Each chain is whole, and says where it begins."""
    for _, found in groupby(manifests(machine), key=lambda one: one[0].chain):
        previous, until = "", ""
        for number, (name, body, lines) in enumerate(found, 1):
            header = lines[0]
            assert isinstance(header, Header)
            assert (name.number, header.number, header.previous) == (number, number, previous)
            assert until in ("", header.from_)
            assert bool(header.begins) == (number == 1)
            previous, until = hashlib.sha256(body).hexdigest(), header.to


def require_true(machine: Instance) -> None:
    """Every object in the bucket is told of as it is, once in each epoch."""
    objects = machine.moto.objects(machine.bucket)
    for epoch in {name.epoch for name, _, _ in manifests(machine)}:
        keys = [
            line.key
            for name, _, lines in manifests(machine)
            for line in lines[1:]
            if name.epoch == epoch and isinstance(line, ObjectEntry)
        ]
        assert len(keys) == len({*keys})
    assert {one.key for one in entries(machine)} == {*objects}
    for one in entries(machine):
        body = objects[one.key]
        assert (one.size, one.etag) == (len(body), hashlib.md5(body).hexdigest())
        raw = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read()
        assert one.sha256 == hashlib.sha256(raw).hexdigest()
        assert one.path.startswith(str(machine.logs))
        assert "" < one.first_sent <= one.last_sent


def test_kills_at_any_time_leave_one_chain_that_tells_of_each_object_once(instance: Make) -> None:
    machine = often(instance)
    for life in range(4):
        machine.start()
        for number in range(5):
            machine.write(f"app-{life}-{number}.log.1", b"%d %d\n" % (life, number) * 100)
        machine.wait_until_shipped(5 * (life + 1))
        if life % 2:
            machine.wait_for(lambda: len(entries(machine)) > 5, "a manifest")
        machine.kill()
    machine.start()
    machine.wait_for(lambda: len(entries(machine)) == 20, "all entries")
    assert machine.stop() == 0
    require_chained(machine)
    require_true(machine)
    assert len({header.epoch for header in headers(machine)}) == 1
    assert headers(machine)[0].begins == "first start"
    assert headers(machine)[-1].because == "stop"
    assert machine.events("manifest.taken") == []


def test_a_stop_tells_of_what_was_just_shipped_and_a_reload_as_well(instance: Make) -> None:
    machine = instance()
    machine.write("app.log.1", b"first\n")
    daemon = machine.start()
    machine.wait_until_shipped(1)
    daemon.process.send_signal(signal.SIGHUP)
    machine.wait_for(lambda: machine.events("daemon.reloaded"), "the reload")
    assert len(entries(machine)) == 1
    machine.write("app.log.2", b"second\n")
    machine.wait_until_shipped(2)
    assert machine.stop() == 0
    require_chained(machine)
    require_true(machine)
    assert [header.because for header in headers(machine)] == ["stop", "stop"]


def test_a_lost_journal_begins_an_epoch(instance: Make) -> None:
    machine = often(instance)
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_for(lambda: entries(machine), "a manifest")
    machine.kill()
    for path in (machine.directory / "state").glob("journal.db*"):
        path.unlink()
    machine.start()
    machine.wait_for(lambda: len(entries(machine)) == 2, "the object's entry, again")
    machine.stop()
    require_chained(machine)
    require_true(machine)
    assert {header.begins for header in headers(machine)} == {
        "first start",
        "the journal was lost",
        "",
    }


def test_a_journal_that_was_restored_from_a_copy_begins_an_epoch(instance: Make) -> None:
    machine = often(instance)
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_for(lambda: entries(machine), "a manifest")
    machine.stop()
    path = machine.directory / "state" / "journal.db"
    copy = path.read_bytes()
    machine.start()
    machine.write("app.log.2", b"another\n")
    machine.wait_for(lambda: len(entries(machine)) == 2, "its entry")
    machine.stop()
    path.write_bytes(copy)
    machine.start()
    machine.wait_for(lambda: len(entries(machine)) == 3, "its entry, again")
    machine.stop()
    require_chained(machine)
    require_true(machine)
    last = [one for one in headers(machine) if one.begins][-1]
    assert (last.begins, last.before) == ("the journal was lost", headers(machine)[0].epoch)


def test_a_clone_has_a_chain_of_its_own_that_names_the_other(instance: Make) -> None:
    machine = often(instance)
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_for(lambda: entries(machine), "a manifest")
    machine.stop()
    before = headers(machine)[0]
    machine.imds.facts.instance_id = "i-0fedcba9876543210"
    machine.write("app.log.2", b"of the clone\n")
    machine.start()
    machine.wait_for(lambda: len(entries(machine)) == 2, "its manifest")
    machine.stop()
    require_chained(machine)
    require_true(machine)
    began = [one for one in headers(machine) if one.begins]
    assert [one.instance for one in began] == [before.instance, "i-0fedcba9876543210"]
    assert began[1].begins == f"the instance was {before.instance}"
    assert began[1].before == before.epoch


def test_a_bucket_that_refuses_manifests_gets_the_logs_and_it_is_said(
    instance: Make, moto: Moto
) -> None:
    with Proxy(moto) as s3:
        machine = often(instance, moto=s3.moto)
        s3.refuse = lambda seen: (403, {}, DENIED) if "_manifests/" in seen.target else None
        machine.start()
        machine.wait_for(lambda: machine.events("manifest.failed"), "the refusal")
        machine.write("app.log.1", b"a line\n")
        machine.wait_until_shipped(1)
        status = machine.status()
        assert status is not None
        row = status["manifests"]["default"]
        assert (row["code"], row["number"], row["pending_entries"]) == ("AccessDenied", 0, 1)
        said = "no manifest is written to default, which costs no log: AccessDenied"
        assert any(line.startswith(said) for line in status["imperfections"])
        assert status["gate"]["open"]
        lines = status_lines(status | {"well": False}, width=None)
        assert any("it is not written" in str(line) for line in lines)
        metrics = machine.ask("/metrics")
        assert 'shipper_manifest_pending_entries{destination="default"} 1.0' in metrics
        s3.refuse = lambda seen: None
        machine.wait_for(lambda: len(entries(machine)) == 1, "the manifests", 60)
        machine.stop()
        require_chained(machine)
        require_true(machine)
    assert machine.events("manifest.failed")[0]["code"] == "AccessDenied"


def test_a_round_without_a_daemon_writes_a_manifest_of_what_it_shipped(instance: Make) -> None:
    machine = instance()
    for number in (1, 2):
        machine.write(f"app.log.{number}", b"%d lines\n" % number)
        machine.run("ship")
        machine.run("ship")
    require_chained(machine)
    require_true(machine)
    found = [(header.entries, header.because) for header in headers(machine)]
    assert found == [(1, "ship"), (1, "ship")]


def test_a_log_that_is_lost_is_told_of(instance: Make, moto: Moto) -> None:
    with Proxy(moto) as s3:
        machine = often(instance, moto=s3.moto)
        s3.refuse = lambda seen: (503, {}, b"") if "/app/" in seen.target else None
        path = machine.write("lost.log.1", b"bytes that exist once\n" * 2)
        machine.start()
        machine.wait_for(lambda: machine.files("READY"), "the promise")
        path.write_bytes(b"")
        path.unlink()
        s3.refuse = lambda seen: None

        def losses() -> list[LossEntry]:
            lines = [line for _, _, lines in manifests(machine) for line in lines]
            return [line for line in lines if isinstance(line, LossEntry)]

        # The gate tries once a minute, and a write that may be under way is looked for twice.
        machine.wait_for(losses, "the loss in a manifest", 200)
        (entry,) = losses()
        assert (entry.loss, entry.code) == ("gone", "SourceChanged")
        machine.stop()


def test_without_an_interval_there_is_no_manifest(instance: Make) -> None:
    machine = instance(more='[manifest]\ninterval = "0s"\n')
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_until_shipped(1)
    status = machine.status()
    assert status is not None
    assert status["manifests"] == {}
    machine.stop()
    assert manifests(machine) == []
    assert len(machine.contents()) == 1


def test_an_interval_that_is_too_short_is_refused(instance: Make) -> None:
    machine = instance(more=OFTEN)
    said = machine.run("check", "--offline", code=78)
    assert "manifest.interval: 1 s" in said


def test_a_destination_that_does_not_answer_costs_neither_another_one_nor_the_stop(
    instance: Make, moto: Moto
) -> None:
    over = threading.Event()
    asked = threading.Event()

    def hangs(seen: Seen) -> bool:
        if seen.method == "PUT" and "logs/_manifests/" in seen.target:
            asked.set()
            over.wait(100)
        return False

    with Proxy(moto, loses=hangs) as s3:
        machine = often(instance, moto=moto)
        text = machine.config.read_text()
        second = f"""
[destinations.second]
bucket = "{machine.bucket}"
prefix = "second/"
endpoint_url = "{s3.moto.url}"
addressing_style = "path"
[[watch]]
name = "second"
directory = "{machine.directory / "second"}"
settle = "0.3s"
destination = "second"
"""
        at = text.index("[[watch]]")
        first = text[:at].replace(moto.url, s3.moto.url)
        machine.config.write_text(first + text[at:] + second.replace(s3.moto.url, moto.url))
        (machine.directory / "second").mkdir()
        machine.start()
        machine.wait_for(asked.is_set, "a manifest that is on its way")
        (machine.directory / "second" / "app.log.1").write_bytes(b"a line\n")
        machine.wait_for(lambda: len(entries(machine)) == 1, "the entry of the other one")
        (machine.directory / "second" / "app.log.2").write_bytes(b"another line\n")
        machine.wait_until_shipped(2)
        assert machine.stop() == 0
        over.set()
    assert [one.watch for one in entries(machine)] == ["second", "second"]
