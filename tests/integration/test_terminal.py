"""``status``, ``ship`` and ``plan`` on a real terminal."""

import re
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.cli.layout import columns
from shipper.edges.http_server import short_path
from tests.fakes.proxy import Proxy, Seen
from tests.fakes.servers import Moto
from tests.machines.here import Here
from tests.machines.instance import Instance
from tests.machines.terminal import Terminal, without_styles
from tests.machines.waiting import LONGEST_SECONDS

Make = Callable[..., Instance]
LEAVES = "\x1b[?1049l"
"""Ends the alternate screen."""


def on_terminal(
    machine: Instance,
    *arguments: str,
    environment: dict[str, str] | None = None,
    rows: int = 24,
    columns: int = 80,
    stdout: int | None = None,
) -> Terminal:
    command, *others = arguments
    return Terminal(
        [command, "--config", str(machine.config), *others],
        environment=machine.environment | (environment or {}),
        rows=rows,
        columns=columns,
        stdout=stdout,
    )


def with_troubles(machine: Instance) -> Instance:
    """It runs, and has more to say than fits on a small screen."""
    for number in range(30):
        (machine.logs / f"[red]link日本.log.{number}").symlink_to("/dev/null")
    machine.write("app.log.1", b"one\n")
    machine.start()
    machine.wait_until_shipped(1)
    machine.wait_for(lambda: "NotRegular" in machine.ask("/status"), "the refusals")
    return machine


@pytest.mark.parametrize(("rows", "wide"), [(24, 80), (50, 200), (10, 40)])
def test_status_is_one_screen_in_colours(instance: Make, rows: int, wide: int) -> None:
    machine = with_troubles(instance())
    with on_terminal(machine, "status", rows=rows, columns=wide) as terminal:
        assert terminal.code() == 1
    lines = without_styles(terminal.written).splitlines()
    assert "\x1b[1;31m" in terminal.written
    assert "\x1b" not in "".join(lines)
    assert len(lines) < rows
    assert all(columns(line) <= wide for line in lines)
    assert "NOT WELL" in " ".join(lines[:3])
    if rows >= 24:
        assert any("more" in line for line in lines)
        assert any("refused: app/[red]link日本.log." in line for line in lines)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}])
def test_a_terminal_without_colours_gets_plain_text_that_fits(
    instance: Make, environment: dict[str, str]
) -> None:
    machine = with_troubles(instance())
    with on_terminal(machine, "status", environment=environment) as terminal:
        assert terminal.code() == 1
    assert "\x1b" not in terminal.written
    assert all(columns(line) <= 80 for line in terminal.written.splitlines())
    with on_terminal(machine, "status", "--watch", environment=environment) as terminal:
        terminal.wait_for("running, pid", 2)
        terminal.interrupt()
        assert terminal.code() == 130
    assert "\x1b" not in terminal.written


def test_names_that_the_terminal_has_no_letters_for_are_escaped(instance: Make) -> None:
    machine = with_troubles(instance())
    latin = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "LANG": "C"}
    latin["PYTHONIOENCODING"] = "latin-1"
    with on_terminal(machine, "status", environment=latin, rows=50) as terminal:
        assert terminal.code() == 1
    assert "link\\u65e5\\u672c.log." in terminal.written


def test_a_pipe_gets_whole_lines_without_escape_codes(instance: Make) -> None:
    machine = with_troubles(instance())
    said = machine.run("status", code=1)
    assert "\x1b" not in said
    assert said.count("refused: app/[red]link日本.log.") == 30


def test_a_watched_status_is_live_and_outlives_the_daemon(instance: Make) -> None:
    machine = instance()
    machine.start()
    with on_terminal(machine, "status", "--watch") as terminal:
        terminal.wait_for("WELL, running")
        terminal.resize(12, 60)  # drawn at once: it would come too late to fit otherwise
        machine.write("app.log.1", b"one\n")
        machine.wait_until_shipped(1)
        machine.kill()
        terminal.wait_for("NOT RUNNING")
        machine.start()
        before = terminal.read().count("WELL, running")
        terminal.wait_for("WELL, running", before + 1)
        terminal.interrupt()
        assert terminal.code() == 130
    assert LEAVES in terminal.written
    assert "Traceback" not in terminal.written
    assert "\x1b[2J" not in terminal.written, "nothing is cleared, so nothing flickers"
    assert all(columns(line) <= 80 for screen in terminal.screens for line in screen)
    assert all(columns(line) <= 60 for line in terminal.screens[-1][:12])


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_watched_status_that_is_ended_leaves_the_terminal_as_it_was(
    instance: Make, ending: signal.Signals
) -> None:
    machine = instance()
    machine.start()
    with on_terminal(machine, "status", "--watch") as terminal:
        terminal.wait_for("WELL, running")
        terminal.process.send_signal(ending)
        assert terminal.code() == 128 + ending
    assert LEAVES in terminal.written
    assert terminal.written.rfind("\x1b[?25h") > terminal.written.rfind("\x1b[?25l")


