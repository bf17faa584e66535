"""A bug of ours that one file or row meets ends there; everything else goes on."""

import gzip
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.config.load import Configuration, load
from shipper.core.types import AfterUpload, RelativePath, State
from shipper.ports import PortError, Stopping
from shipper.runtime.wiring_identity import identity_for
from shipper.services.bugs import Bugs
from tests.fakes.log import RecordingLog
from tests.machines.hostile import HostileWorld, hostile_watch
from tests.machines.world import WATCH, World

GOOD, POISONED = RelativePath(b"good.log.1"), RelativePath(b"poisoned.log.1")


class _Faulty:
    """Passes everything on, but fails where it is told to."""

    def __init__(
        self, behind: Any, method: str, when: Callable[..., bool], error: Exception
    ) -> None:
        self._behind, self._method, self._when, self._error = behind, method, when, error

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._behind, name)
        if name != self._method:
            return found

        def called(*arguments: Any, **named: Any) -> Any:
            if self._when(*arguments):
                raise self._error
            return found(*arguments, **named)

        return called


def faulty(behind: Any, method: str, when: Callable[..., bool], error: Exception) -> Any:
    return _Faulty(behind, method, when, error)


def is_poisoned(*arguments: Any) -> bool:
    return any("poisoned" in str(each) for each in arguments)


def put_both(world: World) -> None:
    for name in (POISONED, GOOD):
        world.files.write(name, name)
    world.discover()


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError("no\ntwo lines"), AssertionError("x"), KeyError("Key"), StopIteration()],
    ids=["arithmetic", "assertion", "key", "iteration"],
)
def test_a_shipment_that_meets_a_bug_is_parked_and_the_others_are_shipped(
    tmp_path: Path, error: Exception
) -> None:
    def through(bucket: Any) -> Any:
        return faulty(bucket, "put", is_poisoned, error)

    world = World(tmp_path, watch=WATCH, through=through)
    put_both(world)
    world.carry()
    rows = {row.path: row for row in world.rows()}
    assert rows[GOOD].state is State.DONE
    assert (rows[POISONED].state, rows[POISONED].code) == (State.PARKED, "Bug")
    assert type(error).__name__ in rows[POISONED].detail
    assert world.bugs.count == 1
    (line,) = world.log.of("bug.met")
    assert error in (line["exc_info"], line["exc_info"].__cause__)
    assert world.gate.reason() is None
    assert world.is_empty_handed()


def test_a_parked_bug_is_retried_when_an_operator_asks(tmp_path: Path) -> None:
    broken = [True]

    def through(bucket: Any) -> Any:
        return faulty(bucket, "put", lambda *key: broken[0] and is_poisoned(*key), TypeError("x"))

    world = World(tmp_path, watch=WATCH, through=through)
    put_both(world)
    world.carry()
    broken[0] = False
    assert len(world.journal.bring_back(world.clock.now())) == 1
    world.carry()
    assert {row.state for row in world.rows()} == {State.DONE}


def test_a_removal_that_meets_a_bug_is_parked_and_the_others_are_removed(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(WATCH, after_upload=AfterUpload.DELETE))
    world.disposal._files = faulty(world.files, "remove", is_poisoned, IndexError("x"))
    put_both(world)
    world.run(rounds=3)
    assert world.files.paths() == [POISONED]
    assert {row.state for row in world.rows()} == {State.DONE, State.PARKED}


def test_a_machine_short_of_memory_parks_nothing(tmp_path: Path) -> None:
    def through(bucket: Any) -> Any:
        return faulty(bucket, "put", is_poisoned, MemoryError())

    world = World(tmp_path, watch=WATCH, through=through)
    put_both(world)
    world.carry()
    rows = {row.path: row for row in world.rows()}
    assert (rows[POISONED].state, rows[POISONED].code) == (State.READY, "OutOfMemory")
    assert rows[GOOD].state is State.DONE
    assert world.bugs.count == 0


def test_a_candidate_that_meets_a_bug_is_refused_and_the_others_are_promised(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, watch=WATCH)
    world.candidates.files = faulty(world.files, "open", is_poisoned, RecursionError("deep"))
    put_both(world)
    assert [row.path for row in world.rows()] == [GOOD]
    (problem,) = world.discovery.problems
    assert problem.problem is not None
    assert (problem.path, problem.problem.code) == (POISONED, "Bug")
    assert len(world.log.of("bug.met")) == 1
    assert world.files.open_sources == len(world.held.shipments())


