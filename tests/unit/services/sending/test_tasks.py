"""Tasks: one after the other, or many in turn."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.lifecycle import AttemptFailed, ImpossibleEvent, SourceDisposed
from shipper.core.types import Shipment
from shipper.journal.database import Database
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.services.sending.tasks import (
    GROUP_ROWS,
    GROUP_SECONDS,
    Blocking,
    Interleaved,
    Turn,
    answer_of,
    pause,
    recorded,
)
from tests.fakes.clock import FakeClock
from tests.fakes.examples import promise

FAILED = AttemptFailed("Timeout", "", due_at=1.0)


class CountingDatabase(Database):
    """Counts its transactions."""

    transactions = 0
    broken: PortError | None = None

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        self.transactions += 1
        if self.broken is not None:
            raise self.broken
        with super().transaction() as run:
            yield run


@pytest.fixture
def database(tmp_path: Path) -> Iterator[CountingDatabase]:
    database = CountingDatabase.open(str(tmp_path / "journal"), now=0.0, set_aside=None)
    yield database
    database.close()


def promised(journal: Journal, files: int) -> list[Shipment]:
    return journal.promise([promise(number + 1) for number in range(files)], now=0.0)


def interleaved(journal: Journal, clock: FakeClock | None = None) -> Interleaved:
    return Interleaved(
        journal=journal, clock=clock or FakeClock(), is_stopping=bool, nudge=lambda: None
    )


def test_what_is_recorded_at_the_same_time_is_written_in_one_transaction(
    database: CountingDatabase,
) -> None:
    journal = Journal(database)
    rows = promised(journal, 2 * GROUP_ROWS)
    tasks, ended = interleaved(journal), list[Shipment]()

    async def fails(row: Shipment) -> None:
        row = await recorded(row, FAILED)
        assert journal.shipment(row.id) == row, "it is there before the task goes on"
        ended.append(await recorded(row, FAILED))

    for row in rows:
        tasks.begin(fails(row))
    before = database.transactions
    assert tasks.run() == float("inf")
    assert len(ended) == len(rows)
    assert database.transactions - before == 4
    assert all(row.attempts == 2 for row in journal.unfinished(200))


def test_a_group_is_written_soon_however_many_are_ready(database: CountingDatabase) -> None:
    journal, clock = Journal(database), FakeClock()
    tasks = interleaved(journal, clock)

    async def fails_slowly(row: Shipment) -> None:
        clock.advance(seconds=0.011)
        await recorded(row, FAILED)

    for row in promised(journal, 6):
        tasks.begin(fails_slowly(row))
    before = database.transactions
    tasks.run()
    assert database.transactions - before == 2


def test_a_row_waits_for_those_of_others_and_no_longer_than_a_moment(
    database: CountingDatabase,
) -> None:
    journal, clock = Journal(database), FakeClock()
    tasks, futures = interleaved(journal, clock), [Future[None]() for _ in range(3)]

    async def fails_then(row: Shipment, future: Future[None]) -> None:
        await answer_of(future)
        await recorded(row, FAILED)

    for row, future in zip(promised(journal, 3), futures, strict=True):
        tasks.begin(fails_then(row, future))
    before = database.transactions
    futures[0].set_result(None)
    assert tasks.run() == pytest.approx(GROUP_SECONDS)
    clock.advance(seconds=GROUP_SECONDS / 2)
    futures[1].set_result(None)
    assert tasks.run() == pytest.approx(GROUP_SECONDS / 2)
    assert database.transactions == before
    clock.advance(seconds=GROUP_SECONDS / 2)
    assert tasks.run() == float("inf")
    assert (database.transactions - before, tasks.count) == (1, 1)
    futures[2].set_result(None)
    tasks.run()
    assert (database.transactions - before, tasks.count) == (2, 0), "nobody else is to come"


def test_the_row_that_spoils_a_group_spoils_none_of_the_others(
    database: CountingDatabase,
) -> None:
    journal = Journal(database)
    rows, raised = promised(journal, 3), list[BaseException]()
    tasks = interleaved(journal)

    async def fails(row: Shipment) -> None:
        try:
            await recorded(row, SourceDisposed(0.0) if row is rows[1] else FAILED)
        except ImpossibleEvent as error:
            raised.append(error)

    for row in rows:
        tasks.begin(fails(row))
    tasks.run()
    assert len(raised) == 1
    attempts = {row.id: row.attempts for row in journal.unfinished(9)}
    assert attempts == {rows[0].id: 1, rows[1].id: 0, rows[2].id: 1}


def test_a_journal_that_cannot_be_written_is_tried_once_for_all_of_a_group(
    database: CountingDatabase,
) -> None:
    journal = Journal(database)
    rows, raised = promised(journal, 5), list[PortError]()
    tasks = interleaved(journal)

    async def fails(row: Shipment) -> None:
        with pytest.raises(PortError) as error:
            await recorded(row, FAILED)
        raised.append(error.value)

    for row in rows:
        tasks.begin(fails(row))
    before, database.broken = database.transactions, PortError("JournalUnwritable")
    tasks.run()
    assert [error.code for error in raised] == ["JournalUnwritable"] * 5
    assert database.transactions - before == 1


def test_others_go_on_while_a_task_waits_for_its_answer() -> None:
    tasks, futures, said = interleaved(Journal.in_memory()), dict[str, Future[str]](), []

    async def asks(name: str) -> None:
        futures[name] = Future()
        said.append(f"{name} asks")
        try:
            said.append(await answer_of(futures[name]))
        except PortError as error:
            said.append(error.code)

    for name in "abc":
        tasks.begin(asks(name))
    tasks.run()
    assert said == ["a asks", "b asks", "c asks"]
    futures["c"].set_result("third")
    futures["a"].set_exception(PortError("Timeout"))
    tasks.run()
    assert said[3:] == ["third", "Timeout"]
    assert tasks.count == 1
    futures["b"].set_result("second")
    tasks.run()
    assert (said[5:], tasks.count) == (["second"], 0)


def test_an_answer_nudges_and_ends_the_wait_for_it() -> None:
    nudged = threading.Event()
    tasks = Interleaved(
        journal=Journal.in_memory(), clock=FakeClock(), is_stopping=bool, nudge=nudged.set
    )
    future: Future[None] = Future()

    async def asks() -> None:
        await answer_of(future)

    tasks.begin(asks())
    tasks.run()
    assert not nudged.is_set()
    thread = threading.Thread(target=future.set_result, args=(None,))
    thread.start()
    tasks.wait(60.0)
    thread.join()
    assert nudged.is_set()
    tasks.run()
    assert tasks.count == 0


def test_since_when_the_longest_waits_is_told_of_answers_and_not_of_turns() -> None:
    clock = FakeClock()
    tasks = interleaved(Journal.in_memory(), clock)
    futures: list[Future[None]] = [Future(), Future(), Turn()]

    async def asks(future: Future[None]) -> None:
        await answer_of(future)

    tasks.begin(asks(futures[2]))
    tasks.run()
    assert tasks.asked_at == float("inf")
    began = clock.monotonic()
    for future in futures[:2]:
        tasks.begin(asks(future))
        tasks.run()
        clock.advance(seconds=5)
    assert tasks.asked_at == began
    futures[0].set_result(None)
    tasks.run()
    assert tasks.asked_at == began + 5
    futures[1].set_result(None)
    futures[2].set_result(None)
    tasks.run()
    assert (tasks.asked_at, tasks.count) == (float("inf"), 0)


def test_pauses_end_in_their_order_and_all_at_once_when_the_daemon_stops() -> None:
    clock, is_stopping, said = FakeClock(), list[bool](), list[tuple[float, bool]]()
    tasks = Interleaved(
        journal=Journal.in_memory(),
        clock=clock,
        is_stopping=lambda: bool(is_stopping),
        nudge=lambda: None,
    )

    async def sleeps(seconds: float) -> None:
        said.append((seconds, await pause(seconds)))

    for seconds in (3.0, 1.0, 2.0):
        tasks.begin(sleeps(seconds))
    assert tasks.run() == 1.0
    clock.advance(seconds=2.0)
    assert tasks.run() == 1.0
    assert said == [(1.0, False), (2.0, False)]
    is_stopping.append(True)
    tasks.run()
    assert said[2:] == [(3.0, True)]


def test_a_task_carried_alone_waits_for_what_it_awaits() -> None:
    journal, stopping = Journal.in_memory(), threading.Event()
    (row,) = promised(journal, 1)
    good: Future[str] = Future()
    good.set_result("answer")
    bad: Future[str] = Future()
    bad.set_exception(PortError("Timeout"))

    async def all_of_it() -> tuple[str, bool, int]:
        after = await recorded(row, FAILED)
        with pytest.raises(PortError, match="Timeout"):
            await answer_of(bad)
        return await answer_of(good), await pause(0.0), after.attempts

    blocking = Blocking(journal=journal, wait=stopping.wait, moved=lambda: None)
    assert blocking.run(all_of_it()) == ("answer", False, 1)
    stopping.set()
    assert blocking.run(pause(60.0)) is True


@given(st.integers(1, 30), st.integers(0, 2**32))
def test_whatever_comes_in_whatever_order_every_task_ends_once(files: int, seed: int) -> None:
    rng, clock = random.Random(seed), FakeClock()
    journal = Journal.in_memory()
    tasks, ended, asked = interleaved(journal, clock), list[int](), list[Future[None]]()

    async def wanders(row: Shipment) -> None:
        for _ in range(rng.randrange(5)):
            match rng.randrange(3):
                case 0:
                    await pause(rng.random())
                case 1:
                    row = await recorded(row, FAILED)
                case _:
                    asked.append(Future())
                    await answer_of(asked[-1])
        ended.append(row.id)

    rows = promised(journal, files)
    for row in rows:
        tasks.begin(wanders(row))
    for _ in range(100):
        tasks.run()
        clock.advance(seconds=rng.random())
        rng.shuffle(asked)
        for future in [asked.pop() for _ in range(rng.randint(0, len(asked)))]:
            future.set_result(None)
    assert sorted(ended) == [row.id for row in rows]
    assert tasks.count == 0
    journal.close()
