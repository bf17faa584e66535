"""A real daemon whose journal is destroyed: bandwidth is spent, and no object changes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.proxy import Proxy
from tests.fakes.servers import Moto
from tests.machines.instance import Instance
from tests.machines.world import MIB, random_log

Make = Callable[..., Instance]
BODIES = [b"line %d\n" % number * 50 for number in range(18)]
BODIES += [random_log(1, 9 * MIB), random_log(2, 9 * MIB)]


@pytest.fixture
def proxy(moto: Moto) -> Iterator[Proxy]:
    with Proxy(moto) as running:
        yield running


def overwrite(journal: Path) -> None:
    """All of it; from the WAL alone SQLite would have every page again."""
    for path in journal.parent.glob(journal.name + "*"):
        path.write_bytes(b"garbage" * 9999)


def delete(journal: Path) -> None:
    for path in journal.parent.glob(journal.name + "*"):
        path.unlink()


@pytest.mark.system
@pytest.mark.lengthy
def test_a_destroyed_journal_is_rebuilt_and_no_object_is_made_or_changed(
    instance: Make, proxy: Proxy
) -> None:
    machine = instance(moto=proxy.moto, more='[uploads]\npart_size = "5MiB"\n')
    for number, body in enumerate(BODIES):
        machine.write(f"app-{number}.log.1", body)
    machine.start()
    machine.wait_until_shipped(len(BODIES))
    before = machine.moto.objects(machine.bucket)
    for life, destroy in enumerate([overwrite, delete], 1):
        machine.kill()
        destroy(machine.directory / "state" / "journal.db")
        proxy.seen.clear()
        machine.start()
        machine.wait_until_shipped(len(BODIES))
        seen = list(proxy.seen)
        machine.run("status")  # exits 0: all is well

        listings = sum(one.is_listing for one in seen)
        assert listings <= 2 * len(BODIES) + 5, "one to find it, one to check it"
        sent_bytes = sum(one.size_bytes for one in seen)
        assert sent_bytes < 1.5 * sum(map(len, BODIES)), "everything once, and not twice"
        assert machine.moto.objects(machine.bucket) == before
        assert machine.moto.unfinished_uploads(machine.bucket) == []
        assert machine.files("DONE") == len(BODIES)
        assert len(machine.events("answer.recovered")) == life * len(BODIES)
        assert [one["level"] for one in machine.events("journal.set_aside")] == ["error"]
        assert len(machine.events("journal.lost")) == life - 1, "what was set aside is told so"
    machine.write("app-new.log.1", b"new\n")
    machine.wait_until_shipped(len(BODIES) + 1)
    assert sorted(machine.contents()) == sorted([*BODIES, b"new\n"])
    assert machine.stop() == 0


def test_a_retry_leaves_a_corrupt_journal_to_the_daemon_that_holds_it(instance: Make) -> None:
    machine = instance()
    machine.write("app.log.1", b"hello\n")
    machine.start()
    machine.wait_until_shipped(1)
    journal = machine.directory / "state" / "journal.db"
    overwrite(journal)
    before = journal.stat().st_ino

    said = machine.run("retry", "--all", code=1)

    assert "JournalCorrupt" in said
    assert "restart shipper" in said
    assert journal.stat().st_ino == before
    assert list(journal.parent.glob("*corrupt*")) == []
    machine.kill()
    machine.start()
    machine.wait_until_shipped(1)
    assert len(list(journal.parent.glob("*corrupt*"))) >= 1
    assert machine.contents() == [b"hello\n"]