def test_a_watched_status_ends_with_its_terminal(instance: Make) -> None:
    machine = instance()
    machine.start()
    with on_terminal(machine, "status", "--watch") as terminal:
        terminal.wait_for("WELL, running")
        terminal.process.send_signal(signal.SIGSTOP)  # it draws nothing in between
        terminal.hang_up()
        terminal.process.send_signal(signal.SIGHUP)
        terminal.process.send_signal(signal.SIGCONT)
        assert terminal.code() == 128 + signal.SIGHUP


def test_a_watched_status_that_is_to_outlive_its_terminal_does_not_end_with_it(
    instance: Make,
) -> None:
    machine = instance()
    machine.start()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        terminal = on_terminal(machine, "status", "--watch")
    finally:
        signal.signal(signal.SIGHUP, before)
    with terminal:
        terminal.wait_for("WELL, running")
        terminal.process.send_signal(signal.SIGHUP)
        terminal.wait_for("WELL, running", terminal.read().count("WELL, running") + 1)
        terminal.interrupt()
        assert terminal.code() == 130


def test_a_watched_status_waits_for_a_first_start(instance: Make) -> None:
    machine = instance()
    with on_terminal(machine, "status", "--watch") as terminal:
        terminal.wait_for("NoJournal")
        machine.start()
        terminal.wait_for("WELL, running")
        terminal.interrupt()
        assert terminal.code() == 130


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
def test_a_long_ship_says_how_far_it_is_and_leaves_nothing_of_that(
    instance: Make, moto: Moto, environment: dict[str, str]
) -> None:
    go_on = threading.Event()

    def held_up(seen: Seen) -> None:
        if seen.method == "PUT":
            go_on.wait(LONGEST_SECONDS)

    with Proxy(moto) as s3:
        machine = instance(moto=s3.moto)
        s3.refuse = held_up
        machine.write("app.log.1", b"one\n")
        with on_terminal(machine, "ship", environment=environment) as terminal:
            try:
                terminal.wait_for("0 of 1 files, 0 B of 4 B, ")
            finally:
                go_on.set()
            assert terminal.code() == 0
    assert "\x1b" not in terminal.written
    left = overwritten(terminal.written)
    assert left[-1].startswith("1 shipped, 0 left")
    assert not any(" of 1 files" in line for line in left)
    assert all(line.startswith("{") for line in left[:-1]), "the log's lines stand by themselves"


def overwritten(text: str) -> list[str]:
    """The lines as they stand in the end, where going back to a line's begin writes over it."""
    lines = list[str]()
    for line in text.replace("\r\n", "\n").rstrip("\n").split("\n"):
        stands = ""
        for piece in line.split("\r"):
            stands = piece + stands[len(piece) :]
        lines.append(stands.rstrip())
    return lines


def test_a_long_plan_says_how_far_it_is(instance: Make) -> None:
    machine = instance()
    machine.write("app.log.1", b"one\n")
    go_on = threading.Event()

    def held_up(method: str, path: str) -> None:
        go_on.wait(LONGEST_SECONDS)

    machine.imds.fault = held_up
    with on_terminal(machine, "plan") as terminal:
        try:
            terminal.wait_for("0 candidates so far")
        finally:
            go_on.set()
        assert terminal.code() == 0
    left = overwritten(terminal.written)
    assert left[-1] == "1 candidates, 0 with problems"
    assert not any("so far" in line for line in left)


