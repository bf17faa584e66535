"""What ``shipper audit`` prints, and the times that it understands."""

import argparse
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given

from shipper.cli.audit import bar, lines_of, since_at
from shipper.cli.layout import shown
from shipper.core.audit import Kind
from shipper.reports.audit import COUNTED, Progress
from tests.machines.schemas import documents, schema


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-29", datetime(2026, 11, 29, tzinfo=UTC)),
        ("2026-11-29T12:00", datetime(2026, 11, 29, 12, tzinfo=UTC)),
        ("2026-11-29T12:00Z", datetime(2026, 11, 29, 12, tzinfo=UTC)),
        ("2026-11-29T13:00+01:00", datetime(2026, 11, 29, 12, tzinfo=UTC)),
    ],
)
def test_a_date_is_meant_in_utc_unless_it_says_otherwise(text: str, meant: datetime) -> None:
    assert since_at(text) == meant.timestamp()


def test_a_duration_is_meant_before_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    assert since_at("1d") == 1_000_000.0 - 86_400


@pytest.mark.parametrize("text", ["", "7x", "soon", "2026-02-30"])
def test_what_is_no_time_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time; write"):
        since_at(text)


def test_the_bar_says_how_far_it_is() -> None:
    assert bar(Progress()) == "[....................]   0 %  0 of 0 shipments, 0 objects"
    half = Progress(rows=1500, rows_in_all=3000)
    assert bar(half) == "[##########..........]  50 %  1,500 of 3,000 shipments, 0 objects"
    assert "100 %" in bar(Progress(rows=3, rows_in_all=2))


@given(documents("audit"))
def test_whatever_was_found_is_told_on_lines_without_control_characters(
    document: dict[str, Any],
) -> None:
    document["counts"] = dict.fromkeys(COUNTED, 2)
    document["hints"] = dict.fromkeys(Kind, "do")
    text = list(lines_of(document))
    assert len(text) >= 2 * len(document["findings"]) + len(COUNTED)
    assert [shown(line) for line in text] == text


def test_the_schema_names_every_kind_and_the_table_lines_up() -> None:
    assert schema("audit")["$defs"]["kind"]["enum"] == [kind.value for kind in Kind]
    document: dict[str, Any] = {
        "findings": [
            {"kind": "missing", "watch": "app", "name": "k", "detail": "gone", "is_wrong": True},
            {
                "kind": "series",
                "watch": "nginx",
                "name": "access.log",
                "detail": "one",
                "is_wrong": False,
            },
        ],
        "totals": {"missing": 2000, "series": 1},
        "hints": {"missing": "look", "series": "ask"},
        "problems": [{"name": "b/logs/", "code": "AccessDenied", "detail": "no", "hint": "do"}],
        "counts": {"compared": 5, "parked": 0},
        "shipments": 5,
        "objects": 4,
        "well": False,
    }
    assert list(lines_of(document)) == [
        "missing  app    k",
        "                gone",
        "series   nginx  access.log",
        "                a notice: one",
        "2,000 missing, 1 of them shown",
        "  hint: look",
        "1 series",
        "  hint: ask",
        "WRONG b/logs/: AccessDenied: no",
        "  hint: do",
        "5 compared with their objects",
        "5 shipments and 4 objects: see above",
    ]
