"""The benchmark's timers."""

from collections.abc import Iterator

import pytest

from tests.performance.stages import CARRY, JOURNAL, OTHER, SCAN, STAGES, Timers, methods_of


def burn() -> int:
    """Some CPU."""
    return sum(range(20_000))


@pytest.mark.parametrize("name", [name for names in STAGES.values() for name in names])
def test_every_stage_begins_with_functions_that_exist(name: str) -> None:
    assert methods_of(name)


def test_a_name_that_is_not_there_stands_for_nothing() -> None:
    assert not methods_of("services.finding.discovery:Discovery.no_such")
    assert not methods_of("services.finding.discovery:NoSuch")
    assert not methods_of("services.no_such:Discovery")


def test_a_stage_within_another_is_counted_once_and_a_scan_keeps_all_but_the_journal() -> None:
    timers = Timers()
    write = timers.timed(JOURNAL, burn)
    digest = timers.timed("hash", burn)
    scan = timers.timed(SCAN, lambda: (write(), digest()))
    thread = timers.thread()
    scan()
    digest()
    thread.settle()
    assert set(thread.spent) >= {SCAN, JOURNAL, "hash"}
    assert thread.stack == [OTHER]
    scanned, hashed = thread.spent[SCAN], thread.spent["hash"]
    scan()
    assert thread.spent["hash"] == hashed
    assert thread.spent[SCAN] > scanned


def test_a_generator_is_timed_while_it_runs_and_closed_with_its_user() -> None:
    timers, closed = Timers(), []

    def frames() -> Iterator[int]:
        try:
            yield burn()
            yield burn()
        finally:
            closed.append(True)

    iterator = iter(timers.timed("compress", frames)())
    next(iterator)
    thread = timers.thread()
    assert thread.stack[-1] != "compress"
    assert thread.spent["compress"] > 0
    iterator.close()
    assert closed
    assert CARRY not in thread.spent