def test_what_follows_a_decision_may_meet_a_bug_of_its_own(tmp_path: Path) -> None:
    world = World(tmp_path, watch=WATCH)
    put_both(world)
    for shipment_id in world.held.shipments():
        world.held.drop(shipment_id)
    world.discovery._held = faulty(world.held, "wants", is_poisoned, ValueError("x"))
    world.discover()
    assert [one.path for one in world.discovery.problems] == [POISONED]
    assert len(world.held.shipments()) == 1


def test_a_live_file_that_meets_a_bug_is_left_out(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(WATCH, live=("*.log",)))
    for name in (b"poisoned.log", b"good.log"):
        world.files.write(name, b"a line\n")
    world.live._files = faulty(world.files, "open", is_poisoned, UnicodeError("x"))
    assert world.facts is not None
    world.live.promise(world.facts, whole=True)
    assert [row.path for row in world.rows()] == [b"good.log"]


def test_a_chore_that_meets_a_bug_keeps_no_other_from_its_turn(tmp_path: Path) -> None:
    world = World(tmp_path, watch=WATCH)
    put_both(world)
    world.housekeeping._journal = faulty(
        world.journal, "shipment", lambda number: True, OverflowError("x")
    )
    world.housekeeping.step()
    assert world.bugs.count == 2  # one for each row


def test_a_descriptor_that_meets_a_bug_is_held_again_and_so_are_the_others(
    tmp_path: Path,
) -> None:
    """At every start, so it would be a crash loop; and it may be the last copy."""
    world = World(tmp_path, watch=WATCH, stored=True)
    put_both(world)
    world.stop()
    poisoned = world.stored.names()[0]
    kept = world.stored.kept

    def kept_poisoned() -> Iterator[tuple[str, Any]]:
        for name, source in kept():
            bad = faulty(source, "read", lambda *at: True, BufferError("x"))
            yield name, bad if name == poisoned else source

    world.stored.kept = kept_poisoned  # type: ignore[method-assign]
    world.start()
    assert len(world.held.shipments()) == 2
    assert (world.bugs.count, len(world.log.of("bug.met"))) == (1, 1)
    world.carry()
    states = {row.state: row.detail for row in world.rows()}
    assert states == {State.DONE: "", State.PARKED: "BufferError: x"}


def test_a_stored_descriptor_that_nobody_can_name_ends_no_start(tmp_path: Path) -> None:
    world = World(tmp_path, watch=WATCH, stored=True)
    put_both(world)
    first, _ = world.stored.names()
    world.held._store = faulty(world.stored, "remove", is_one(first), RuntimeError("x"))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection, connection:
        connection.execute("DELETE FROM shipments WHERE id = 1")
    world.held.close()
    world.held.restore(world.journal, world.log)
    assert world.held.shipments() == [2]
    assert world.bugs.count == 1


def is_one(name: str) -> Callable[..., bool]:
    return lambda *arguments: name in arguments


def test_a_promise_that_meets_a_bug_is_refused_and_the_rest_of_its_batch_is_written(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, watch=WATCH)
    world.discovery._journal = faulty(
        world.journal, "promise", is_poisoned, OverflowError("int too large")
    )
    put_both(world)
    assert [row.path for row in world.rows()] == [GOOD]
    assert world.bugs.count == 1
    (problem,) = world.discovery.problems
    assert problem.path == POISONED
    assert str(problem.problem) == "Bug: OverflowError: int too large"
    assert [(key, one.files) for key, one in world.discovery.refusals.items()] == [
        (("app", "Bug"), 1)
    ]
    assert world.discovery.trouble is None
    assert world.files.open_sources == len(world.held.shipments()) == 1


def test_a_descriptor_that_cannot_be_kept_is_closed_and_the_others_are_held(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, watch=WATCH, stored=True)
    world.held._store = faulty(world.stored, "put", lambda name, source: "-1-" in name, OSError(9))
    put_both(world)
    assert len(world.rows()) == 2
    assert world.held.shipments() == [2]
    assert len(world.stored.names()) == 1
    assert world.bugs.count == 1


