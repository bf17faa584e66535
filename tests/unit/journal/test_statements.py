"""No statement reads or sorts all shipments."""

import re

import pytest

from shipper.journal import places
from shipper.journal import statements as journal_statements
from shipper.journal.journal import Journal

STATEMENTS = sorted(
    name
    for name in vars(journal_statements) | vars(places)
    if re.match("(SELECT|UPDATE|DELETE|CLAMP)", name)
    # a prefix; once in a clone's life; sorts no more than URGENT_ROWS
    and name not in ("SELECT", "SELECTED", "DELETE_UNFINISHED", "SELECT_URGENT")
)
WHOLE = re.compile(
    r"SCAN shipments(?! USING (COVERING )?INDEX"
    r" shipments_(due|removable|parked|finished|under_way|open|lost|failed|unsent))"
)


def plan(journal: Journal, statement: str) -> list[str]:
    question = f"EXPLAIN QUERY PLAN {statement}"
    rows = journal._database._connection.execute(question, (0,) * statement.count("?")).fetchall()
    return [row[3] for row in rows]


def test_a_plan_without_an_index_is_recognised(journal: Journal) -> None:
    assert any(WHOLE.match(step) for step in plan(journal, journal_statements.SELECT))
    assert {"SELECT_DUE", "SELECT_BY_INODE", "SELECT_OPEN", "SELECT_TOTALS"} < {*STATEMENTS}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_or_sorts_all_shipments(journal: Journal, name: str) -> None:
    module = journal_statements if hasattr(journal_statements, name) else places
    steps = plan(journal, getattr(module, name))
    assert steps
    assert [step for step in steps if WHOLE.match(step) or "TEMP B-TREE" in step] == []


def test_no_statement_numbers_its_placeholders() -> None:
    """Python 3.12.1 takes ``?1`` for a name, and warns of it; other versions do not."""
    statements = [*vars(journal_statements).items(), *vars(places).items()]
    numbered = [
        name for name, text in statements if isinstance(text, str) and re.search(r"\?\d", text)
    ]
    assert numbered == []
