"""The evaluator itself judges as AWS documents."""

from typing import Any

import pytest

from tests.fakes.policies import KEY, counts, matches


@pytest.mark.parametrize(
    ("operator", "wanted", "value", "expected"),
    [
        ("StringEquals", "a*", "ab", False),
        ("StringEquals", "a*", "a*", True),
        ("StringLike", "a*", "ab", True),
        ("StringLike", "a${*}", "ab", False),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", "a", None, True),
        ("NotIpAddress", "10.0.0.0/8", None, True),
        ("NumericLessThanIfExists", "2.0", None, True),
        ("NumericLessThanIfExists", "2.0", "2.0", False),
        ("Bool", "true", None, False),
        ("Null", "true", None, True),
        ("Null", "true", "x", False),
    ],
)
def test_the_evaluator_judges_as_aws_documents(
    operator: str, wanted: Any, value: str | None, expected: bool
) -> None:
    context = {} if value is None else {"key": value}
    assert matches(operator, "key", wanted, context) is expected


def test_in_the_evaluator_a_variable_without_a_value_voids_its_statement() -> None:
    statement = {
        "Effect": "Deny",
        "Action": "s3:*",
        "Condition": {"StringNotEquals": {"a": "${b}"}},
    }
    assert not counts(statement, "s3:PutObject", KEY, {"a": "1"})
    assert counts(statement, "s3:PutObject", KEY, {"a": "1", "b": "2"})