@pytest.mark.parametrize("method", ["sealed", "moved"])
def test_what_a_scan_learned_of_one_row_keeps_nothing_of_the_others_from_the_journal(
    tmp_path: Path, method: str
) -> None:
    world = World(tmp_path, watch=WATCH)
    put_both(world)
    world.carry() if method == "sealed" else None
    poisoned = world.row(POISONED).id

    def is_of_it(changes: Any) -> bool:
        return poisoned in [getattr(one, "id", one) for one, *_ in changes]

    world.discovery._journal = faulty(world.journal, method, is_of_it, OverflowError("x"))
    for name in (POISONED, GOOD):
        if method == "sealed":
            world.files.write(name, name)  # the same bytes, at another time
        else:
            world.files.rename(name, name + b"1")
    before = {row.id: (row.path, row.mtime_ns) for row in world.rows()}
    world.clock.advance(minutes=2)
    world.discover()
    after = {row.id: (row.path, row.mtime_ns) for row in world.rows()}
    assert [number for number in after if after[number] == before[number]] == [poisoned]
    assert world.bugs.count > 0


def test_a_scan_that_meets_a_bug_is_a_problem_of_its_watch_alone(tmp_path: Path) -> None:
    world = World(tmp_path, watch=WATCH)
    world.candidates.files = faulty(world.files, "scan", lambda *a: True, KeyError("x"))
    put_both(world)
    assert [one.path for one in world.discovery.problems] == [b""]
    assert [one.decision.value for one in world.candidates.plan([WATCH])] == ["cannot be shipped"]
    world.live._files = world.candidates.files
    assert world.facts is not None
    world.live.promise(world.facts, whole=True)
    assert world.rows() == []


def test_a_name_that_meets_a_bug_is_left_alone_and_the_others_are_selected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "shipper.services.finding.entries.selection",
        lambda watch, path, *others: bool(path == GOOD or 1 // 0),
    )
    world = World(tmp_path, watch=WATCH)
    put_both(world)
    assert [row.path for row in world.rows()] == [GOOD]
    assert world.log.of("bug.met")[0]["path"] == "poisoned.log.1"


def test_a_row_that_cannot_even_be_parked_is_taken_out_of_the_queue(tmp_path: Path) -> None:
    """Somebody has written ``DONE`` into a row that is due, while the daemon runs."""
    world = World(tmp_path, watch=WATCH)
    put_both(world)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection, connection:
        connection.execute("UPDATE shipments SET state = 'DONE' WHERE path = ?", (POISONED,))
    world.carry()
    assert world.row(GOOD).state is State.DONE
    assert world.row(POISONED).due_at is None
    assert world.bugs.count == 2  # it is never due, and never parked


def test_a_bug_that_quotes_a_name_that_is_no_text_is_parked_all_the_same(
    tmp_path: Path,
) -> None:
    def through(bucket: Any) -> Any:
        return faulty(bucket, "put", is_poisoned, ValueError("not \udcff"))

    world = World(tmp_path, watch=WATCH, through=through)
    put_both(world)
    world.carry()
    assert world.row(POISONED).detail == "ValueError: not \\udcff"


def test_of_two_files_to_be_let_go_one_bug_keeps_one(tmp_path: Path) -> None:
    world = World(tmp_path, watch=WATCH, held_bytes=0)
    put_both(world)
    for name in (POISONED, GOOD):
        world.files.delete(name)
    world.held_budget._lookup = faulty(world.lookup, "source", is_poisoned, KeyError("x"))
    world.held_budget.enforce()
    assert {row.path: row.state for row in world.rows()} == {
        POISONED: State.READY,
        GOOD: State.GONE,
    }


@pytest.mark.parametrize(
    "error", [PortError("SlowDown"), Stopping(), sqlite3.DatabaseError("malformed")]
)
def test_what_is_no_bug_is_not_contained(error: Exception) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        Bugs(RecordingLog(), str).contained(work, lambda problem: None)


def test_what_is_no_bug_ends_a_scan_as_before() -> None:
    def scan() -> Iterator[str]:
        yield "one"
        raise Stopping

    found = Bugs(RecordingLog(), str).each(scan)
    assert next(found) == "one"
    with pytest.raises(Stopping):
        next(found)


@pytest.mark.parametrize("column", ["state", "compression"])
def test_the_file_of_a_row_that_somebody_makes_unreadable_meanwhile_is_found_anew(
    tmp_path: Path, column: str
) -> None:
    world = World(tmp_path, watch=WATCH)
    put_both(world)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection, connection:
        connection.execute(f"UPDATE shipments SET {column} = 'x' WHERE path = ?", (POISONED,))
    world.run(rounds=2)
    assert sorted(world.contents()) == [GOOD, POISONED]  # its file was found anew
    assert {row.state for row in world.rows()} == {State.DONE}


