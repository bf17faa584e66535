"""What is said of tests that a machine left out."""

import pytest

from tests.machines.needs import program_path, summary


def test_the_programs_that_are_missing_are_said_in_one_line_and_other_reasons_in_one_each() -> (
    None
):
    reasons = ["needs nginx", "needs a reason of its own kind", "needs nginx", "a quiet kernel"]
    assert summary(f"Skipped: {reason}" for reason in reasons) == [
        "left out: 1 tests: a quiet kernel",
        "left out: 3 tests that need a reason of its own kind, nginx",
    ]


def test_nothing_is_said_where_nothing_was_left_out() -> None:
    assert summary([]) == []


def test_a_program_that_is_there_is_found() -> None:
    assert program_path("sh").endswith("/sh")


def test_a_missing_program_is_left_out_and_fails_where_nothing_may_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SHIPPER_REQUIRE_REAL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs no-such-program"):
        program_path("no-such-program")
    monkeypatch.setenv("SHIPPER_REQUIRE_REAL", "1")
    with pytest.raises(pytest.fail.Exception, match="needs no-such-program"):
        program_path("no-such-program")