def test_a_long_audit_says_how_far_it_is(instance: Make, moto: Moto) -> None:
    go_on = threading.Event()

    def held_up(seen: Seen) -> None:
        if seen.is_listing:
            go_on.wait(LONGEST_SECONDS)

    with Proxy(moto) as s3:
        machine = instance(moto=s3.moto)
        machine.write("app.log.1", b"one\n")
        machine.start()
        machine.wait_until_shipped(1)
        s3.refuse = held_up
        with on_terminal(machine, "audit") as terminal:
            try:
                terminal.wait_for("1 of 1 shipments, 0 objects")
            finally:
                go_on.set()
            assert terminal.code() == 0
    left = overwritten(terminal.written)
    assert left[-1] == "1 shipments and 1 objects: nothing is wrong"
    assert not any("[####" in line for line in left)


def test_a_terminal_that_goes_away_is_no_failure_of_a_ship(
    instance: Make, moto: Moto, tmp_path: Path
) -> None:
    go_on = threading.Event()

    def held_up(seen: Seen) -> None:
        if seen.method == "PUT":
            go_on.wait(LONGEST_SECONDS)

    with Proxy(moto) as s3:
        machine = instance(moto=s3.moto)
        s3.refuse = held_up
        assert_outlives(machine, "ship", "0 of 1 files", go_on, tmp_path)
    assert (tmp_path / "out").read_text().startswith("1 shipped, 0 left")


def test_a_terminal_that_goes_away_is_no_failure_of_a_plan(instance: Make, tmp_path: Path) -> None:
    machine, go_on = instance(), threading.Event()

    def held_up(method: str, path: str) -> None:
        go_on.wait(LONGEST_SECONDS)

    machine.imds.fault = held_up
    assert_outlives(machine, "plan", "0 candidates so far", go_on, tmp_path)
    assert (tmp_path / "out").read_text().endswith("1 candidates, 0 with problems\n")


def assert_outlives(
    machine: Instance, command: str, said: str, go_on: threading.Event, directory: Path
) -> None:
    """The command whose progress is on a terminal that goes away meanwhile."""
    machine.write("app.log.1", b"one\n")
    with (
        open(directory / "out", "w", encoding="utf-8") as out,
        on_terminal(machine, command, stdout=out.fileno()) as terminal,
    ):
        try:
            terminal.wait_for(said)
            terminal.hang_up()
        finally:
            go_on.set()
        assert terminal.code() == 0


@pytest.mark.parametrize("command", ["ship", "plan"])
def test_a_dumb_terminal_sees_no_progress(instance: Make, command: str) -> None:
    machine = instance()
    machine.write("app.log.1", b"one\n")
    with on_terminal(machine, command, environment={"TERM": "dumb"}) as terminal:
        assert terminal.code() == 0
    assert "\r" not in terminal.written.replace("\r\n", "")


def test_a_daemon_never_loads_what_only_a_terminal_needs(instance: Make) -> None:
    machine = instance()
    machine.more_environment = {"PYTHONPROFILEIMPORTTIME": "1"}
    machine.write("app.log.1", b"one\n")
    machine.start()
    machine.wait_until_shipped(1)
    assert machine.status() is not None
    assert machine.stop() == 0
    loaded = set(re.findall(r"import time:.*\| +([\w.]+)$", machine.log_text(), re.MULTILINE))
    assert {"structlog", "shipper.reports.status"} <= loaded
    # structlog's attempt to load rich is there; what it would bring is not.
    assert [name for name in loaded if name.startswith("rich.")] == []
    assert not {"shipper.cli.layout", "shipper.cli.status_lines", "shipper.cli.progress"} & loaded


def test_an_answer_that_breaks_off_is_no_answer(instance: Make, here: Here) -> None:
    machine = instance()
    here.run(machine, "ship")
    with socket.socket(socket.AF_UNIX) as listener:
        with short_path(str(machine.directory / "state" / "shipper.sock")) as path:
            listener.bind(path)
        listener.listen()

        def break_off() -> None:
            for _ in range(2):
                with listener.accept()[0] as asking:
                    asking.recv(1000)
                    asking.send(b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{")

        thread = threading.Thread(target=break_off, daemon=True)
        thread.start()
        assert "NOT RUNNING" in here.run(machine, "status", code=1)
        assert "NOT RUNNING" in here.run(machine, "status", code=1)
        thread.join()
