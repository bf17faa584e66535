"""The table of ``shipper status``."""

from typing import Any

import pytest

from shipper.cli.status import table

ROW = {"id": 1, "watch": "app", "path": "app.log.1", "state": "READY", "code": "Timeout"}
STATUS: dict[str, Any] = {
    "version": "1",
    "at": "2026-11-28T12:00:00Z",
    "running": False,
    "instance_id": "i-1",
    "ailments": [],
    "unshipped_files": 1,
    "unshipped_bytes": 1,
    "oldest_unshipped_seconds": 1.0,
    "unshipped_age_seconds": {},
    "watches": {},
    "parked": [],
    "lost": [],
}


@pytest.mark.parametrize(
    ("due_at", "is_said"), [("2026-11-28T11:59:59Z", False), ("2026-11-28T12:00:01Z", True)]
)
def test_a_next_attempt_is_said_only_while_it_is_to_come(due_at: str, *, is_said: bool) -> None:
    row = ROW | {"detail": "", "hint": "", "due_at": due_at}
    said = "\n".join(table(STATUS | {"unfinished": [row]}))
    assert (f"next attempt at {due_at}" in said) is is_said
