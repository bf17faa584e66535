"""What ``shipper status`` shows."""

import io
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from shipper.cli.layout import columns
from shipper.cli.status_lines import status_lines
from shipper.cli.terminal import rendered
from shipper.reports.rows import age, size
from tests.machines.schemas import documents

ROW = {"id": 1, "watch": "app", "path": "app.log.1", "state": "READY", "code": "Timeout"}
ROW |= {"detail": "", "hint": "", "due_at": None}
TOTAL = {"files": 1, "raw_bytes": 2048, "stored_bytes": 1024}
STOPPED: dict[str, Any] = {
    "version": "1",
    "at": "2026-11-28T12:00:00Z",
    "running": False,
    "well": False,
    "instance_id": "i-1",
    "ailments": [],
    "unshipped_files": 1,
    "unshipped_bytes": 1,
    "oldest_unshipped_seconds": 1.0,
    "watches": {},
    "parked": [],
    "lost": [],
    "unfinished": [],
}
CREDENTIALS = {"state": "fresh", "role": "r", "code": "", "detail": "", "hint": ""}
CREDENTIALS |= {"expires_at": "2026-11-28T14:05:00Z"}
RUNNING = STOPPED | {
    "running": True,
    "well": True,
    "pid": 7,
    "credentials": CREDENTIALS,
    "gate": {"open": True},
    "rate": {"sent_bytes_per_second": 2_500_000.0, "files_per_second": 4.2},
    "in_flight": {"files": 0, "raw_bytes": 0, "largest": []},
    "scan": {"unwatched": {}, "waiting_files": 0},
    "held": {"descriptors": 0, "unlinked_bytes": 0},
    "termination": {"draining": False},
    "left_alone": {},
    "matching": {},
}


def text(document: dict[str, Any], width: int | None = None, height: int | None = None) -> str:
    lines = status_lines(document, width=width, height=height)
    return "\n".join("".join(each for each, _ in line) for line in lines)


ROOM = st.tuples(st.integers(1, 200), st.integers(1, 60))


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(documents("status"), ROOM)
def test_every_status_fits_the_terminal_in_plain_text_and_in_colours(
    document: dict[str, Any], room: tuple[int, int]
) -> None:
    width, height = room
    lines = status_lines(document, width=width, height=height)
    plain = ["".join(text for text, _ in line) for line in lines]
    assert len(plain) <= height
    assert all(columns(line) <= width for line in plain)
    assert not any(ord(character) < 32 for line in plain for character in line)
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=True)
    console.print(rendered(lines))
    coloured = console.file.getvalue()  # type: ignore[attr-defined]  # it is the one above
    assert "\x1b" not in coloured
    assert len(coloured.splitlines()) <= max(1, height)
    status_lines(document, width=None)


@pytest.mark.parametrize(
    ("document", "word"),
    [
        (STOPPED, "NOT RUNNING; 12:00:00Z"),
        (RUNNING, "WELL, running, pid 7; 12:00:00Z"),
        (RUNNING | {"well": False}, ": NOT WELL, running"),
        (
            RUNNING | {"termination": {"draining": True, "reason": "spot", "seconds_left": 9.0}},
            "DRAINING, running",
        ),
    ],
)
def test_the_first_line_says_how_things_are_in_a_word(document: dict[str, Any], word: str) -> None:
    assert word in text(document).splitlines()[0]


@pytest.mark.parametrize(
    ("due_at", "is_said"), [("2026-11-28T11:59:59Z", False), ("2026-11-28T12:00:01Z", True)]
)
def test_a_next_attempt_is_said_only_while_it_is_to_come(due_at: str, *, is_said: bool) -> None:
    said = text(STOPPED | {"unfinished": [ROW | {"due_at": due_at}]})
    assert (f"next attempt at {due_at}" in said) is is_said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "fresh, role r, 2h5m left, until 2026-11-28T14:05:00Z"),
        ({"expires_at": "2026-11-28T11:59:00Z"}, "expired 1m ago"),
        ({"expires_at": None, "role": ""}, "fresh, role ?, until ?"),
        ({"code": "NoRole", "detail": "none", "hint": "attach one"}, "    NoRole: none\n"),
    ],
)
def test_the_life_of_the_credentials_is_shown(changes: dict[str, Any], said: str) -> None:
    assert said in text(RUNNING | {"credentials": CREDENTIALS | changes})