@pytest.mark.parametrize(
    "facts", ["no json", "[7]", '{"instance_id": 7, "tags": {}}', '{"instance_id": "i-1"}']
)
def test_what_the_journal_says_of_the_instance_may_be_garbage(tmp_path: Path, facts: str) -> None:
    world = World(tmp_path, watch=WATCH)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('facts', ?)", (facts,))
    lookup = identity_for(load_nothing(tmp_path), {}, RecordingLog()).instance_lookup
    lookup.remember(world.journal.origin.facts())
    assert lookup.remembered is None


def load_nothing(directory: Path) -> Configuration:
    path = directory / "shipper.toml"
    path.write_text('[destination]\nbucket = "logs"\n[[watch]]\ndirectory = "/logs"\n')
    return load(str(path), {})


def test_a_key_that_another_row_has_is_that_rows_trouble() -> None:
    def work() -> str:
        raise sqlite3.IntegrityError("UNIQUE constraint failed")

    assert Bugs(RecordingLog(), str).contained(work, lambda problem: problem.code) == "Bug"


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Path]:
    """A directory whose file system holds every mtime."""
    directory = Path("/dev/shm")
    if not directory.is_dir():
        pytest.skip("no tmpfs")
    (tmp_path / "state").mkdir()
    top = directory / f"shipper-{os.getpid()}-{tmp_path.name}"
    (top / "logs").mkdir(parents=True)
    (top / "archive").mkdir()
    yield top
    for path in sorted(top.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    top.rmdir()


MTIMES = (
    *(0, -1, 1, -(10**9), 2**31, -(2**31), 2**32, 15032385535, 910692648000),
    *(9223372035, 9223372036, 9223372037, -9223372036, -9223372037, -9223372038),
    *(253402300799, 253402300800, -62135596800, -62135596801, 2**40, -(2**40), 2**59),
)


@pytest.mark.parametrize("after", list(AfterUpload))
@pytest.mark.parametrize("kind", ["plain", "gz", "live"])
def test_a_log_of_any_mtime_is_shipped(
    far: Path, tmp_path: Path, kind: str, after: AfterUpload
) -> None:
    watch = replace(hostile_watch(far, after), live=("*.log",))
    world = HostileWorld(tmp_path / "state", watch=watch)
    wanted = []
    for number, seconds in enumerate(MTIMES, 1):
        body = b"%d\n" % seconds
        body = gzip.compress(body) if kind == "gz" else body
        name = {"plain": f"app.log.{number}", "gz": f"app.log.{number}.gz"}.get(
            kind, f"{number}.log"
        )
        path = far / "logs" / name
        path.write_bytes(body)
        try:
            os.utime(path, ns=(0, seconds * 10**9 + 999_999_999))
        except OverflowError:
            os.utime(path, (0, seconds))
        wanted.append(body)
    if kind == "live":
        assert world.facts is not None
        world.live.promise(world.facts, whole=True)
    world.run(rounds=4)
    assert sorted(world.store.objects().values()) == sorted(wanted)
    assert {row.state for row in world.rows()} == {State.DONE}
    assert world.bugs.count == 0
    before = len(world.rows())
    world.restart()
    world.run(rounds=2)
    assert len(world.rows()) == before
    world.stop()


POISONS = {
    "state": ("state", "NONSENSE"),
    "compression": ("compression", "lzw"),
    "mtime": ("mtime_ns", 2**63 - 1),
    "range": ("raw_end", -5),
    "start": ("raw_start", 10**6),
    "head": ("head_length", -(2**40)),
    "promised": ("promised_at", 1e300),
    "part size": ("part_size", -1),
    "watch": ("watch", "nobody's"),
}


@pytest.mark.parametrize("name", POISONS)
def test_a_poisoned_value_in_a_row_keeps_no_other_from_being_shipped(
    tmp_path: Path, name: str
) -> None:
    world = World(tmp_path, watch=WATCH)
    put_both(world)
    world.stop()
    column, value = POISONS[name]
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection, connection:
        connection.execute(
            f"UPDATE shipments SET {column} = ? WHERE path = ?",
            (value, POISONED),
        )
    world.start()
    world.run(rounds=3)
    assert GOOD in world.contents()
    assert {row.state for row in world.rows() if row.path == GOOD} == {State.DONE}
