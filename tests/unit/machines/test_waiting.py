"""Waiting says what it waited for, and asks once more at the end."""

import pytest

from tests.machines.waiting import comes_true, wait_for


def test_what_is_so_is_not_waited_for() -> None:
    assert comes_true(lambda: True, seconds=0.0, pause=lambda: pytest.fail("it waited"))


def test_what_becomes_so_while_time_runs_out_is_seen() -> None:
    answers = iter([False, True])
    assert comes_true(lambda: next(answers), seconds=-1.0)


def test_waiting_in_vain_says_for_what_and_how_long() -> None:
    with pytest.raises(AssertionError, match="waited in vain, for 0 s, for the moon"):
        wait_for(lambda: False, "the moon", seconds=0.0)