def test_the_gate_and_the_rate_of_each_destination_are_shown() -> None:
    assert "default: open, 2.4 MiB/s and 4.2 files/s, the mean of a minute at most" in text(
        RUNNING
    )
    shut = {"open": False, "code": "NoSuchBucket", "detail": "gone", "hint": "make it"}
    found = {"main": {"bucket": "b", "gate": {"open": True}}, "audit": {"gate": shut}}
    said = text(RUNNING | {"destinations": found})
    assert "destination main: b, open\n" in said
    assert "destination audit: SHUT\n    NoSuchBucket: gone\n    hint: make it\n" in said


def test_a_daemon_that_was_not_restarted_since_the_upgrade_is_shown_with_what_it_tells() -> None:
    later = {"rate", "in_flight", "matching"}
    old = {key: value for key, value in RUNNING.items() if key not in later}
    old["left_alone"] = {"app": {"files": 2, "looks_rotated": 1, "such_as": ["x.1"]}}
    said = text(old, width=80, height=24)
    assert "left alone: app: 2 files match nothing, 1 of them look rotated" in said
    assert "WELL, running" in said
    assert "destination default: open\n" in said
    assert "in flight" not in said


def test_each_watch_has_a_line_with_its_counts_and_age() -> None:
    states = {"DONE": TOTAL, "READY": TOTAL, "GONE": TOTAL, "DUPLICATE": TOTAL}
    document = RUNNING | {
        "watches": {"app": states, "idle": {}},
        "refused": {"app": {"NotRegular": 3}},
        "unshipped_age_seconds": {"app": 3700.0},
    }
    head, app, idle = text(document).splitlines()[-3:]
    titles = "watch shipped raw stored copies waiting size oldest refused gone"
    assert " ".join(head.split()) == titles
    assert " ".join(app.split()) == "app 1 2.0 KiB 1.0 KiB 1 1 2.0 KiB 1h1m 3 1"
    assert idle.split() == ["idle", "0", "0"]


def test_files_in_flight_have_meters_and_are_not_listed_again() -> None:
    largest = [
        {"id": 1, "watch": "app", "path": "app.log.1", "raw_bytes": 2000, "raw_bytes_done": 500},
        {"id": 2, "watch": "app", "path": "日" * 60, "raw_bytes": 10, "raw_bytes_done": 99},
    ]
    flight = {"files": 14, "raw_bytes": 5 * 2**30, "largest": largest}
    document = RUNNING | {"in_flight": flight, "unfinished": [ROW, ROW | {"id": 3}]}
    lines = text(document, width=80).splitlines()
    at = lines.index("in flight: 14 files, 5.0 GiB")
    assert lines[at + 1] == "  #####---------------  25%   2.0 KiB  app/app.log.1"
    assert lines[at + 2].startswith(f"  {'#' * 20} 100%      10 B  app/日日")
    assert columns(lines[at + 2]) <= 80
    assert lines[at + 3] == "    and 12 more"
    assert "unfinished 3" in lines[at + 4]
    assert not any("unfinished 1" in line for line in lines)


def test_what_does_not_fit_is_counted() -> None:
    rows = [ROW | {"id": number, "state": "PARKED", "hint": "mend it"} for number in range(20)]
    document = RUNNING | {"parked": rows, "watches": {"app": {"PARKED": TOTAL | {"files": 50}}}}
    lines = text(document, width=80, height=24).splitlines()
    assert 20 < len(lines) <= 24
    [more] = [line for line in lines if "more" in line]
    assert more == f"    and {50 - sum(line.startswith('parked') for line in lines)} more"


def test_what_is_worth_a_remark_is_remarked() -> None:
    document = RUNNING | {
        "scan": {
            "unwatched": {"app": {"code": "ENOENT", "detail": "none", "hint": ""}},
            "waiting_files": 3,
        },
        "held": {"descriptors": 2, "unlinked_bytes": 4096},
        "disks": [{"directory": "/var/log", "used_ratio": 0.8512, "removes_early": True}],
        "problems": [{"watch": "app", "path": "[red]x[/]", "code": "C", "detail": "", "hint": ""}],
    }
    said = text(document)
    assert "no events: app; scans do the work\n    ENOENT: none\n" in said
    assert "not sealed yet: 3 files" in said
    assert "disk of /var/log: 85.1 % full, what S3 has is removed early\n" in said
    assert "held: 2 descriptors, 4.0 KiB of deleted files" in said
    assert "refused: app/[red]x[/]\n    C" in said


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1023, "1.0 KiB"),
        (150 * 2**20, "150 MiB"),
        (2**70, "1,048,576 PiB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(amount: int, said: str) -> None:
    assert size(amount) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0s"), (61, "1m1s"), (3605, "1h5s"), (360_000, "4d4h")]
)
def test_ages_have_two_units(seconds: float, said: str) -> None:
    assert age(seconds) == said
